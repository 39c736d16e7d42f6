"""A pytest plugin: ``pytest -p compare_ag.conformance.plugin --pyargs compare_ag.conformance --backend NAME``.

It only adds the option. The tests are those of `test_backend`, whose parameters are made there.
"""

from __future__ import annotations

import contextlib

import pytest


@pytest.hookimpl(trylast=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> None:
    """Add ``--backend``, after the benchmark suite: where a run asks for both, the option is there and serves both."""
    with contextlib.suppress(ValueError):  # pytest's word for an option that exists
        parser.getgroup("compare-ag").addoption(
            "--backend",
            action="append",
            dest="compare_ag_checked",
            metavar="NAME",
            help="check this backend, as `compare-ag list` shows it; repeatable",
        )
