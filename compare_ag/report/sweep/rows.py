"""A line for each backend of each cell, for spreadsheets and data frames. Seconds, bytes; empty: not known."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from compare_ag.records import Interval
from compare_ag.records.sweeps import BackendRow, CellRecord, Ranking, rank
from compare_ag.report.escape import cell as safe_cell
from compare_ag.text import everywhere, without_paths

COLUMNS = (
    "key", "purpose", "machine", "n", "d", "dtype", "threads", "loss", "steps", "cell_status", "cell_reason", "created",
    "seconds", "backend", "status", "reason", "worst_ratio", "ranked", "place", "step_seconds", "step_seconds_low",
    "step_seconds_high", "ratio_to_fastest", "ratio_low", "ratio_high", "verdict", "limit_share",
    "first_step_seconds", "cold_seconds", "peak_bytes", "training_bytes", "tape_bytes", "threads_observed",
)  # fmt: skip


def rows(records: Iterable[CellRecord]) -> Iterator[dict[str, Any]]:
    """The lines, cell by cell; a cell without results has one line without a backend."""
    for record in records:
        cell = record.cell
        common = {
            "key": record.key,
            "purpose": record.purpose,
            "machine": record.machine.id,
            "n": cell.n,
            "d": cell.d,
            "dtype": cell.dtype,
            "threads": cell.threads,
            "loss": cell.loss,
            "steps": cell.steps,
            "cell_status": record.status,
            "cell_reason": record.reason,
            "created": record.created,
            "seconds": record.seconds,
        }
        ranking = rank(record)
        for own in [_of_backend(record, row, ranking) for row in record.rows] or [{}]:
            yield dict.fromkeys(COLUMNS) | common | own


def _of_backend(record: CellRecord, row: BackendRow, ranking: Ranking | None) -> dict[str, Any]:
    pair = None
    if ranking is not None:
        known = (turn for pair in record.pairs for turn in (pair, pair.swapped()))
        pair = next((turn for turn in known if (turn.backend, turn.baseline) == (row.name, ranking.fastest)), None)
    return {
        "backend": row.name,
        "status": row.status,
        "reason": row.reason or row.unranked,
        "worst_ratio": None if row.worst_ratio is None else float(row.worst_ratio),
        "ranked": row.ranked,
        "place": place(row.name, ranking) if row.ranked else None,
        **_ends("step_seconds", "step_seconds", row.step),
        **_ends("ratio_to_fastest", "ratio", None if pair is None or not row.ranked else pair.ratio),
        "verdict": None if pair is None or not row.ranked else pair.verdict,
        "limit_share": row.limit_share,
        "first_step_seconds": row.first_step_seconds,
        "cold_seconds": row.cold_seconds,
        "peak_bytes": row.peak_bytes,
        "training_bytes": row.training_bytes,
        "tape_bytes": row.tape_bytes,
        "threads_observed": row.threads_observed,
    }


def place(name: str, ranking: Ranking | None) -> str | None:
    """``fastest``, ``tied`` with it, or ``slower``."""
    if ranking is None:
        return None
    return "fastest" if name == ranking.fastest else "tied" if name in ranking.tied else "slower"


def _ends(name: str, ends: str, interval: Interval | None) -> dict[str, float | None]:
    values = (None, None, None) if interval is None else (interval.value, interval.low, interval.high)
    return dict(zip((name, f"{ends}_low", f"{ends}_high"), values, strict=True))


def csv_text(records: Iterable[CellRecord]) -> str:
    """The lines as CSV (RFC 4180); no cell starts a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for row in rows(records):
        writer.writerow([safe_cell(_plain(row[column])) for column in COLUMNS])
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def json_lines(records: Iterable[CellRecord]) -> str:
    """The lines as JSON, one object in each; non-finite numbers are texts, no text names a place on a machine."""
    return "".join(f"{json.dumps(_jsonable(row), allow_nan=False)}\n" for row in rows(records))


def _jsonable(row: dict[str, Any]) -> Any:
    infinite = {name: repr(value) for name, value in row.items() if isinstance(value, float) and value - value != 0}
    return everywhere(row | infinite, without_paths)
