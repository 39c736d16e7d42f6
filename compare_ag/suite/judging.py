"""Judging a run: the reference and its tolerances, each backend's verdict, the exit code.

The reference is computed here, in the host, while the workers train; no worker ever sees a number of it that it
is asked for.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag import records
from compare_ag.exit_codes import ExitCode
from compare_ag.host.session import concatenate
from compare_ag.records import (
    BackendRecord,
    ConvergenceRecord,
    ProblemRecord,
    TestRecord,
    VerdictRecord,
    real,
)
from compare_ag.suite.engine import checkpoint_of
from compare_ag.suite.gathering import evidence, fused_evidence, repetition
from compare_ag.verify import (
    Evidence,
    Oracle,
    Probes,
    Reference,
    Tolerance,
    Verdict,
    certify,
    convergence,
    exact_trajectory,
    probe_points,
    published_rows,
    reference_trajectory,
    tolerance,
)

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.suite.training import Training
    from compare_ag.worker.messages import Array

_STATUS = {
    "agrees": "ok",
    "diverges": "disagree",
    "non-finite": "non-finite",
    "undecidable": "undecidable",
    "malformed": "malformed",
}


FINDINGS_KEPT = 8
"""of each test, in a record"""


class Judge:
    """Holds the reference of one run and turns trainings into records."""

    def __init__(self, problem: Problem, record: list[int]) -> None:
        self.problem = problem
        self._pairs = record
        self._reference: Reference | None = None
        self._tolerance: Tolerance | None = None
        self.error: BaseException | None = None
        self._oracle = Oracle(problem)
        self._ready = threading.Event()
        self.cancelled = threading.Event()

    def prepare(self) -> None:
        """Compute the reference and its tolerances; runs beside the workers, in a thread."""
        try:
            reference = reference_trajectory(self.problem, self._observe)
            reference = dataclasses.replace(reference, exact=exact_trajectory(self.problem, self._observe))
            self._tolerance = tolerance(self.problem, reference)
            self._reference = reference
        except _CancelledError:
            return
        except BaseException as error:  # noqa: BLE001 - in every record, and the run's exit code
            self.error = error
        finally:
            self._ready.set()

    def probes(self, seed: int) -> Probes | None:
        """The points to ask a backend about, drawn with ``seed``; None where no reference helps to choose them."""
        while not self._ready.wait(0.1):
            if self.cancelled.is_set():
                return None
        return None if self._reference is None else probe_points(self.problem, self._reference, seed)

    def _observe(self, _step: int) -> None:
        if self.cancelled.is_set():
            raise _CancelledError

    def warnings(self) -> list[str]:
        """What is worth a word before anything has run."""
        problem = self.problem
        found = list(problem.data.warnings)
        stiffness = problem.learning_rate * problem.curvature
        if stiffness > 2:
            found.append(
                f"learning rate x largest curvature = {stiffness:.3g} is beyond 2: gradient descent may not converge "
                f"and rounding errors may grow (1/L would be {1 / problem.curvature:.3g})"
            )
        return found

    def record(self, name: str, training: Training, folder: Path) -> tuple[BackendRecord, dict[str, Array]]:
        """The record of one backend and the arrays that belong to it."""
        arrays = _arrays(training, self.problem)
        facts = self._facts(name, training, folder)
        failure = training.failure
        if failure is not None:
            reached = len(arrays["losses"])
            kept = f"; {reached} losses are kept" if reached > 1 else ""
            facts |= {
                "status": failure.status,
                "reason": failure.reason + kept,
                "phase": failure.phase,
                "step": failure.step,
            }
        elif self.error is not None:
            reason = f"the reference could not be computed: {type(self.error).__name__}: {self.error}"
            facts |= {"status": "undecidable", "reason": reason}
        elif self._reference is None or self._tolerance is None:
            facts |= {"status": "cancelled", "reason": "the run was interrupted before it could be judged"}
        else:
            facts |= self.derived(training, arrays)
        return BackendRecord(**facts), arrays if len(arrays["losses"]) else {}

    def _facts(self, name: str, training: Training, folder: Path) -> dict[str, Any]:
        offer, loaded, observed = training.offer, training.loaded, training.observed
        facts: dict[str, Any] = {
            "name": name,
            "module": offer.module,
            "distribution": offer.distribution,
            "version": offer.version,
            "hash_seed": training.hash_seed,
            "logs": [path.relative_to(folder).as_posix() for path in training.logs],
            "warnings": list(training.warnings),
        }
        if loaded is not None:
            facts |= {
                "backend_class": loaded.backend,
                "dtypes": loaded.dtypes,
                "splits": loaded.splits,
                "overrides_step": loaded.overrides_step,
                "versions": loaded.versions,
            }
        if observed is not None:
            threads = max([1, *(int(pool["num_threads"]) for pool in observed.pools)])
            facts |= {
                "train_seconds": training.recording.seconds,
                "threads_observed": threads,
                "os_threads": observed.os_threads,
                "cpu_per_wall": observed.cpu_per_wall,
                "pools": observed.pools,
            }
            if threads > self.problem.threads:
                facts["warnings"].append(
                    f"asked for {self.problem.threads} thread(s), but a pool of {threads} was observed"
                )
        return facts

    def derived(self, training: Training, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Status, verdicts, convergence and the published table of a training that ran to its end.

        The fields of its `BackendRecord` that follow from what the backend said. Needs a reference: see `prepare`.
        """
        assert self._reference is not None
        assert self._tolerance is not None
        problem = self.problem
        verdict, fused = self.verdicts(training)
        decisive = verdict if fused is None or verdict.status != "agrees" else fused
        how = "" if decisive is verdict else "the fused step: "
        again = repetition(training, self._tolerance)
        facts: dict[str, Any] = {
            "status": _STATUS[decisive.status],
            "reason": "" if decisive.status == "agrees" else how + decisive.message,
            "step": decisive.first_step,
            "phase": decisive.phase,
            "repeatable": None if again is None else not again.differing,
            "repetition": again,
            "probe_seed": None if training.probes is None else training.probes.seed,
            "verdict": _verdict_record(verdict),
            "fused_verdict": None if fused is None else _verdict_record(fused),
        }
        if verdict.status != "malformed":
            trained = convergence(problem, arrays["final_w"], arrays["final_b"])
            facts["convergence"] = ConvergenceRecord(
                gradient_norm_start=real(trained.gradient_norm_start),
                gradient_norm_end=real(trained.gradient_norm_end),
                converged=trained.converged,
                message=trained.message,
            )
            facts["published"] = published_rows(problem, arrays["losses"])
        return facts

    def verdicts(self, training: Training) -> tuple[Verdict, Verdict | None]:
        """The verdict on a complete training, and on its fused step where the backend has one of its own."""

        def judged(evidence: Evidence) -> Verdict:
            assert self._reference is not None
            assert self._tolerance is not None
            return certify(self.problem, self._reference, self._tolerance, self._oracle, evidence)

        verdict = judged(evidence(self.problem, training))
        return verdict, None if training.fused is None else judged(fused_evidence(self.problem, training))

    def not_run(self, name: str, offer: Offer) -> BackendRecord:
        """The record of a backend whose turn never came."""
        return BackendRecord(
            name=name,
            module=offer.module,
            distribution=offer.distribution,
            version=offer.version,
            status="cancelled",
            reason="the run was interrupted before it had finished",
        )

    def checkpoint(self, where: str) -> tuple[int, Array, Array] | None:
        """Step and weights of start, middle or end of the reference trajectory, from which steps are timed."""
        if self._reference is None:
            return None
        return checkpoint_of(self._reference, self._pairs, self.problem, where)

    def reference_arrays(self) -> dict[str, Array]:
        """The reference and its tolerances, as `records.Run.reference` has them; {} where there is none."""
        reference, tolerances = self._reference, self._tolerance
        if reference is None or tolerances is None:
            return {}
        (w, b), (final_w, final_b) = map(self.problem.layout.parts, (reference.weights, reference.final_weights))
        return {
            "losses": reference.losses,
            "loss_tolerance": tolerances.loss,
            "weights_tolerance": tolerances.weights,
            "recorded_steps": np.array(self._pairs, dtype=np.int64),
            "w": w,
            "b": b,
            "final_w": final_w,
            "final_b": final_b,
        }

    def max_pair_difference(
        self, rows: dict[str, BackendRecord], arrays: dict[str, dict[str, Array]]
    ) -> records.Real | None:
        """The largest distance ‖(w, b) - (w', b')‖ between the final weights of two judged backends."""
        ends = [
            self.problem.layout.flat((arrays[name]["final_w"], arrays[name]["final_b"])).astype(np.float64)
            for name, record in rows.items()
            if record.status in records.JUDGED and "final_w" in arrays[name]
        ]
        with np.errstate(over="ignore", invalid="ignore"):  # two equal infinities differ by NaN
            differences = [one - other for one, other in itertools.combinations(ends, 2)]
        distances = [math.hypot(*difference) for difference in differences]  # squares nothing: no overflow
        # max() would pass over a NaN: say it instead
        return real(math.nan if any(map(math.isnan, distances)) else max(distances)) if distances else None

    def description(self) -> str:
        """One clause on the reference: exact to what radius, or bounded."""
        if self._reference is None:
            return ""
        exact = self._reference.exact
        if exact is None:
            return "a float64 trajectory whose own error is bounded; single steps: exact, from the recorded weights"
        return f"the exact trajectory, known to {exact.radius:.0e} at its last step ({exact.bits}-bit ball arithmetic)"

    def consensus_is_wrong(self, rows: dict[str, BackendRecord], arrays: dict[str, dict[str, Array]]) -> bool:
        """Whether at least two backends disagree with the reference, none agrees, and all agree with each other.

        Two runs agree where their losses differ by no more than both tolerances allow together.
        """
        judged = [name for name, record in rows.items() if record.status in ("ok", "disagree")]
        if len(judged) < 2 or any(rows[name].status == "ok" for name in judged) or self._tolerance is None:
            return False
        allowed = 2.0 * self._tolerance.loss
        losses = [arrays[name]["losses"].astype(np.float64) for name in judged]
        with np.errstate(over="ignore", invalid="ignore"):
            return all(bool((np.abs(one - other) <= allowed).all()) for one, other in itertools.combinations(losses, 2))


class _CancelledError(Exception):
    """The run was interrupted while the reference was being computed."""


def _arrays(training: Training, problem: Problem) -> dict[str, Array]:
    """What a training recorded, as arrays: a prefix where it failed."""
    recording, d = training.recording, problem.features
    arrays = {
        "losses": concatenate(recording.losses, problem.dtype),
        "weight_steps": np.array(recording.weight_steps, dtype=np.int64),
        "w": concatenate(recording.w, problem.dtype, (d,)),
        "b": concatenate(recording.b, problem.dtype),
        "full_losses": concatenate(recording.full_losses, problem.dtype),
    }
    if recording.final_w is not None and recording.final_b is not None:
        arrays |= {"final_w": recording.final_w, "final_b": recording.final_b}
    fused = training.fused
    if fused is not None and fused.final_w is not None and fused.final_b is not None:
        arrays |= {
            "fused_losses": concatenate(fused.losses, problem.dtype),
            "fused_final_w": fused.final_w,
            "fused_final_b": fused.final_b,
        }
    return arrays


def _maybe(value: float | None) -> records.Real | None:
    return None if value is None else real(value)


def _verdict_record(verdict: Verdict) -> VerdictRecord:
    return VerdictRecord(
        status=verdict.status,
        message=verdict.message,
        first_step=verdict.first_step,
        quantity=verdict.quantity,
        coordinate=verdict.coordinate,
        observed=_maybe(verdict.observed),
        tolerance=_maybe(verdict.tolerance),
        worst_ratio=real(verdict.worst_ratio),
        phase=verdict.phase,
        diagnosis=list(verdict.diagnosis),
        remark=verdict.remark,
        tests=[
            TestRecord(
                test=test.test,
                judged=test.judged,
                undecided=test.undecided,
                examples=test.examples,
                undecided_examples=test.undecided_examples,
                ratio=real(test.ratio),
                findings=[finding.message for finding in test.findings[:FINDINGS_KEPT]],
            )
            for test in verdict.tests
        ],
        weights_error=_maybe(verdict.weights_error),
        weights_tolerance=_maybe(verdict.weights_tolerance),
    )


def problem_record(problem: Problem) -> ProblemRecord:
    """The problem's description without its data."""
    data = problem.data
    return ProblemRecord(
        name=data.name,
        description=data.description,
        examples=problem.examples,
        features=problem.features,
        dtype=problem.dtype,
        loss=problem.loss,
        l2=problem.l2,
        steps=problem.steps,
        learning_rate=problem.learning_rate,
        learning_rate_source=problem.learning_rate_source,
        curvature=problem.curvature,
        seed=problem.seed,
        threads=problem.threads,
        batch_size=problem.batch_size,
        start=problem.start,
        label_names=data.label_names,
        parameters={name: real(value) for name, value in data.parameters.items()},
        digest=problem.digest(),
        published=list(problem.published),
        published_tolerance=problem.published_tolerance,
    )


def run_exit_code(rows: Iterable[BackendRecord], others: Iterable[int]) -> int:
    """The exit code of a run: of its records, and of what no record shows."""
    return int(ExitCode.worst([*map(exit_code, rows), *map(ExitCode, others)]))


def exit_code(record: BackendRecord) -> ExitCode:
    """What one backend contributes to the exit code of the run."""
    code = ExitCode.of_status(record.status)
    if record.status == "ok" and record.verdict is None:
        return ExitCode.BUG  # only a verdict makes a backend ok
    missed = code is ExitCode.OK and any(not row.reproduced for row in record.published)
    return ExitCode.DISAGREE if missed else code
