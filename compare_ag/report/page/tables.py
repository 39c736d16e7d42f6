"""The page's tables: records in, cells of text out. The template makes the HTML; the heads are the glossary's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from compare_ag.model import logistic
from compare_ag.records import BackendRecord, Cost, Run, TestRecord, VerdictRecord, decisive
from compare_ag.report import cells
from compare_ag.report.cells import PHASES, TESTS, costs
from compare_ag.report.glossary import GLOSSARY
from compare_ag.report.kept import digits_kept
from compare_ag.report.units import difference, size

UNRANKED = "Nobody is ranked: one process gives no interval; `compare-ag run` does."
GOOD, BAD, OPEN = "good", "bad", "open"
_TONES = {
    "ok": GOOD, "imported": GOOD, "undecidable": OPEN, "cancelled": OPEN, "not-run": OPEN,
    "equivalent": GOOD, "inconclusive": OPEN,
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


def verdicts(run: Run) -> Table:
    """Each backend's state, its largest observed/tolerance in each test, and what was found."""
    heads = [*_heads("Verdicts", ["backend", "status"]), *_heads("Tests", [*TESTS, "examples", "repeated run"])]
    heads += [replace(head, words=True) for head in _heads("Verdicts", ["what was found"])]
    rows = []
    undecided = False
    for record in run.records.values():
        judged: list[tuple[str, VerdictRecord | None]] = [*cells.judgements(record)]
        for how, verdict in judged or [("", None)]:
            tests = {test.test: test for test in (verdict.tests if verdict is not None else [])}
            undecided |= any(test.undecided for test in tests.values())
            rows.append(
                [
                    Cell(record.name + how),
                    Cell(record.status, _TONES.get(record.status, BAD)),
                    *(_outcome(tests.get(name)) for name in TESTS),
                    Cell("n/a" if verdict is None else cells.examples(verdict)),
                    Cell("n/a" if how else cells.repeated(record)),
                    Cell(_said(record, verdict, how), words=True),
                ]
            )
    notes = [
        "Observed/tolerance: up to 1 rounding explains it, above 1 it does not. In brackets: how many were decided."
    ]
    if undecided:
        notes.append("What was not decided has an infinite tolerance, as where the probability form saturates.")
    if any(record.repetition is not None and record.repetition.differing for record in run.records.values()):
        notes.append(f"{cells.REPEATED_NOTE.capitalize()}.")
    if run.manifest.reference:
        notes.append(f"Compared with {run.manifest.reference}.")
    return Table(
        "verdicts", "Verdict of each backend, and the largest observed/tolerance of each test", heads, rows, notes
    )


def _said(record: BackendRecord, verdict: VerdictRecord | None, how: str) -> str:
    """The decisive row says what was found; the other one its own message."""
    if verdict is None or verdict is decisive(record):
        return cells.found(record)
    return verdict.message if how else f"{verdict.message} (verb by verb)"


def _outcome(test: TestRecord | None) -> Cell:
    if test is None:
        return Cell("n/a")
    ratio = float(test.ratio)
    share = min(1.0, ratio) if math.isfinite(ratio) else 1.0
    return Cell(cells.outcome(test), BAD if test.findings else "", share)


def losses(run: Run) -> Table | None:
    """Losses beside the published ones, or at evenly spaced steps beside the reference's."""
    judged = cells.judged(run)
    if not judged:
        return None
    published = [name for name in judged if run[name].published]
    return _published(run, published) if published else _spaced(run, judged)


def _spaced(run: Run, judged: list[str]) -> Table:
    heads = _heads("Losses", ["k", *judged, "reference", "tolerance"], judged)
    reference, allowed = run.reference.get("losses"), run.reference.get("loss_tolerance")
    rows = [
        [
            Cell(str(k)),
            *(Cell(cells.loss(run.arrays(name).get("losses"), k)) for name in judged),
            Cell(cells.loss(reference, k)),
            Cell(cells.tolerance(allowed, k)),
        ]
        for k in cells.loss_steps(run)
    ]
    return Table("losses", cells.losses_title(run), heads, rows, _convergence(run))


def _published(run: Run, names: list[str]) -> Table:
    heads = _heads("Losses", ["epoch", "published", *names, "largest difference"], names)
    rows, missed = [], False
    for row, mine, largest in cells.published(run, names):
        missed |= not all(own.reproduced for own in mine)
        shown = [
            Cell(f"{float(own.observed):.8f}{'' if own.reproduced else ' ✗'}", "" if own.reproduced else BAD)
            for own in mine
        ]
        rows.append([Cell(str(row.step - 1)), Cell(f"{row.published:.8f}"), *shown, Cell(largest)])
    notes = ["✗ not reproduced"] if missed else []
    return Table("losses", cells.published_title(run), heads, rows, notes + _convergence(run))


def _convergence(run: Run) -> list[str]:
    said = {
        record.name: record.convergence.message for record in run.records.values() if record.convergence is not None
    }
    if len(set(said.values())) == 1 and len(said) > 1:
        return [f"Convergence, all alike: {next(iter(said.values()))}."]
    return [f"Convergence of {name}: {message}." for name, message in said.items()]


def weights(run: Run) -> Table | None:
    """Final w and b of each backend beside the reference's, and the distance to it."""
    if not cells.judged(run):
        return None
    features, indices = run.manifest.problem.features, cells.weights_shown(run)
    *names, last = logistic(features).coordinates
    shown = [*(names[i] for i in indices), last]
    heads = _heads("Final weights", ["backend", *shown, "distance to reference", "tolerance"])
    rows = []
    if run.reference:
        known = [*(run.reference["final_w"][i] for i in indices), run.reference["final_b"]]
        rows.append([Cell("reference"), *(Cell(cells.weight(value)) for value in known), Cell(""), Cell("")])
    for name, w, b, ends in cells.final_weights(run):
        numbers = [cells.weight(value) for value in (*(w[i] for i in indices), b)]
        rows.append([Cell(name), *map(Cell, [*numbers, *ends])])
    notes = []
    if len(indices) < features:
        notes.append(f"{len(indices)} of {features} weights; the charts show all, the run directory holds all digits.")
    if run.manifest.max_pair_difference is not None:
        notes.append(f"Largest difference between two backends: {difference(run.manifest.max_pair_difference)}.")
    return Table("weights", f"Final weights after {run.manifest.problem.steps} steps", heads, rows, notes)


# --- what does it cost --------------------------------------------------------------------------------------


def speed(run: Run) -> Table:
    """Time per step of each backend with its interval; who was not timed, and why."""
    rows = []
    for name, record in run.records.items():
        cost = record.cost
        if cost is None:
            rows.append([Cell(name), Cell("not timed", OPEN), *[Cell("n/a")] * 4])
            continue
        time, interval, ratio, digits = cells.step(run, name, cost)
        tone = BAD if cost.unranked else OPEN if cost.disturbed else ""
        per_second = f"{1 / cost.step.value:,.0f}"
        rows.append([Cell(name), Cell(time), Cell(interval), Cell(ratio, tone), Cell(digits), Cell(per_second)])
    notes = [f"{name} {why}." for name, why in cells.no_ranks(costs(run))]
    notes += [f"{record.name}: {_untimed(record)}" for record in run.records.values() if record.cost is None]
    heads = _heads("Speed", ["backend", "time per step", "95 % interval", "ratio", "digits kept", "steps per second"])
    return Table("speed", "Speed: a whole step in the steady state", heads, rows, notes)


def timing(run: Run) -> Table | None:
    """How each backend's step was timed, and how many of its blocks were judged; None for runs before schema 1.7."""
    known = costs(run)
    heads = cells.timed_heads(known)
    if not heads:
        return None
    rows = [[Cell(name), *map(Cell, cells.timed(cost))] for name, cost in known.items()]
    note = f"{cells.TIMED_NOTE[0].upper()}{cells.TIMED_NOTE[1:]}."
    return Table("timing", "How the step was timed", _heads("Speed", ["backend", *heads]), rows, [note])


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
            Cell(cells.times(pair.ratio.value)),
            Cell(cells.span(pair.ratio, ratio=True)),
            Cell(pair.verdict, _TONES.get(pair.verdict, "")),
            *map(Cell, cells.phase_ratios(run, pair)),
            Cell(cells.pays_after(pair, costs(run))),
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
        notes += [f"{cells.undecided(pair)[0]}." for pair in speed.pairs if pair.verdict == "inconclusive"]
    return Table("pairs", "Who is faster", heads, rows, notes)


def phases(run: Run) -> Table:
    """Forward, backward, update; how they add up; what a gradient and the contract cost."""
    rows = [[Cell(name), *map(Cell, cells.phases(run[name], cost))] for name, cost in costs(run).items()]
    notes = [f"{name}: {why}." for name, why in cells.phases_off(run)]
    heads = _heads("Phases", ["backend", *PHASES, "sum / step", "gradient / loss", "contract"])
    return Table("phases", "Phases of a step", heads, rows, notes)


def once(run: Run) -> Table | None:
    """What is paid before the steady state."""
    known = costs(run)
    if not any(cost.cold_seconds is not None for cost in known.values()):
        return None
    rows = [[Cell(name), *map(Cell, cells.paid_once(cost))] for name, cost in known.items()]
    heads = _heads("Paid once", ["backend", *cells.PAID_ONCE])
    return Table("once", "Paid once: what comes before the steady state", heads, rows)


def memory(run: Run) -> Table | None:
    """What each backend's process holds."""
    measured = cells.memories(run)
    notes = [
        f"{record.name}: memory not measured: {record.memory_note}"
        for record in run.records.values()
        if record.memory_note
    ]
    if not measured:
        return None
    rows = [[Cell(name), *map(Cell, cells.held(one))] for name, one in measured.items()]
    heads = _heads("Memory", ["backend", *cells.HELD])
    first = next(iter(measured.values()))
    notes.insert(0, f"Resident memory of a fresh worker ({first.source}), {size(first.start_bytes)} before the import.")
    return Table("memory", "Memory", heads, rows, notes)


def accuracy(run: Run) -> Iterator[tuple[str, Cost, float]]:
    """(backend, cost, digits kept) of every backend that has both, and a rank."""
    for name, cost in costs(run).items():
        digits = digits_kept(run, name)
        if digits is not None and cost.ranked:
            yield name, cost, digits
