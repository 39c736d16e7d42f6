"""The functions of the checks; the table in `check.ladder` lists the checks in order.

A check is a plain function of a `Subject`, without fixtures or configuration, so that it runs the same from the command
line, inside an author's test suite and in ours. It returns a sentence on its observations, raises `CheckFailedError`
with the fault, or `CheckSkippedError` with the reason why it does not apply. Most checks judge a backend's answers at
points of a problem (`answers`) by computed tolerances, see `verify`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from compare_ag.check.subject import CheckFailedError, CheckSkippedError, Subject, with_l2
from compare_ag.host.session import Recording
from compare_ag.lab import QUESTIONS
from compare_ag.lab.interview import interview
from compare_ag.problem import LOSS_FORMS
from compare_ag.verify import Route, Sample
from compare_ag.verify.relations import check_relation

if TYPE_CHECKING:
    from compare_ag.problem import Problem
    from compare_ag.problem.core import DType

CheckFunction: TypeAlias = Callable[[Subject], str]
Visits: TypeAlias = Callable[[Subject, "Problem"], list[Sample]]
"""the backend's answers at some points of a problem"""

BOTH = ("loss", "gradient")
L2 = 0.1
SEED_STEPS = 2000
SQUARE = "synthetic:n=19,d=19"
TALL = "synthetic:n=1031,d=1"
WIDE = "synthetic:n=7,d=1031"
"""1031 is prime: vector registers and blocks of every size leave a remainder"""
BROAD = "synthetic:n=521,d=17"
BATCH_SIZES = (1, 2, 3, 4, 8, 65, 130, 257)
"""d and d + 1 of `TALL` among them, full vectors, and remainders after a block"""


# --- answers at points ----------------------------------------------------------------------------------------


def answers(visits: Visits, *tests: str, **problem: Any) -> CheckFunction:
    """A check that judges the answers at ``visits`` by ``tests``; ``problem`` as `Subject.problem` takes it."""

    def judge(subject: Subject) -> str:
        chosen = subject.problem(**problem)
        return subject.require(chosen, visits(subject, chosen), *tests)

    return judge


def at_zero(subject: Subject, problem: Problem) -> list[Sample]:
    """The answer at zero weights."""
    weights = np.zeros(problem.layout.size, problem.dtype)
    answer = subject.ask(problem, weights[None])
    assert answer.gradient is not None
    return [Sample("zero weights", weights, answer.loss[0, 0], answer.gradient[0, 0], answer.following[0, 0])]


def all_visits(subject: Subject, problem: Problem) -> list[Sample]:
    """The answers forward and back along the host's points, two at each visit."""
    return subject.samples(problem)


def first_visits(subject: Subject, problem: Problem) -> list[Sample]:
    """The first of the two answers at each visit, forward and back."""
    return subject.samples(problem)[::2]


def first_visits_there(subject: Subject, problem: Problem) -> list[Sample]:
    """The first of the two answers at each visit, on the way forward."""
    samples = subject.samples(problem)[::2]
    return samples[: 1 + len(samples) // 2]


def second_visits(subject: Subject, problem: Problem) -> list[Sample]:
    """The second of the two answers at each visit, on the same tensors."""
    return subject.samples(problem)[1::2]


def way_back(subject: Subject, problem: Problem) -> list[Sample]:
    """The answers on the way back, at points that are visited again."""
    samples = subject.samples(problem)
    return samples[len(samples) // 2 :]


def on_half(subject: Subject, problem: Problem) -> list[Sample]:
    """The answers on every second example."""
    _, half, *_ = subject.probes(problem).routes
    return subject.along(problem, half)


def ladders(subject: Subject, problem: Problem) -> list[Sample]:
    """The answers at the ladders of logits; in the probability form as far as p² and 1 - p have digits."""
    return subject.ladders(problem)


def some_visits(subject: Subject, problem: Problem) -> list[Sample]:
    """The answers at every second point on the way forward: faults of a shape or of threads show at most weights."""
    main = subject.probes(problem).main
    forward = slice(0, len(main.names) // 2 + 1, 2)
    return subject.along(problem, Route(main.names[forward], main.weights[forward]))


# --- other checks ---------------------------------------------------------------------------------------------


def relation(name: str) -> CheckFunction:
    """A check of one relation between answers: see `verify.relations`."""

    def check_it(subject: Subject) -> str:
        problem = subject.problem(l2=0.0 if name == "affine-in-l2" else L2)
        route = subject.probes(problem).main
        weights = route.weights[route.names.index("random 1")]
        result = check_relation(
            name, problem, weights, subject.asker(problem), lambda l2: subject.asker(with_l2(problem, l2))
        )
        if result.answer == "wrong":
            raise CheckFailedError(result.message)
        if result.answer == "undecidable":
            raise CheckSkippedError(result.message)
        return result.message

    return check_it


def check_loads(subject: Subject) -> str:
    """Load the plugin."""
    loaded = subject.loaded
    return f"class {loaded.backend}, {'/'.join(loaded.dtypes)}"


def check_prepares(subject: Subject) -> str:
    """Prepare a first worker with data."""
    subject.session(subject.problem())
    return "data went in and came out unchanged"


def check_inputs(subject: Subject) -> str:
    """Compare the bits of all inputs before and after the evaluations."""
    problem = subject.problem()
    route = subject.probes(problem).main
    answer = subject.ask(problem, route.weights)
    if answer.changed_by_reading:
        names = ", ".join(answer.changed_by_reading)
        raise CheckFailedError(f"to_numpy writes into {names}: a tensor that was read differs from before")
    if answer.data_written:
        raise CheckFailedError("X or y differ from what was sent: forward, backward or update writes into them")
    changed = answer.changed_points(route.weights)
    if changed.size:
        raise CheckFailedError(f"the weights changed at the point '{route.names[changed[0]]}'")
    return f"unchanged after {2 * len(route.names)} evaluations"


def check_fused(subject: Subject) -> str:
    """Judge an overridden `step` at the host's points."""
    if not subject.overrides_step():
        raise CheckSkippedError("it inherits step")
    problem = subject.problem(l2=L2)
    samples = subject.samples(problem, fused=True) + subject.ladders(problem, fused=True)
    return subject.require(problem, samples, "loss", "step")


def check_float32_logits(subject: Subject) -> str:
    """Judge the ladders of logits in float32; the probability form on the problem of the last rung."""
    stable = subject.problem(dtype="float32", l2=L2)
    subject.require(stable, subject.ladders(stable), "loss", "gradient")
    literal = subject.problem(name="seed", loss="probability", dtype="float32", steps=SEED_STEPS)
    return subject.require(literal, subject.ladders(literal), "loss", "gradient")


def check_honest(subject: Subject) -> str:
    """Judge a single example at 200 logits: the loss is softplus(z), its gradient in b is σ(z)."""
    problem = subject.problem(dtype="float64")
    grid = np.linspace(-30.0, 30.0, 200)
    points = problem.layout.flat((np.zeros((len(grid), problem.features)), grid))
    rows = np.flatnonzero(problem.y == 0)[:1]
    data = problem.X[rows], problem.y[rows]
    answer = subject.ask(problem, points, data)
    assert answer.gradient is not None
    samples = [
        Sample(f"logit {z:.2f}", point, loss[0], gradient[0], rows=rows)
        for z, point, loss, gradient in zip(grid, points, answer.loss, answer.gradient, strict=True)
    ]
    return subject.require(problem, samples, "loss", "gradient")


def check_graph(subject: Subject) -> str:
    """Judge the graph that the backend offers, for both forms of the loss."""
    messages = [subject.graph(subject.problem(loss=form, l2=L2)) for form in LOSS_FORMS]
    return messages[0]


def check_batch_sizes(subject: Subject) -> str:
    """Judge one random point for each batch size, in one worker."""
    problem = subject.problem(name=TALL, l2=L2)
    main = subject.probes(problem).main
    point = main.names.index("random 1")
    samples = []
    for size in BATCH_SIZES:
        route = Route(
            main.names[point : point + 1], main.weights[point : point + 1], np.arange(size), f", on {size} examples"
        )
        samples += subject.along(problem, route)
    return subject.require(problem, samples, "loss", "gradient", "update")


def check_threads(subject: Subject) -> str:
    """Judge points and a training with two threads: 521 examples x 17 features, in one worker."""
    problem = subject.problem(name=BROAD, threads=2, l2=L2, steps=10)
    message = subject.require(problem, some_visits(subject, problem), "loss", "gradient", "update")
    subject.train(problem)
    return message


def check_batches(subject: Subject) -> str:
    """Train on 24 examples in batches of 9."""
    return subject.train(subject.problem(batch_size=9, l2=L2))


def check_repeated(subject: Subject) -> str:
    """Train several times in one worker and compare the bits of two runs."""
    problem = subject.problem(l2=L2)
    subject.train(problem)
    runs = []
    for _ in range(2):
        recording = Recording()
        subject.session(problem).train(problem, [], recording)
        runs.append(np.concatenate(recording.losses))
    subject.train(problem)
    return "bit by bit the same" if runs[0].tobytes() == runs[1].tobytes() else "right again, in other bits"


def check_trajectory(subject: Subject) -> str:
    """Compare a few hundred steps with the exact trajectory."""
    return subject.train(subject.problem(l2=L2, steps=300))


def check_fused_trajectory(subject: Subject) -> str:
    """Train through an overridden `step`."""
    if not subject.overrides_step():
        raise CheckSkippedError("it inherits step")
    return subject.train(subject.problem(l2=L2, steps=300), fused=True)


def check_seed(subject: Subject) -> str:
    """Train the seed problem."""
    dtype: DType = "float32" if "float32" in subject.loaded.dtypes else "float64"
    return subject.train(subject.problem(name="seed", loss="probability", dtype=dtype, steps=SEED_STEPS))


def check_answers(subject: Subject) -> str:
    """Run every answer, each in a worker of its own: an answer may leave its process in any state."""
    (result,) = interview({subject.offer.name: subject.offer}, QUESTIONS, list(QUESTIONS))
    if result.failure:
        raise CheckFailedError(result.failure)
    if result.unknown:
        raise CheckFailedError(f"it answers {result.unknown[0]!r}, which is no question{_suggest(result.unknown[0])}")
    given = [reply for reply in result.replies.values() if reply.status != "unanswered"]
    for reply in given:
        if reply.status in ("failed", "malformed"):
            raise CheckFailedError(f"{reply.question.id}: {reply.reason}")
    if not given:
        raise CheckSkippedError("it answers no questions")
    run = sum(reply.status == "answered" for reply in given)
    return f"{run} answers ran, {len(given) - run} are said not to apply, {len(QUESTIONS) - len(given)} are not given"


def _suggest(unknown: str) -> str:
    close = difflib.get_close_matches(unknown, QUESTIONS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
