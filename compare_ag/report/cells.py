"""The texts in the cells of a run's tables, for the terminal and the page alike: each kind of number in one form.

Names and reasons come back as they are recorded; each renderer escapes them for its own medium.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import SupportsFloat

from compare_ag.records import (
    JUDGED,
    BackendRecord,
    Cost,
    Interval,
    Memory,
    PairRecord,
    Run,
    SpeedRecord,
    TestRecord,
    VerdictRecord,
    decisive,
)
from compare_ag.report.units import Array, difference, fraction, seconds

PHASES = ("forward", "backward", "update")
TESTS = ("gradient", "step", "update", "trajectory", "loss")
WEIGHTS_SHOWN = 6
LOSS_ROWS = 11

# --- accuracy -----------------------------------------------------------------------------------------------


def describe_outcome(record: BackendRecord) -> str:
    """The backend's result in sentences: its reason or its verdict's message, with the diagnosis and the remark."""
    verdict = decisive(record)
    sentence = record.reason or (verdict.message if verdict is not None else "")
    if verdict is not None and verdict.diagnosis:
        sentence += f". What would explain it: {'; or '.join(verdict.diagnosis)}"
    if verdict is not None and verdict.remark:
        sentence += f". Note: {verdict.remark}"
    return sentence


def judgements(record: BackendRecord) -> Iterator[tuple[str, VerdictRecord]]:
    """(suffix of the backend's name, verdict) of the step made of the verbs and of the backend's own fused step."""
    for how, verdict in (("", record.verdict), (", fused step", record.fused_verdict)):
        if verdict is not None:
            yield how, verdict


def outcome(test: TestRecord) -> str:
    """Largest observed/tolerance, with the count of decided numbers or steps; the total too if some are undecided."""
    return f"{fraction(test.ratio)} ({_decided(test.judged, test.undecided)})"


def examples(verdict: VerdictRecord) -> str:
    """Count of examples in decided evaluations of the gradient (of the loss for a fused step), with the total."""
    test = next((test for name in ("gradient", "loss") for test in verdict.tests if test.test == name), None)
    return "n/a" if test is None or not test.examples else _decided(test.examples, test.undecided_examples)


def _decided(decided: int, undecided: int) -> str:
    return f"{decided} of {decided + undecided}" if undecided else f"{decided}"


def describe_repetition(record: BackendRecord) -> str:
    """Whether a second run gave the same bits; else how many losses differ, and by how many tolerances."""
    again = record.repetition
    if again is None or not again.differing:
        return {None: "n/a", True: "same bits", False: "other bits"}[record.repeatable]
    size = "" if again.ratio is None else f", by {fraction(again.ratio)}"
    return f"other bits: {again.differing} of {again.steps}{size}"


REPEATED_NOTE = "Of a second run: how many of its losses differ from the first one's, and by how many tolerances."


def weights_shown(run: Run) -> list[int]:
    """Indices of the weights that a table has room for: the first weights and the last."""
    features = run.manifest.problem.features
    return list(range(features)) if features <= WEIGHTS_SHOWN else [*range(WEIGHTS_SHOWN - 1), features - 1]


def weight(value: SupportsFloat) -> str:
    """A weight, seven digits."""
    return f"{float(value):.7g}"


def judged_backends(run: Run) -> list[str]:
    """The backends whose numbers were compared with the reference."""
    return [name for name, record in run.records.items() if record.status in JUDGED and record.verdict is not None]


def loss_steps(run: Run, rows: int = LOSS_ROWS) -> list[int]:
    """At most ``rows`` evenly spaced steps, with the first and the last."""
    steps = run.manifest.problem.steps
    count = min(rows, steps + 1)
    return sorted({round(i * steps / max(1, count - 1)) for i in range(count)})


def losses_title(run: Run) -> str:
    """The title over the rows of `loss_steps`."""
    what = "Loss of the step's batch" if run.manifest.problem.batch_size else "Loss"
    return f"{what} after k steps"


def loss(values: Array | None, k: int) -> str:
    """The loss after k steps; n/a where the training ended before."""
    if values is None or k >= len(values):
        return "n/a"
    value = float(values[k])
    return f"{value:.8g}" if math.isfinite(value) else str(value)


def tolerance(values: Array | None, k: int) -> str:
    """The largest deviation of the loss after k steps that the tolerance allows."""
    return "n/a" if values is None or k >= len(values) else difference(values[k])


def published_title(run: Run) -> str:
    """The title over the rows of `published`."""
    return (
        "Published losses (epoch e is the loss after e + 1 updates); reproduced when within "
        f"{run.manifest.problem.published_tolerance:g}"
    )


# --- cost ---------------------------------------------------------------------------------------------------


def costs(run: Run) -> dict[str, Cost]:
    """The backends that were timed."""
    return {name: record.cost for name, record in run.records.items() if record.cost is not None}


def memories(run: Run) -> dict[str, Memory]:
    """The backends whose memory was measured."""
    return {name: record.memory for name, record in run.records.items() if record.memory is not None}


def no_rank(cost: Cost) -> str:
    """The word that replaces a ratio or a verdict; empty where the backend has a rank."""
    return "unranked" if cost.unranked else "disturbed" if cost.disturbed else ""


def no_rank_reason(cost: Cost) -> tuple[str, str]:
    """(reason, advice) of a backend without a rank, the reason as a clause about it; empty where it has a rank."""
    if cost.unranked:
        return cost.unranked, "its plugin must be repaired before its time says anything"
    if cost.disturbed:
        share = "too many" if cost.left_out_share is None else f"{100 * cost.left_out_share:.0f} %"
        return f"was disturbed: something else slowed {share} of its blocks", "close what is busy and run again"
    return "", ""


def no_ranks(known: dict[str, Cost]) -> Iterator[tuple[str, str]]:
    """(backend, reason and advice) for each backend without a rank."""
    for name, cost in known.items():
        reason, advice = no_rank_reason(cost)
        if reason:
            yield name, f"{reason}; {advice}"


def has_own_blocks(known: dict[str, Cost]) -> bool:
    """Whether the records describe each backend's blocks, as they do since schema 1.7."""
    return any(cost.steps_per_block for cost in known.values())


def timed_by(cost: Cost) -> str:
    """How the time of a step was taken, and how much longer the usual block takes."""
    if not cost.steps_per_block:
        return "n/a"
    if cost.steps_per_block == 1:
        return "single steps" + ("" if cost.block_gap is None else f" ({cost.block_gap:+.1%})")
    gap = "" if cost.block_gap is None else f" ({cost.block_gap:+.1%})"
    how = "median of" if cost.timed_by == "steps" else "blocks of"
    return f"{how} {cost.steps_per_block} steps{gap}"


def blocks_judged(cost: Cost) -> str:
    """How many timed blocks were judged, and how many could not be judged."""
    if not cost.blocks_judged + cost.blocks_not_judged:
        return "n/a"
    exact = f", {cost.blocks_exact} exactly" if cost.blocks_exact else ""
    omitted = f"; {cost.blocks_not_judged} not judged" if cost.blocks_not_judged else ""
    return f"{cost.blocks_judged} judged{exact}{omitted}"


TIMED_NOTE = (
    "Timed by: the median step of a block, or its wall time over its steps where work is left to its end; of the "
    "undisturbed blocks the lower quintile, in brackets how much longer the usual one takes; blocks judged: their "
    "final loss and weights were compared with the reference; not judged: the weights had moved too little for that."
)


def noise(speed: SpeedRecord | None) -> str:
    """The origin of the noise floor in a sentence; empty where there is no noise floor."""
    if speed is None or speed.noise_floor is None or speed.control is None:
        return ""
    ratio = f"{speed.control.value:.4f} ({span(speed.control, ratio=True)})"
    names = list(dict.fromkeys(speed.twins))
    if not names:
        origin = f"{speed.control_backend or ''} against itself is {ratio}"
    else:
        who = names[0] if len(names) == 1 else "each backend in turn"
        origin = (
            f"{who} ran beside a twin that had imported and allocated something else; over all launches, a backend "
            f"over its twin is {ratio}"
        )
    return f"Noise floor {speed.noise_floor:.1%}: {origin}; no verdict rests on less."


def phase_ratios(run: Run, pair: PairRecord) -> list[str]:
    """Ratios of forward, backward, update; n/a where the phases of either backend were disturbed."""
    if {pair.backend, pair.baseline} & {name for name, _ in phases_off(run)}:
        return ["n/a"] * len(PHASES)
    return [times(pair.phases[phase].value) if phase in pair.phases else "n/a" for phase in PHASES]


def pays_after(pair: PairRecord, known: dict[str, Cost]) -> str:
    """Steps after which the cheaper step has repaid its start; n/a where the cost of a start is not known."""
    if any(name not in known or known[name].cold_seconds is None for name in (pair.backend, pair.baseline)):
        return "n/a"
    if pair.break_even_steps is None:
        return "never"
    return "at once" if pair.break_even_steps < 1 else f"{pair.break_even_steps:,.0f} steps"


def explain_undecided(pair: PairRecord) -> str:
    """Why a pair is inconclusive, and which option would help."""
    who = f"{pair.backend} / {pair.baseline} is inconclusive"
    if pair.ratio.low is None:
        return f"{who}: too few undisturbed launches of it, or of twins, give no interval (--timing-budget)"
    if pair.limited_by_noise_floor:
        return f"{who}: its interval alone would decide, but the run's noise floor does not allow it"
    if pair.launches_needed is None:
        return f"{who}: the ratio lies so near the margin that no number of launches can be predicted (--margin)"
    return f"{who}: about {pair.launches_needed} launches would decide (--precise or --timing-budget)"


CLOSURE = (0.85, 1.15)
"""bounds of the sum of the phases over the step: beyond them a phase was disturbed, unless the step is fused"""


def is_fused(record: BackendRecord) -> bool:
    """Whether the timed step is the backend's own: its phases need not add up to it."""
    return bool(record.overrides_step) or (record.cost is not None and record.cost.fused)


def known_phases(record: BackendRecord) -> dict[str, Interval] | None:
    """Forward, backward, update; None where they were not measured, or do not add up to a step that is made of them."""
    cost = record.cost
    return None if cost is None or _off(record) is not None else cost.phases


def _off(record: BackendRecord) -> float | None:
    """The sum of the phases over the step where it lies outside `CLOSURE`; else None."""
    cost = record.cost
    if cost is None or cost.phases is None or cost.closure is None or is_fused(record):
        return None
    return None if CLOSURE[0] <= cost.closure.value <= CLOSURE[1] else cost.closure.value


def phases_off(run: Run) -> Iterator[tuple[str, str]]:
    """(backend, reason) for each backend whose phases do not add up to its step and are therefore not shown."""
    for name, record in run.records.items():
        off = _off(record)
        if off is not None:
            yield name, f"its phases add up to {off:.2f} of its step: disturbed"


def closure(record: BackendRecord) -> str | None:
    """The sum of the phases in steps; None where the phases are not shown."""
    cost, known = record.cost, known_phases(record)
    if cost is None or known is None or cost.closure is None:
        return None
    return "step is fused" if is_fused(record) else f"{cost.closure.value:.3f}"


def gradient_ratio(record: BackendRecord) -> float | None:
    """The time of a gradient in units of the time of a loss; None where the phases are not shown."""
    cost, known = record.cost, known_phases(record)
    return None if cost is None or known is None or cost.gradient_ratio is None else cost.gradient_ratio.value


def times(ratio: float) -> str:
    """A ratio of times."""
    return "n/a" if math.isnan(ratio) else f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}"


def span(known: Interval, *, ratio: bool = False) -> str:
    """The ends of an interval, or a note that a single launch gives no interval."""
    if known.low is None or known.high is None:
        return "one launch"
    if ratio:
        return f"{known.low:.3f} to {known.high:.3f}" if known.high < 10 else f"{known.low:.2f} to {known.high:.2f}"
    return f"{seconds(known.low)} to {seconds(known.high)}"
