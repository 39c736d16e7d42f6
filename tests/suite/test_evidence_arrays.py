"""What verdicts rest on, as arrays and back: every bit, whatever a backend has answered."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import pytest

from compare_ag.host.session import Evaluation, Recording
from compare_ag.problem import problem_by_name, recorded_steps
from compare_ag.records import RecordError
from compare_ag.suite.evidence_arrays import evidence_arrays, read_training
from compare_ag.suite.judge import Judge
from compare_ag.suite.training import Training

STEPS = 40


@pytest.fixture(scope="module", params=["seed", "synthetic:n=30,d=4"])
def judge(request):
    problem = problem_by_name(request.param, steps=STEPS, l2=0.5)
    made = Judge(problem, recorded_steps(problem.steps))
    made.prepare()
    return made


def noise(generator, shape, dtype):
    """Any bits: numbers of all sizes, infinities, NaN of every kind."""
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return generator.integers(0, np.iinfo(bits).max, shape, dtype=bits).view(dtype)


def recording(problem, generator, steps):
    d, dtype = problem.features, problem.dtype
    at = sorted({0, 1, steps // 2, steps})
    return Recording(
        losses=[noise(generator, steps + 1, dtype)],
        weight_steps=at,
        w=[noise(generator, (len(at), d), dtype)],
        b=[noise(generator, len(at), dtype)],
        full_losses=[noise(generator, 0, dtype)],
        gradient_steps=at[:-1],
        gradient_w=[noise(generator, (len(at) - 1, d), dtype)],
        gradient_b=[noise(generator, len(at) - 1, dtype)],
        final_w=noise(generator, d, dtype),
        final_b=noise(generator, (), dtype),
    )


def answers(problem, route, generator, fused):
    points, m, dtype = len(route.names), problem.layout.size, problem.dtype
    return Evaluation(
        noise(generator, (points, 2), dtype),
        None if fused else noise(generator, (points, 2, m), dtype),
        noise(generator, (points, 2 if fused else 1, m), dtype),
        None if fused else noise(generator, (points, m), dtype),
        data_kept=bool(generator.integers(2)),
        changed_by_reading=("the weights",) if generator.integers(2) else (),
    )


def arbitrary(judge, seed):
    problem, generator = judge.problem, np.random.default_rng(seed)
    training = Training(cast("Any", None), 0, recording(problem, generator, STEPS))
    training.repeated = recording(problem, generator, STEPS // 2)
    training.fused = recording(problem, generator, STEPS)
    training.fused.gradient_steps, training.fused.gradient_w, training.fused.gradient_b = [], [], []  # reports none
    training.probes = judge.probes(seed)
    for route in training.probes.routes:
        training.answers.append(answers(problem, route, generator, fused=False))
        training.fused_answers.append(answers(problem, route, generator, fused=True))
    return training


def trajectory(training):
    done, fused = training.recording, training.fused
    return {
        "losses": done.losses[0], "weight_steps": np.array(done.weight_steps), "w": done.w[0], "b": done.b[0],
        "full_losses": done.full_losses[0], "final_w": done.final_w, "final_b": done.final_b,
        "fused_losses": fused.losses[0], "fused_final_w": fused.final_w, "fused_final_b": fused.final_b,
    }  # fmt: skip


def bits(value):
    """Everything below, arrays as bytes."""
    if isinstance(value, np.ndarray | np.generic):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, list | tuple):
        return [bits(one) for one in value]
    if dataclasses.is_dataclass(value):
        return {field.name: bits(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


@pytest.mark.parametrize("seed", range(3))
def test_arbitrary_answers_come_back_bit_by_bit(judge, seed):
    training = arbitrary(judge, seed)
    evidence = evidence_arrays(judge.problem, training)
    again = read_training(judge.problem, trajectory(training), evidence, judge.probes(seed))
    for part in ("recording", "repeated", "fused", "probes", "answers", "fused_answers"):
        assert bits(getattr(again, part)) == bits(getattr(training, part)), part


def test_a_backend_that_repeats_itself_leaves_almost_nothing(judge):
    training = arbitrary(judge, 0)
    training.repeated = training.recording
    for i, route in enumerate(training.probes.routes):
        weights = route.weights
        rate = np.dtype(judge.problem.dtype).type(judge.problem.learning_rate)
        gradient = np.repeat(weights[:, None], 2, axis=1)
        training.answers[i] = Evaluation(
            np.repeat(weights[:, :1], 2, axis=1), gradient, (weights - rate * gradient[:, -1])[:, None], weights, True
        )
    evidence = evidence_arrays(judge.problem, training)
    for name in ("repeated_losses", "repeated_w", "repeated_gradients", "answers_following", "answers_kept"):
        assert not evidence[name].view(f"u{evidence[name].itemsize}").any(), name


@pytest.mark.parametrize("name", ["answers_loss", "answers_facts", "gradients", "repeated_w", "points0", "ladders"])
def test_evidence_that_does_not_fit_is_refused(judge, name):
    training = arbitrary(judge, 0)
    evidence = evidence_arrays(judge.problem, training)
    for wrong in (evidence[name][:1], evidence[name].ravel()[:0]):
        with pytest.raises(RecordError):
            read_training(judge.problem, trajectory(training), evidence | {name: wrong}, judge.probes(0))


def test_points_of_another_seed_are_refused(judge):
    training = arbitrary(judge, 0)
    evidence = evidence_arrays(judge.problem, training)
    with pytest.raises(RecordError, match="not the points that the recorded seed draws"):
        read_training(judge.problem, trajectory(training), evidence, judge.probes(1))


@pytest.mark.parametrize(("data", "steps"), [("n=60,d=1000", 100), ("n=100,d=8", 300)])
def test_the_evidence_is_smaller_than_twice_the_recorded_weights(tmp_path, data, steps):
    import compare_ag

    run = compare_ag.run(["numpy"], f"synthetic:{data}", steps=steps, timing=False, output=tmp_path / "run")
    recorded = sum(run.arrays("numpy")[name].nbytes for name in ("w", "b"))
    assert (run.path / run["numpy"].evidence).stat().st_size < 2 * recorded
