"""A comparison in the terminal: regressions, verdicts, accuracy, speed, memory, and all other differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from compare_ag.compare import BackendChange, Comparison, Fact
from compare_ag.records import Interval
from compare_ag.report.escape import clean
from compare_ag.report.grid import draw_table
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
"""the words for a comparison within one run, where no backend changes from one state to another"""


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
        yield Text("\n".join(explain_missing_times(comparison)), style="bold yellow")
    for table in tables(comparison):
        yield draw_table(table, clean)


def tables(comparison: Comparison) -> Iterator[Table[Any]]:
    """Every table that the comparison has rows for."""
    yield verdicts(comparison)
    yield accuracy(comparison)
    if any(change.speed.before or change.speed.after for change in comparison.backends):
        yield speed(comparison)
    if any(change.peak_before or change.peak_after for change in comparison.backends):
        yield memory(comparison)
    if (facts := what_else(comparison)).rows:
        yield facts


def headline(comparison: Comparison, shown: Callable[[str], str] = clean) -> str:
    """The compared runs, whether the comparison passes, and backends that were wrong before. shown: escapes names."""
    what, text = _news(comparison)
    still = [shown(change.name) for change in comparison.backends if change.became == "still wrong"]
    return f"{shown(what)}: {text}" + (f" Still wrong: {listing(still)}." if still else "")


def undecided_sentences(comparison: Comparison) -> Iterator[str]:
    """A sentence for each reason why a timing is not decided; none with --strict, where they count as regressions."""
    if comparison.strict:
        return
    names_by_note: dict[str, list[str]] = {}
    for change in comparison.backends:
        if change.speed.verdict == "not decided":
            names_by_note.setdefault(change.speed.note, []).append(change.name)
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
    compared = {change.speed.verdict for change in comparison.backends} - {"not compared", "yardstick"}
    if compared and compared <= {"inconclusive", "not decided"}:
        why = " (a timing was disturbed)" if "not decided" in compared else ""
        return what, f"nothing {verb} wrong; whether anything is slower is not decided{why}."
    slower = f", nothing is seen to be slower by more than {percent(comparison.threshold)}" if compared else ""
    undecided = "; where it says inconclusive, that is not decided" if "inconclusive" in compared else ""
    undecided += "; where it says not decided, a timing was disturbed" if "not decided" in compared else ""
    return what, f"nothing {verb} wrong{slower}{undecided}."


def explain_missing_times(comparison: Comparison) -> Iterator[str]:
    """Why times are not compared: a warning, then each difference between the two measurements."""
    yield "TIMES ARE NOT COMPARED: the runs were not made alike."
    for fact in comparison.times_differ:
        yield f"  {fact.what}: {or_none(fact.before)} → {or_none(fact.after)}"


def or_none(text: str) -> str:
    """The text of a fact, or the word for a missing one."""
    return clean(text) or "none"


def percent(share: float) -> str:
    """``5 %``."""
    return f"{100 * share:.3g} %"


def sides(comparison: Comparison) -> tuple[str, str]:
    """The column heads of the run before and the run after."""
    return ("before", "after") if comparison.kind == "runs" else (comparison.before, "here")


def _number(head: str, get: Callable[[BackendChange], Any], shown: Callable[[Any], str]) -> Column[BackendChange]:
    return Column(head, get, shown, named=True)


NAME: Column[BackendChange] = Column("backend", lambda change: change.name, left=True)
RATIO: Column[BackendChange] = Column("ratio", lambda change: change.speed.ratio, lambda ratio: f"{ratio.value:.4g}")
INTERVAL: Column[BackendChange] = Column("interval", lambda change: span(change.speed.ratio))
VERDICT: Column[BackendChange] = Column(
    "verdict", lambda change: change.speed.verdict, tone=lambda change: TONES.get(change.speed.verdict, "")
)


def _states(comparison: Comparison, what: str = "") -> list[Column[BackendChange]]:
    """Status before and after, and the change."""
    before, after = sides(comparison)
    words = WORDS if comparison.kind == "runs" else WITHIN
    return [
        Column(f"{what}{before}", lambda change: change.status_before or "not there", left=True, named=True),
        Column(after, lambda change: change.status_after or "not there", left=True, named=True),
        Column("", lambda change: words[change.became], left=True, tone=lambda change: TONES.get(change.became, "")),
    ]


def _times(comparison: Comparison, what: str = "") -> list[Column[BackendChange]]:
    """Seconds per step before and after."""
    before, after = sides(comparison)
    return [
        _number(f"{what}{before}", lambda change: change.speed.before, lambda step: seconds(step.value)),
        _number(after, lambda change: change.speed.after, lambda step: seconds(step.value)),
    ]


def verdicts(comparison: Comparison) -> Table[BackendChange]:
    """Each backend's status before and after."""
    finding: Column[BackendChange] = Column("what was found", lambda change: change.found, prose=True)
    chosen = [NAME, *_states(comparison), finding]
    return Table("verdicts", "Verdicts", SECTION, chosen, comparison.backends)


def accuracy(comparison: Comparison) -> Table[BackendChange]:
    """The error of each backend before and after, and the difference between its two trajectories."""
    before, after = sides(comparison)
    chosen = [
        NAME,
        _number(f"worst {before}", lambda change: change.ratio_before, fraction),
        _number(after, lambda change: change.ratio_after, fraction),
        _number(f"error {before}", lambda change: change.error_before, difference),
        _number(f"{after} ", lambda change: change.error_after, difference),
        Column(
            "losses", lambda change: change.loss_difference, lambda off: "the same" if off == 0 else difference(off)
        ),
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
    """Status and speed in one table, for a comment on a pull request."""
    chosen = [NAME, *_states(comparison, "status "), *_times(comparison, "time "), RATIO, INTERVAL,
              replace(VERDICT, head="speed")]  # fmt: skip
    return Table("changes", "", SECTION, chosen, comparison.backends)


def span(ratio: Interval | None) -> str:
    """The ends of an interval; a dash where there are none."""
    return "-" if ratio is None or ratio.low is None or ratio.high is None else f"{ratio.low:.4g} to {ratio.high:.4g}"


def speed_notes(comparison: Comparison) -> Iterator[str]:
    """How the verdicts on speed were made."""
    limit = percent(comparison.threshold)
    yield (
        f"slower, faster: the whole interval lies beyond {limit} and the runs' noise floors; equivalent, a tie: within "
        f"{limit}; intervals hold together with 95 %"
    )
    floors = {change.speed.floor for change in comparison.backends if change.speed.floor is not None}
    if floors:
        yield f"noise floor {percent(max(floors))}: no verdict rests on less"
    for change in comparison.backends:
        if change.speed.note and change.speed.verdict != "not decided":
            subject = "" if change.speed.note.startswith(f"{change.name} ") else f"{change.name}: "
            yield f"{subject}{change.speed.note}"
    if any(change.speed.verdict == "not decided" for change in comparison.backends):
        outcome = "it fails here because of --strict" if comparison.strict else "it passes here, --strict makes it fail"
        yield f"not decided: close what is busy and run again; {outcome}"
    yield from comparison.notes


def memory(comparison: Comparison) -> Table[BackendChange]:
    """Peak memory before and after, and by how much it grew."""
    before, after = sides(comparison)

    def grown(change: BackendChange) -> float | None:
        known = change.peak_before is not None and change.peak_after is not None
        return (
            change.peak_after / change.peak_before - 1 if known and change.peak_before and change.peak_after else None
        )

    chosen = [
        NAME,
        _number(before, lambda change: change.peak_before, size),
        _number(after, lambda change: change.peak_after, size),
        Column("change", grown, lambda share: f"{share:+.1%}"),
    ]
    return Table("memory", "Peak memory", SECTION, chosen, comparison.backends)


def what_else(comparison: Comparison) -> Table[Fact]:
    """Differences of machine, settings and versions."""
    chosen: list[Column[Fact]] = [
        Column("what", lambda fact: or_none(fact.what), left=True),
        Column("before", lambda fact: or_none(fact.before), left=True, prose=True),
        Column("after", lambda fact: or_none(fact.after), left=True, prose=True),
    ]
    facts = [*comparison.environment, *version_facts(comparison)]
    return Table("facts", "What else differs", SECTION, chosen, facts)


def version_facts(comparison: Comparison) -> Iterator[Fact]:
    """Version changes of the backends; none between two backends of one run, whose versions may differ."""
    if comparison.kind == "runs":
        for change in comparison.backends:
            for fact in change.versions:
                yield Fact(what=f"{change.name}: {fact.what}", before=fact.before, after=fact.after)
