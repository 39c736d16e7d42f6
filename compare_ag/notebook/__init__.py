"""A run in a notebook: its display, and the progress below the cell that makes it.

IPython is imported only where it is installed and runs a kernel; nothing here requires it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from compare_ag.records import BackendRecord, Run, load_run, show_in_notebooks

if TYPE_CHECKING:
    from compare_ag.suite import Observer

__all__ = ["Run", "load_run", "notebook_progress"]


def _run_html(run: Run) -> str:
    from compare_ag.report.inline import run_html

    return run_html(run)


def _record_html(record: BackendRecord) -> str:
    from compare_ag.report.inline import record_html

    return record_html(record)


show_in_notebooks(Run, _run_html)
show_in_notebooks(BackendRecord, _record_html)


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


def notebook_progress() -> Observer | None:
    """The display of progress below the running cell; None outside of a notebook."""
    if not in_notebook():
        return None
    from compare_ag.notebook.progress import NotebookProgress

    return NotebookProgress(importlib.import_module("IPython.display").display)
