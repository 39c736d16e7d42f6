"""The page's tables: records in, cells of text out. The template makes the HTML; the heads are the glossary's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from compare_ag.records import (
    JUDGED,
    BackendRecord,
    Cost,
    Interval,
    PairRecord,
    Run,
    TestRecord,
    VerdictRecord,
    decisive,
)
from compare_ag.report.glossary import GLOSSARY
from compare_ag.report.kept import digits_kept
from compare_ag.report.units import difference, fraction, seconds, size

PHASES = ("forward", "backward", "update")
TESTS = ("gradient", "step", "update", "trajectory", "loss")
WEIGHTS_SHOWN = 6
LOSS_ROWS = 11
UNRANKED = "Nobody is ranked: one process gives no interval; `compare-ag run` does."
GOOD, BAD, OPEN = "good", "bad", "open"
_TONES = {
    "ok": GOOD, "imported": GOOD, "undecidable": OPEN, "cancelled": OPEN, "not-run": OPEN,
    "equivalent": GOOD, "inconclusive": OPEN, "unranked": OPEN,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and what the reader should make of it."""

    text: str
    tone: str = ""
    """good, bad, open, or nothing; always beside a word, never instead of one"""
    share: float | None = None
    """0 to 1: length of the bar under an observed/tolerance"""
    words: bool = False
    """running text, aligned left"""


@dataclass(frozen=True)
class Head:
    """A column's head and the id of its entry in the glossary."""

    text: str
    entry: str | None
    words: bool = False
    """over running text, aligned left"""


@dataclass(frozen=True)
class Table:
    """One table. The first cell of each row is its head."""

    id: str
    caption: str
    heads: list[Head]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def entry_id(section: str, word: str) -> str:
    """The id of a glossary entry, from our own words only: letters, digits and dashes."""
    plain = "".join(character if character.isascii() and character.isalnum() else "-" for character in word.lower())
    return f"g-{section.lower().replace(' ', '-')}-{plain.strip('-')}"


def _heads(section: str, words: Sequence[str], own: Sequence[str] = ()) -> list[Head]:
    """Heads with their entries; those in ``own`` are a stranger's names and have none."""
    found = GLOSSARY[section]

    def head(word: str) -> Head:
        key = "w[i]" if word.startswith("w[") else word
        known = key in found and word not in own
        return Head(word, entry_id(section, key) if known else None)

    return [head(word) for word in words]


# --- are the numbers right ----------------------------------------------------------------------------------


def found(record: BackendRecord) -> str:
    """What became of the backend, in sentences."""
    verdict = decisive(record)
    said = record.reason or (verdict.message if verdict is not None else "")
    if verdict is not None and verdict.diagnosis:
        said += f". What would explain it: {'; or '.join(verdict.diagnosis)}"
    if verdict is not None and verdict.remark:
        said += f". Note: {verdict.remark}"
    return said


def verdicts(run: Run) -> Table:
    """Each backend's state, its largest observed/tolerance in each test, and what was found."""
    heads = [*_heads("Verdicts", ["backend", "status"]), *_heads("Tests", [*TESTS, "repeated run"])]
    heads += [replace(head, words=True) for head in _heads("Verdicts", ["what was found"])]
    rows = []
    undecided = False
    for record in run.records.values():
        judged = [(record.verdict, ""), (record.fused_verdict, ", fused step")]
        for verdict, how in [pair for pair in judged if pair[0] is not None] or [(None, "")]:
            tests = {test.test: test for test in (verdict.tests if verdict is not None else [])}
            undecided |= any(test.undecided for test in tests.values())
            repeated = {None: "n/a", True: "same bits", False: "other bits"}[None if how else record.repeatable]
            rows.append(
                [
                    Cell(record.name + how),
                    Cell(record.status, _TONES.get(record.status, BAD)),
                    *(_outcome(tests.get(name)) for name in TESTS),
                    Cell(repeated),
                    Cell(_said(record, verdict, how), words=True),
                ]
            )
    notes = [
        "Observed/tolerance: up to 1 rounding explains it, above 1 it does not. In brackets: how many were judged."
    ]
    if undecided:
        notes.append("* More were undecidable: their tolerance is infinite, as where the probability form saturates.")
    if run.manifest.reference:
        notes.append(f"Compared with {run.manifest.reference}.")
    return Table(
        "verdicts", "Verdict of each backend, and the largest observed/tolerance of each test", heads, rows, notes
    )


def _said(record: BackendRecord, verdict: VerdictRecord | None, how: str) -> str:
    """The decisive row says what was found; the other one its own message."""
    if verdict is None or verdict is decisive(record):
        return found(record)
    return verdict.message if how else f"{verdict.message} (verb by verb)"


def _outcome(test: TestRecord | None) -> Cell:
    if test is None:
        return Cell("n/a")
    ratio = float(test.ratio)
    share = min(1.0, ratio) if math.isfinite(ratio) else 1.0
    star = "*" if test.undecided else ""
    return Cell(f"{fraction(test.ratio)} ({test.judged}){star}", BAD if test.findings else "", share)


def losses(run: Run) -> Table | None:
    """Losses beside the published ones, or at evenly spaced steps beside the reference's."""
    judged = [name for name, record in run.records.items() if record.status in JUDGED]
    if not judged:
        return None
    published = [name for name in judged if run[name].published]
    return _published(run, published) if published else _spaced(run, judged)


def _spaced(run: Run, judged: list[str]) -> Table:
    steps = run.manifest.problem.steps
    count = min(LOSS_ROWS, steps + 1)
    shown = sorted({round(i * steps / max(1, count - 1)) for i in range(count)})
    heads = _heads("Losses", ["k", *judged, "reference", "tolerance"], judged)
    reference, tolerance = run.reference.get("losses"), run.reference.get("loss_tolerance")
    rows = []
    for k in shown:
        known = reference is not None and tolerance is not None
        rows.append(
            [
                Cell(str(k)),
                *(Cell(_loss(run.arrays(name).get("losses"), k)) for name in judged),
                Cell(_loss(reference, k)),
                Cell(difference(tolerance[k]) if known and tolerance is not None and k < len(tolerance) else "n/a"),
            ]
        )
    what = "Loss of the step's batch" if run.manifest.problem.batch_size else "Loss"
    return Table("losses", f"{what} after k steps", heads, rows, _convergence(run))


def _published(run: Run, judged: list[str]) -> Table:
    heads = _heads("Losses", ["epoch", "published", *judged, "largest difference"], judged)
    rows = []
    for index, row in enumerate(run[judged[0]].published):
        own = [run[name].published[index] for name in judged]
        off = [float(one.difference) for one in own]
        largest = math.nan if any(map(math.isnan, off)) else max(off)
        rows.append(
            [
                Cell(str(row.step - 1)),
                Cell(f"{row.published:.8f}"),
                *(
                    Cell(f"{float(one.observed):.8f}{'' if one.reproduced else ' ✗'}", "" if one.reproduced else BAD)
                    for one in own
                ),
                Cell(difference(largest)),
            ]
        )
    caption = (
        "Published losses (epoch e is the loss after e + 1 updates); reproduced when within "
        f"{run.manifest.problem.published_tolerance:g}"
    )
    missed = any(not row.reproduced for name in judged for row in run[name].published)
    notes = ["✗ not reproduced"] if missed else []
    return Table("losses", caption, heads, rows, notes + _convergence(run))


def _convergence(run: Run) -> list[str]:
    said = {
        record.name: record.convergence.message for record in run.records.values() if record.convergence is not None
    }
    if len(set(said.values())) == 1 and len(said) > 1:
        return [f"Convergence, all alike: {next(iter(said.values()))}."]
    return [f"Convergence of {name}: {message}." for name, message in said.items()]


def _loss(values: object, k: int) -> str:
    if values is None or k >= len(values):  # type: ignore[arg-type]  # an array or None
        return "n/a"
    value = float(values[k])  # type: ignore[index]  # an array or None
    return f"{value:.8g}" if math.isfinite(value) else str(value)


def weights(run: Run) -> Table | None:
    """Final w and b of each backend beside the reference's, and the distance to it."""
    if not any(record.status in JUDGED for record in run.records.values()):
        return None
    features = run.manifest.problem.features
    indices = list(range(features))
    if features > WEIGHTS_SHOWN:
        indices = [*range(WEIGHTS_SHOWN - 1), features - 1]
    heads = _heads(
        "Final weights", ["backend", *(f"w[{i}]" for i in indices), "b", "distance to reference", "tolerance"]
    )
    rows = []
    if run.reference:
        b = float(run.reference["final_b"])
        rows.append(
            [Cell("reference"), *(Cell(f"{float(run.reference['final_w'][i]):.7g}") for i in indices), Cell(f"{b:.7g}")]
        )
        rows[-1] += [Cell(""), Cell("")]
    for name, record in run.records.items():
        arrays, verdict = run.arrays(name), decisive(record)
        if verdict is None or "final_w" not in arrays or arrays["final_w"].shape != (features,):
            continue
        which = "fused_" if verdict is record.fused_verdict else ""
        w, b = arrays[f"{which}final_w"], float(arrays[f"{which}final_b"])
        ends = [verdict.weights_error, verdict.weights_tolerance]
        if verdict.status == "undecidable":  # those two are of the last step that could be compared
            ends = [None, None]
        rows.append(
            [
                Cell(name),
                *(Cell(f"{float(w[i]):.7g}") for i in indices),
                Cell(f"{b:.7g}"),
                *(Cell("not judged" if end is None else difference(end)) for end in ends),
            ]
        )
    notes = []
    if features > WEIGHTS_SHOWN:
        notes.append(f"{len(indices)} of {features} weights; the charts show all, the run directory holds all digits.")
    if run.manifest.max_pair_difference is not None:
        notes.append(f"Largest difference between two backends: {difference(run.manifest.max_pair_difference)}.")
    return Table("weights", f"Final weights after {run.manifest.problem.steps} steps", heads, rows, notes)


# --- what does it cost --------------------------------------------------------------------------------------


def costs(run: Run) -> dict[str, Cost]:
    """The backends that were timed."""
    return {name: record.cost for name, record in run.records.items() if record.cost is not None}


def speed(run: Run) -> Table:
    """Time per step of each backend with its interval; who was not timed, and why."""
    manifest = run.manifest
    rows = []
    for name, record in run.records.items():
        cost = record.cost
        if cost is None:
            rows.append([Cell(name), Cell("not timed", OPEN), *[Cell("n/a")] * 4])
            continue
        pair = None
        if manifest.speed is not None and manifest.baseline is not None:
            pair = manifest.speed.pair(name, manifest.baseline)
        ratio = "1 (baseline)" if name == manifest.baseline else "n/a" if pair is None else times(pair.ratio.value)
        step, digits = cost.step, digits_kept(run, name)
        rows.append(
            [
                Cell(name),
                Cell(seconds(step.value)),
                Cell(span(step)),
                Cell(ratio),
                Cell("n/a" if digits is None else f"{digits:.1f}"),
                Cell(f"{1 / step.value:,.0f}"),
            ]
        )
    notes = [f"{record.name}: {_untimed(record)}" for record in run.records.values() if record.cost is None]
    heads = _heads("Speed", ["backend", "time per step", "95 % interval", "ratio", "digits kept", "steps per second"])
    return Table("speed", "Speed: a whole step in the steady state", heads, rows, notes)


def _untimed(record: BackendRecord) -> str:
    return record.timing_note or record.reason or f"not timed, its status is {record.status}"


def pairs(run: Run) -> Table | None:
    """Every two backends: the ratio with its interval, the verdict, and when the cheaper step pays."""
    speed = run.manifest.speed
    if speed is None or not speed.pairs:
        return None
    heads = _heads("Who is faster", ["time of / time of", "ratio", "interval", "verdict", *PHASES, "pays after"])
    rows = [
        [
            Cell(f"{pair.backend} / {pair.baseline}"),
            Cell(times(pair.ratio.value)),
            Cell(span(pair.ratio, ratio=True)),
            Cell(pair.verdict, _TONES.get(pair.verdict, "")),
            *(Cell(times(pair.phases[phase].value) if phase in pair.phases else "n/a") for phase in PHASES),
            Cell(_pays(pair, costs(run))),
        ]
        for pair in speed.pairs
    ]
    notes = [
        f"Faster or slower: the whole interval lies beyond {speed.margin:.0%} and the noise floor; equivalent: within "
        f"{speed.margin:.0%}. The intervals hold together with 95 %."
    ]
    if speed.mode == "pytest-benchmark":
        notes = [UNRANKED]
    else:
        notes += [note for pair in speed.pairs if (note := _open(pair))]
    return Table("pairs", "Who is faster", heads, rows, notes)


def _open(pair: PairRecord) -> str:
    if pair.verdict != "inconclusive":
        return ""
    who = f"{pair.backend} / {pair.baseline} is inconclusive"
    if pair.ratio.low is None:
        return f"{who}: one launch gives no interval."
    if pair.held_back:
        return f"{who}: its interval alone would decide, but the run's noise floor does not allow it."
    if pair.launches_needed is None:
        return f"{who}: the ratio lies so near the margin that no number of launches can be foretold."
    return f"{who}: about {pair.launches_needed} launches would decide."


def _pays(pair: PairRecord, known: dict[str, Cost]) -> str:
    if any(name not in known or known[name].cold_seconds is None for name in (pair.backend, pair.baseline)):
        return "n/a"
    if pair.break_even_steps is None:
        return "never"
    return "at once" if pair.break_even_steps < 1 else f"{pair.break_even_steps:,.0f} steps"


def phases(run: Run) -> Table:
    """Forward, backward, update; how they add up; what a gradient and the contract cost."""
    rows = []
    for name, cost in costs(run).items():
        cells = ["n/a"] * 5
        if cost.phases is not None and cost.closure is not None and cost.gradient_ratio is not None:
            cells = [seconds(cost.phases[phase].value) for phase in PHASES]
            cells += [f"{cost.closure.value:.3f}", f"{cost.gradient_ratio.value:.2f}"]
        share = "n/a" if cost.interface_seconds is None else f"{cost.interface_seconds / cost.step.value:.1%}"
        rows.append([Cell(name), *map(Cell, cells), Cell(share)])
    heads = _heads("Phases", ["backend", *PHASES, "sum / step", "gradient / loss", "contract"])
    return Table("phases", "Phases of a step", heads, rows)


def once(run: Run) -> Table | None:
    """What is paid before the steady state."""
    known = costs(run)
    if not any(cost.cold_seconds is not None for cost in known.values()):
        return None
    rows = [
        [
            Cell(name),
            Cell("n/a" if cost.import_seconds is None else seconds(cost.import_seconds)),
            *(Cell(_mean(one)) for one in (cost.construct_seconds, cost.make_tensor_seconds, cost.first_step_seconds)),
            Cell("not settled" if cost.steps_to_steady is None else f"{cost.steps_to_steady} steps"),
            Cell("n/a" if cost.cold_seconds is None else seconds(cost.cold_seconds)),
            Cell(str(cost.threads_observed)),
        ]
        for name, cost in known.items()
    ]
    heads = _heads(
        "Paid once", ["backend", "import", "construct", "make_tensor", "first step", "steady after", "all", "threads"]
    )
    return Table("once", "Paid once: what comes before the steady state", heads, rows)


def memory(run: Run) -> Table | None:
    """What each backend's process holds."""
    measured = {name: record.memory for name, record in run.records.items() if record.memory is not None}
    notes = [
        f"{record.name}: memory not measured: {record.memory_note}"
        for record in run.records.values()
        if record.memory_note
    ]
    if not measured:
        return None
    rows = [
        [
            Cell(name),
            Cell(size(one.peak_bytes)),
            Cell(size(one.import_bytes)),
            Cell(size(one.data_bytes)),
            Cell("n/a" if one.training_bytes is None else size(one.training_bytes)),
            Cell("n/a" if one.tape_bytes is None else size(one.tape_bytes)),
            Cell(size(one.growth_bytes)),
        ]
        for name, one in measured.items()
    ]
    heads = _heads("Memory", ["backend", "peak", "import", "data", "training", "tape", "growth per 1,000 steps"])
    first = next(iter(measured.values()))
    notes.insert(0, f"Resident memory of a fresh worker ({first.source}), {size(first.start_bytes)} before the import.")
    return Table("memory", "Memory", heads, rows, notes)


def accuracy(run: Run) -> Iterator[tuple[str, Cost, float]]:
    """(backend, cost, digits kept) of every backend that has both."""
    for name, cost in costs(run).items():
        digits = digits_kept(run, name)
        if digits is not None:
            yield name, cost, digits


def _mean(known: Interval | None) -> str:
    return "n/a" if known is None else seconds(known.value)


def times(ratio: float) -> str:
    """A ratio of times."""
    return "n/a" if math.isnan(ratio) else f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}"


def span(known: Interval, *, ratio: bool = False) -> str:
    """The ends of an interval, or that one launch gives none."""
    if known.low is None or known.high is None:
        return "one launch"
    if ratio:
        return f"{known.low:.3f} to {known.high:.3f}" if known.high < 10 else f"{known.low:.2f} to {known.high:.2f}"
    return f"{seconds(known.low)} to {seconds(known.high)}"
