"""The evidence of the verdicts on one backend as arrays of a run directory, and back: ``arrays/NAME.evidence.npz``.

    gradient_steps (g,), gradients (g, m)      reported in the training, at recorded steps
    points0, points1 (P, m)                    weights of the routes that depend on seed and reference
    ladders                                    sha256 of all other routes, which follow from the problem alone
    answers_loss (A, 2), answers_gradient (A, 2, m), answers_following (A, r, m), answers_kept (A, m)
                                               at the points of all routes, one route after the other
    answers_facts (routes, 1 + k)              whether the data were left alone, and which reads changed what
    fused_answers_…                            the same through the backend's own step
    repeated_…                                 losses and weights of the second run
    fused_…                                    weights of the pass through the backend's own step

with m weights in the layout of `Problem.layout`. Most of these numbers can be forecast: those of a second run from the
first, an update as w - ηg, a second visit from the first. Such arrays are recorded as differences from the forecast
(`bit_difference`), which compress well, and nothing is lost. The file holds all arrays as two (`records.planes`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from compare_ag.host.session import Evaluation, Recording, concatenate
from compare_ag.records import RecordError
from compare_ag.suite.bit_difference import (
    difference,
    restore_rows,
    restore_visits,
    rows_difference,
    visits_difference,
)
from compare_ag.suite.training import Training
from compare_ag.worker.messages import Read

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.verify import Probes
    from compare_ag.verify.probes import Route
    from compare_ag.worker.messages import Array

DRAWN = 2
"""routes whose points are recorded, because they are drawn: on all data, and on half of them"""
READS: tuple[Any, ...] = get_args(Read)


def evidence_arrays(problem: Problem, training: Training) -> dict[str, Array]:
    """The arrays of a training that ran to its end, as described above."""
    recording = training.recording
    arrays = {
        "gradient_steps": np.array(recording.gradient_steps, dtype=np.int64),
        "gradients": _flat(problem, recording.gradient_w, recording.gradient_b),
    }
    if training.repeated is not None:
        arrays |= _pass_arrays("repeated", problem, training.repeated, recording)
    if training.fused is not None:
        arrays |= _pass_arrays("fused", problem, training.fused, None)
    if training.probes is not None:
        arrays |= _point_arrays(training.probes)
        for kind, answers in (("answers", training.answers), ("fused_answers", training.fused_answers)):
            by_route = [_answer_arrays(problem, *pair) for pair in zip(training.probes.routes, answers, strict=False)]
            for name in by_route[0] if by_route else ():
                arrays[f"{kind}_{name}"] = np.concatenate([route[name] for route in by_route])
    return arrays


def read_training(
    problem: Problem, trajectory: Mapping[str, Array], evidence: Mapping[str, Array], probes: Probes | None
) -> Training:
    """The training that this trajectory and this evidence were recorded from. Raises `RecordError`.

    probes: drawn with the recorded seed; their points are replaced by the recorded ones.
    """
    try:
        return _read_training(problem, trajectory, evidence, probes)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise RecordError(f"the evidence does not fit the problem: {type(error).__name__}: {error}") from None


def _read_training(
    problem: Problem, trajectory: Mapping[str, Array], evidence: Mapping[str, Array], probes: Probes | None
) -> Training:
    recording = _recording(trajectory, "", trajectory["losses"])
    _add_gradients(problem, recording, evidence["gradient_steps"], evidence["gradients"])
    training = Training(cast("Any", None), 0, recording)
    if "repeated_losses" in evidence:
        training.repeated = _repeated(problem, evidence, recording)
    if "fused_w" in evidence:
        fused = {**evidence, **{name: trajectory[name] for name in ("fused_final_w", "fused_final_b")}}
        training.fused = _recording(fused, "fused_", trajectory["fused_losses"])
    if "ladders" in evidence and probes is not None:
        training.probes = _recorded_probes(evidence, probes)
        for kind, answers in (("answers", training.answers), ("fused_answers", training.fused_answers)):
            answers += _read_answers(problem, training.probes.routes, evidence, f"{kind}_")
    return training


# --- trajectories ---


def _flat(problem: Problem, w: list[Array], b: list[Array]) -> Array:
    """Flat weights (r, m) from chunks of both parts."""
    parts = concatenate(w, problem.dtype, (problem.features,)), concatenate(b, problem.dtype)
    return np.asarray(problem.layout.flat(parts))


def _pass_arrays(name: str, problem: Problem, recording: Recording, first: Recording | None) -> dict[str, Array]:
    """The arrays of one more pass; first: the pass that it should repeat."""
    arrays = _weights_and_losses(problem, recording)
    if first is None:
        del arrays["losses"]  # of the fused pass they belong to the trajectory
    else:
        forecast = _weights_and_losses(problem, first)
        arrays = {key: difference(arrays[key], forecast[key]) for key in arrays}
        assert recording.final_w is not None
        assert recording.final_b is not None
        arrays |= {"final_w": recording.final_w, "final_b": recording.final_b}
        gradients = _flat(problem, recording.gradient_w, recording.gradient_b)
        arrays["gradient_steps"] = np.array(recording.gradient_steps, dtype=np.int64)
        arrays["gradients"] = difference(gradients, _flat(problem, first.gradient_w, first.gradient_b))
    arrays["weight_steps"] = np.array(recording.weight_steps, dtype=np.int64)
    return {f"{name}_{key}": array for key, array in arrays.items()}


def _weights_and_losses(problem: Problem, recording: Recording) -> dict[str, Array]:
    """The arrays of a pass that can be forecast from those of another one."""
    return {
        "losses": concatenate(recording.losses, problem.dtype),
        "w": concatenate(recording.w, problem.dtype, (problem.features,)),
        "b": concatenate(recording.b, problem.dtype),
        "full_losses": concatenate(recording.full_losses, problem.dtype),
    }


def _recording(arrays: Mapping[str, Array], prefix: str, losses: Array) -> Recording:
    steps, w, b = (arrays[f"{prefix}{key}"] for key in ("weight_steps", "w", "b"))
    if w.ndim != 2 or not len(steps) == len(w) == len(b):
        raise ValueError(f"there are weights of shapes {w.shape} and {b.shape} for {len(steps)} steps")
    return Recording(
        losses=[losses],
        weight_steps=arrays[f"{prefix}weight_steps"].tolist(),
        w=[arrays[f"{prefix}w"]],
        b=[arrays[f"{prefix}b"]],
        full_losses=[arrays[f"{prefix}full_losses"]],
        final_w=arrays[f"{prefix}final_w"],
        final_b=arrays[f"{prefix}final_b"],
    )


def _repeated(problem: Problem, evidence: Mapping[str, Array], first: Recording) -> Recording:
    """The second run, restored from its differences from the first."""
    restored = {
        f"repeated_{key}": difference(evidence[f"repeated_{key}"], forecast)
        for key, forecast in _weights_and_losses(problem, first).items()
    }
    recording = _recording({**evidence, **restored}, "repeated_", restored["repeated_losses"])
    gradients = difference(evidence["repeated_gradients"], _flat(problem, first.gradient_w, first.gradient_b))
    _add_gradients(problem, recording, evidence["repeated_gradient_steps"], gradients)
    return recording


def _add_gradients(problem: Problem, recording: Recording, steps: Array, gradients: Array) -> None:
    if gradients.shape != (len(steps), problem.layout.size):
        raise ValueError(f"there are gradients of shape {gradients.shape} for {len(steps)} steps")
    gradient_w, gradient_b = problem.layout.parts(gradients)
    recording.gradient_steps = steps.tolist()
    recording.gradient_w, recording.gradient_b = [gradient_w], [gradient_b]


# --- points and answers ---


def _point_arrays(probes: Probes) -> dict[str, Array]:
    arrays = {
        f"points{i}": rows_difference(route.weights, route.weights) for i, route in enumerate(probes.routes[:DRAWN])
    }
    return arrays | {"ladders": _digest(probes.routes[DRAWN:])}


def _digest(routes: tuple[Route, ...]) -> Array:
    """sha256 of the points of these routes, (32,)."""
    sha = hashlib.sha256(b"".join(np.ascontiguousarray(route.weights).tobytes() for route in routes))
    return np.frombuffer(sha.digest(), dtype=np.uint8)


def _recorded_probes(evidence: Mapping[str, Array], probes: Probes) -> Probes:
    """The same probes at the recorded points. Raises `RecordError` where these cannot be the points of the probes."""
    if not np.array_equal(_digest(probes.routes[DRAWN:]), evidence["ladders"]):
        raise RecordError("the points that follow from the problem are other ones with the libraries of this machine")
    routes = list(probes.routes)
    for i, route in enumerate(routes[:DRAWN]):
        differences = evidence[f"points{i}"]
        if differences.shape != route.weights.shape:
            raise RecordError(
                f"there are points of shape {differences.shape}, and {route.weights.shape} are drawn with the seed"
            )
        # which points are equal follows from those drawn anew
        weights = restore_rows(route.weights, differences.view(route.weights.dtype))
        if not np.allclose(weights, route.weights, rtol=1e-5, atol=0.0):  # this machine's reference may round otherwise
            raise RecordError(f"points{i}: these are not the points that the recorded seed draws")
        routes[i] = replace(route, weights=weights)
    return replace(probes, routes=tuple(routes))


def _forecast_updates(problem: Problem, weights: Array, gradient: Array) -> Array:
    """w - ηg (P, m) in the problem's dtype."""
    rate = np.dtype(problem.dtype).type(problem.learning_rate)
    with np.errstate(all="ignore"):
        return np.asarray(weights - rate * gradient)


def _forecast_gradients(problem: Problem, route: Route, slope: Array) -> Array | None:
    """A forecast of the gradients of w (P, d) from those of b, ``slope`` (P,); None where there is none.

    For one example ∂f/∂w = (p - y) x + l2 w with p - y = ∂f/∂b. At w = 0 all examples have the same p, and
    ∂f/∂b = p - ȳ gives it. Sums go from row to row, so that they round the same on every machine.
    """
    w = route.weights[:, :-1]
    if route.rows is None or not len(w) or (len(route.rows) > 1 and w.any()):
        return None
    X, y = (np.asarray(part, dtype=np.float64)[route.rows] for part in (problem.X, problem.y))
    slope = slope.astype(np.float64)
    sum_x, sum_yx = np.zeros(X.shape[1]), np.zeros(X.shape[1])  # Σ xᵢ and Σ yᵢ xᵢ
    for row, label in zip(X, y.tolist(), strict=True):
        sum_x += row
        sum_yx += label * row
    n, ones = float(len(X)), float(np.count_nonzero(y))
    with np.errstate(all="ignore"):
        if len(X) == 1:
            return np.asarray(slope[:, None] * sum_x + problem.l2 * w.astype(np.float64)).astype(problem.dtype)
        p = slope + ones / n  # ∂f/∂b + ȳ
        # Σ (p - yᵢ) xᵢ / n
        return np.asarray(p[:, None] * (sum_x / n) - sum_yx / n).astype(problem.dtype)


def _difference_in_first_visits(answers: Array, forecast: Array | None) -> None:
    """Replace the first visits' gradients of w, in ``answers`` (P, 2, m), by their difference from the forecast."""
    if forecast is not None:
        bits = f"u{answers.itemsize}"
        answers.view(bits)[:, 0, :-1] ^= forecast.view(bits)


def _answer_arrays(problem: Problem, route: Route, answers: Evaluation) -> dict[str, Array]:
    """The arrays of the answers along one route."""
    arrays = {"loss": visits_difference(route.weights, answers.loss)}
    if answers.gradient is None:
        arrays["following"] = visits_difference(route.weights, answers.following)
    else:
        arrays["gradient"] = visits_difference(route.weights, answers.gradient)
        forecast = _forecast_gradients(problem, route, answers.gradient[:, 0, -1])
        _difference_in_first_visits(arrays["gradient"], forecast)
        updates = _forecast_updates(problem, route.weights, answers.gradient[:, -1])
        arrays["following"] = difference(answers.following, updates[:, None])
    if answers.kept is not None:
        arrays["kept"] = difference(answers.kept, route.weights)
    facts = [answers.data_kept, *(name in answers.changed_by_reading for name in READS)]
    return arrays | {"facts": np.array([facts], dtype=np.uint8)}


def _read_answers(
    problem: Problem, routes: tuple[Route, ...], evidence: Mapping[str, Array], prefix: str
) -> Iterator[Evaluation]:
    """The answers along every route, which follow each other in each array; none where there are no such arrays."""
    arrays = {key.removeprefix(prefix): array for key, array in evidence.items() if key.startswith(prefix)}
    end = 0
    for number, route in enumerate(routes if arrays else ()):
        rows = slice(end, end := end + len(route.names))
        of_route = {key: array[rows] for key, array in arrays.items() if key != "facts"}
        if any(len(array) != len(route.names) for array in of_route.values()):
            raise ValueError(f"there are fewer answers than the {len(route.names)} points of route {number}")
        yield _restore_answers(problem, route, of_route | {"facts": arrays["facts"][number]})


def _restore_answers(problem: Problem, route: Route, arrays: Mapping[str, Array]) -> Evaluation:
    """The answers along one route from their arrays; the reverse of `_answer_arrays`."""
    keys, dtype, gradient = route.weights, problem.dtype, None
    if "gradient" in arrays:
        differences = np.array(arrays["gradient"]).view(dtype)
        _difference_in_first_visits(differences, _forecast_gradients(problem, route, differences[:, 0, -1]))
        gradient = restore_visits(keys, differences)
    if gradient is None:
        following = restore_visits(keys, arrays["following"].view(dtype))
    else:
        following = difference(arrays["following"], _forecast_updates(problem, keys, gradient[:, -1])[:, None])
    facts = arrays["facts"].astype(bool).tolist()
    return Evaluation(
        restore_visits(keys, arrays["loss"].view(dtype)),
        gradient,
        following.view(dtype),
        None if "kept" not in arrays else difference(arrays["kept"], keys).view(dtype),
        data_kept=facts[0],
        changed_by_reading=tuple(sorted(name for name, changed in zip(READS, facts[1:], strict=True) if changed)),
    )
