"""Sweeps: how cost grows with the problem's size, and where the fastest backend changes.

    grid      the cells of a sweep, from options or a TOML file; a cell's key
    estimate  the time and memory that a cell will need
    ledger    the folder of a sweep: which cells are done, and why the others are not
    cell      one cell, in a process of its own
    engines   where the cells' processes run: on this machine, or through dask
    flow      a sweep from its grid to its last cell
    analysis  cost models, limits and crossovers of all cells
    merge     several folders of one grid become one
    pick      the fastest correct backend for a size

The cells' directories are the state: nothing else decides whether a cell is done.
"""
