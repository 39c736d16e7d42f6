"""The conformance kit: is this backend right? For its author, step by step.

    compare-ag check NAME                                                       on the command line
    @parametrize_backend_checks(["NAME"])                                       in your own test suite
    pytest -p compare_ag.check.plugin --pyargs compare_ag.check --backend NAME

Three front ends to one table of checks (`ladder.LADDER`), which start real workers and judge by computed tolerances.
Importing this package imports neither numpy nor pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compare_ag.check.marks import parametrize_backend_checks
    from compare_ag.check.rungs import CheckResult, check_backend

__all__ = ["CheckResult", "check_backend", "parametrize_backend_checks"]

_HOME = {"CheckResult": "rungs", "check_backend": "rungs", "parametrize_backend_checks": "marks"}


def __getattr__(name: str) -> Any:
    """Load a public name at first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'compare_ag.check' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"compare_ag.check.{_HOME[name]}"), name)
