"""``compare-ag selftest``: can the verdicts fail, and how often do the speed verdicts err here?"""

from __future__ import annotations

from compare_ag.cli.common import click
from compare_ag.cli.lazy import LazyGroup

EPILOG = """Examples:
  compare-ag selftest                               the verdicts, as `selftest verdicts`
  compare-ag selftest verdicts --backend torch --only gradient
  compare-ag selftest speed --budget 600
"""


@click.command(
    cls=LazyGroup,
    commands={"verdicts": "selftest_verdicts:verdicts", "speed": "selftest_speed:speed"},
    default="verdicts",
    epilog=EPILOG,
)
def selftest() -> None:
    """Prove that this program's own answers can fail: the verdicts on numbers, or those on speed. Without a name, the
    verdicts."""
