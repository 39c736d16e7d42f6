"""The tests that ``--pyargs compare_ag.check`` collects: each check of each backend that ``--backend`` names."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The parameters of `test_backend`. Raises CollectError, which pytest shows without a traceback."""
    from compare_ag.check.marks import cases
    from compare_ag.host.discovery import SelectionError

    names = metafunc.config.getoption("--backend", default=None)
    if not names:
        raise pytest.Collector.CollectError(
            "name the backend to check: --backend NAME (see `compare-ag list`), as in "
            "pytest -p compare_ag.check.plugin --pyargs compare_ag.check --backend NAME"
        )
    try:
        metafunc.parametrize("check", cases(names))
    except SelectionError as error:
        raise pytest.Collector.CollectError(str(error)) from None


def test_backend(check: Callable[[], None]) -> None:
    """Run a check of a backend."""
    check()
