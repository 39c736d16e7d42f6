"""The ladder: every check a backend must pass, from the smallest rung to the largest. A new check is a row of `LADDER`.

The functions of the rows are in `check.checks`; most judge a backend's answers at points of a problem.
"""

from __future__ import annotations

from dataclasses import dataclass

from compare_ag.check.checks import (
    BATCH_SIZES,
    BOTH,
    L2,
    SQUARE,
    TALL,
    WIDE,
    CheckFunction,
    all_visits,
    answers,
    at_zero,
    check_answers,
    check_batch_sizes,
    check_batches,
    check_float32_logits,
    check_fused,
    check_fused_trajectory,
    check_graph,
    check_honest,
    check_inputs,
    check_loads,
    check_prepares,
    check_repeated,
    check_seed,
    check_threads,
    check_trajectory,
    first_visits,
    first_visits_there,
    ladders,
    on_half,
    relation,
    second_visits,
    some_visits,
    way_back,
)
from compare_ag.verify.relations import RELATIONS


@dataclass(frozen=True)
class Check:
    """A rung of the ladder: a check with its texts."""

    id: str
    """kebab-case; never changes its meaning"""
    meaning: str
    """one line: the statement that holds where it passes"""
    advice: str
    """one line: advice for where it fails"""
    function: CheckFunction
    needs: str = ""
    """a dtype or another capability without which it is skipped"""


RELATION_WORDS = {
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
"""meaning and advice"""

LADDER = (
    Check(
        "loads",
        "the plugin is imported, and its class fits the contract",
        "Read the message: it names the line to write.",
        check_loads,
    ),
    Check(
        "prepares",
        "prepare accepts the setting, and make_tensor copies X, y, w and b bit by bit",
        "Accept model 'logistic' on 'cpu'; make_tensor must return a new tensor of the same dtype, shape and values.",
        check_prepares,
    ),
    Check(
        "loss-at-zero",
        "at zero weights the loss is log 2, as a 0-d tensor of the tested dtype",
        "Return the mean over the examples of softplus((1 - 2y) z), detached, not converted to a Python number.",
        answers(at_zero, "loss"),
    ),
    Check(
        "gradient-at-zero",
        "at zero weights the gradient is Xᵀ(1/2 - y)/n, in the shapes (d,) and ()",
        "Check sign (p - y), the mean over n, and that b has a gradient too.",
        answers(at_zero, "gradient"),
    ),
    Check(
        "loss-at-points",
        "the loss is right to rounding at every point that the host chose",
        "Follow the formula in the contract; use the stable form max(s, 0) + log1p(exp(-|s|)).",
        answers(first_visits, "loss"),
    ),
    Check(
        "gradient-at-points",
        "every component of the gradient is right to rounding at every point, also saturated and far out",
        "Compare backward with the formula at the named point; look for a clipped logarithm or a lower precision.",
        answers(first_visits_there, "gradient"),
    ),
    Check(
        "evaluated-twice",
        "forward and backward on the same tensors give a right answer a second time",
        "Nothing may accumulate: use fresh gradients for each call (torch.autograd.grad, or zero them).",
        answers(second_visits, *BOTH),
    ),
    Check(
        "moved-and-back",
        "a point that was left and visited again has a right answer again",
        "Do not keep values between calls: no cache by argument, no gradient of the call before.",
        answers(way_back, *BOTH),
    ),
    Check(
        "inputs-untouched",
        "forward and backward leave X, y and the weights as they were, and to_numpy what it reads",
        "Only update may write into weights and gradient; copy before you change anything else.",
        check_inputs,
    ),
    Check(
        "part-of-the-data",
        "with fewer examples the mean is over those examples",
        "Take n from the batch of this call, not from the setting, and do not remember the first batch.",
        answers(on_half, *BOTH),
    ),
    Check(
        "l2",
        "the penalty 1/2 l2 |w|^2 is in the loss, l2 w is in the gradient, and b is not penalised",
        "Add both; leave b out.",
        answers(all_visits, *BOTH, l2=L2),
    ),
    Check(
        "update",
        "update returns weights - learning_rate x gradient, rounded once or twice",
        "Plain gradient descent: no momentum, no decay, no clipping; apply the rate as it is given.",
        answers(all_visits, "update", l2=L2),
    ),
    Check(
        "step",
        "forward, backward and update together make the exact step to rounding",
        "The checks above say which of the three is at fault.",
        answers(all_visits, "step", l2=L2),
    ),
    Check(
        "fused-step",
        "the backend's own step returns the loss before the update, and the exact step to rounding",
        "Compute the loss from the old weights, and train with the same formula as the phases.",
        check_fused,
        needs="a step of its own",
    ),
    Check(
        "probability-form",
        "with loss 'probability' loss and gradient follow the literal formula as long as it has digits",
        "Choose the form in prepare: p = 1/(1 + exp(-z)), -y log p - (1 - y) log(1 - p).",
        answers(all_visits, *BOTH, "step", loss="probability", l2=L2),
    ),
    Check(
        "logits",
        "at every logit from -800 to 800 loss and gradient are right to rounding: both labels, and one example alone",
        "The message names the logit: look there for a threshold, a clipped value, or a branch that overflows unseen.",
        answers(ladders, *BOTH),
    ),
    Check(
        "probability-logits",
        "the probability form is right to rounding at every logit that it can decide, up to saturation on either side",
        "Clip no probability, clamp no log; 1/(1 + exp(-z)) is accurate for negative z, (1 + tanh(z/2))/2 is not.",
        answers(ladders, *BOTH, loss="probability", l2=L2),
    ),
    Check(
        "float32",
        "in float32 everything is right to float32's rounding",
        "Keep every constant in the tensors' dtype.",
        answers(all_visits, *BOTH, "step", "update", dtype="float32", l2=L2),
        needs="float32",
    ),
    Check(
        "float32-logits",
        "in float32 both forms of the loss are right to rounding at every logit that they can decide",
        "A bound chosen for float64 may clip in float32, and exp overflows from 88 instead of 709.",
        check_float32_logits,
        needs="float32",
    ),
    Check(
        "float64",
        "in float64 everything is right to float64's rounding",
        "Look for constants, inputs or kernels in a lower precision; declare only the dtypes that you compute in.",
        answers(all_visits, *BOTH, "step", "update", dtype="float64", l2=L2),
        needs="float64",
    ),
    Check(
        "float64-honest",
        "its exponential and logarithm are as accurate as float64, over the whole range of logits",
        "If the framework's own functions are good to float32 only, declare dtypes = ('float32',); else mend it.",
        check_honest,
        needs="float64",
    ),
    *(Check(f"relation-{name}", *RELATION_WORDS[name], relation(name)) for name in RELATIONS),
    Check(
        "graph",
        "the graph that it offers is well-formed, its gradients are right, and those of w and b are backward's",
        "Report what the framework recorded, in one forward and one backward: one loss, w and b as parameters.",
        check_graph,
        needs="a graph",
    ),
    Check(
        "square",
        "with as many examples as features everything is right to rounding",
        "X and its transpose have one shape here: look for a product with the wrong one of them, or a wrong axis.",
        answers(some_visits, *BOTH, "update", name=SQUARE, l2=L2),
    ),
    Check(
        "many-examples",
        "with 1,031 examples of one feature, beyond a vector register and a block, everything is right to rounding",
        "Look at what is left over when examples are cut into blocks, and whether X of shape (n, 1) keeps its shape.",
        answers(some_visits, *BOTH, "update", name=TALL, l2=L2),
    ),
    Check(
        "many-features",
        "with 1,031 features and 7 examples everything is right to rounding",
        "Look at what is left over when the features are cut into blocks, and for more features than examples.",
        answers(some_visits, *BOTH, "update", name=WIDE, l2=L2),
    ),
    Check(
        "batch-sizes",
        f"with batches of {', '.join(map(str, BATCH_SIZES[:-1]))} and {BATCH_SIZES[-1]} examples everything is right",
        "Take every size from the batch of this call; one example is a batch too.",
        check_batch_sizes,
    ),
    Check(
        "two-threads",
        "with two threads everything is right to rounding, at points and in a training",
        "Look for sums that threads share without a lock, and for the part of the second thread.",
        check_threads,
    ),
    Check(
        "mini-batches",
        "training on batches, the last one of each epoch short, follows the exact steps",
        "Use the batch that forward is given; divide by its own number of examples.",
        check_batches,
    ),
    Check(
        "repeated-run",
        "training a second time in the same process gives right losses again",
        "Keep no state between trainings; whether bits repeat is stated, not required.",
        check_repeated,
    ),
    Check(
        "trajectory",
        "a short training stays within the accumulated rounding bound, every recorded step is exact to rounding",
        "If all single steps pass, look for a skipped step, a changed start or state between steps.",
        check_trajectory,
    ),
    Check(
        "fused-trajectory",
        "the same through the backend's own step",
        "The fused step must train as the phases do.",
        check_fused_trajectory,
        needs="a step of its own",
    ),
    Check(
        "seed-problem",
        "the first 2,000 steps of the seed problem, in the probability form, are exact to rounding",
        "The last rung: `compare-ag run --backends NAME,numpy` shows the losses side by side.",
        check_seed,
    ),
    Check(
        "answers",
        "its answers for `compare-ag explain` run, to questions there are, and give the evidence that these ask for",
        "`compare-ag explain TOPIC` shows what ran and what came out; with --list, what evidence the topic asks for.",
        check_answers,
        needs="the hook compare_ag_answers",
    ),
)
"""in the order in which they are run"""

CHECKS = {check.id: check for check in LADDER}
