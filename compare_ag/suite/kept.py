"""What the verdicts on one backend rest on, as arrays in a run directory and back: ``arrays/NAME.evidence.npz``.

    gradient_steps (g,), gradients (g, m)      reported in the training, at recorded steps
    points0, points1 (P, m)                    weights of the routes that depend on seed and reference
    ladders                                    sha256 of all other routes, which follow from the problem alone
    answers_loss (A, 2), answers_gradient (A, 2, m), answers_following (A, r, m), answers_kept (A, m)
                                               at the points of all routes, one route after the other
    answers_facts (routes, 1 + k)              whether the data were left alone, and which reads changed what
    fused_answers_…                            the same through the backend's own step
    repeated_…                                 losses and weights of the second run
    fused_…                                    weights of the pass through the backend's own step

with m weights in the layout of `Problem.layout`. Most of this repeats what is known: a second run the first, an update
w - ηg, a second visit the first. So those arrays hold the exclusive or of their bits with the bits of such a forecast,
in which the same number is 0 and a near one nearly, and the file is compressed. Nothing is lost, and the forecasts are
single operations of IEEE 754 in a fixed order, the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from compare_ag.host.session import Evaluation, Recording, concatenate
from compare_ag.records import RecordError
from compare_ag.suite.training import Training
from compare_ag.worker.messages import Read

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.verify import Probes
    from compare_ag.verify.probes import Route
    from compare_ag.worker.messages import Array

DRAWN = 2
"""routes whose points are kept: on all data, and on half of them"""
READS: tuple[Any, ...] = get_args(Read)


def evidence_arrays(problem: Problem, training: Training) -> dict[str, Array]:
    """The arrays of a training that ran to its end."""
    recording = training.recording
    arrays = {
        "gradient_steps": np.array(recording.gradient_steps, dtype=np.int64),
        "gradients": _joined(problem, recording.gradient_w, recording.gradient_b),
    }
    if training.repeated is not None:
        arrays |= _passed("repeated", problem, training.repeated, recording)
    if training.fused is not None:
        arrays |= _passed("fused", problem, training.fused, None)
    if training.probes is not None:
        arrays |= _points(training.probes)
        for kind, answers in (("answers", training.answers), ("fused_answers", training.fused_answers)):
            packed = [_packed(problem, *pair) for pair in zip(training.probes.routes, answers, strict=False)]
            for name in packed[0] if packed else ():
                arrays[f"{kind}_{name}"] = np.concatenate([one[name] for one in packed])
    return arrays


def training_of(
    problem: Problem, trajectory: Mapping[str, Array], evidence: Mapping[str, Array], probes: Probes | None
) -> Training:
    """The training that left this trajectory and this evidence, asked at ``probes``. Raises `RecordError`.

    probes: drawn with the recorded seed; its points are replaced by those that were kept.
    """
    try:
        return _training(problem, trajectory, evidence, probes)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise RecordError(f"the evidence does not fit the problem: {type(error).__name__}: {error}") from None


def _training(
    problem: Problem, trajectory: Mapping[str, Array], evidence: Mapping[str, Array], probes: Probes | None
) -> Training:
    recording = _recording(trajectory, "", trajectory["losses"])
    _add_gradients(problem, recording, evidence["gradient_steps"], evidence["gradients"])
    training = Training(cast("Any", None), 0, recording)
    if "repeated_losses" in evidence:
        training.repeated = _repeated(problem, evidence, recording)
    if "fused_w" in evidence:
        own = {**evidence, **{name: trajectory[name] for name in ("fused_final_w", "fused_final_b")}}
        training.fused = _recording(own, "fused_", trajectory["fused_losses"])
    if "ladders" in evidence and probes is not None:
        training.probes = _asked(evidence, probes)
        for kind, answers in (("answers", training.answers), ("fused_answers", training.fused_answers)):
            answers += _answers(problem, training.probes.routes, evidence, f"{kind}_")
    return training


# --- trajectories


def _joined(problem: Problem, w: list[Array], b: list[Array]) -> Array:
    """Flat weights (r, m)."""
    parts = concatenate(w, problem.dtype, (problem.features,)), concatenate(b, problem.dtype)
    return np.asarray(problem.layout.flat(parts))


def _passed(name: str, problem: Problem, done: Recording, like: Recording | None) -> dict[str, Array]:
    """One more pass; ``like``: the pass that it should repeat."""
    arrays = {
        "weight_steps": np.array(done.weight_steps, dtype=np.int64),
        "w": concatenate(done.w, problem.dtype, (problem.features,)),
        "b": concatenate(done.b, problem.dtype),
        "full_losses": concatenate(done.full_losses, problem.dtype),
    }
    if like is not None:
        arrays["losses"] = concatenate(done.losses, problem.dtype)
        forecast = _forecast(problem, like)
        arrays |= {key: _hidden(arrays[key], forecast[key]) for key in forecast}
        assert done.final_w is not None
        assert done.final_b is not None
        arrays |= {"final_w": done.final_w, "final_b": done.final_b}
        gradients = _joined(problem, done.gradient_w, done.gradient_b)
        arrays["gradient_steps"] = np.array(done.gradient_steps, dtype=np.int64)
        arrays["gradients"] = _hidden(gradients, _joined(problem, like.gradient_w, like.gradient_b))
    return {f"{name}_{key}": array for key, array in arrays.items()}


def _forecast(problem: Problem, like: Recording) -> dict[str, Array]:
    return {
        "losses": concatenate(like.losses, problem.dtype),
        "w": concatenate(like.w, problem.dtype, (problem.features,)),
        "b": concatenate(like.b, problem.dtype),
        "full_losses": concatenate(like.full_losses, problem.dtype),
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


def _repeated(problem: Problem, evidence: Mapping[str, Array], like: Recording) -> Recording:
    shown = {
        f"repeated_{key}": _hidden(evidence[f"repeated_{key}"], forecast)
        for key, forecast in _forecast(problem, like).items()
    }
    done = _recording({**evidence, **shown}, "repeated_", shown["repeated_losses"])
    gradients = _hidden(evidence["repeated_gradients"], _joined(problem, like.gradient_w, like.gradient_b))
    _add_gradients(problem, done, evidence["repeated_gradient_steps"], gradients)
    return done


def _add_gradients(problem: Problem, done: Recording, steps: Array, gradients: Array) -> None:
    if gradients.shape != (len(steps), problem.layout.size):
        raise ValueError(f"there are gradients of shape {gradients.shape} for {len(steps)} steps")
    gradient_w, gradient_b = problem.layout.parts(gradients)
    done.gradient_steps = steps.tolist()
    done.gradient_w, done.gradient_b = [gradient_w], [gradient_b]


# --- points and answers


def _points(probes: Probes) -> dict[str, Array]:
    routes, arrays = probes.routes, {}
    for i, route in enumerate(routes[:DRAWN]):
        arrays[f"points{i}"] = _hidden(route.weights, _first_alike(route.weights, route.weights))
    return arrays | {"ladders": _digest(routes[DRAWN:])}


def _digest(routes: tuple[Route, ...]) -> Array:
    """sha256 of the points of these routes, (32,)."""
    sha = hashlib.sha256(b"".join(np.ascontiguousarray(route.weights).tobytes() for route in routes))
    return np.frombuffer(sha.digest(), dtype=np.uint8)


def _asked(evidence: Mapping[str, Array], probes: Probes) -> Probes:
    """The same probes at the points that were kept. Raises `RecordError` where they cannot be those."""
    if not np.array_equal(_digest(probes.routes[DRAWN:]), evidence["ladders"]):
        raise RecordError("the points that follow from the problem are other ones with the libraries of this machine")
    routes = list(probes.routes)
    for i, route in enumerate(routes[:DRAWN]):
        weights = _shown_points(evidence[f"points{i}"], route.weights)
        if not np.allclose(weights, route.weights, rtol=1e-5, atol=0.0):  # this machine's reference may round otherwise
            raise RecordError(f"points{i}: these are not the points that the recorded seed draws")
        routes[i] = replace(route, weights=weights)
    return replace(probes, routes=tuple(routes))


def _first_alike(keys: Array, values: Array) -> Array:
    """For each row of ``values`` the value at the first row with the same key; zeros for the first ones (P, …)."""
    forecast = np.zeros_like(values)
    for i, first in enumerate(_firsts(keys)):
        if first != i:
            forecast[i] = values[first]
    return forecast


def _firsts(keys: Array) -> list[int]:
    seen: dict[bytes, int] = {}
    return [seen.setdefault(key.tobytes(), i) for i, key in enumerate(keys)]


def _shown_points(hidden: Array, drawn: Array) -> Array:
    """The points, from those hidden behind the first alike; which are alike those drawn anew tell."""
    if hidden.shape != drawn.shape:
        raise RecordError(f"there are points of shape {hidden.shape}, and {drawn.shape} are drawn with the seed")
    shown = np.array(hidden.view(drawn.dtype))
    for i, first in enumerate(_firsts(drawn)):
        if first != i:
            shown[i : i + 1] = _hidden(hidden[i : i + 1], shown[first : first + 1])
    return shown


def _updates(problem: Problem, weights: Array, gradient: Array) -> Array:
    """w - ηg (P, m) in the problem's dtype."""
    rate = np.dtype(problem.dtype).type(problem.learning_rate)
    with np.errstate(all="ignore"):
        return np.asarray(weights - rate * gradient)


def _gradients(problem: Problem, route: Route, slope: Array) -> Array | None:
    """A forecast of the gradients of w (P, d) from those of b (P,); None where there is none.

    Of one example it is p - y times its features. At w = 0 all examples have the same p, which follows from that of b,
    p - ȳ. The sums go from row to row, the same on every machine.
    """
    w = route.weights[:, :-1]
    if route.rows is None or not len(w) or (len(route.rows) > 1 and w.any()):
        return None
    X, y = (np.asarray(part, dtype=np.float64)[route.rows] for part in (problem.X, problem.y))
    slope = slope.astype(np.float64)
    total, of_ones = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for row, label in zip(X, y.tolist(), strict=True):
        total += row
        of_ones += label * row
    n, ones = float(len(X)), float(np.count_nonzero(y))
    with np.errstate(all="ignore"):
        if len(X) == 1:
            return np.asarray(slope[:, None] * total + problem.l2 * w.astype(np.float64)).astype(problem.dtype)
        p = slope + ones / n
        return np.asarray(p[:, None] * (total / n) - of_ones / n).astype(problem.dtype)


def _flip(hidden: Array, forecast: Array | None) -> None:
    """Exclusive or of the first visits' gradients of w, (P, 2, m) in place, with their forecast."""
    if forecast is not None:
        bits = f"u{hidden.itemsize}"
        hidden.view(bits)[:, 0, :-1] ^= forecast.view(bits)


def _packed(problem: Problem, route: Route, answers: Evaluation) -> dict[str, Array]:
    """The answers along one route."""
    packed = {"loss": _hidden_visits(route, answers.loss)}
    if answers.gradient is None:
        packed["following"] = _hidden_visits(route, answers.following)
    else:
        packed["gradient"] = _hidden_visits(route, answers.gradient)
        _flip(packed["gradient"], _gradients(problem, route, answers.gradient[:, 0, -1]))
        forecast = _updates(problem, route.weights, answers.gradient[:, -1])
        packed["following"] = _hidden(answers.following, forecast[:, None])
    if answers.kept is not None:
        packed["kept"] = _hidden(answers.kept, route.weights)
    facts = [answers.data_kept, *(name in answers.changed_by_reading for name in READS)]
    return packed | {"facts": np.array([facts], dtype=np.uint8)}


def _answers(
    problem: Problem, routes: tuple[Route, ...], evidence: Mapping[str, Array], prefix: str
) -> Iterator[Evaluation]:
    """The answers along every route, one after the other in each array; none where nothing was kept."""
    packed = {key.removeprefix(prefix): array for key, array in evidence.items() if key.startswith(prefix)}
    first = 0
    for number, route in enumerate(routes if packed else ()):
        rows = slice(first, first := first + len(route.names))
        own = {key: array[rows] for key, array in packed.items() if key != "facts"}
        if any(len(array) != len(route.names) for array in own.values()):
            raise ValueError(f"there are fewer answers than the {len(route.names)} points of route {number}")
        yield _unpacked(problem, route, own | {"facts": packed["facts"][number]})


def _unpacked(problem: Problem, route: Route, packed: Mapping[str, Array]) -> Evaluation:
    gradient = None
    if "gradient" in packed:
        hidden = np.array(packed["gradient"]).view(problem.dtype)
        _flip(hidden, _gradients(problem, route, hidden[:, 0, -1]))
        gradient = _shown_visits(route, hidden, problem.dtype)
    if gradient is None:
        following = _shown_visits(route, packed["following"], problem.dtype)
    else:
        following = _hidden(packed["following"], _updates(problem, route.weights, gradient[:, -1])[:, None])
    facts = packed["facts"].astype(bool).tolist()
    return Evaluation(
        _shown_visits(route, packed["loss"], problem.dtype),
        gradient,
        following.view(problem.dtype),
        None if "kept" not in packed else _hidden(packed["kept"], route.weights).view(problem.dtype),
        data_kept=facts[0],
        changed_by_reading=tuple(sorted(name for name, changed in zip(READS, facts[1:], strict=True) if changed)),
    )


def _hidden_visits(route: Route, values: Array) -> Array:
    """(P, 2, …): a second visit behind the first one, a first one behind that of the first point alike."""
    first = _hidden(values[:, 0], _first_alike(route.weights, values[:, 0]))
    return np.stack([first, _hidden(values[:, 1], values[:, 0])], axis=1)


def _shown_visits(route: Route, hidden: Array, dtype: str) -> Array:
    shown = np.array(hidden).view(dtype)
    for i, first in enumerate(_firsts(route.weights)):
        if first != i:
            shown[i : i + 1, 0] = _hidden(hidden[i : i + 1, 0], shown[first : first + 1, 0])
    shown[:, 1] = _hidden(hidden[:, 1], shown[:, 0])
    return shown


def _hidden(values: Array, forecast: Array) -> Array:
    """The bits of values, exclusive or those of a forecast of their first rows: 0 where it is right; its own inverse.

    Returns an array of the shape and dtype of the values, which then are no numbers to calculate with.
    """
    bits = f"u{values.dtype.itemsize}"
    flat = np.array(values, order="C").view(bits)
    forecast = np.ascontiguousarray(forecast[: len(flat)])  # the second run may be shorter
    flat[: len(forecast)] ^= forecast.view(bits)
    return flat.view(values.dtype)
