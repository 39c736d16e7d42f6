"""A comparison in the terminal: what must not pass, verdicts, accuracy, speed, memory, and all else that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.text import Text

from compare_ag.comparison import BackendChange, Comparison, Fact
from compare_ag.records import Interval, Real
from compare_ag.report.answer import listing
from compare_ag.report.escape import clean
from compare_ag.report.grid import Grid, plain_table, titled
from compare_ag.report.units import difference, fraction, seconds, size

STYLES = {
    "wrong": "red", "still wrong": "red", "slower": "red", "gone": "yellow", "inconclusive": "yellow",
    "not decided": "yellow",
    "faster": "green", "equivalent": "green", "cured": "green",
}  # fmt: skip
WORDS = {
    "same": "", "wrong": "became wrong", "cured": "right again", "new": "new", "gone": "gone",
    "still wrong": "still wrong",
}  # fmt: skip
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
    yield verdicts(comparison)
    yield accuracy(comparison)
    if any(one.speed.before or one.speed.after for one in comparison.backends):
        yield speed(comparison)
    if any(one.peak_before or one.peak_after for one in comparison.backends):
        yield memory(comparison)
    if facts := [*comparison.environment, *version_facts(comparison)]:
        yield titled("What else differs", _facts(facts))


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


def verdicts(comparison: Comparison) -> RenderableType:
    """Each backend's status before and after."""
    table = plain_table()
    for head in ("backend", *sides(comparison), "", "what was found"):
        table.add_column(head, overflow="fold")
    for one in comparison.backends:
        became = Text(became_word(comparison, one), style=STYLES.get(one.became, ""))
        states = [Text(clean(status or "not there")) for status in (one.status_before, one.status_after)]
        table.add_row(Text(clean(one.name)), *states, became, Text(clean(one.found)))
    return titled("Verdicts", table)


def became_word(comparison: Comparison, one: BackendChange) -> str:
    """What became of it, for a table's cell."""
    return (WORDS if comparison.kind == "runs" else WITHIN)[one.became]


def accuracy(comparison: Comparison) -> RenderableType:
    """How far off each was, and whether it trained the same way."""
    table = Grid("backend", *accuracy_heads(comparison))
    for one in comparison.backends:
        table.add_row(clean(one.name), *accuracy_cells(one))
    return titled("Accuracy", table, [ACCURACY_NOTE])


ACCURACY_NOTE = (
    "worst: largest observed/tolerance, above 1 is wrong; error: final distance to the reference; losses: largest "
    "difference between the two trajectories"
)


def sides(comparison: Comparison) -> tuple[str, str]:
    """The heads of before and after."""
    return ("before", "after") if comparison.kind == "runs" else (clean(comparison.before), "here")


def accuracy_heads(comparison: Comparison) -> list[str]:
    """The heads of `accuracy_cells`."""
    before, after = sides(comparison)
    return [f"worst {before}", after, f"error {before}", f"{after} ", "losses"]


def accuracy_cells(one: BackendChange) -> list[str]:
    """Worst ratio and final error, before and after; the difference of the losses."""
    return [
        *(_maybe(value, fraction) for value in (one.ratio_before, one.ratio_after)),
        *(_maybe(value, difference) for value in (one.error_before, one.error_after)),
        "the same" if one.loss_difference == 0 else _maybe(one.loss_difference, difference),
    ]


def _maybe(value: Real | None, shown: Callable[[Real], str]) -> str:
    return "n/a" if value is None else shown(value)


def speed(comparison: Comparison) -> RenderableType:
    """Time per step, the ratio with its interval, and the verdict."""
    table = Grid("backend", *speed_heads(comparison))
    for one in comparison.backends:
        *cells, verdict = speed_cells(one)
        table.add_row(clean(one.name), *cells, Text(verdict, style=STYLES.get(one.speed.verdict, "")))
    return titled("Speed: a whole step in the steady state", table, list(speed_notes(comparison)))


def speed_heads(comparison: Comparison) -> list[str]:
    """The heads of `speed_cells`."""
    return [*sides(comparison), "ratio", "interval", "verdict"]


def speed_cells(one: BackendChange) -> list[str]:
    """Seconds before and after, ratio, interval, verdict."""
    change = one.speed
    times = ["n/a" if step is None else seconds(step.value) for step in (change.before, change.after)]
    ratio = "n/a" if change.ratio is None else f"{change.ratio.value:.4g}"
    return [*times, ratio, span(change.ratio), change.verdict]


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
            subject = "" if one.speed.note.startswith(f"{one.name} ") else f"{clean(one.name)}: "
            yield f"{subject}{clean(one.speed.note)}"
    if any(one.speed.verdict == "not decided" for one in comparison.backends):
        outcome = "it fails here because of --strict" if comparison.strict else "it passes here, --strict makes it fail"
        yield f"not decided: close what is busy and run again; {outcome}"
    yield from map(clean, comparison.notes)


def memory(comparison: Comparison) -> RenderableType:
    """Peak memory."""
    table = Grid("backend", *sides(comparison), "change")
    for one in comparison.backends:
        table.add_row(clean(one.name), *memory_cells(one))
    return titled("Peak memory", table)


def memory_cells(one: BackendChange) -> list[str]:
    """Peak before and after, and by how much it grew."""
    before, after = one.peak_before, one.peak_after
    grown = "n/a" if before is None or after is None else f"{after / before - 1:+.1%}"
    return [*("n/a" if peak is None else size(peak) for peak in (before, after)), grown]


def version_facts(comparison: Comparison) -> Iterator[Fact]:
    """Version changes of the backends; between two backends of one run they are no news."""
    if comparison.kind == "runs":
        for one in comparison.backends:
            for fact in one.versions:
                yield Fact(what=f"{one.name}: {fact.what}", before=fact.before, after=fact.after)


def _facts(facts: list[Fact]) -> RenderableType:
    table = plain_table()
    for head in ("", "before", "after"):
        table.add_column(head, overflow="fold")
    for fact in facts:
        table.add_row(*(Text(known(text)) for text in (fact.what, fact.before, fact.after)))
    return table
