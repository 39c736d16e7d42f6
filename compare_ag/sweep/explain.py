"""What is known of a cell, found by the beginning of its key."""

from __future__ import annotations

from collections.abc import Sequence

from compare_ag.sweep.grid import Planned
from compare_ag.sweep.ledger import Ledger, changes


def explain_key(ledger: Ledger | None, planned: Sequence[Planned], key: str) -> list[str]:
    """Lines for each cell whose key begins so, planned or on disk; none where there is none."""
    by_cell = {item.cell: item for item in planned}
    by_key = {item.key: item for item in planned}
    present = [] if ledger is None else ledger.names()
    lines = []
    for name in sorted({name for name in [*by_key, *present] if name.startswith(key)}):
        entry = None if ledger is None else ledger.entry(name)
        cell = entry.cell if entry is not None else by_key[name].cell if name in by_key else None
        if cell is None:
            lines.append(f"{name}  damaged: its file cannot be read, so that it will be measured again")
            continue
        lines.append(f"{name}  {cell.label}")
        if entry is None:
            lines.append("  missing: not measured yet")
            continue
        lines.append(f"  {entry.status}" + (f": {entry.reason}" if entry.reason else ""))
        lines.append("  with " + ", ".join(f"{what} {version}" for what, version in entry.versions.items()))
        if name not in by_key and cell in by_cell:
            now = by_cell[cell]
            lines.append(f"  stale: {changes(entry.versions, now.versions)}; it will be measured as {now.key}")
        elif name not in by_key:
            lines.append("  not of this grid: measured to bracket a crossover, or merged from another machine")
    return lines
