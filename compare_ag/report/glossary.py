"""The meaning of every word in a report: each table's columns, the states and verdicts, and the terms of the field.

Pure data, the one place where these sentences live: the HTML page shows them below its tables, the documentation's
methods page contains them, and a test asserts that no table has a column that is missing here. Sentences are plain
text without markup. Sections stand in the order in which a report shows their tables; a head that means different
things in two tables ("import" is a time in one and a size in the other) has an entry in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from compare_ag.report.table import Column, Table

_VERDICTS = {
    "backend": "The adapter that was trained, by the name that follows --backends; in brackets the versions of the "
    "frameworks that it used.",
    "status": "The backend's result in one word; each word is explained under “Status”.",
    "what was found": "The verdict in a sentence: over how many steps it agrees, or the first step, phase and "
    "coordinate out of tolerance, with the known mistakes that would explain the numbers; or why there is no verdict.",
}

_STATUS = {
    "ok": "It trained, and every number that could be judged lies within its tolerance.",
    "disagree": "At least one number is out of tolerance: rounding in a correct program cannot explain it.",
    "undecidable": "It trained, but from some step on no finite tolerance can be given, so that nothing is concluded: "
    "the probability form has saturated, numbers may leave the range of the dtype, or rounding errors may add up to "
    "more than the weights themselves.",
    "non-finite": "A loss, a gradient or a weight is NaN or infinite where the exact one is finite.",
    "crashed": "Its worker process ended by an exception or a signal; the log has the traceback.",
    "timeout": "It did not answer within the deadline (--timeout) and was ended.",
    "oom": "Its worker ran out of memory.",
    "malformed": "Its plugin does not fulfil the contract, or returned a value of the wrong type, shape or dtype.",
    "import-error": "Its plugin or its framework could not be imported.",
    "unsupported": "It does not compute in this dtype, or speaks another version of the contract.",
    "cancelled": "The run was interrupted while it was at work.",
    "not-run": "The run ended before its turn.",
    "imported": "It was checked and timed by pytest-benchmark; compare-ag has read the file.",
}

_TESTS = {
    "backend": "The adapter that was trained; “fused step” marks its own step, which is judged apart from its verbs.",
    "gradient": "Largest observed/tolerance over every component of the gradients that backward returned, at recorded "
    "steps and at points that the host chose.",
    "step": "Largest observed/tolerance of the weights after one step against the exact step from the same weights.",
    "update": "Largest observed/tolerance of the reported update against the exact one from the reported gradient: it "
    "tells whether a wrong step is the fault of update or of backward.",
    "trajectory": "Largest observed/tolerance of weights and losses of the whole training against the trajectory that "
    "they are compared with, with the accumulated rounding bound as tolerance.",
    "loss": "Largest observed/tolerance of the reported loss against the exact loss at the reported weights.",
    "examples": "How many examples took part in evaluations of the gradient that could be decided, each evaluation "
    "counted; of how many, where some could not be, because the probability form saturates or the format overflows.",
    "repeated run": "Whether training again in the same process gave the same losses bit by bit; if not, how many of "
    "them differ, and by how many tolerances. Other bits within the tolerance are no fault: a sum may be taken in "
    "another order. What is out of tolerance in the second run alone is a fault like any other.",
    "observed/tolerance": "A deviation in units of the largest one that rounding can explain. Up to 1 is right, above "
    "1 is wrong; the number in brackets says how many samples or steps were decided.",
}

_WEIGHTS = {
    "backend": "The adapter that was trained; “reference” is the trajectory that it is compared with.",
    "w[i]": "The i-th weight after the last step; w has one for each feature.",
    "b": "The intercept after the last step.",
    "distance to reference": "Euclidean norm of the difference of (w, b) from the trajectory that it is compared with.",
    "tolerance": "The largest distance that rounding errors of a correct program can explain on this problem, at this "
    "step and in this dtype.",
}

_LOSSES = {
    "k": "The number of updates before this loss was evaluated; k = 0 is the start.",
    "epoch": "The number printed beside the loss in the published table; epoch e is the loss after e + 1 updates.",
    "published": "The loss as it was published.",
    "largest difference": "The largest distance of a backend's loss from the published one.",
    "reference": "The loss that the backends are compared with, from the exact trajectory where it could be computed, "
    "else from a float64 training.",
    "tolerance": "The largest deviation from the reference that rounding errors of a correct program can explain here.",
    "course of the loss": "The losses of the whole training as bars, from the smallest to the largest of this backend.",
    "convergence": "Whether the norm of the full-data gradient fell by a factor of a million, or to what the dtype "
    "cannot tell from zero, and a Newton step would lower the loss by no more than a millionth of it. A statement on "
    "the training, not on the backend.",
}

_SPEED = {
    "backend": "The adapter that was timed.",
    "time per step": "Seconds for one whole step (forward, backward, update) in the steady state: geometric mean over "
    "launches of the lower quintile of its undisturbed blocks.",
    "95 % interval": "Student's t interval of that mean over launches: were the whole measurement repeated, 95 of "
    "100 such intervals would hold the machine's mean.",
    "ratio": "Time per step over that of the baseline; above 1 is slower. In its place: “disturbed” or "
    "“unranked” where the backend has no rank, as explained under “Speed verdict”.",
    "timed by": "What the time of a step is: the median of the steps of a block, with the clock read between them, or "
    "the wall time of a block over its steps, for backends that leave work to a block's end. In brackets: how much "
    "longer a step takes by the usual block's wall time, which holds what else slowed it.",
    "left out": "The share of blocks that do not count: another program ran in them, or slowed them from the other "
    "half of the same core, which probes of the CPU's speed before and after the steps tell.",
    "blocks judged": "How many timed blocks had their final loss and weights compared with the reference, and how many "
    "of these with the exact trajectory; not judged are blocks that moved the weights by less than 10 tolerances.",
    "over its twin": "Time per step over that of a twin, a second worker of the same backend that imported and "
    "allocated something else before: 1, but for noise.",
    "steps per second": "How many whole steps fit into a second: one over the time per step.",
    "digits kept": "Decimal digits of the reference's final weights (the exact ones where they could be computed) that "
    "it reproduced: -log10 of the relative error, and at most what its dtype can hold, 7.2 for float32 and 16.0 for "
    "float64. Beside the time per step: accuracy against cost.",
}

_PAIRS = {
    "time of / time of": "The two backends of the ratio: time of the first over time of the second.",
    "ratio": "Time per step of the first over the second: mean over launches in which their blocks took turns "
    "from the same weights, on a log scale. Above 1 the first is slower.",
    "interval": "The confidence interval of the ratio over launches. The intervals of all pairs hold together with at "
    "least 95 % (Bonferroni).",
    "verdict": "The conclusion that the interval allows, in one word; each word is explained under “Speed verdict”.",
    "forward": "The ratio of the forward phase alone, without an interval and without a verdict.",
    "backward": "The ratio of the backward phase alone, without an interval and without a verdict.",
    "update": "The ratio of the update phase alone, without an interval and without a verdict.",
    "pays after": "The number of steps after which the backend with the cheaper step has made up for its dearer start "
    "(import, construction, first steps). “never” means that the steps cost the same, “n/a” that the costs of the "
    "start are not known.",
}

_SPEED_VERDICT = {
    "disturbed": "Other programs interrupted or slowed so many of its blocks that nothing is said of its speed. Close "
    "what is busy and run again.",
    "unranked": "It was timed, but its time says nothing: its timed results were wrong, or the work was done "
    "outside the clock or by other processes. A note says which.",
    "faster": "The whole interval lies below 1, beyond the margin; it is as wide as the noise floor at least.",
    "slower": "The whole interval lies above 1, beyond the margin; it is as wide as the noise floor at least.",
    "equivalent": "The whole interval lies within the margin; it is as wide as the noise floor at least.",
    "inconclusive": "None of these: that is not “the same” but “not decided”. A note estimates how many launches would "
    "decide.",
}

_PHASES = {
    "backend": "The adapter that was timed.",
    "forward": "Seconds per step for the loss and what backward needs; n/a where a backend cannot split its step.",
    "backward": "Seconds per step for the gradient.",
    "update": "Seconds per step for the new weights.",
    "sum / step": "The three phases added up over the whole step that was timed without stopping in between: near 1. "
    "Outside 0.85 to 1.15 something disturbed them, and they are not shown. “step is fused”: the backend has a step of "
    "its own, to which its phases need not add up.",
    "gradient / loss": "(forward + backward) / forward: the cost of a gradient in units of the loss. Reverse-mode "
    "differentiation needs about 4 to 5 times the operations of the loss at most, however many weights there are.",
    "contract": "The share of a step that the loop and the plugin contract take with a backend that does nothing.",
}

_ONCE = {
    "backend": "The adapter that was timed.",
    "import": "Seconds to import the plugin and its framework in a bare Python process.",
    "construct": "Seconds to build the backend and to call prepare, where it chooses precision and may compile.",
    "make_tensor": "Seconds to copy the data into the framework's tensors.",
    "first step": "Seconds of the first step of a fresh process, compiling included.",
    "steady after": "The number of steps after which times stay within 5 % of the steady ones.",
    "all": "Everything that is paid before the steady state: import, construct, make_tensor, and the time by "
    "which the first steps exceed as many steady ones.",
    "threads": "The largest pool of numerical threads that was seen after warm-up, at least 1.",
}

_MEMORY = {
    "backend": "The adapter whose process was measured: a fresh worker that does nothing else.",
    "peak": "The largest resident memory of the process's life.",
    "import": "The resident memory that importing the plugin and its framework adds.",
    "data": "The resident memory that building the backend and copying the data adds.",
    "training": "The peak while it trains, beyond the resident memory before.",
    "tape": "The memory kept alive from forward to backward, apart from weights and data.",
    "growth per 1,000 steps": "The memory that each thousand further steps add. About zero, unless data are kept that "
    "should have been freed.",
}

_TIMING = {
    "launch": "One set of fresh worker processes, one for each backend; the unit over which intervals are taken, "
    "because one process differs from the next by more than its own blocks tell.",
    "instance": "One fresh copy of data and weights within a launch: memory layout varies with it.",
    "round": "One turn in which every backend times one block from the same freshly perturbed weights, in random "
    "order. The first round of each instance warms up and is not counted.",
    "block": "A short burst of consecutive steps, after a few that lead in and do not count; each backend has its own "
    "number of steps, so that all blocks take about as long. One that another program interrupted or slowed does not "
    "count.",
    "checkpoint": "The step of the training whose weights, slightly perturbed, blocks start from.",
    "baseline": "The backend that the others are compared with: --baseline, else numpy, else the first.",
    "twin": "The second worker of one backend in each launch, each backend in turn, which first imports and allocates "
    "something else: the backend compared with itself. Before schema 1.7 it was the baseline's, and did nothing else.",
    "noise floor": "The farther end of the interval of a backend over its twin, from all launches, as distance from 1. "
    "No interval of a ratio is narrower, whatever its launches say.",
    "margin": "The difference that counts as none (--margin, by default 2 %).",
    "budget": "The time after which no further launch begins (--timing-budget).",
}

_TERMS = {
    "framework": "The library under test, as PyTorch or HIPS autograd.",
    "backend": "The adapter that lets compare-ag train with a framework: the four verbs make_tensor, forward, backward "
    "and update.",
    "plugin": "A module that offers a backend, in a distribution that can be installed.",
    "host": "The process of compare-ag itself: it sends the problem, judges and reports, and imports no framework.",
    "worker": "The process in which one backend runs. It never receives an expected result.",
    "problem": "Data, start, hyper-parameters and seed: everything that fixes the exact trajectory.",
    "example": "One row of X, with its label.",
    "feature": "One column of X.",
    "step": "Forward, backward and update once.",
    "epoch": "One pass over the mini-batches; in a published table, the number printed beside the loss.",
    "trajectory": "Losses and weights at the steps 0 to T, 0 being before any update.",
    "tape": "The data that forward leaves for backward: a graph, a closure, or arrays.",
    "phase": "One of make_tensor, forward, backward and update.",
    "record": "Everything about one backend on one problem, immutable once written.",
    "run": "The records of several backends on one problem, in one directory.",
    "environment": "Machine, versions and threads: the influences on the numbers besides the code.",
    "oracle": "The exact trajectory and exact single steps, enclosed in ball arithmetic.",
    "reference": "The trajectory that the backends are compared with: the oracle's trajectory where it could be "
    "computed, else a float64 training whose own rounding error is bounded and added to the tolerance.",
    "tolerance": "A computed bound on the rounding error of a correct program, for this problem and dtype.",
    "dtype": "The floating-point format of data and weights: float32 or float64.",
    "mutant": "A backend that is wrong on purpose; selftest shows that it is caught.",
}

GLOSSARY: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "Verdicts": MappingProxyType(_VERDICTS),
        "Status": MappingProxyType(_STATUS),
        "Tests": MappingProxyType(_TESTS),
        "Final weights": MappingProxyType(_WEIGHTS),
        "Losses": MappingProxyType(_LOSSES),
        "Speed": MappingProxyType(_SPEED),
        "Who is faster": MappingProxyType(_PAIRS),
        "Speed verdict": MappingProxyType(_SPEED_VERDICT),
        "Phases": MappingProxyType(_PHASES),
        "Paid once": MappingProxyType(_ONCE),
        "Memory": MappingProxyType(_MEMORY),
        "How times are taken": MappingProxyType(_TIMING),
        "Terms": MappingProxyType(_TERMS),
    }
)
"""section -> column or term -> one or two sentences"""

_SHORT = {
    "backend": "The adapter that was trained.",
    "status": "Its state in one word; each word is explained under “Status”.",
    "final w; b": "The weights and the intercept after the last step.",
    "final norm": "The Euclidean norm of all weights and the intercept after the last step.",
    "distance": "How far the final weights are from those of the reference: the Euclidean norm of the difference.",
    "time per step": "Seconds for one whole step in the steady state, and how far its 95 % interval reaches.",
    "ratio": "Time per step over that of the baseline; above 1 is slower. Instead of it: “disturbed” or “unranked” for "
    "a backend without a rank.",
    "peak memory": "The largest resident memory of a fresh worker.",
    "course": "The losses of the whole training as bars, from the smallest to the largest.",
}

_COMPARED = {
    "backend": "The adapter that was trained.",
    "what was found": "The verdict after, in a sentence.",
    "what": "Something of machine, settings or versions that is not the same.",
    "before": "Its value in the first run.",
    "after": "Its value in the second run.",
    "before, after": "The two runs; where one run's backends are compared with one of them, its name, and here.",
    "worst": "The largest observed/tolerance of everything that was judged; above 1 is wrong.",
    "error": "The distance of the final weights from the reference.",
    "losses": "The largest difference between the two trajectories of the loss.",
    "ratio": "Time per step after over before; relative to the yardstick's own change where there is one.",
    "interval": "The confidence interval of that ratio; those of all backends hold together with at least 95 %.",
    "verdict": "As in a run, with the threshold for the margin; not compared where the runs were not made alike or a "
    "backend is unranked; not decided where other programs disturbed a timing, which passes unless --strict is given.",
    "yardstick": "A backend that did not change between the runs: its own change is taken for the machine's.",
    "threshold": "The share by which a backend may become slower before the comparison fails (--threshold).",
    "change": "By how much the peak of the resident memory grew.",
}

_GRAPHS = {
    "quantity": "The quantity of the nodes of a row, identified by their values: p is the vector of probabilities, z "
    "that of the logits, ℓ that of the losses, f the objective, ∂f/∂ a derivative of it.",
    "exact": "The value from the oracle, rounded once to the tested dtype.",
    "digits in brackets": "They differ from the exact number: rounding, unless a cross behind them says that it is out "
    "of its tolerance.",
}

COMMANDS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "The short answer": MappingProxyType(_SHORT),
        "Comparing runs": MappingProxyType(_COMPARED),
        "Graph and trace": MappingProxyType(_GRAPHS),
    }
)
"""the same for the output of other commands, which a report on one run does not have"""


def entry_id(section: str, word: str) -> str:
    """The id of a glossary entry, from our own words only: letters, digits and dashes."""
    plain = "".join(character if character.isascii() and character.isalnum() else "-" for character in word.lower())
    return f"g-{section.lower().replace(' ', '-')}-{plain.strip('-')}"


def entry_of(table: Table[Any], column: Column[Any]) -> str | None:
    """The id of the entry that explains a column; None for a head that is a plugin's name."""
    section = column.section or table.section
    word = "w[i]" if column.head.startswith("w[") else column.head
    return entry_id(section, word) if word in GLOSSARY[section] and not column.named else None
