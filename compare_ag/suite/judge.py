"""The judge of a run: it computes the reference and its tolerances, and turns each training into a record.

The reference is computed in the host, in a thread, while the workers train. No worker receives the expected result of
anything it is asked to compute: what leaves this module are points, drawn once a backend's plugin has been loaded, and
the checkpoint, which is perturbed before a worker receives it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag import records
from compare_ag.records import BackendRecord, Real, real
from compare_ag.suite.checkpoint import choose_checkpoint
from compare_ag.suite.make_records import trajectory_arrays, verdict_record, worker_fields
from compare_ag.suite.training_evidence import compare_repetition, make_evidence, make_fused_evidence
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
"""verdict -> status of the backend"""


class Judge:
    """Holds the reference of one run and turns trainings into records.

    recorded_steps: the k at which weights are recorded as pairs (k, k+1).
    """

    def __init__(self, problem: Problem, recorded_steps: list[int]) -> None:
        self.problem = problem
        self.error: BaseException | None = None
        """why there is no reference: a bug of ours, or memory that does not suffice"""
        self.cancelled = threading.Event()
        """ends the computation of the reference, and every wait for it"""
        self._recorded_steps = recorded_steps
        self._reference: Reference | None = None
        self._tolerance: Tolerance | None = None
        self._oracle = Oracle(problem)
        self._ready = threading.Event()

    def prepare(self) -> None:
        """Compute the reference and its tolerances; runs beside the workers, in a thread."""
        try:
            reference = reference_trajectory(self.problem, self._stop_if_cancelled)
            reference = dataclasses.replace(reference, exact=exact_trajectory(self.problem, self._stop_if_cancelled))
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

    def _stop_if_cancelled(self, _step: int) -> None:
        if self.cancelled.is_set():
            raise _CancelledError

    def warnings(self) -> list[str]:
        """Sentences on the problem that a user should read whatever the backends do."""
        problem = self.problem
        sentences = list(problem.data.warnings)
        stiffness = problem.learning_rate * problem.curvature  # ηL
        if stiffness > 2:
            sentences.append(
                f"learning rate x largest curvature = {stiffness:.3g} is beyond 2: gradient descent may not converge "
                f"and rounding errors may grow (1/L would be {1 / problem.curvature:.3g})"
            )
        return sentences

    def record(self, name: str, training: Training, folder: Path) -> tuple[BackendRecord, dict[str, Array]]:
        """The record of one backend and the arrays that belong to it; folder: the run directory."""
        arrays = trajectory_arrays(training, self.problem)
        fields = worker_fields(name, training, folder, self.problem.threads)
        failure = training.failure
        if failure is not None:
            losses = len(arrays["losses"])
            clause = f"; {losses} losses are kept" if losses > 1 else ""
            fields |= {
                "status": failure.status,
                "reason": failure.reason + clause,
                "phase": failure.phase,
                "step": failure.step,
            }
        elif self.error is not None:
            reason = f"the reference could not be computed: {type(self.error).__name__}: {self.error}"
            fields |= {"status": "undecidable", "reason": reason}
        elif self._reference is None or self._tolerance is None:
            fields |= {"status": "cancelled", "reason": "the run was interrupted before it could be judged"}
        else:
            fields |= self.judge_training(training, arrays)
        return BackendRecord(**fields), arrays if len(arrays["losses"]) else {}

    def judge_training(self, training: Training, arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Status, verdicts, convergence and the published table of a training that ran to its end.

        Returns the fields of its `BackendRecord` that follow from the backend's answers and its trajectory ``arrays``.
        Needs a reference: see `prepare`.
        """
        assert self._reference is not None
        assert self._tolerance is not None
        problem = self.problem
        verdict, fused = self.certify_training(training)
        # as `records.decisive`: the fused step decides where only its verdict does not agree
        decisive = verdict if fused is None or verdict.status != "agrees" else fused
        prefix = "" if decisive is verdict else "the fused step: "
        repetition = compare_repetition(training, self._tolerance)
        fields: dict[str, Any] = {
            "status": _STATUS[decisive.status],
            "reason": "" if decisive.status == "agrees" else prefix + decisive.message,
            "step": decisive.first_step,
            "phase": decisive.phase,
            "repeatable": None if repetition is None else not repetition.differing,
            "repetition": repetition,
            "probe_seed": None if training.probes is None else training.probes.seed,
            "verdict": verdict_record(verdict),
            "fused_verdict": None if fused is None else verdict_record(fused),
        }
        if verdict.status != "malformed":
            fields["convergence"] = convergence(problem, arrays["final_w"], arrays["final_b"])
            fields["published"] = published_rows(problem, arrays["losses"])
        return fields

    def certify_training(self, training: Training) -> tuple[Verdict, Verdict | None]:
        """The verdict on a complete training, and on its fused step where the backend has its own `step`."""

        def certify_evidence(evidence: Evidence) -> Verdict:
            assert self._reference is not None
            assert self._tolerance is not None
            return certify(self.problem, self._reference, self._tolerance, self._oracle, evidence)

        verdict = certify_evidence(make_evidence(self.problem, training))
        if training.fused is None:
            return verdict, None
        return verdict, certify_evidence(make_fused_evidence(self.problem, training))

    def checkpoint(self, where: str) -> tuple[int, Array, Array] | None:
        """Step and weights of start, middle or end of the reference trajectory; None where there is no reference."""
        if self._reference is None:
            return None
        return choose_checkpoint(self._reference, self._recorded_steps, self.problem, where)

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
            "recorded_steps": np.array(self._recorded_steps, dtype=np.int64),
            "w": w,
            "b": b,
            "final_w": final_w,
            "final_b": final_b,
        }

    def max_pair_difference(
        self, backends: Mapping[str, BackendRecord], arrays: Mapping[str, Mapping[str, Array]]
    ) -> Real | None:
        """The largest distance ‖(w, b) - (w', b')‖ between the final weights of two judged backends."""
        ends = [
            self.problem.layout.flat((arrays[name]["final_w"], arrays[name]["final_b"])).astype(np.float64)
            for name, record in backends.items()
            if record.status in records.JUDGED and "final_w" in arrays[name]
        ]
        with np.errstate(over="ignore", invalid="ignore"):  # two equal infinities differ by NaN
            differences = [first - second for first, second in itertools.combinations(ends, 2)]
        distances = [math.hypot(*difference) for difference in differences]  # squares nothing: no overflow
        # max() passes over a NaN: a NaN among the distances is the result
        return real(math.nan if any(map(math.isnan, distances)) else max(distances)) if distances else None

    def description(self) -> str:
        """One clause on the reference: exact to what radius, or bounded."""
        if self._reference is None:
            return ""
        exact = self._reference.exact
        if exact is None:
            return "a float64 trajectory whose own error is bounded; single steps: exact, from the recorded weights"
        return f"the exact trajectory, known to {exact.radius:.0e} at its last step ({exact.bits}-bit ball arithmetic)"

    def consensus_is_wrong(
        self, backends: Mapping[str, BackendRecord], arrays: Mapping[str, Mapping[str, Array]]
    ) -> bool:
        """Whether at least two backends disagree with the reference, none agrees, and all agree with each other.

        Two runs agree where their losses differ by no more than both tolerances allow together.
        """
        judged = [name for name, record in backends.items() if record.status in ("ok", "disagree")]
        if len(judged) < 2 or any(backends[name].status == "ok" for name in judged) or self._tolerance is None:
            return False
        allowed = 2.0 * self._tolerance.loss
        losses = [arrays[name]["losses"].astype(np.float64) for name in judged]
        with np.errstate(over="ignore", invalid="ignore"):
            differences = (np.abs(first - second) for first, second in itertools.combinations(losses, 2))
            return all(bool((difference <= allowed).all()) for difference in differences)


class _CancelledError(Exception):
    """The run was interrupted while the reference was being computed."""
