"""The checks themselves, from the smallest rung to the largest. Each is judged by computed tolerances; see `verify`."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import numpy as np

from compare_ag.check.registry import CHECKS, CheckFailedError, CheckSkippedError, check
from compare_ag.check.subject import with_l2
from compare_ag.host.session import Recording
from compare_ag.lab import QUESTIONS
from compare_ag.lab.interview import interview
from compare_ag.problem import LOSS_FORMS
from compare_ag.verify import Route, Sample
from compare_ag.verify.relations import RELATIONS, check_relation

if TYPE_CHECKING:
    from compare_ag.check.subject import Subject
    from compare_ag.problem import Problem
    from compare_ag.problem.core import Array, DType

__all__ = ["CHECKS"]

L2 = 0.1
SEED_STEPS = 2000
SQUARE = "synthetic:n=19,d=19"
TALL = "synthetic:n=1031,d=1"
WIDE = "synthetic:n=7,d=1031"
"""1031 is prime: whatever the size of a vector register or a block, there is a remainder"""
BROAD = "synthetic:n=521,d=17"
BATCH_SIZES = (1, 2, 3, 4, 8, 65, 130, 257)
"""d and d + 1 of `TALL` among them, full vectors, and remainders after a block"""


@check(
    "loads", "the plugin is imported, and its class fits the contract", "Read the message: it names the line to write."
)
def check_loads(subject: Subject) -> str:
    """The handshake."""
    loaded = subject.loaded
    return f"class {loaded.backend}, {'/'.join(loaded.dtypes)}"


@check(
    "prepares",
    "prepare accepts the setting, and make_tensor copies X, y, w and b bit by bit",
    "Accept model 'logistic' on 'cpu'; make_tensor must return a new tensor of the same dtype, shape and values.",
)
def check_prepares(subject: Subject) -> str:
    """A first worker with data in it."""
    subject.session(subject.problem())
    return "data went in and came out unchanged"


def _at(subject: Subject, problem: Problem, weights: Array, where: str) -> list[Sample]:
    found = subject.ask(problem, weights[None])
    assert found.gradient is not None
    return [Sample(where, weights, found.loss[0, 0], found.gradient[0, 0], found.following[0, 0])]


def _zero(problem: Problem) -> Array:
    return np.zeros(problem.layout.size, problem.dtype)


@check(
    "loss-at-zero",
    "at zero weights the loss is log 2, as a 0-d tensor of the tested dtype",
    "Return the mean over the examples of softplus((1 - 2y) z), detached, not converted to a Python number.",
)
def check_loss_at_zero(subject: Subject) -> str:
    """The simplest loss."""
    problem = subject.problem()
    return subject.require(problem, _at(subject, problem, _zero(problem), "zero weights"), "loss")


@check(
    "gradient-at-zero",
    "at zero weights the gradient is Xᵀ(1/2 - y)/n, in the shapes (d,) and ()",
    "Check sign (p - y), the mean over n, and that b has a gradient too.",
)
def check_gradient_at_zero(subject: Subject) -> str:
    """The simplest gradient."""
    problem = subject.problem()
    return subject.require(problem, _at(subject, problem, _zero(problem), "zero weights"), "gradient")


@check(
    "loss-at-points",
    "the loss is right to rounding at every point that the host chose",
    "Follow the formula in the contract; use the stable form max(s, 0) + log1p(exp(-|s|)).",
)
def check_loss(subject: Subject) -> str:
    """First visits, there and back."""
    problem = subject.problem()
    return subject.require(problem, subject.samples(problem)[::2], "loss")


@check(
    "gradient-at-points",
    "every component of the gradient is right to rounding at every point, also saturated and far out",
    "Compare backward with the formula at the point that is named; look for a clipped logarithm or a lower precision.",
)
def check_gradient(subject: Subject) -> str:
    """First visits, on the way there."""
    problem = subject.problem()
    samples = subject.samples(problem)[::2]
    return subject.require(problem, samples[: 1 + len(samples) // 2], "gradient")


@check(
    "evaluated-twice",
    "forward and backward on the same tensors give a right answer a second time",
    "Nothing may accumulate: use fresh gradients for each call (torch.autograd.grad, or zero them).",
)
def check_twice(subject: Subject) -> str:
    """Second visits."""
    problem = subject.problem()
    return subject.require(problem, subject.samples(problem)[1::2], "loss", "gradient")


@check(
    "moved-and-back",
    "a point that was left and visited again has a right answer again",
    "Do not keep values between calls: no cache by argument, no gradient of the call before.",
)
def check_back(subject: Subject) -> str:
    """The way back."""
    problem = subject.problem()
    samples = subject.samples(problem)
    return subject.require(problem, samples[len(samples) // 2 :], "loss", "gradient")


@check(
    "inputs-untouched",
    "forward and backward leave X, y and the weights as they were, and to_numpy what it reads",
    "Only update may write into weights and gradient; copy before you change anything else.",
)
def check_inputs(subject: Subject) -> str:
    """Bits before and after."""
    problem = subject.problem()
    route = subject.probes(problem).main
    found = subject.ask(problem, route.weights)
    if found.changed_by_reading:
        names = ", ".join(found.changed_by_reading)
        raise CheckFailedError(f"to_numpy writes into {names}: a tensor that was read differs from before")
    if found.data_written:
        raise CheckFailedError("X or y differ from what was sent: forward, backward or update writes into them")
    changed = found.changed(route.weights)
    if changed.size:
        raise CheckFailedError(f"the weights changed at the point '{route.names[changed[0]]}'")
    return f"unchanged after {2 * len(route.names)} evaluations"


@check(
    "part-of-the-data",
    "with fewer examples the mean is over those examples",
    "Take n from the batch of this call, not from the setting, and do not remember the first batch.",
)
def check_part(subject: Subject) -> str:
    """Every second example."""
    problem = subject.problem()
    _, half, *_ = subject.probes(problem).routes
    return subject.require(problem, subject.along(problem, half), "loss", "gradient")


@check(
    "l2",
    "the penalty 1/2 l2 |w|^2 is in the loss, l2 w is in the gradient, and b is not penalised",
    "Add both; leave b out.",
)
def check_l2(subject: Subject) -> str:
    """With a penalty."""
    problem = subject.problem(l2=L2)
    return subject.require(problem, subject.samples(problem), "loss", "gradient")


@check(
    "update",
    "update returns weights - learning_rate x gradient, rounded once or twice",
    "Plain gradient descent: no momentum, no decay, no clipping; apply the rate as it is given.",
)
def check_update(subject: Subject) -> str:
    """Against the reported gradient."""
    problem = subject.problem(l2=L2)
    return subject.require(problem, subject.samples(problem), "update")


@check(
    "step",
    "forward, backward and update together make the exact step to rounding",
    "The checks above say which of the three is at fault.",
)
def check_step(subject: Subject) -> str:
    """The step defect."""
    problem = subject.problem(l2=L2)
    return subject.require(problem, subject.samples(problem), "step")


@check(
    "fused-step",
    "the backend's own step returns the loss before the update, and the exact step to rounding",
    "Compute the loss from the old weights, and train with the same formula as the phases.",
    needs="a step of its own",
)
def check_fused(subject: Subject) -> str:
    """Where it overrides `step`."""
    if not subject.overrides_step():
        raise CheckSkippedError("it inherits step")
    problem = subject.problem(l2=L2)
    samples = subject.samples(problem, fused=True) + subject.ladders(problem, fused=True)
    return subject.require(problem, samples, "loss", "step")


@check(
    "probability-form",
    "with loss 'probability' loss and gradient follow the literal formula as long as it has digits",
    "Choose the form in prepare: p = 1/(1 + exp(-z)), -y log p - (1 - y) log(1 - p).",
)
def check_probability(subject: Subject) -> str:
    """The other form of the loss."""
    problem = subject.problem(loss="probability", l2=L2)
    return subject.require(problem, subject.samples(problem), "loss", "gradient", "step")


@check(
    "logits",
    "at every logit from -800 to 800 loss and gradient are right to rounding: both labels, and one example alone",
    "The message names the logit: look there for a threshold, a clipped value, or a branch that overflows unseen.",
)
def check_logits(subject: Subject) -> str:
    """The ladders of logits, in the stable form."""
    problem = subject.problem()
    return subject.require(problem, subject.ladders(problem), "loss", "gradient")


@check(
    "probability-logits",
    "the probability form is right to rounding at every logit that it can decide, up to saturation on either side",
    "Clip no probability and clamp no logarithm; 1/(1 + exp(-z)) is accurate for negative z, (1 + tanh(z/2))/2 is not.",
)
def check_probability_logits(subject: Subject) -> str:
    """The ladders of logits, as far up as 1 - p has correct digits and as far down as p² does not underflow."""
    problem = subject.problem(loss="probability", l2=L2)
    return subject.require(problem, subject.ladders(problem), "loss", "gradient")


@check(
    "float32",
    "in float32 everything is right to float32's rounding",
    "Keep every constant in the tensors' dtype.",
    needs="float32",
)
def check_float32(subject: Subject) -> str:
    """All tests in float32."""
    problem = subject.problem(dtype="float32", l2=L2)
    return subject.require(problem, subject.samples(problem), "loss", "gradient", "step", "update")


@check(
    "float32-logits",
    "in float32 both forms of the loss are right to rounding at every logit that they can decide",
    "A bound chosen for float64 may clip in float32, and exp overflows from 88 instead of 709.",
    needs="float32",
)
def check_float32_logits(subject: Subject) -> str:
    """The ladders of logits; the probability form on the problem of the last rung."""
    stable = subject.problem(dtype="float32", l2=L2)
    subject.require(stable, subject.ladders(stable), "loss", "gradient")
    literal = subject.problem(name="seed", loss="probability", dtype="float32", steps=SEED_STEPS)
    return subject.require(literal, subject.ladders(literal), "loss", "gradient")


@check(
    "float64",
    "in float64 everything is right to float64's rounding",
    "Look for constants, inputs or kernels in a lower precision; declare only the dtypes that you compute in.",
    needs="float64",
)
def check_float64(subject: Subject) -> str:
    """All tests in float64."""
    problem = subject.problem(dtype="float64", l2=L2)
    return subject.require(problem, subject.samples(problem), "loss", "gradient", "step", "update")


@check(
    "float64-honest",
    "its exponential and logarithm are as accurate as float64, over the whole range of logits",
    "Where the framework's own functions are good to float32 only, declare dtypes = ('float32',); else mend the cause.",
    needs="float64",
)
def check_honest(subject: Subject) -> str:
    """One example, one feature: the loss is softplus(z), its gradient in b is σ(z), at 200 logits."""
    problem = subject.problem(dtype="float64")
    grid = np.linspace(-30.0, 30.0, 200)
    points = problem.layout.flat((np.zeros((len(grid), problem.features)), grid))
    rows = np.flatnonzero(problem.y == 0)[:1]
    data = problem.X[rows], problem.y[rows]
    found = subject.ask(problem, points, data)
    assert found.gradient is not None
    samples = [
        Sample(f"logit {z:.2f}", point, loss[0], gradient[0], rows=rows)
        for z, point, loss, gradient in zip(grid, points, found.loss, found.gradient, strict=True)
    ]
    return subject.require(problem, samples, "loss", "gradient")


def _relation(name: str) -> None:
    """Register one relation as a check."""
    meaning, advice = _RELATIONS[name]

    @check(f"relation-{name}", meaning, advice)
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


_RELATIONS = {
    "row-permutation": ("the order of the examples does not matter", "Something depends on an example's position."),
    "duplication": ("every example twice leaves loss and gradient", "Divide by the number of examples of this call."),
    "additivity": ("the means of two parts add up to the whole", "Every example must count once, with weight 1/n."),
    "label-mirror": ("y -> 1 - y with w -> -w turns the gradient", "Both labels must be treated alike."),
    "zero-column": ("a feature that is 0 everywhere has gradient 0", "Nothing but X may enter the product with X."),
    "zero-weights": ("loss and gradient at zero weights have their closed form", "Check sign, mean and labels."),
    "feature-scaling": ("a feature twice as large has twice the gradient", "Each component belongs to its own column."),
    "affine-in-l2": ("the gradient grows by l2 w, and not at all in b", "Use the l2 of the setting, once, for w only."),
    "large-logits": ("loss and gradient stay finite at logits of 800", "Use exp(-|s|), never exp(s)."),
    "taylor": ("loss and gradient belong together: the remainder falls like h^2", "One of the two is not the other's."),
}

for _name in RELATIONS:
    _relation(_name)


@check(
    "graph",
    "the graph that it offers is well-formed, its gradients are right, and those of w and b are backward's",
    "Report what the framework recorded, in one forward and one backward: one loss, w and b as parameters.",
    needs="a graph",
)
def check_graph(subject: Subject) -> str:
    """Where it offers one; both forms of the loss."""
    messages = [subject.graph(subject.problem(loss=form, l2=L2)) for form in LOSS_FORMS]
    return messages[0]


def _shape(id: str, meaning: str, advice: str, name: str) -> None:
    """Register a check at the points of all data for a problem of another shape."""

    @check(id, meaning, advice)
    def check_it(subject: Subject) -> str:
        problem = subject.problem(name=name, l2=L2)
        return subject.require(problem, _some_points(subject, problem), "loss", "gradient", "update")


def _some_points(subject: Subject, problem: Problem) -> list[Sample]:
    """The answers at every second point on the way there: what a shape or threads spoil shows at most weights."""
    main = subject.probes(problem).main
    there = slice(0, len(main.names) // 2 + 1, 2)
    return subject.along(problem, Route(main.names[there], main.weights[there]))


_shape(
    "square",
    "with as many examples as features everything is right to rounding",
    "X and its transpose have one shape here: look for a product with the wrong one of them, or a wrong axis.",
    SQUARE,
)
_shape(
    "many-examples",
    "with 1,031 examples of one feature, beyond a vector register and a block, everything is right to rounding",
    "Look at what is left over when the examples are cut into blocks, and whether X of shape (n, 1) keeps its shape.",
    TALL,
)
_shape(
    "many-features",
    "with 1,031 features and 7 examples everything is right to rounding",
    "Look at what is left over when the features are cut into blocks, and for more features than examples.",
    WIDE,
)


@check(
    "batch-sizes",
    f"with batches of {', '.join(map(str, BATCH_SIZES[:-1]))} and {BATCH_SIZES[-1]} examples everything is right",
    "Take every size from the batch of this call; one example is a batch too.",
)
def check_batch_sizes(subject: Subject) -> str:
    """One random point for each size, in one worker."""
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


@check(
    "two-threads",
    "with two threads everything is right to rounding, at points and in a training",
    "Look for sums that threads share without a lock, and for the part of the second thread.",
)
def check_threads(subject: Subject) -> str:
    """521 examples x 17 features, in one worker."""
    problem = subject.problem(name=BROAD, threads=2, l2=L2, steps=10)
    message = subject.require(problem, _some_points(subject, problem), "loss", "gradient", "update")
    subject.train(problem)
    return message


@check(
    "mini-batches",
    "training on batches, the last one of each epoch short, follows the exact steps",
    "Use the batch that forward is given; divide by its own number of examples.",
)
def check_batches(subject: Subject) -> str:
    """24 examples in batches of 9."""
    return subject.train(subject.problem(batch_size=9, l2=L2))


@check(
    "repeated-run",
    "training a second time in the same process gives right losses again",
    "Keep no state between trainings; whether bits repeat is stated, not required.",
)
def check_repeated(subject: Subject) -> str:
    """The same run twice."""
    problem = subject.problem(l2=L2)
    subject.train(problem)
    runs = []
    for _ in range(2):
        recording = Recording()
        subject.session(problem).train(problem, [], recording)
        runs.append(np.concatenate(recording.losses))
    subject.train(problem)
    return "bit by bit the same" if runs[0].tobytes() == runs[1].tobytes() else "right again, in other bits"


@check(
    "trajectory",
    "a short training stays within the accumulated rounding bound, every recorded step is exact to rounding",
    "If all single steps pass, look for a skipped step, a changed start or state between steps.",
)
def check_trajectory(subject: Subject) -> str:
    """A few hundred steps, against the exact trajectory."""
    return subject.train(subject.problem(l2=L2, steps=300))


@check(
    "fused-trajectory",
    "the same through the backend's own step",
    "The fused step must train as the phases do.",
    needs="a step of its own",
)
def check_fused_trajectory(subject: Subject) -> str:
    """Where it overrides `step`."""
    if not subject.overrides_step():
        raise CheckSkippedError("it inherits step")
    return subject.train(subject.problem(l2=L2, steps=300), fused=True)


@check(
    "seed-problem",
    "the first 2,000 steps of the seed problem, in the probability form, are exact to rounding",
    "The last rung: `compare-ag run --backends NAME,numpy` shows the losses side by side.",
)
def check_seed(subject: Subject) -> str:
    """The problem that everybody runs first."""
    dtype: DType = "float32" if "float32" in subject.loaded.dtypes else "float64"
    return subject.train(subject.problem(name="seed", loss="probability", dtype=dtype, steps=SEED_STEPS))


@check(
    "answers",
    "its answers for `compare-ag explain` run, to questions there are, and give the evidence that these ask for",
    "`compare-ag explain TOPIC` shows what ran and what came out; with --list, what evidence the topic asks for.",
    needs="the hook compare_ag_answers",
)
def check_answers(subject: Subject) -> str:
    """Every one is run, in workers of its own: an answer may leave its process in any state."""
    (found,) = interview({subject.offer.name: subject.offer}, QUESTIONS, list(QUESTIONS))
    if found.failure:
        raise CheckFailedError(found.failure)
    if found.unknown:
        raise CheckFailedError(f"it answers {found.unknown[0]!r}, which is no question{_meant(found.unknown[0])}")
    given = [reply for reply in found.replies.values() if reply.status != "unanswered"]
    for reply in given:
        if reply.status in ("failed", "malformed"):
            raise CheckFailedError(f"{reply.question.id}: {reply.reason}")
    if not given:
        raise CheckSkippedError("it answers no questions")
    run = sum(reply.status == "answered" for reply in given)
    return f"{run} answers ran, {len(given) - run} are said not to apply, {len(QUESTIONS) - len(given)} are not given"


def _meant(unknown: str) -> str:
    close = difflib.get_close_matches(unknown, QUESTIONS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
