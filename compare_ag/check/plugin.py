"""A pytest plugin: ``pytest -p compare_ag.check.plugin --pyargs compare_ag.check --backend NAME``.

The plugin only adds the option. The tests and their parameters are in `test_backend`.
"""

from __future__ import annotations

import contextlib

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--backend``; naming the plugin twice must not fail the run."""
    with contextlib.suppress(ValueError):  # pytest's error for an option that exists
        parser.getgroup("compare-ag").addoption(
            "--backend",
            action="append",
            dest="compare_ag_checked",
            metavar="NAME",
            help="check this backend, as `compare-ag list` shows it; repeatable",
        )
