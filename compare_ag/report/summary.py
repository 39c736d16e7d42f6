"""The answer in sentences: which backends agree, whether published losses were reproduced, and the ranking by speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from compare_ag.records import BackendRecord, Cost, Interval, Run, SpeedRecord
from compare_ag.report import cells
from compare_ag.report.units import seconds
from compare_ag.text import printable


def answer_sentences(run: Run, shown: Callable[[str], str] = printable) -> Iterator[str]:
    """The answer's sentences; ``shown`` escapes names for the medium."""
    if run.manifest.state != "complete":
        yield "This run did not finish: it was ended before every backend had been compared."
    yield from _agreement(run, shown)
    yield from fastest(run, shown)


def _agreement(run: Run, shown: Callable[[str], str]) -> Iterator[str]:
    def names(records: Sequence[BackendRecord]) -> str:
        return listing([shown(record.name) for record in records])

    good = [record for record in run.records.values() if record.status == "ok"]
    rows = [record for record in run.records.values() if record.status != "ok"]
    if good and not rows:
        who = names(good) + (" agrees" if len(good) == 1 else " agree")
        steps = run.manifest.problem.steps
        span = f"all {steps} steps" if steps > 1 else "the one step"
        yield f"{who} with the reference over {span}, within rounding error."
    elif good:
        yield f"{names(good)} {'agrees' if len(good) == 1 else 'agree'} with the reference."
    imported = [record for record in rows if record.status == "imported"]
    if imported:
        yield f"{names(imported)}: timed by pytest-benchmark, after a check of the numbers."
    for status in dict.fromkeys(record.status for record in rows if record.status != "imported"):
        those = [record for record in rows if record.status == status]
        if status == "disagree":
            yield f"{names(those)} {'disagrees' if len(those) == 1 else 'disagree'} with the reference."
        else:
            yield f"{names(those)}: {shown(status)}."
    if run.manifest.consensus_is_wrong:
        yield "The consensus is wrong: they agree with each other, but not with the exact result."
    published = [record for record in run.records.values() if record.published]
    if published:
        missed = [record for record in published if not all(row.reproduced for row in record.published)]
        count = len(published[0].published)
        losses = "The published loss is" if count == 1 else f"All {count} published losses are"
        if missed:
            yield f"The published losses are not reproduced by {names(missed)}."
        else:
            yield f"{losses} reproduced" + (f" by all {len(published)}." if len(published) > 1 else ".")


def fastest(run: Run, shown: Callable[[str], str] = printable) -> Iterator[str]:
    """The ranking as far as the intervals support it, then the backends without a rank; ``shown`` escapes names."""
    timed, speed = cells.costs(run), run.manifest.speed
    if speed is None:
        return
    yield from _ranking(speed, {name: cost for name, cost in timed.items() if cost.ranked}, shown)
    disturbed = [shown(name) for name, cost in timed.items() if cells.no_rank(cost) == "disturbed"]
    if disturbed:
        verb = "was" if len(disturbed) == 1 else "were"
        yield f"{listing(disturbed)} {verb} disturbed while timed: close what is busy and run again."
    unranked = [shown(name) for name, cost in timed.items() if cells.no_rank(cost) == "unranked"]
    if unranked:
        verb = "is" if len(unranked) == 1 else "are"
        yield f"{listing(unranked)} {verb} not ranked: the reason stands with the times."


def _ranking(speed: SpeedRecord, costs: dict[str, Cost], shown: Callable[[str], str]) -> Iterator[str]:
    """One sentence on the backends that have a rank."""
    if len(costs) < 2:
        return
    ranked = sorted(costs, key=lambda name: costs[name].step.value)
    first = ranked[0]
    words: dict[str, list[str]] = {"slower": [], "equivalent": [], "inconclusive": []}
    for name in ranked[1:]:
        verdict, ratio = _against(speed, name, first)
        times = f"{shown(name)} takes {ratio.value:.3g} times as long"
        words.get(verdict, words["inconclusive"]).append(times if verdict == "slower" else shown(name))
    sentences = [f"Per step {shown(first)} takes {seconds(costs[first].step.value)}"]
    sentences += words["slower"]
    if words["equivalent"]:
        verb = "is" if len(words["equivalent"]) == 1 else "are"
        sentences.append(f"{listing(words['equivalent'])} {verb} equivalent within {speed.margin:.0%}")
    if words["inconclusive"]:
        sentences.append(f"for {listing(words['inconclusive'])} it is not decided which is faster")
    yield "; ".join(sentences) + "."


def listing(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _against(speed: SpeedRecord, name: str, reference: str) -> tuple[str, Interval]:
    """Verdict and ratio of ``name`` to ``reference``, in whichever order the pair was recorded."""
    pair = speed.pair(name, reference)
    if pair is None:
        return "inconclusive", Interval(value=math.nan, low=None, high=None)
    return pair.verdict, pair.ratio
