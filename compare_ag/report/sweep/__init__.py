"""What a sweep found: rows for spreadsheets, tables for the terminal, one offline page.

    rows      a line for each backend and cell: cells.csv, cells.jsonl
    tables    the fastest backend at each size, costs, failures
    terminal  the summary
    page      report.html

All of it reads `records.sweeps` alone.
"""
