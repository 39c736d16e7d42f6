"""A sweep as one HTML page that loads nothing: built from the parts of a run's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, PackageLoader
from markupsafe import Markup

import compare_ag
from compare_ag.records import record_bytes
from compare_ag.records.sweeps import Analysis, CellRecord, Machine, format_count, rank
from compare_ag.report.escape import clean
from compare_ag.report.page import markup
from compare_ag.report.page.downloads import CSV
from compare_ag.report.page.packing import Packer
from compare_ag.report.page.plotly import specs
from compare_ag.report.sweep import tables
from compare_ag.report.sweep.charts import charts
from compare_ag.report.sweep.rows import csv_text, json_lines
from compare_ag.report.sweep.terminal import counts_sentence
from compare_ag.report.table import Table
from compare_ag.text import everywhere

MOST_ROWS = 500
"""of the table of all cells; the downloads have them all"""
LOOKS = 6
"""colours of backends; more repeat them, beside their names"""
SECTIONS = {
    "fastest-part": "Fastest",
    "cost-part": "Cost",
    "failures-part": "Failures",
    "cells-part": "All cells",
    "method-part": "Method",
    "data-part": "Data",
}


def render_sweep(records: Sequence[CellRecord], analysis: Analysis) -> str:
    """The page as one text; the same records give the same bytes."""
    packer = Packer()
    names = list(dict.fromkeys(name for record in records for name in record.cell.backends))
    looks = {name: place for place, name in enumerate(names)}
    panels = tables.panels(records)
    drawn = specs(charts(panels, analysis, looks), packer)
    offered = downloads(records, analysis)
    failures = tables.failures(records)
    parts = [_machine_part(machine, records, analysis, looks) for machine in tables.machines(records)]
    page: str = (
        _environment()
        .get_template("sweep.html")
        .render(
            title=f"Sweep of {', '.join(names)}" if names else "Sweep",
            version=compare_ag.__version__,
            policy=markup.policy(),
            style=Markup(markup.asset("page.css") + files(__package__).joinpath("sweep.css").read_text("utf-8")),
            plotly=Markup(markup.asset("vendor/plotly-basic.min.js")),
            script=Markup(markup.asset("page.js")),
            sections={id: title for id, title in SECTIONS.items() if id != "failures-part" or failures},
            answer=answer(records),
            good=bool(records) and not any(map(_is_bad, records)),
            parts=parts,
            looks=looks,
            charts=drawn,
            failures=failures,
            machines=[(machine.id, f"{machine.label}, {machine.system}") for machine in tables.machines(records)],
            versions=_versions(records),
            data={"charts": everywhere(drawn, clean), "downloads": offered},
            arrays=packer.packed,
            downloads=offered,
            entry_of=lambda *_: None,
            created=max((record.created for record in records), default=""),
        )
    )
    return page


def _environment() -> Any:
    """The environment of a run's page, with this package's templates before its own."""
    return markup.environment().overlay(
        loader=ChoiceLoader(
            [PackageLoader("compare_ag.report.sweep", "."), PackageLoader("compare_ag.report.page", ".")]
        )
    )


def _is_bad(record: CellRecord) -> bool:
    """Whether something failed or is wrong in the cell; an unsupported dtype and a skipped cell are not."""
    return record.status in ("failed", "disturbed") or any(
        row.status not in ("ok", "unsupported") for row in record.rows
    )


def answer(records: Sequence[CellRecord]) -> list[str]:
    """Two sentences: how many cells there are, and how often each backend is the fastest."""
    rankings = [ranking for record in records if (ranking := rank(record)) is not None]
    won = Counter(ranking.fastest for ranking in rankings if not ranking.tied)
    parts = [f"{name} in {count}" for name, count in won.most_common()]
    ties = sum(bool(ranking.tied) for ranking in rankings)
    parts += [f"a tie in {ties}"] if ties else []
    fastest = f"Fastest of {format_count(len(rankings), 'timed cell')}: {', '.join(parts)}." if rankings else ""
    return [sentence for sentence in (counts_sentence(records), fastest) if sentence]


def _machine_part(
    machine: Machine, records: Sequence[CellRecord], analysis: Analysis, looks: dict[str, int]
) -> dict[str, Any]:
    """What the template shows of one machine."""
    own = tables.panels(record for record in records if record.machine.id == machine.id)
    return {
        "machine": machine,
        "maps": [heat_map(panel, looks) for panel in own],
        "numbers": [_cut(tables.numbers(panel)) for panel in own],
        "models": tables.models(analysis, machine),
        "crossovers": tables.crossover_words(analysis.crossovers, machine),
    }


def heat_map(panel: tables.Panel, looks: dict[str, int]) -> dict[str, Any]:
    """The fastest backend at each size: rows of n, columns of d, each cell with its words, colour and certainty."""
    rows = []
    for n in panel.n:
        row = []
        for d in panel.d:
            record = panel.cells.get((n, d))
            ranking = None if record is None else rank(record)
            tied = ranking is not None and bool(ranking.tied)
            ratio = 1.0 if ranking is None or ranking.ratio is None else ranking.ratio.value
            row.append(
                {
                    "words": tables.winner_words(record, ranking),
                    "detail": "" if ranking is None else ranking.evidence,
                    "look": None if ranking is None else looks.get(ranking.fastest, 0) % LOOKS,
                    "other": looks.get(ranking.tied[0], 0) % LOOKS if ranking is not None and tied else None,
                    "strength": 1 if ratio < 1.2 else 2 if ratio < 2 else 3,
                }
            )
        rows.append((n, row))
    return {"title": panel.title, "d": panel.d, "rows": rows}


def _cut(table: Table[tables.CellEntry]) -> Table[tables.CellEntry]:
    """The table with `MOST_ROWS` rows at most, and a note where it has more."""
    more = len(table.rows) - MOST_ROWS
    if more <= 0:
        return table
    note = f"The first {MOST_ROWS} of {len(table.rows):,} rows; cells.csv below has them all."
    return Table(table.id, table.caption, table.section, table.columns, table.rows[:MOST_ROWS], [note])


def _versions(records: Sequence[CellRecord]) -> list[tuple[str, str]]:
    """Every version that a cell was measured with."""
    known: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.versions.items():
            known.setdefault(name, set()).add(version)
    return [(name, ", ".join(sorted(versions))) for name, versions in sorted(known.items())]


def downloads(records: Sequence[CellRecord], analysis: Analysis) -> list[dict[str, Any]]:
    """What the page's buttons give: every number of every cell."""
    return [
        {
            "name": "cells.csv",
            "type": CSV,
            "says": "a row for each backend and cell, all digits",
            "text": csv_text(records),
        },
        {
            "name": "cells.jsonl",
            "type": "application/json",
            "says": "the same as JSON lines",
            "text": json_lines(records),
        },
        {
            "name": "analysis.json",
            "type": "application/json",
            "says": "cost models, limits and crossovers",
            "text": record_bytes(analysis).decode(),
        },
    ]
