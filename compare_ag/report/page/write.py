"""The page into the run directory: whole or not at all, and never a reason for a run to fail."""

from __future__ import annotations

from pathlib import Path

from compare_ag.records import RecordError, Run, remove_leftovers, save_file, write_bytes
from compare_ag.report.page.markup import render

NAME = "report.html"


def write_report(run: Run, path: Path | None = None) -> Path:
    """Render a run's page into its directory, or to ``path``; return where it is.

    Raises `SaveError` where it cannot be written, `RecordError` where the records cannot be read.
    """
    page = render(run).encode()
    if path is None or path.resolve() == (run.path / NAME).resolve():
        remove_leftovers(run.path)
        save_file(run.path, NAME, page)  # with its line in SHA256SUMS
    else:
        write_bytes(path, page)
    return path or run.path / NAME


def keep_report(run: Run) -> str:
    """Write the page of a run that has just ended; return what went wrong, or nothing.

    The numbers are kept by then: a disk that is full now, or a mistake of ours in the page, costs the page alone.
    """
    try:
        write_report(run)
    except (RecordError, OSError) as error:
        return f"the run is kept, but not its page: {error}"
    except Exception as error:  # noqa: BLE001  # a fault in the page must not take the run with it
        return f"the run is kept, but its page could not be made ({type(error).__name__}: {error}); please report this"
    return ""
