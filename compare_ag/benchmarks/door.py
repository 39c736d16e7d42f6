"""The option `--backend` of the benchmark suite, for pytest runs that ask for the suite and for no others.

pytest reads its command line before it looks inside a package that `--pyargs` names, so an option can only
come from an installed plugin. This module is that plugin: it is imported by every pytest run in an
environment that has compare-ag, hence it imports nothing and adds nothing unless the suite was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

DESTINATION = "compare_ag_backends"


def pytest_load_initial_conftests(parser: pytest.Parser, args: list[str]) -> None:
    """Register `--backend` where an argument names `compare_ag.benchmarks`, as a package or as a path."""
    if any("compare_ag.benchmarks" in arg.replace("\\", ".").replace("/", ".") for arg in args):
        parser.getgroup("compare-ag").addoption(
            "--backend",
            action="append",
            dest=DESTINATION,
            metavar="NAME",
            help="benchmark this backend, as `compare-ag list` shows it; repeatable (default: all available)",
        )
