"""Speed in the terminal: who is faster, with the interval; phases; what is paid once; how it was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from compare_ag.records import BackendRecord, Cost, Interval, Memory, PairRecord, Run, SpeedRecord
from compare_ag.report.grid import Grid
from compare_ag.report.kept import digits_kept
from compare_ag.report.units import seconds, size
from compare_ag.speed.costs import LEAK_BYTES
from compare_ag.text import printable

PHASES = ("forward", "backward", "update")
_STYLES = {"equivalent": "green", "inconclusive": "yellow"}


def speed_sections(run: Run) -> Iterator[RenderableType]:
    """Every table about cost that this run has numbers for."""
    costs = {name: record.cost for name, record in run.records.items() if record.cost is not None}
    if not costs:
        return
    yield steps(run, costs)
    if run.manifest.speed is not None and run.manifest.speed.pairs:
        yield pairs(run.manifest.speed, costs)
    yield phases(costs)
    if any(cost.cold_seconds is not None for cost in costs.values()):
        yield cold(costs)
    memories = {name: record.memory for name, record in run.records.items() if record.memory is not None}
    if memories:
        yield memory(run, memories)


def titled(title: str, table: RenderableType, note: str = "") -> Group:
    """A table under its title, with a note below: as wide as the terminal, where rich's own would be as the table."""
    parts: list[RenderableType] = [Text(title, style="bold"), table]
    return Group(*parts, Text(note, style="dim italic")) if note else Group(*parts)


def fastest(run: Run, shown: Callable[[str], str] = printable) -> Iterator[str]:
    """One sentence on the ranking, and no word more than the intervals carry; ``shown`` makes names harmless."""
    costs = {name: record.cost for name, record in run.records.items() if record.cost is not None}
    speed = run.manifest.speed
    if speed is None or len(costs) < 2:
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
    speed, baseline = run.manifest.speed, run.manifest.baseline
    table = Grid("backend", "time per step", "95 % interval", "ratio", "digits kept")
    for name, cost in costs.items():
        ratio = ""
        if name == baseline:
            ratio = "1 (baseline)"
        elif speed is not None and baseline is not None:
            ratio = _times(_against(speed, name, baseline)[1].value)
        step, digits = cost.step, digits_kept(run, name)
        kept = "n/a" if digits is None else f"{digits:.1f}"
        table.add_row(printable(name), seconds(step.value), _span(step), ratio, kept)
    notes = [f"{printable(record.name)}: {printable(record.timing_note)}" for record in _unranked(run)]
    if speed is not None:
        notes += _method(speed, costs)
    return titled("Speed: a whole step in the steady state", table, "\n".join(notes))


def _unranked(run: Run) -> list[BackendRecord]:
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
    yield (
        f"{speed.launches} launches of fresh processes, {speed.instances} x {speed.rounds - 1} blocks of "
        f"{speed.steps_per_block} steps each, in random order, {where}, {threads}, from perturbed weights of step "
        f"{speed.checkpoint_step} ({printable(speed.checkpoint)}); {speed.seconds:.0f} s, then {why}"
    )
    if speed.control is not None and speed.noise_floor is not None:
        yield (
            f"noise floor {speed.noise_floor:.1%}: {printable(speed.control_backend or '')} against itself is "
            f"{speed.control.value:.4f} ({_span(speed.control, ratio=True)}); no verdict rests on less"
        )
    else:
        yield "no noise floor: a backend against itself needs two launches at least, so that nothing is concluded"


def pairs(speed: SpeedRecord, costs: dict[str, Cost]) -> Group:
    """Every two backends: the ratio with its simultaneous interval, the verdict, and when the cheaper step pays."""
    table = Grid("time of / time of", "ratio", "interval", "verdict", "forward", "backward", "update", "pays after")
    for pair in speed.pairs:
        table.add_row(
            f"{printable(pair.backend)} / {printable(pair.baseline)}",
            _times(pair.ratio.value),
            _span(pair.ratio, ratio=True),
            Text(printable(pair.verdict), style=_STYLES.get(pair.verdict, "")),
            *(_times(pair.phases[phase].value) if phase in pair.phases else "n/a" for phase in PHASES),
            _pays(pair, costs),
        )
    if speed.mode == "pytest-benchmark":
        note = "nobody is ranked: one process gives no interval; `compare-ag run` does"
        return titled("Ratios", table, note)
    notes = [
        f"faster or slower: the whole interval lies beyond {speed.margin:.0%} and the noise floor; equivalent: within "
        f"{speed.margin:.0%}; intervals hold together with 95 %; phases are single medians",
        "pays after: steps until the cheaper step has made up for a dearer start (import, construction, first steps)",
    ]
    notes += [_open(pair) for pair in speed.pairs if pair.verdict == "inconclusive"]
    return titled("Who is faster", table, "\n".join(notes))


def _open(pair: PairRecord) -> str:
    """What it would take to decide an open pair."""
    who = f"{printable(pair.backend)} / {printable(pair.baseline)} is inconclusive"
    if pair.ratio.low is None:
        return f"{who}: one launch gives no interval; --timing-budget"
    if pair.held_back:
        return f"{who}: its interval alone would decide, but the run's noise floor does not allow it; a quieter machine"
    if pair.launches_needed is None:
        return f"{who}: the ratio lies so near the margin that no number of launches can be foretold; --margin"
    return f"{who}: about {pair.launches_needed} launches would decide; --precise or --timing-budget"


def _pays(pair: PairRecord, costs: dict[str, Cost]) -> str:
    """Steps after which the cheaper step has paid; n/a where nobody knows what the starts cost."""
    if any(name not in costs or costs[name].cold_seconds is None for name in (pair.backend, pair.baseline)):
        return "n/a"
    if pair.break_even_steps is None:
        return "never"
    return "at once" if pair.break_even_steps < 1 else f"{pair.break_even_steps:,.0f} steps"


def phases(costs: dict[str, Cost]) -> Group:
    """Forward, backward, update; how they add up; what a gradient costs; what the contract costs."""
    table = Grid("backend", *PHASES, "sum / step", "gradient / loss", "contract")
    for name, cost in costs.items():
        cells = ["n/a"] * 5
        if cost.phases is not None and cost.closure is not None and cost.gradient_ratio is not None:
            cells = [seconds(cost.phases[phase].value) for phase in PHASES]
            cells += [f"{cost.closure.value:.3f}", f"{cost.gradient_ratio.value:.2f}"]
        share = "n/a" if cost.interface_seconds is None else f"{cost.interface_seconds / cost.step.value:.1%}"
        table.add_row(printable(name), *cells, share)
    note = (
        "gradient / loss: (forward + backward) / forward, about 4 to 5 at most in theory (Baur & Strassen 1983); "
        "contract: share of a step that a backend which does nothing takes too"
    )
    return titled("Phases of a step", table, note)


def cold(costs: dict[str, Cost]) -> Group:
    """What is paid once."""
    table = Grid("backend", "import", "construct", "make_tensor", "first step", "steady after", "all", "threads")
    for name, cost in costs.items():
        table.add_row(
            printable(name),
            "n/a" if cost.import_seconds is None else seconds(cost.import_seconds),
            *map(_mean, (cost.construct_seconds, cost.make_tensor_seconds, cost.first_step_seconds)),
            "not settled" if cost.steps_to_steady is None else f"{cost.steps_to_steady} steps",
            "n/a" if cost.cold_seconds is None else seconds(cost.cold_seconds),
            str(cost.threads_observed),
        )
    note = "import: in a bare process, with what the plugin needs; first step: of a fresh process, compiling included"
    return titled("Paid once", table, note)


def memory(run: Run, memories: dict[str, Memory]) -> Group:
    """What each backend's process holds."""
    table = Grid("backend", "peak", "import", "data", "training", "tape", "growth per 1,000 steps")
    for name, found in memories.items():
        table.add_row(
            printable(name),
            size(found.peak_bytes),
            size(found.import_bytes),
            size(found.data_bytes),
            "n/a" if found.training_bytes is None else size(found.training_bytes),
            "n/a" if found.tape_bytes is None else size(found.tape_bytes),
            size(found.growth_bytes),
        )
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


def _mean(found: Interval | None) -> str:
    return "n/a" if found is None else seconds(found.value)


def _times(ratio: float) -> str:
    return "n/a" if math.isnan(ratio) else f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}"


def _span(found: Interval, *, ratio: bool = False) -> str:
    """The ends of an interval, or that one launch gives none."""
    if found.low is None or found.high is None:
        return "one launch"
    if ratio:
        return f"{found.low:.3f} to {found.high:.3f}" if found.high < 10 else f"{found.low:.2f} to {found.high:.2f}"
    return f"{seconds(found.low)} to {seconds(found.high)}"
