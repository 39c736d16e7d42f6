"""The files that are derived from a sweep's cells, written anew after each change: the cells alone are the state."""

from __future__ import annotations

from compare_ag.records import RecordError, read_json, write_bytes, write_record
from compare_ag.records.sweeps import Analysis, CellRecord, latest
from compare_ag.report.sweep.page import render_sweep
from compare_ag.report.sweep.rows import csv_text, json_lines
from compare_ag.sweep.ledger import Ledger

ANALYSIS_FILE, PAGE_FILE, CSV_FILE, LINES_FILE = "analysis.json", "report.html", "cells.csv", "cells.jsonl"


def keep_tables(
    ledger: Ledger, analysis: Analysis | None = None, *, changed: bool = True
) -> tuple[list[CellRecord], Analysis]:
    """Write tables and page of every cell in the folder; return the cells and what is computed of them.

    analysis: what has just been computed; None: what the folder has. changed: False writes what is missing only.
    Raises `SaveError`.
    """
    records = latest(ledger.records())
    known = read_analysis(ledger) if analysis is None else analysis
    folder = ledger.folder
    if analysis is not None:
        write_record(folder / ANALYSIS_FILE, analysis)
    if changed or not all((folder / name).is_file() for name in (PAGE_FILE, CSV_FILE, LINES_FILE)):
        write_bytes(folder / CSV_FILE, csv_text(records).encode())
        write_bytes(folder / LINES_FILE, json_lines(records).encode())
        write_bytes(folder / PAGE_FILE, render_sweep(records, known).encode())
    return records, known


def read_analysis(ledger: Ledger) -> Analysis:
    """What was computed of all cells; empty where nothing was."""
    try:
        analysis: Analysis = read_json(ledger.folder / ANALYSIS_FILE, Analysis)
    except RecordError:
        return Analysis()
    return analysis
