"""``compare-ag list``: the installed backends, from metadata; ``--probe`` loads each of them.

Columns of plain text and not a rich table: importing rich takes as long as everything else here, and a line to be
copied (how to install) must not be folded into a cell.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from compare_ag.cli.colour import wants_colour
from compare_ag.cli.common import click
from compare_ag.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compare_ag.host.discovery import Offer

SCHEMA = {"name": "compare-ag/list", "major": 1, "minor": 0}
"""1.0: backends[] of name, status, version, distribution, module, reason, install and, probed, probe; notes[]"""

COLOURS = {"available": "green", "missing": "yellow", "broken": "red"}


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; warnings go to stderr.")
@click.option("--probe", "probing", is_flag=True, help="Really load each available backend, in a worker of its own.")
def list_backends(as_json: bool, probing: bool) -> None:
    """Show which backends there are and what is missing."""
    from compare_ag.host.discovery import discover

    inventory = discover()
    rows = _probe_rows(inventory.offers) if probing else [_row(offer, probing=False) for offer in inventory.offers]
    if as_json:
        import json

        print(json.dumps({"schema": SCHEMA, "backends": rows, "notes": list(inventory.notes)}, indent=1))
    else:
        for line in _lines(rows, coloured=wants_colour(sys.stdout)):
            print(line)
    for note in inventory.notes:
        print(f"warning: {note}", file=sys.stderr)


def _probe_rows(offers: Sequence[Offer]) -> list[dict[str, Any]]:
    """The rows with the results of loading each backend in turn, which takes seconds."""
    from compare_ag.cli.steps import Steps

    rows = []
    with Steps() as steps:
        for done, offer in enumerate(offers):
            steps.show(f"loading {offer.name}", done, len(offers))
            rows.append(_row(offer, probing=True))
    return rows


def _row(offer: Offer, *, probing: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": offer.name,
        "status": offer.status,
        "version": offer.version,
        "distribution": offer.distribution,
        "module": offer.module,
        "reason": offer.reason,
        "install": offer.install,
    }
    if probing and offer.status == "available":
        from compare_ag.host.probe import probe

        result = probe(offer)
        row |= {"status": "available" if result.ok else "broken", "reason": result.reason, "probe": result.facts}
    return row


def _lines(rows: list[dict[str, Any]], *, coloured: bool) -> list[str]:
    """The table with a line for each backend, and below it how to install missing requirements."""
    if not rows:
        return ["no installed distribution offers a backend"]
    table = [("backend", "status", "version", "distribution", "")] + [
        (row["name"], row["status"], row["version"], row["distribution"], row["reason"] or _facts(row.get("probe")))
        for row in rows
    ]
    cells = [[printable(cell) for cell in line] for line in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        if coloured and line[1] in COLOURS:
            padded[1] = click.style(padded[1], fg=COLOURS[line[1]])
        lines.append("  ".join(padded).rstrip())
    for row in rows:
        if row["install"]:
            lines += ["", f"install what {printable(row['name'])} needs:", f"  {printable(row['install'])}"]
    return lines


def _facts(probe: dict[str, Any] | None) -> str:
    """The results of a probe, in a few words."""
    if not probe:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in probe["versions"].items())
    return f"loaded: {versions}; {'/'.join(probe['dtypes'])}; import {probe['import_seconds']:.2f} s"
