"""``compare-ag selftest verdicts``: every mutant trains as a backend; counts missed mutants and false alarms."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import TrainingCommand, click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from compare_ag.selftest import Outcome, SelftestResult

SCHEMA = {"name": "compare-ag/selftest", "major": 1, "minor": 1}
"""1.1: interrupted: whether Ctrl-C ended it; passed is then false"""

EPILOG = """Examples:
  compare-ag selftest verdicts
  compare-ag selftest verdicts --backend torch --only gradient
"""


@click.command(cls=TrainingCommand, epilog=EPILOG)
@click.option("--backend", default="numpy", show_default=True, help="The correct backend to make mistakes to.")
@click.option("--only", metavar="TEXT", help="Only the mutants whose name contains this.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress display.")
def verdicts(backend: str, only: str | None, as_json: bool, quiet: bool) -> int:
    """Prove that verdicts can fail: every mutant must be caught, no legitimate variant accused."""
    import json

    from compare_ag.cli.common import report_console
    from compare_ag.cli.steps import Steps
    from compare_ag.exit_codes import ExitCode
    from compare_ag.selftest import selftest as run_selftest
    from compare_ag.selftest import specimens
    from compare_ag.suite import select

    (offer,) = select([backend]).values()
    population = specimens(only)
    if not population:
        raise click.UsageError(f"no mutant's name contains {only!r}" if only else "no plugin offers mutants")
    with Steps(quiet=quiet) as steps:
        result = run_selftest(
            offer, population, lambda label, done, total: steps.show(f"training {label}", done, total)
        )
    if as_json:
        print(json.dumps({"schema": SCHEMA, "backend": backend, **_document(result)}, indent=1))
    else:
        console = report_console()
        for part in _report(result, backend):
            console.print(part)
            console.print()
    if result.interrupted:
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.OK if result.passed else ExitCode.DISAGREE)


def _report(result: SelftestResult, backend: str) -> list[RenderableType]:
    from rich.text import Text

    parts: list[RenderableType] = [Text(_answer(result, backend), style="bold green" if result.passed else "bold red")]
    if result.mutants:
        parts.append(_mutants(result))
    if result.legitimate:
        parts.append(_legitimate(result))
    for title, outcomes in (("not caught", result.missed), ("accused wrongly", result.false_alarms)):
        parts += [
            Text(f"{title}: {o.specimen.label} ({o.subject.dtype}, {o.subject.loss}): {o.message}", style="red")
            for o in outcomes
        ]
    return parts


def _answer(result: SelftestResult, backend: str) -> str:
    from compare_ag.selftest.verdicts import EFFECT

    names = {o.specimen.facts.name for o in result.mutants}
    right = {o.specimen.facts.name for o in result.legitimate}
    large = [o for o in result.mutants if o.effect >= EFFECT]
    caught = sum(o.caught for o in large)
    rate = f"{100 * caught / len(large):.3g} %" if large else "n/a"
    text = (
        f"{len(names) - len(result.survivors)} of {len(names)} mutants of {backend} are caught in some size. Of the "
        f"{len(large)} trainings in which the error amounts to {EFFECT:g} tolerances or more, {caught} are caught "
        f"({rate}), {len(result.missed)} missed. False alarms: {len(result.false_alarms)} in {len(result.legitimate)} "
        f"trainings of {len(right)} legitimate variants."
    )
    if result.interrupted:
        text = f"Interrupted after {len(result.outcomes)} of {result.planned} trainings. In these: {text}"
    return text + (f" Never caught: {', '.join(result.survivors)}." if result.survivors else "")


def _mutants(result: SelftestResult) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from compare_ag.report.grid import Grid
    from compare_ag.report.units import fraction
    from compare_ag.selftest.verdicts import EFFECT

    table = Grid(
        "mutant", "part", "caught by", "smallest caught", "of its tolerance", "smallest tried", "allclose", "gradcheck",
        "float32", words=3,
    )  # fmt: skip  # one row of heads
    for name in dict.fromkeys(o.specimen.facts.name for o in result.mutants):
        outcomes = [o for o in result.mutants if o.specimen.facts.name == name]
        double = [o for o in outcomes if o.subject.dtype == "float64"]
        smallest = _smallest(double)
        single = [o for o in outcomes if o.subject.dtype == "float32"]
        tried = f"{min(o.specimen.size for o in double):g}" if double else ""
        tail = ["", "", "", tried, "", ""]
        if smallest is not None:
            tail = [
                ", ".join(smallest.by), f"{smallest.specimen.size:g}", f"{fraction(smallest.effect)}x", tried,
                _yes(smallest.allclose), _yes(smallest.gradcheck),
            ]  # fmt: skip  # cells of one row
        table.add_row(name, outcomes[0].specimen.facts.part, *tail, _in_float32(single))
    note = (
        "allclose: would np.allclose at 1e-5 on the final weights have caught that size; gradcheck: would the\n"
        "tolerances of torch.autograd.gradcheck have, at the start; float32: is the largest size caught in float32,\n"
        "or every size of what acts in the probability form alone; undecidable: its error is below "
        f"{EFFECT:g} tolerances wherever float32 can be judged"
    )
    return Group(
        Text("Mutants, float64: the smallest size that is caught", style="bold"), table, Text(note, style="dim")
    )


def _in_float32(outcomes: list[Outcome]) -> str:
    """Whether all sizes tried in float32 are caught; else the sizes that are not."""
    from compare_ag.selftest.verdicts import EFFECT

    if not outcomes:
        return ""
    missed = [f"{o.specimen.size:g}" for o in outcomes if not o.caught and o.effect >= EFFECT]
    undecidable = [f"{o.specimen.size:g}" for o in outcomes if not o.caught and o.effect < EFFECT]
    words = ["yes"] if any(o.caught for o in outcomes) else []
    words += [f"missed: {', '.join(missed)}"] if missed else []
    words += [f"undecidable: {', '.join(undecidable)}"] if undecidable else []
    return "; ".join(words)


def _legitimate(result: SelftestResult) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from compare_ag.report.grid import Grid

    table = Grid("legitimate variant", "computes differently", "trainings", "accused", words=2)
    for name in dict.fromkeys(o.specimen.facts.name for o in result.legitimate):
        outcomes = [o for o in result.legitimate if o.specimen.facts.name == name]
        table.add_row(
            name, outcomes[0].specimen.facts.meaning, str(len(outcomes)), str(sum(o.caught for o in outcomes))
        )
    return Group(Text("Legitimate variants: none may be accused", style="bold"), table)


def _smallest(outcomes: list[Outcome]) -> Outcome | None:
    caught = [outcome for outcome in outcomes if outcome.caught]
    return min(caught, key=lambda outcome: outcome.specimen.size) if caught else None


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _document(result: SelftestResult) -> dict[str, Any]:
    from compare_ag.records import real

    rows = [
        {
            "mutant": o.specimen.facts.name,
            "plugin": o.specimen.module,
            "part": o.specimen.facts.part,
            "legitimate": o.specimen.facts.legitimate,
            "size": o.specimen.size,
            "dtype": o.subject.dtype,
            "loss": o.subject.loss,
            "caught": o.caught,
            "by": list(o.by),
            "message": o.message,
            "effect": real(o.effect),
            "effect_middle": real(o.effect_middle),
            "effect_end": real(o.effect_end),
            "caught_middle": o.caught_middle,
            "caught_end": o.caught_end,
            "allclose": o.allclose,
            "gradcheck": o.gradcheck,
        }
        for o in result.outcomes
    ]
    return {
        "passed": result.passed,
        "interrupted": result.interrupted,
        "survivors": result.survivors,
        "missed": len(result.missed),
        "false_alarms": len(result.false_alarms),
        "outcomes": rows,
    }
