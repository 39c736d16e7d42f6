"""One run: its backends compared with one of them, by the intervals of the run itself."""

from __future__ import annotations

import math

import msgspec

from compare_ag.compare.changes import BackendChange, Comparison, SpeedChange
from compare_ag.compare.guards import ComparisonError
from compare_ag.compare.numbers import as_log, change, disturbance, exclusion, step_time
from compare_ag.compare.regressions import regressions
from compare_ag.compare.runs import THRESHOLD
from compare_ag.records import Run
from compare_ag.speed.pair_verdicts import decide


def compare_within(run: Run, baseline: str, *, threshold: float = THRESHOLD, strict: bool = False) -> Comparison:
    """How each backend of the run differs from ``baseline``.

    threshold: ratio less one by which a backend may be slower. strict: a disturbed timing is a regression.

    Raises `ComparisonError` where the baseline is not in the run, or is its only backend.
    """
    names = ", ".join(run.records)
    if baseline not in run.records:
        raise ComparisonError(f"the baseline {baseline!r} is not in this run; its backends: {names}")
    if len(run.records) < 2:
        raise ComparisonError(f"there is nothing to compare with {baseline!r}: it is alone in this run")
    backends = [
        _against(change(name, (run, baseline), (run, name), _speed(run, name, baseline, threshold)))
        for name in run.records
        if name != baseline
    ]
    sentences = regressions(backends, baseline, threshold, strict=strict)
    speed = run.manifest.speed
    return Comparison(
        kind="within",
        before=baseline,
        after=run.path.resolve().name,
        created_before=run.manifest.created,
        created_after=run.manifest.created,
        problem=run.manifest.problem.name,
        threshold=threshold,
        level=0.95 if speed is None else speed.level,
        yardstick=None,
        times_differ=[],
        environment=[],
        backends=backends,
        regressions=sentences,
        notes=[] if run.manifest.state == "complete" else ["the run did not finish"],
        strict=strict,
        exit_code=1 if sentences else 0,
    )


def _against(backend: BackendChange) -> BackendChange:
    """The change with "wrong" for every backend that is not ok, even if the baseline is not ok either."""
    return msgspec.structs.replace(backend, became="wrong") if backend.became == "still wrong" else backend


def _speed(run: Run, name: str, baseline: str, threshold: float) -> SpeedChange:
    """The recorded ratio, judged by ``threshold``."""
    before, after = step_time(run[baseline]), step_time(run[name])
    speed = run.manifest.speed
    sides = [(run[side], f"in {run.path.resolve().name}") for side in (baseline, name)]
    if before is not None and after is not None:
        for verdict, reason in (("not compared", exclusion), ("not decided", disturbance)):
            if note := "; ".join(filter(None, (reason(*side) for side in sides))):
                return SpeedChange(before=before, after=after, ratio=None, verdict=verdict, note=note)
    pair = None if speed is None else speed.pair(name, baseline)
    if pair is None or speed is None:
        note = "the run has no ratio of the two"
        if before is None or after is None:
            note = "not timed" if after is None else f"{baseline} was not timed"
        return SpeedChange(before=before, after=after, ratio=None, verdict="not compared", note=note)
    floor = speed.noise_floor
    decision = decide(as_log(pair.ratio, speed.launches), threshold, math.inf if floor is None else floor)
    note = "the run's noise floor does not allow a verdict" if decision.limited_by_noise_floor else ""
    return SpeedChange(before=before, after=after, ratio=pair.ratio, verdict=decision.verdict, floor=floor, note=note)
