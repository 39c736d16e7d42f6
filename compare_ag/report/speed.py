"""Speed in the terminal: who is faster, with the interval; phases; what is paid once; how it was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from compare_ag.records import BackendRecord, Cost, Interval, Memory, Run, SpeedRecord
from compare_ag.report import cells
from compare_ag.report.cells import PHASES, span
from compare_ag.report.grid import Grid
from compare_ag.report.units import seconds, size
from compare_ag.speed.costs import LEAK_BYTES
from compare_ag.text import printable

_STYLES = {"equivalent": "green", "inconclusive": "yellow"}


def speed_sections(run: Run) -> Iterator[RenderableType]:
    """Every table about cost that this run has numbers for."""
    costs = cells.costs(run)
    if not costs:
        return
    yield steps(run, costs)
    if run.manifest.speed is not None and run.manifest.speed.pairs:
        yield pairs(run, run.manifest.speed, costs)
    yield phases(run, costs)
    if any(cost.cold_seconds is not None for cost in costs.values()):
        yield cold(costs)
    if memories := cells.memories(run):
        yield memory(run, memories)


def titled(title: str, table: RenderableType, note: str = "") -> Group:
    """A table under its title, with a note below: as wide as the terminal, where rich's own would be as the table."""
    parts: list[RenderableType] = [Text(title, style="bold"), table]
    return Group(*parts, Text(note, style="dim italic")) if note else Group(*parts)


def fastest(run: Run, shown: Callable[[str], str] = printable) -> Iterator[str]:
    """The ranking, and no word more than the intervals carry; who has no rank; ``shown`` makes names harmless."""
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
    """One sentence on those that have a rank."""
    if len(costs) < 2:
        return
    ranked = sorted(costs, key=lambda name: costs[name].step.value)
    first = ranked[0]
    words: dict[str, list[str]] = {"slower": [], "equivalent": [], "inconclusive": []}
    for other in ranked[1:]:
        verdict, ratio = _against(speed, other, first)
        times = f"{shown(other)} takes {ratio.value:.3g} times as long"
        words.get(verdict, words["inconclusive"]).append(times if verdict == "slower" else shown(other))
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


def _against(speed: SpeedRecord, name: str, other: str) -> tuple[str, Interval]:
    """Verdict and ratio of ``name`` to ``other``, whichever way round the pair was recorded."""
    pair = speed.pair(name, other)
    if pair is None:
        return "inconclusive", Interval(value=math.nan, low=None, high=None)
    return pair.verdict, pair.ratio


# --- the tables ---------------------------------------------------------------------------------------------


def steps(run: Run, costs: dict[str, Cost]) -> Group:
    """Steady time per step with its interval, and how it was measured."""
    speed = run.manifest.speed
    heads = cells.timed_heads(costs)
    table = Grid("backend", "time per step", "95 % interval", "ratio", "digits kept", *heads)
    for name, cost in costs.items():
        time, interval, ratio, digits = cells.step(run, name, cost)
        word = Text(ratio, style="yellow" if cells.no_rank(cost) else "")
        table.add_row(printable(name), time, interval, word, digits, *(cells.timed(cost) if heads else []))
    notes = [f"{printable(name)} {printable(why)}" for name, why in cells.no_ranks(costs)]
    notes += [f"{printable(record.name)}: {printable(record.timing_note)}" for record in _untimed(run)]
    notes += [cells.TIMED_NOTE] if heads else []
    if speed is not None:
        notes += _method(speed, costs)
    return titled("Speed: a whole step in the steady state", table, "\n".join(notes))


def _untimed(run: Run) -> list[BackendRecord]:
    return [record for record in run.records.values() if record.cost is None and record.timing_note]


def _method(speed: SpeedRecord, costs: dict[str, Cost]) -> Iterator[str]:
    if speed.mode == "pytest-benchmark":
        yield f"medians of up to {speed.rounds} rounds in one pytest process, as pytest-benchmark measured them"
        return
    pinned = next(iter(costs.values())).pinned
    where = f"all on CPU {', '.join(map(str, pinned))}" if pinned else "not pinned to a CPU"
    threads = f"{speed.threads} thread{'s' if speed.threads > 1 else ''}"
    why = {
        "width": "every interval is narrow enough",
        "budget": "its time was up",
        "launches": "all launches were made",
        "failure": "no backend was left",
        "interrupt": "the run was interrupted",
    }.get(speed.stopped, printable(speed.stopped))
    length = f"blocks of {speed.steps_per_block} steps each" if speed.steps_per_block else "blocks of each backend"
    yield (
        f"{speed.launches} launches of fresh processes, {speed.instances} x {speed.rounds - 1} {length}, in random "
        f"order, {where}, {threads}, from perturbed weights of step "
        f"{speed.checkpoint_step} ({printable(speed.checkpoint)}); {speed.seconds:.0f} s, then {why}"
    )
    missing = "no noise floor: a backend against itself needs two launches at least, so that nothing is concluded"
    yield cells.noise(speed, printable) or missing


def pairs(run: Run, speed: SpeedRecord, costs: dict[str, Cost]) -> Group:
    """Every two backends: the ratio with its simultaneous interval, the verdict, and when the cheaper step pays."""
    table = Grid("time of / time of", "ratio", "interval", "verdict", *PHASES, "pays after")
    for pair in speed.pairs:
        table.add_row(
            f"{printable(pair.backend)} / {printable(pair.baseline)}",
            cells.times(pair.ratio.value),
            span(pair.ratio, ratio=True),
            Text(printable(pair.verdict), style=_STYLES.get(pair.verdict, "")),
            *cells.phase_ratios(run, pair),
            cells.pays_after(pair, costs),
        )
    if speed.mode == "pytest-benchmark":
        note = "nobody is ranked: one process gives no interval; `compare-ag run` does"
        return titled("Ratios", table, note)
    notes = [
        f"faster or slower: the whole interval lies beyond {speed.margin:.0%} and the noise floor; equivalent: within "
        f"{speed.margin:.0%}; intervals hold together with 95 %; phases are single medians",
        "pays after: steps until the cheaper step has made up for a dearer start (import, construction, first steps)",
    ]
    open_pairs = [pair for pair in speed.pairs if pair.verdict == "inconclusive"]
    notes += ["; ".join(map(printable, cells.undecided(pair))) for pair in open_pairs]
    return titled("Who is faster", table, "\n".join(notes))


def phases(run: Run, costs: dict[str, Cost]) -> Group:
    """Forward, backward, update; how they add up; what a gradient costs; what the contract costs."""
    table = Grid("backend", *PHASES, "sum / step", "gradient / loss", "contract")
    for name, cost in costs.items():
        table.add_row(printable(name), *cells.phases(run[name], cost))
    notes = [f"{printable(name)}: {why}" for name, why in cells.phases_off(run)]
    notes.append(
        "gradient / loss: (forward + backward) / forward, about 4 to 5 at most in theory (Baur & Strassen 1983); "
        "contract: share of a step that a backend which does nothing takes too"
    )
    return titled("Phases of a step", table, "\n".join(notes))


def cold(costs: dict[str, Cost]) -> Group:
    """What is paid once."""
    table = Grid("backend", *cells.PAID_ONCE)
    for name, cost in costs.items():
        table.add_row(printable(name), *cells.paid_once(cost))
    note = "import: in a bare process, with what the plugin needs; first step: of a fresh process, compiling included"
    return titled("Paid once", table, note)


def memory(run: Run, memories: dict[str, Memory]) -> Group:
    """What each backend's process holds."""
    table = Grid("backend", *cells.HELD)
    for name, found in memories.items():
        table.add_row(printable(name), *cells.held(found))
    first = next(iter(memories.values()))
    notes = [
        f"resident memory of a fresh worker ({printable(first.source)}), {size(first.start_bytes)} before import; "
        "import, data: what each adds; training: its peak beyond that; tape: what is kept from forward to backward"
    ]
    notes += [
        f"{printable(name)} keeps {size(found.growth_bytes / 1000)} more with every step: something holds on to what "
        "it should let go, as a loss that is still attached to its graph does"
        for name, found in memories.items()
        if found.growth_bytes > LEAK_BYTES
    ]
    if first.source == "ru_maxrss":
        notes.append(
            "ru_maxrss may be this process's own peak, inherited: where it is larger, believe only the differences"
        )
    notes += [
        f"{printable(record.name)}: memory not measured: {printable(record.memory_note)}"
        for record in run.records.values()
        if record.memory_note
    ]
    return titled("Memory", table, "\n".join(notes))
