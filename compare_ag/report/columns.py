"""The columns of tables with a row for each backend. Each column is declared once; `tables` chooses among them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from compare_ag.records import BackendRecord, Cost, Interval, PairRecord, Run, TestRecord, VerdictRecord, decisive
from compare_ag.report import cells
from compare_ag.report.cells import PHASES, TESTS
from compare_ag.report.kept import digits_kept
from compare_ag.report.table import BAD, OPEN, TONES, Column, Value
from compare_ag.report.units import Array, difference, fraction, seconds, size


class Row(NamedTuple):
    """One backend, or one of the two verdicts of a backend that brings its own fused step."""

    run: Run
    record: BackendRecord
    verdict: VerdictRecord | None
    how: str = ""
    """suffix of the backend's name"""

    @property
    def pair(self) -> PairRecord | None:
        """The backend over the baseline."""
        speed, baseline = self.run.manifest.speed, self.run.manifest.baseline
        return None if speed is None or baseline is None else speed.pair(self.record.name, baseline)

    @property
    def is_baseline(self) -> bool:
        """Whether this backend is the denominator of the ratios."""
        return self.record.cost is not None and self.record.name == self.run.manifest.baseline


OfBackend: TypeAlias = Column[Row]


def backends(run: Run) -> list[Row]:
    """A row for each backend, with the verdict that decided its status."""
    return [Row(run, record, decisive(record)) for record in run.records.values()]


def timed_rows(run: Run) -> list[Row]:
    """A row for each backend that was timed."""
    return [row for row in backends(run) if row.record.cost is not None]


def at(path: str) -> Callable[[Row], Value]:
    """The function that reads ``path`` ("cost.step") from a row's record: None where a part of the path is None.

    JSON's "nan", "inf" and "-inf" become floats.
    """
    parts = path.split(".")

    def value(row: Row) -> Value:
        content: Any = row.verdict if parts[0] == "verdict" else getattr(row.record, parts[0])
        for part in parts[1:]:
            content = None if content is None else getattr(content, part)
        return float(content) if content in ("nan", "inf", "-inf") else content

    return value


# --- columns: identity and accuracy -------------------------------------------------------------------------

NAME: OfBackend = Column("backend", lambda row: row.record.name + row.how, left=True)
LIBRARIES: OfBackend = Column(
    "libraries", lambda row: ", ".join(f"{name} {version}" for name, version in row.record.versions.items())
)
NAME_AND_VERSIONS: OfBackend = Column("backend", lambda row: row.record.name, text=lambda row: _versioned(row.record),
                                      left=True)  # fmt: skip
STATUS: OfBackend = Column("status", at("status"), left=True, tone=lambda row: TONES.get(row.record.status, BAD))
WORST: OfBackend = Column(
    "worst observed / tolerance", at("verdict.worst_ratio"), fraction, key="worst observed/tolerance"
)
FINAL_ERROR: OfBackend = Column("final error", at("verdict.weights_error"), difference)
DIGITS: OfBackend = Column(
    "digits kept", lambda row: digits_kept(row.run, row.record.name), lambda digits: f"{digits:.1f}"
)


def _versioned(record: BackendRecord) -> str:
    versions = " ".join(f"{name} {version}" for name, version in record.versions.items())
    return f"{record.name} ({versions})" if versions else record.name


def _test(name: str) -> OfBackend:
    """The largest observed/tolerance of one test, with a bar."""

    def of(get: Callable[[TestRecord], Any], otherwise: Any = None) -> Callable[[Row], Any]:
        def value(row: Row) -> Any:
            tests = [] if row.verdict is None else row.verdict.tests
            return next((get(test) for test in tests if test.test == name), otherwise)

        return value

    ratio = of(lambda test: float(test.ratio))
    bar = of(lambda test: min(1.0, float(test.ratio)) if math.isfinite(float(test.ratio)) else 1.0)
    tone = of(lambda test: BAD if test.findings else "", "")
    return Column(name, ratio, text=of(cells.outcome, "n/a"), share=bar, tone=tone, section="Tests")


def _finding(row: Row) -> str:
    """The finding of the decisive verdict's row with its diagnosis; for the other verdict its message alone."""
    if row.verdict is None or row.verdict is decisive(row.record):
        return cells.describe_outcome(row.record)
    return row.verdict.message if row.how else f"{row.verdict.message} (verb by verb)"


FOUND: OfBackend = Column("what was found", _finding, prose=True)
VERDICTS = [
    NAME,
    STATUS,
    *map(_test, TESTS),
    Column("examples", lambda row: None if row.verdict is None else cells.examples(row.verdict), section="Tests"),
    Column("repeated run", lambda row: None if row.how else cells.describe_repetition(row.record), section="Tests"),
    FOUND,
]


class Final(NamedTuple):
    """Weights after the last step: the reference's, or a backend's from the verdict that decided its status."""

    name: str
    w: Array
    """(d,)"""
    b: float
    error: float | str | None
    tolerance: float | str | None
    judged: bool = True


def final_of(row: Row) -> Final | None:
    """A backend's weights after the last step; None where they are missing or have a wrong shape."""
    arrays, verdict = row.run.arrays(row.record.name), row.verdict
    features = row.run.manifest.problem.features
    if verdict is None or "final_w" not in arrays or arrays["final_w"].shape != (features,):
        return None
    which = "fused_" if verdict is row.record.fused_verdict else ""
    error, tolerance = verdict.weights_error, verdict.weights_tolerance
    if verdict.status == "undecidable":  # the norm and the distance belong to the last step that could be compared
        error = tolerance = None
    w, b = arrays[f"{which}final_w"], float(arrays[f"{which}final_b"])
    return Final(row.record.name, w, b, error, tolerance)


DISTANCE: OfBackend = Column("distance", lambda row: (final := final_of(row)) and final.error, difference)
FEW = 2
"""up to this many features the short table shows each weight; beyond, the norm"""


def final_column(run: Run) -> OfBackend:
    """The final weights where they are few, else their norm."""
    few = run.manifest.problem.features <= FEW

    def norm(row: Row) -> float | None:
        final = final_of(row)
        return None if final is None else math.hypot(*map(float, final.w), final.b)

    def text(row: Row) -> str:
        final, length = final_of(row), norm(row)
        if final is None or length is None:
            return "n/a"
        weights = ", ".join(f"{float(weight):.5g}" for weight in final.w)
        return f"{weights}; {final.b:.5g}" if few else cells.weight(length)

    return Column("final w; b" if few else "final norm", norm, text=text)


# --- columns: cost ------------------------------------------------------------------------------------------


def _of_cost(get: Callable[[Cost], Any]) -> Callable[[Row], Value]:
    return lambda row: None if row.record.cost is None else get(row.record.cost)


def _ratio(row: Row) -> str:
    cost, pair = row.record.cost, row.pair
    word = "" if cost is None else cells.no_rank(cost)
    return word or ("1 (baseline)" if row.is_baseline else "n/a" if pair is None else cells.times(pair.ratio.value))


def _ratio_and_span(row: Row) -> str:
    cost, pair = row.record.cost, row.pair
    if cost is None or cells.no_rank(cost) or pair is None:
        return "1" if row.is_baseline and cost is not None and not cells.no_rank(cost) else "n/a"
    return cells.times(pair.ratio.value) + (
        "" if pair.ratio.low is None else f" ({cells.span(pair.ratio, ratio=True)})"
    )


def _width(known: Interval) -> str:
    """The larger relative distance from an interval's middle to one of its ends."""
    if known.low is None or known.high is None:
        return ""
    return f" ± {100 * (max(known.high / known.value, known.value / known.low) - 1):.1f} %"


def _ratio_tone(row: Row) -> str:
    cost = row.record.cost
    return "" if cost is None else BAD if cost.unranked else OPEN if cost.disturbed else ""


def _interval(row: Row) -> str:
    cost = row.record.cost
    return "n/a" if cost is None or (cost.disturbed and cost.step.low is None) else cells.span(cost.step)


def _speed_verdict(row: Row) -> Value:
    cost, pair = row.record.cost, row.pair
    word = "" if cost is None else cells.no_rank(cost)
    return word or (None if pair is None else pair.verdict) or ("baseline" if row.is_baseline else None)


STEP: OfBackend = Column("time per step", at("cost.step"), lambda interval: seconds(interval.value),
                         unit="s", key="step s", ends=True)  # fmt: skip
STEP_OR_NOT: OfBackend = Column(
    "time per step",
    STEP.value,
    text=lambda row: STEP.cell(row) if row.record.cost else "not timed",
    tone=lambda row: "" if row.record.cost else OPEN,
)
DIGITS_OF_TIMED: OfBackend = replace(DIGITS, value=lambda row: DIGITS.value(row) if row.record.cost else None)
INTERVAL: OfBackend = Column("95 % interval", _interval)
RATIO: OfBackend = Column(
    "ratio",
    lambda row: None if row.pair is None else row.pair.ratio,
    text=_ratio,
    tone=_ratio_tone,
    key="ratio to baseline",
    ends=True,
)
SHORT_RATIO: OfBackend = replace(RATIO, text=lambda row: "baseline" if _ratio(row) == "1 (baseline)" else _ratio(row))
RATIO_AND_SPAN: OfBackend = replace(RATIO, text=lambda row: _ratio_and_span(row))
STEP_AND_WIDTH: OfBackend = Column(
    "time per step", STEP.value, lambda interval: f"{seconds(interval.value)}{_width(interval)}"
)
SPEED_VERDICT: OfBackend = Column("verdict", _speed_verdict, key="speed verdict")
PER_SECOND: OfBackend = Column(
    "steps per second", _of_cost(lambda cost: 1 / cost.step.value), lambda cost: f"{cost:,.0f}"
)
TWIN: OfBackend = Column(
    "over its twin", at("cost.control"),
    lambda interval: f"{cells.times(interval.value)} ({cells.span(interval, ratio=True)})",
    key="ratio to twin", ends=True,
)  # fmt: skip
TIMED = [
    Column("timed by", _of_cost(cells.timed_by)),
    Column("left out", at("cost.left_out_share"), lambda share: f"{share:.0%}"),
    Column("blocks judged", _of_cost(cells.blocks_judged)),
    TWIN,
]


def _of_phase(phase: str) -> OfBackend:
    def value(row: Row) -> Value:
        known = cells.known_phases(row.record)
        return None if known is None else known[phase].value

    return Column(phase, value, seconds, unit="s")


PHASE_COLUMNS = [_of_phase(phase) for phase in PHASES]
ADDED_UP = [
    Column("sum / step", lambda row: cells.closure(row.record)),
    Column("gradient / loss", lambda row: cells.gradient_ratio(row.record), lambda ratio: f"{ratio:.2f}"),
    Column("contract", _of_cost(lambda cost: cost.interface_seconds and cost.interface_seconds / cost.step.value),
           lambda share: f"{share:.1%}"),
]  # fmt: skip
STEADY = at("cost.steps_to_steady")
ONCE = [
    Column("import", at("cost.import_seconds"), seconds, unit="s"),
    Column("construct", at("cost.construct_seconds.value"), seconds, unit="s"),
    Column("make_tensor", at("cost.make_tensor_seconds.value"), seconds, unit="s"),
    Column("first step", at("cost.first_step_seconds.value"), seconds, unit="s"),
    Column("steady after", at("cost.steps_to_steady"), key="steps to steady",
           text=lambda row: f"{STEADY(row)} steps" if STEADY(row) is not None else "not settled"),
    Column("all", at("cost.cold_seconds"), seconds),
    Column("threads", at("cost.threads_observed")),
]  # fmt: skip
PEAK: OfBackend = Column("peak", at("memory.peak_bytes"), size, key="peak memory bytes")
MEMORY: OfBackend = replace(PEAK, head="peak memory")
TAPE: OfBackend = Column("tape", at("memory.tape_bytes"), size, key="tape bytes")
HELD = [
    PEAK,
    Column("import", at("memory.import_bytes"), size),
    Column("data", at("memory.data_bytes"), size),
    Column("training", at("memory.training_bytes"), size),
    TAPE,
    Column("growth per 1,000 steps", at("memory.growth_bytes"), size),
]


# --- columns for spreadsheets alone -------------------------------------------------------------------------


def _of_judged_blocks(path: str) -> Callable[[Row], Value]:
    """A value of the timing that exists since schema 1.7, in which each backend's blocks have their own length."""
    return lambda row: at(path)(row) if row.record.cost is not None and row.record.cost.steps_per_block else None


ALL_DIGITS: list[OfBackend] = [
    NAME,
    Column("distribution", at("distribution")),
    Column("version", at("version")),
    LIBRARIES,
    STATUS,
    Column("found", lambda row: row.record.reason or ("" if row.verdict is None else row.verdict.message)),
    Column("first wrong step", at("verdict.first_step")),
    WORST,
    FINAL_ERROR,
    Column("final tolerance", at("verdict.weights_tolerance")),
    DIGITS,
    Column("train", at("train_seconds"), unit="s"),
    STEP,
    RATIO,
    SPEED_VERDICT,
    Column("no rank because", _of_cost(lambda cost: cells.no_rank_reason(cost)[0])),
    Column("timed by", _of_judged_blocks("cost.timed_by")),
    Column("steps per block", _of_judged_blocks("cost.steps_per_block")),
    Column("blocks left out", _of_judged_blocks("cost.left_out_share")),
    Column("blocks judged", _of_judged_blocks("cost.blocks_judged")),
    Column("exactly", _of_judged_blocks("cost.blocks_exact")),
    Column("blocks not judged", _of_judged_blocks("cost.blocks_not_judged")),
    TWIN,
    *PHASE_COLUMNS,
    *ONCE[:5],
    PEAK,
    TAPE,
]
"""a row for each backend with everything, for spreadsheets and data frames"""
