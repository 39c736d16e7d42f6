"""A pytest plugin: ``pytest -p compare_ag.conformance.plugin --pyargs compare_ag.conformance --backend NAME``."""

from __future__ import annotations

import pytest

DESTINATION = "compare_ag_checked"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--backend``; the benchmark suite has an option of that name in runs that ask for it, and only there."""
    parser.getgroup("compare-ag").addoption(
        "--backend",
        action="append",
        dest=DESTINATION,
        metavar="NAME",
        help="check this backend, as `compare-ag list` shows it; repeatable",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each backend and check."""
    if metafunc.module.__name__.endswith("conformance.test_backend") and "check" in metafunc.fixturenames:
        from compare_ag.conformance.marks import parametrize_backend_checks

        names = metafunc.config.getoption(DESTINATION)
        if not names:
            raise pytest.UsageError("name the backend to check: --backend NAME (see `compare-ag list`)")
        mark = parametrize_backend_checks(names)(_nothing).pytestmark[0]  # type: ignore[attr-defined]  # pytest puts it there
        metafunc.parametrize(*mark.args)


def _nothing(check: object) -> None:
    """Carries the mark."""
