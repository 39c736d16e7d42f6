"""``compare-ag list``: which backends there are, from metadata; with ``--probe`` each is really loaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from compare_ag.cli.common import click, report_console
from compare_ag.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from compare_ag.host.discovery import Inventory, Offer


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout; warnings go to stderr.")
@click.option("--probe", "probing", is_flag=True, help="Really load each available backend, in a worker of its own.")
def list_backends(as_json: bool, probing: bool) -> None:
    """Show which backends there are and what is missing."""
    from compare_ag.host.discovery import discover

    inventory = discover()
    rows = [_row(offer, probing) for offer in inventory.offers]
    if as_json:
        print(json.dumps({"backends": rows, "notes": list(inventory.notes)}, indent=1))
    else:
        report_console().print(_table(rows, probing))
    _print_notes(inventory)


def _row(offer: Offer, probing: bool) -> dict[str, Any]:
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
        from compare_ag.host.session import probe

        result = probe(offer)
        row |= {"status": "available" if result.ok else "broken", "reason": result.reason, "probe": result.facts}
    return row


def _table(rows: list[dict[str, Any]], probing: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    heads = ["backend", "status", "version", "distribution", *(["loaded"] if probing else []), "reason"]
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        style = {"available": "green", "missing": "yellow"}.get(row["status"], "red")
        reason = printable(row["reason"]) + (f"\n{row['install']}" if row["install"] else "")
        cells = [Text(printable(row["name"])), Text(row["status"], style=style), Text(printable(row["version"]))]
        loaded = [Text(_facts(row.get("probe") or {}))] if probing else []
        table.add_row(*cells, Text(printable(row["distribution"])), *loaded, Text(reason))
    return table


def _facts(facts: dict[str, Any]) -> str:
    """What a probe showed, in a few words."""
    if not facts:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return printable(f"{versions}; {'/'.join(facts['dtypes'])}; import {facts['import_seconds']:.2f} s")


def _print_notes(inventory: Inventory) -> None:
    for note in inventory.notes:
        click.echo(f"warning: {note}", err=True)
