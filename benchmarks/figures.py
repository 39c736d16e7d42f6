"""What the benchmarks share: figures with intervals and aims, how they are printed and kept, the engine's surroundings.

A benchmark is a program. It prints a table of figures; ``--json FILE`` keeps them, and `report.py` turns the kept files
into one dated page. Exit status 1 says that an aim is missed: nothing is repeated until it is met.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from scipy.stats import f as f_distribution

from compare_ag.cli.common import say_waiting
from compare_ag.host import machine_lock
from compare_ag.problem import Problem, make_problem, problem_by_name, synthetic
from compare_ag.speed.rates import Rate
from compare_ag.speed.statistics import LEVEL, interval
from compare_ag.suite.training import Conditions

TIMEOUT = 3600.0
FILES = ("--json", "--keep", "--quiet-json")
"""options whose value is a file or a folder"""


@dataclass
class Figure:
    """One number with its 95 % interval and what was aimed at."""

    name: str
    value: float
    low: float | None
    high: float | None
    unit: str = ""
    aim: str = ""
    met: bool | None = None


@dataclass
class Section:
    """One benchmark's outcome."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    command: str = ""
    seconds: float = 0.0

    def add(
        self,
        name: str,
        found: Sequence[float],
        unit: str = "",
        *,
        scale: float = 1.0,
        most: float | None = None,
        least: float | None = None,
        by: str = "value",
    ) -> None:
        """Add a figure, (value,) or (value, low, high) times ``scale``; ``most``/``least``: the aim for its ``by``."""
        value, low, high = [scale * one for one in found] if len(found) == 3 else (scale * found[0], None, None)
        tested = {"value": value, "low": low, "high": high}[by]
        met: bool | None = None
        aim = ""
        if most is not None:
            met, aim = tested is not None and tested <= most, f"{_END[by]}at most {most:g}"
        if least is not None:
            met, aim = tested is not None and tested >= least, f"{_END[by]}at least {least:g}"
        self.figures.append(Figure(name, value, low, high, unit, aim, met))


_END = {"value": "", "low": "lower end ", "high": "upper end "}


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="keep the figures here, for report.py")
    return made


def finish(section: Section, started: float, path: Path | None) -> int:
    """Print, keep, and give the exit status."""
    section.command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_arguments(sys.argv[1:])])
    section.seconds = time.monotonic() - started
    table = Table(title=section.title, title_justify="left", box=SIMPLE)
    for heading in ("figure", "value", "95 % interval", "aim", ""):
        table.add_column(heading, justify="right" if heading in ("value", "95 % interval") else "left")
    for figure in section.figures:
        table.add_row(figure.name, *cells(figure))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for note in section.notes:
        console.print(note, highlight=False)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(section), indent=1) + "\n")
    return int(any(figure.met is False for figure in section.figures))


def _arguments(arguments: Sequence[str]) -> list[str]:
    """Without the files that are read or written: they say nothing about the measurement, and name folders."""
    kept = list(arguments)
    for option in FILES:
        if option in kept:
            at = kept.index(option)
            del kept[at : at + 2]
    return kept


def cells(figure: Figure) -> tuple[str, str, str, str]:
    """Value, interval, aim, outcome as they are printed."""
    span = "" if figure.low is None or figure.high is None else f"{figure.low:.4g} to {figure.high:.4g}"
    met = "" if figure.met is None else "met" if figure.met else "MISSED"
    return f"{figure.value:.4g} {figure.unit}".strip(), span, figure.aim, met


# --- statistics ---------------------------------------------------------------------------------------------


def rms_ratio(errors: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """rms(errors) / rms(others) with the F interval for errors of mean 0."""
    squares = [float(np.mean(np.square(side))) for side in (errors, others)]
    ratio = math.sqrt(squares[0] / squares[1])
    tail = (1 - LEVEL) / 2
    n, m = len(errors), len(others)
    return (
        ratio,
        ratio / math.sqrt(f_distribution.ppf(1 - tail, n, m)),
        ratio / math.sqrt(f_distribution.ppf(tail, n, m)),
    )


def ratio_of(logs: Sequence[float]) -> tuple[float, float, float]:
    """A ratio and its t interval from log-ratios."""
    found = interval(logs)
    return math.exp(found.mean), math.exp(found.low), math.exp(found.high)


def rate_of(rate: Rate) -> tuple[float, float, float]:
    """A rate as a figure."""
    return rate.share, rate.low, rate.high


def per_window(values: Sequence[float], length: int) -> list[float]:
    """Means of disjoint windows: the errors of comparisons of so many launches."""
    return [float(np.mean(values[i : i + length])) for i in range(0, len(values) - length + 1, length)]


# --- the engine's surroundings ------------------------------------------------------------------------------


def problem_of(size: str, threads: int = 1, steps: int | None = None) -> Problem:
    """``seed`` as published (float32, probability form), or ``NxD`` synthetic examples in float64, logits form."""
    if size == "seed":
        return problem_by_name("seed", threads=threads, steps=steps)
    n, d = map(int, size.split("x"))
    return make_problem(synthetic(n=n, d=d), threads=threads, steps=steps)


@contextmanager
def machine() -> Iterator[None]:
    """The machine without another timing or training of compare-ag; says on stderr whom it waits for.

    Commands that the program starts meanwhile do not wait for it, so start those that time one after the other.
    """
    with machine_lock.hold("timing", tell=say_waiting()) as held:
        if held.failure:
            print(f"warning: other timings here are not excluded: {held.failure}", file=sys.stderr)
        yield


@contextmanager
def conditions_of(problem: Problem) -> Iterator[Conditions]:
    """What the engine needs beside its contestants: the machine, and logs in a temporary folder."""
    with machine(), tempfile.TemporaryDirectory(prefix="compare-ag-benchmarks-") as logs:
        yield Conditions(problem, [], Path(logs), TIMEOUT, 0, threading.Event())
