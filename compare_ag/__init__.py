"""compare-ag: do two autograd backends train the same model the same way, and what does each cost?

Everything public is reachable from here and loaded only when it is touched, because the command line
answers ``--version``, ``--help`` and ``list`` without paying for numpy, pluggy or any framework:

* for plugin authors: `Backend`, `Weights`, `Batch`, `Setting`, `Node`, `hookimpl`, `Mutant`, `Answer`,
  `NotApplicable`;
* for callers: `run`, `load_run`, `Problem`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compare_ag.api import run
    from compare_ag.contract.answer import Answer, NotApplicable
    from compare_ag.contract.backend import Backend, Batch, Node, Setting, Weights
    from compare_ag.contract.hookspecs import hookimpl
    from compare_ag.contract.mutant import Mutant
    from compare_ag.notebook import Run, load_run
    from compare_ag.problem import Problem

__version__ = "0.2.0"

__all__ = [
    "Answer", "Backend", "Batch", "Mutant", "Node", "NotApplicable", "Problem", "Run", "Setting", "Weights",
    "__version__", "hookimpl", "load_run", "run",
]  # fmt: skip

_HOME = {
    "Answer": "compare_ag.contract.answer",
    "Backend": "compare_ag.contract.backend",
    "Batch": "compare_ag.contract.backend",
    "Node": "compare_ag.contract.backend",
    "Setting": "compare_ag.contract.backend",
    "Weights": "compare_ag.contract.backend",
    "hookimpl": "compare_ag.contract.hookspecs",
    "Mutant": "compare_ag.contract.mutant",
    "NotApplicable": "compare_ag.contract.answer",
    "Problem": "compare_ag.problem",
    "Run": "compare_ag.notebook",
    "load_run": "compare_ag.notebook",
    "run": "compare_ag.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'compare_ag' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
