"""A comparison in the terminal: what must not pass, verdicts, accuracy, speed, memory, and all else that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from compare_ag.compare import BackendChange, Comparison, Fact
from compare_ag.records import Interval
from compare_ag.report.escape import clean
from compare_ag.report.grid import drawn
from compare_ag.report.summary import listing
from compare_ag.report.table import BAD, GOOD, OPEN, Column, Table
from compare_ag.report.units import difference, fraction, seconds, size

TONES = {
    "wrong": BAD, "still wrong": BAD, "slower": BAD, "gone": OPEN, "inconclusive": OPEN, "not decided": OPEN,
    "faster": GOOD, "equivalent": GOOD, "cured": GOOD,
}  # fmt: skip
WORDS = {
    "same": "", "wrong": "became wrong", "cured": "right again", "new": "new", "gone": "gone",
    "still wrong": "still wrong",
}  # fmt: skip
SECTION = "Comparing runs"
WITHIN = {"same": "", "wrong": "wrong", "cured": "right, unlike the baseline"}
"""the same within one run, where nothing becomes anything"""


def sections(comparison: Comparison) -> Iterator[RenderableType]:
    """The parts, in reading order."""
    yield Text(headline(comparison), style="bold green" if comparison.exit_code == 0 else "bold red")
    if comparison.regressions:
        yield Text("\n".join(f"- {clean(sentence)}" for sentence in comparison.regressions), style="red")
    if undecided := list(undecided_sentences(comparison)):
        yield Text("\n".join(f"- {clean(sentence)}" for sentence in undecided), style="yellow")
    if comparison.alike:
        yield Text(comparison.alike, style="bold yellow")
    if comparison.times_differ:
        yield Text("\n".join(apart(comparison)), style="bold yellow")
    for table in tables(comparison):
        yield drawn(table, clean)


def tables(comparison: Comparison) -> Iterator[Table[Any]]:
    """Every table that the comparison has rows for."""
    yield verdicts(comparison)
    yield accuracy(comparison)
    if any(one.speed.before or one.speed.after for one in comparison.backends):
        yield speed(comparison)
    if any(one.peak_before or one.peak_after for one in comparison.backends):
        yield memory(comparison)
    if (facts := what_else(comparison)).rows:
        yield facts


def headline(comparison: Comparison, shown: Callable[[str], str] = clean) -> str:
    """What was compared, whether it may pass, and what is no news but wrong. shown: makes strangers' words harmless."""
    what, said = _news(comparison)
    still = [shown(one.name) for one in comparison.backends if one.became == "still wrong"]
    return f"{shown(what)}: {said}" + (f" Still wrong: {listing(still)}." if still else "")


def undecided_sentences(comparison: Comparison) -> Iterator[str]:
    """What was disturbed, a sentence for each reason; where --strict makes regressions of them, they stand there."""
    if comparison.strict:
        return
    names_by_note: dict[str, list[str]] = {}
    for one in comparison.backends:
        if one.speed.verdict == "not decided":
            names_by_note.setdefault(one.speed.note, []).append(one.name)
    for note, names in names_by_note.items():
        subject = "" if note.startswith(f"{names[0]} ") else f" for {listing(names)}"
        yield f"not decided{subject}: {note}"


def _news(comparison: Comparison) -> tuple[str, str]:
    if comparison.kind == "runs":
        what, verb = f"{comparison.before} → {comparison.after}", "became"
    else:
        what, verb = f"{comparison.after}, compared with {comparison.before}", "is"
    count = len(comparison.regressions)
    if count:
        return what, f"{count} change{'s' if count > 1 else ''} that should not pass."
    compared = {one.speed.verdict for one in comparison.backends} - {"not compared", "yardstick"}
    if compared and compared <= {"inconclusive", "not decided"}:
        why = " (a timing was disturbed)" if "not decided" in compared else ""
        return what, f"nothing {verb} wrong; whether anything is slower is not decided{why}."
    slower = f", nothing is seen to be slower by more than {percent(comparison.threshold)}" if compared else ""
    undecided = "; where it says inconclusive, that is not decided" if "inconclusive" in compared else ""
    undecided += "; where it says not decided, a timing was disturbed" if "not decided" in compared else ""
    return what, f"nothing {verb} wrong{slower}{undecided}."


def apart(comparison: Comparison) -> Iterator[str]:
    """Why times are not compared, said loudly."""
    yield "TIMES ARE NOT COMPARED: the runs were not made alike."
    for fact in comparison.times_differ:
        yield f"  {fact.what}: {known(fact.before)} → {known(fact.after)}"


def known(text: str) -> str:
    """A fact, or that there is none."""
    return clean(text) or "none"


def percent(share: float) -> str:
    """``5 %``."""
    return f"{100 * share:.3g} %"


def sides(comparison: Comparison) -> tuple[str, str]:
    """The heads of before and after."""
    return ("before", "after") if comparison.kind == "runs" else (comparison.before, "here")


def _number(head: str, get: Callable[[BackendChange], Any], shown: Callable[[Any], str]) -> Column[BackendChange]:
    return Column(head, get, shown, named=True)


NAME: Column[BackendChange] = Column("backend", lambda one: one.name, left=True)
RATIO: Column[BackendChange] = Column("ratio", lambda one: one.speed.ratio, lambda ratio: f"{ratio.value:.4g}")
INTERVAL: Column[BackendChange] = Column("interval", lambda one: span(one.speed.ratio))
VERDICT: Column[BackendChange] = Column(
    "verdict", lambda one: one.speed.verdict, tone=lambda one: TONES.get(one.speed.verdict, "")
)


def _states(comparison: Comparison, what: str = "") -> list[Column[BackendChange]]:
    """Status before and after, and what became of it."""
    before, after = sides(comparison)
    words = WORDS if comparison.kind == "runs" else WITHIN
    return [
        Column(f"{what}{before}", lambda one: one.status_before or "not there", left=True, named=True),
        Column(after, lambda one: one.status_after or "not there", left=True, named=True),
        Column("", lambda one: words[one.became], left=True, tone=lambda one: TONES.get(one.became, "")),
    ]


def _times(comparison: Comparison, what: str = "") -> list[Column[BackendChange]]:
    """Seconds per step before and after."""
    before, after = sides(comparison)
    return [
        _number(f"{what}{before}", lambda one: one.speed.before, lambda step: seconds(step.value)),
        _number(after, lambda one: one.speed.after, lambda step: seconds(step.value)),
    ]


def verdicts(comparison: Comparison) -> Table[BackendChange]:
    """Each backend's status before and after."""
    found: Column[BackendChange] = Column("what was found", lambda one: one.found, prose=True)
    chosen = [NAME, *_states(comparison), found]
    return Table("verdicts", "Verdicts", SECTION, chosen, comparison.backends)


def accuracy(comparison: Comparison) -> Table[BackendChange]:
    """How far off each was, and whether it trained the same way."""
    before, after = sides(comparison)
    chosen = [
        NAME,
        _number(f"worst {before}", lambda one: one.ratio_before, fraction),
        _number(after, lambda one: one.ratio_after, fraction),
        _number(f"error {before}", lambda one: one.error_before, difference),
        _number(f"{after} ", lambda one: one.error_after, difference),
        Column("losses", lambda one: one.loss_difference, lambda off: "the same" if off == 0 else difference(off)),
    ]
    return Table("accuracy", "Accuracy", SECTION, chosen, comparison.backends, [ACCURACY_NOTE])


ACCURACY_NOTE = (
    "worst: largest observed/tolerance, above 1 is wrong; error: final distance to the reference; losses: largest "
    "difference between the two trajectories"
)


def speed(comparison: Comparison) -> Table[BackendChange]:
    """Time per step, the ratio with its interval, and the verdict."""
    chosen = [NAME, *_times(comparison), RATIO, INTERVAL, VERDICT]
    caption = "Speed: a whole step in the steady state"
    return Table("speed", caption, SECTION, chosen, comparison.backends, list(speed_notes(comparison)))


def changes(comparison: Comparison) -> Table[BackendChange]:
    """Status and speed in one, for a comment."""
    chosen = [NAME, *_states(comparison, "status "), *_times(comparison, "time "), RATIO, INTERVAL,
              replace(VERDICT, head="speed")]  # fmt: skip
    return Table("changes", "", SECTION, chosen, comparison.backends)


def span(ratio: Interval | None) -> str:
    """The ends of an interval; a dash where there are none."""
    return "-" if ratio is None or ratio.low is None or ratio.high is None else f"{ratio.low:.4g} to {ratio.high:.4g}"


def speed_notes(comparison: Comparison) -> Iterator[str]:
    """How the verdicts were made."""
    limit = percent(comparison.threshold)
    yield (
        f"slower, faster: the whole interval lies beyond {limit} and the runs' noise floors; equivalent, a tie: within "
        f"{limit}; intervals hold together with 95 %"
    )
    floors = {one.speed.floor for one in comparison.backends if one.speed.floor is not None}
    if floors:
        yield f"noise floor {percent(max(floors))}: no verdict rests on less"
    for one in comparison.backends:
        if one.speed.note and one.speed.verdict != "not decided":
            subject = "" if one.speed.note.startswith(f"{one.name} ") else f"{one.name}: "
            yield f"{subject}{one.speed.note}"
    if any(one.speed.verdict == "not decided" for one in comparison.backends):
        outcome = "it fails here because of --strict" if comparison.strict else "it passes here, --strict makes it fail"
        yield f"not decided: close what is busy and run again; {outcome}"
    yield from comparison.notes


def memory(comparison: Comparison) -> Table[BackendChange]:
    """Peak memory before and after, and by how much it grew."""
    before, after = sides(comparison)

    def grown(one: BackendChange) -> float | None:
        known = one.peak_before is not None and one.peak_after is not None
        return one.peak_after / one.peak_before - 1 if known and one.peak_before and one.peak_after else None

    chosen = [
        NAME,
        _number(before, lambda one: one.peak_before, size),
        _number(after, lambda one: one.peak_after, size),
        Column("change", grown, lambda share: f"{share:+.1%}"),
    ]
    return Table("memory", "Peak memory", SECTION, chosen, comparison.backends)


def what_else(comparison: Comparison) -> Table[Fact]:
    """Machine, settings and versions that are not the same."""
    chosen: list[Column[Fact]] = [
        Column("what", lambda fact: known(fact.what), left=True),
        Column("before", lambda fact: known(fact.before), left=True, prose=True),
        Column("after", lambda fact: known(fact.after), left=True, prose=True),
    ]
    facts = [*comparison.environment, *version_facts(comparison)]
    return Table("facts", "What else differs", SECTION, chosen, facts)


def version_facts(comparison: Comparison) -> Iterator[Fact]:
    """Version changes of the backends; between two backends of one run they are no news."""
    if comparison.kind == "runs":
        for one in comparison.backends:
            for fact in one.versions:
                yield Fact(what=f"{one.name}: {fact.what}", before=fact.before, after=fact.after)
