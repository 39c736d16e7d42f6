"""The files that are derived from a sweep's cells, written anew after each change: the cells alone are the state."""

from __future__ import annotations

import msgspec

from compare_ag.records import RecordError, read_json, write_bytes, write_record
from compare_ag.records.sweeps import Analysis, CellRecord, CrossoverRecord, latest
from compare_ag.report.sweep.page import render_sweep
from compare_ag.report.sweep.rows import csv_text, json_lines
from compare_ag.sweep.analysis import analyse
from compare_ag.sweep.ledger import Ledger
from compare_ag.sweep.shares import add_shares, read_limits

ANALYSIS_FILE, PAGE_FILE, CSV_FILE, LINES_FILE = "analysis.json", "report.html", "cells.csv", "cells.jsonl"
FILES = (ANALYSIS_FILE, PAGE_FILE, CSV_FILE, LINES_FILE)


def keep_tables(
    ledger: Ledger, crossovers: list[CrossoverRecord] | None = None, *, changed: bool = True
) -> tuple[list[CellRecord], Analysis]:
    """Write tables and page of every cell in the folder; return the cells and what is computed of them.

    crossovers: what has just been found; None: what the folder has. changed: False writes only where a file is missing.
    Raises `SaveError`.
    """
    limits = read_limits(ledger)
    records = add_shares(latest(ledger.records()), limits)
    known = read_analysis(ledger)
    folder = ledger.folder
    if changed or crossovers is not None or not all((folder / name).is_file() for name in FILES):
        searched = known.crossovers if crossovers is None else crossovers
        known = analyse(records, limits, searched)
        write_record(folder / ANALYSIS_FILE, known)
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


def merge_crossovers(parts: list[Ledger]) -> list[CrossoverRecord]:
    """The crossovers that were found in several folders, each once."""
    crossovers = [crossover for part in parts for crossover in read_analysis(part).crossovers]
    return list({msgspec.json.encode(crossover): crossover for crossover in crossovers}.values())
