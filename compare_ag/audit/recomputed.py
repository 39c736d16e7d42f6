"""The second level: every verdict, interval, ranking, status and exit code, derived again by a run's own functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.audit.intact import recorded_hashes
from compare_ag.audit.levels import Level, Mismatch, compare
from compare_ag.audit.problems import ContradictionError, UnavailableError, problem_of
from compare_ag.problem import recorded_steps
from compare_ag.records import JUDGED, RecordError, record_name
from compare_ag.records.base import WITH_SUMS
from compare_ag.speed.schedule import MODES
from compare_ag.suite.evidence_arrays import read_training
from compare_ag.suite.judge import Judge
from compare_ag.suite.make_records import problem_record, run_exit_code
from compare_ag.suite.speed_verdicts import SpeedConclusion
from compare_ag.suite.timing_arrays import WRONG_BLOCKS, judge_again, read_measurements
from compare_ag.verify.samples import CHEAP_CELLS

if TYPE_CHECKING:
    from compare_ag.problem import Data, Problem
    from compare_ag.records import Run
    from compare_ag.suite.judged_blocks import JudgedBlocks
    from compare_ag.verify.timed_blocks import BlockVerdict

MANIFEST = "manifest.json"
OLD = "recomputed: not possible before schema 1.8, which keeps what verdicts rest on"
DERIVED = (
    "status", "reason", "step", "phase", "repeatable", "repetition", "probe_seed", "verdict", "fused_verdict",
    "convergence", "published",
)  # fmt: skip
OF_ONE_FAILED_LATER = ("repeatable", "repetition", "probe_seed", "verdict", "fused_verdict", "convergence", "published")
"""fields that do not change where a backend fails after it was judged"""
BY_THE_CLOCK = {
    "tests",
    "worst_ratio",
    "message",
    "remark",
    "observed",
    "tolerance",
    "coordinate",
    "quantity",
    "diagnosis",
}
"""Fields of a verdict on large data, of which as many samples are judged as a second allows: with other samples they
may differ."""
SURROUNDINGS = {"load", "steal", "governor", "battery", "unequal-cpus"}
"""warnings about the machine as it was then"""
LATER = "it failed while"


def recomputed(run: Run, data: Data | None = None) -> Level:
    """Derive again what the records claim. data: of a problem from a file. Raises `RecordError`."""
    level = Level("recomputed")
    if run.manifest.schema.minor < WITH_SUMS:
        level.possible = False
        level.notes.append(OLD)
        return level
    level.mismatches += recorded_hashes(run)
    if level.mismatches:
        return level  # arrays that are not those of the records prove nothing
    level.mismatches += _manifest(run)
    done, untouched = [f"exit code {run.exit_code}"], _recorded_untouched(run)
    try:
        problem = problem_of(run.manifest.problem, data)
    except ContradictionError as error:
        level.mismatches.append(error.mismatch)
    except UnavailableError as error:
        level.notes.append(f"verdicts on numbers: not possible: {error}")
    else:
        other = list(compare(MANIFEST, run.manifest.problem, problem_record(problem), at="problem"))
        level.mismatches += other
        if not other:
            level.mismatches += _verdicts(run, problem, level)
            judge, verdicts = judge_again(run, problem)
            level.mismatches += _blocks(run, judge, verdicts)
            untouched = _untouched(run, judge, verdicts)
            done.append(f"verdicts on {sum(record.evidence is not None for record in run.records.values())} backends")
    if run.manifest.speed is not None:
        level.mismatches += _speed(run, level, untouched)
        done.append(f"{len(run.manifest.speed.pairs)} ratios")
    level.checked = ", ".join(done) + " follow from what is kept"
    return level


def _manifest(run: Run) -> Iterator[Mismatch]:
    """What the manifest says of the records."""
    manifest = run.manifest
    if manifest.state == "running":
        return  # it was killed: there was no end to sum up
    yield from compare(
        MANIFEST, manifest.exit_code, run_exit_code(run.records.values(), manifest.further_exit_codes), at="exit_code"
    )
    interrupted = {130, 143} & set(manifest.further_exit_codes)
    yield from compare(MANIFEST, manifest.state, "partial" if interrupted else "complete", at="state")
    speed, mode = manifest.speed, manifest.options.get("timing")
    if speed is not None and "imported" not in manifest.options:
        yield from compare(MANIFEST, mode, speed.mode, at="options.timing")
        if speed.mode in ("quick", "precise"):  # of others the budget is the user's
            for name in ("margin", "target"):
                yield from compare(MANIFEST, getattr(speed, name), getattr(MODES[speed.mode], name), at=f"speed.{name}")


# --- numbers


def _verdicts(run: Run, problem: Problem, level: Level) -> Iterator[Mismatch]:
    judge = Judge(problem, recorded_steps(problem.steps))
    judge.prepare()
    if judge.error is not None:
        level.notes.append(f"verdicts on numbers: not possible: the reference cannot be computed here: {judge.error}")
        return
    yield from _reference(run, judge)
    large = problem.examples * problem.layout.size > CHEAP_CELLS
    for name, record in run.records.items():
        if record.evidence is not None:
            yield from _backend(run, name, judge, large=large)
        elif record.verdict is not None or record.status in JUDGED - {"undecidable"}:
            yield Mismatch(record_name(name), "evidence", None, f"the file that the verdict {record.status!r} rests on")
    if run.manifest.state != "running":
        arrays = {name: run.arrays(name) for name in run.records}
        difference = judge.max_pair_difference(dict(run.records), arrays)
        yield from compare(MANIFEST, run.manifest.max_pair_difference, difference, at="max_pair_difference")
        consensus = judge.consensus_is_wrong(dict(run.records), arrays)
        yield from compare(MANIFEST, run.manifest.consensus_is_wrong, consensus, at="consensus_is_wrong")
        yield from compare(MANIFEST, run.manifest.reference, judge.description(), at="reference")


def _reference(run: Run, judge: Judge) -> Iterator[Mismatch]:
    derived, kept = judge.reference_arrays(), run.reference
    if not kept and run.manifest.state == "running":
        return
    for name, array in derived.items():
        same = name in kept and kept[name].shape == array.shape
        if not same or not np.allclose(kept[name], array, rtol=1e-6, atol=1e-12, equal_nan=True):
            shown = _worst(kept[name], array) if same else (None, list(array.shape))
            yield Mismatch("arrays/reference.npz", name, *shown)


def _worst(kept: Any, derived: Any) -> tuple[float, float]:
    """The two numbers that differ most."""
    with np.errstate(all="ignore"):
        place = int(np.argmax(np.nan_to_num(np.abs(np.asarray(kept, float) - derived), nan=np.inf)))
    return float(np.ravel(kept)[place]), float(np.ravel(derived)[place])


def _backend(run: Run, name: str, judge: Judge, *, large: bool) -> Iterator[Mismatch]:
    record, file = run[name], record_name(name)
    probes = None if record.probe_seed is None else judge.probes(record.probe_seed)
    arrays = run.arrays(name)
    try:
        training = read_training(judge.problem, arrays, run.evidence(name), probes)
        derived = judge.judge_training(training, arrays)
    except (RecordError, ValueError, KeyError, IndexError, TypeError) as error:
        yield Mismatch(record.evidence or file, "", "evidence", f"it does not fit: {error}")
        return
    fields: tuple[str, ...] = OF_ONE_FAILED_LATER if record.timing_note.startswith(LATER) else DERIVED
    if large:
        fields = tuple(field for field in fields if field != "reason")
    for field in fields:
        ignored = BY_THE_CLOCK if large else ()
        without: list[Any] | None = (
            [] if field == "published" else None
        )  # of malformed answers neither this nor convergence is derived
        yield from compare(file, getattr(record, field), derived.get(field, without), at=field, ignored=ignored)


# --- times


def _recorded_untouched(run: Run) -> frozenset[str]:
    costs = {name: record.cost for name, record in run.records.items() if record.cost is not None}
    return frozenset(name for name, cost in costs.items() if cost.unranked.startswith("shows no updates"))


def _untouched(run: Run, judge: JudgedBlocks, verdicts: dict[str, list[BlockVerdict]]) -> frozenset[str]:
    """The backends whose blocks show no updates: derived where all blocks were kept and decided, else as recorded."""
    costs = {name: record.cost for name, record in run.records.items() if record.cost is not None}
    kept = {name: sum(verdict.status != "not judged" for verdict in verdicts.get(name, [])) for name in costs}
    whole = all(
        cost.blocks_judged + cost.blocks_not_judged == len(verdicts.get(name, [])) for name, cost in costs.items()
    )
    if not whole or any(cost.blocks_judged != kept[name] for name, cost in costs.items()):
        return _recorded_untouched(run)
    return frozenset(name for name in costs if judge.untouched(name))


def _blocks(run: Run, judge: JudgedBlocks, verdicts: dict[str, list[BlockVerdict]]) -> Iterator[Mismatch]:
    """The timed blocks that were judged: right, and as many as the record says where all of them were kept."""
    for name, own in verdicts.items():
        record = run[name]
        wrong = sum(verdict.status == "wrong" for verdict in own)
        accused = record.reason.startswith(WRONG_BLOCKS)
        if bool(wrong) != (record.status == "disagree" and accused):
            derived = f"{wrong} of {len(own)} timed blocks that were kept are wrong"
            yield Mismatch(record_name(name), "status", record.status, derived)
        elif record.cost is not None and len(own) == record.cost.blocks_judged + record.cost.blocks_not_judged:
            cost, decided = record.cost, judge.counts[name].judged
            # in each launch one block of the backend and one of its twin may have been compared exactly, which may
            # decide about them otherwise than the bound does; which these were is not kept. A launch that an interrupt
            # ended, or a failure, is judged and does not count.
            exactly = 2 * (run.manifest.speed.launches + 1) if run.manifest.speed is not None else 0
            if abs(decided - cost.blocks_judged) > exactly:
                yield Mismatch(record_name(name), "cost.blocks_judged", cost.blocks_judged, decided)


def _speed(run: Run, level: Level, untouched: frozenset[str]) -> Iterator[Mismatch]:
    speed = run.manifest.speed
    assert speed is not None
    if "imported" in run.manifest.options:
        level.notes.append("times: not possible for an imported run, which has medians without launches")
        return
    try:
        concluded = SpeedConclusion(read_measurements(run, untouched)).result()
    except (RecordError, ValueError, KeyError, IndexError, TypeError, ZeroDivisionError, OverflowError) as error:
        yield Mismatch(MANIFEST, "speed", "times and ratios", f"they do not follow from what is kept: {error}")
        return
    for name, bug in concluded.bugs.items():
        yield Mismatch(record_name(name), "cost", "times", f"they do not follow: {type(bug).__name__}: {bug}")
    for name, cost in concluded.costs.items():
        yield from compare(record_name(name), run[name].cost, cost, at="cost")
    yield from _ranking(run, concluded.speed)
    yield from compare(MANIFEST, run.manifest.baseline, concluded.baseline, at="baseline")


def _ranking(run: Run, derived: Any) -> Iterator[Mismatch]:
    recorded = run.manifest.speed
    given = {"warnings", "timed_from", "timed_until", "control_arrays", "control_arrays_sha256"}
    yield from compare(MANIFEST, recorded, derived, at="speed", ignored=given)
    assert recorded is not None
    kept = [warning for warning in recorded.warnings if warning.id not in SURROUNDINGS]
    yield from compare(MANIFEST, kept, derived.warnings, at="speed.warnings")
