"""Questions on gradients: when they exist, whether they add up, gradients of vectors, and second derivatives."""

from __future__ import annotations

from compare_ag.lab.question import (
    Conclusion,
    Demonstration,
    array,
    as_text,
    error,
    flat,
    maybe,
    number,
    question,
    same,
    shape,
    telling,
    times,
)

GROUP = "Gradients"


@question(
    "before-backward", GROUP,
    "What is a weight's gradient before the first backward?",
    may_lack=True, gradient=maybe(array("what the weight holds")),
)  # fmt: skip
def before_backward(seen: Demonstration) -> Conclusion | None:
    """None, zeros, or no attribute for a gradient."""
    if seen.raised is not None:
        if (
            "grad" not in seen.raised.line.rpartition("attribute")[2]
        ):  # another attribute: a mistake in the answer's code
            return None
        return Conclusion(
            "no attribute", "A tensor has no attribute for it: a gradient is returned by a function, never kept."
        )
    if seen["gradient"] is None:
        return Conclusion("None", "There is none, not even zeros, until the first backward has made it.")
    if not any(map(abs, flat(seen["gradient"]))):
        return Conclusion("zeros", "It is there from the beginning, as zeros.")
    return None


@question(
    "accumulation", GROUP,
    "If the same loss is differentiated twice, do the gradients add up?",
    first=array("the gradient after the first backward"), second=array("and after the second, of the same loss"),
)  # fmt: skip
def accumulation(seen: Demonstration) -> Conclusion | None:
    """Whether the second gradient is added to the first."""
    first, second = seen["first"], seen["second"]
    if not telling(first):
        return None
    if same(second, times(2, first)):
        return Conclusion(
            "adds up",
            f"They add up: {as_text(first)} became {as_text(second)}. Without zeroing, every step descends along the "
            "sum of all gradients so far.",
        )
    if same(second, first):
        return Conclusion(
            "starts afresh", f"They do not: both times it is {as_text(first)}, so there is nothing to zero."
        )
    return None


@question(
    "zeroing", GROUP,
    "What does zeroing a gradient leave: zeros, or None?",
    usual=maybe(array("after the usual way to zero it")), asked=maybe(array("after asking for the other way")),
)  # fmt: skip
def zeroing(seen: Demonstration) -> Conclusion | None:
    """None or zeros, and the other of the two on request."""
    usual, asked = (None if seen[name] is None else any(flat(seen[name])) for name in ("usual", "asked"))
    if usual or asked:
        return Conclusion("not zeroed", "A gradient is still there afterwards.")
    kinds = {None: "None", False: "zeros"}
    if usual == asked:
        return Conclusion(kinds[usual], f"It leaves {kinds[usual]}, whichever way it is done.")
    return Conclusion(
        f"{kinds[usual]}, or {kinds[asked]}",
        f"The usual way leaves {kinds[usual]}, the other one {kinds[asked]}. None saves the memory, but code "
        "that reads the gradient must then expect it.",
    )


@question(
    "zero-first", GROUP,
    "The note makes one update before its loop: what happens without it, when the loop zeroes the gradient first?",
    may_raise=True, may_lack=True, gradient=maybe(array("the gradient after zeroing and the first backward")),
)  # fmt: skip
def zero_first(seen: Demonstration) -> Conclusion | None:
    """An error, or a gradient that exists before the first backward."""
    if seen.raised is not None:
        if "NoneType" not in seen.raised.line:
            return None
        return Conclusion(
            seen.raised.kind,
            "The loop fails in its first turn: before the first backward the gradient is None, and None cannot be "
            "zeroed. The update before the loop made it.",
        )
    return Conclusion("works", "The loop runs without it: zeroing does not need a gradient that is already there.")


@question(
    "backward-twice", GROUP,
    "Can backward go through one and the same graph a second time?",
    may_raise=True, first=array("the gradient of the first time"), second=array("and of the second"),
)  # fmt: skip
def backward_twice(seen: Demonstration) -> Conclusion | None:
    """The graph is freed, reusable, or silently used up."""
    if seen.raised is not None:
        return Conclusion(
            seen.raised.kind, "No: it raises; usually because the first time freed what forward had saved."
        )
    first, second = seen["first"], seen["second"]
    if not telling(first):
        return None
    if same(first, second):
        return Conclusion("the same again", f"Yes: it gives {as_text(first)} both times, so nothing was freed.")
    if same(second, times(2, first)):
        return Conclusion(
            "adds up", f"Yes, and {as_text(first)} became {as_text(second)}: the second was added to the first."
        )
    return Conclusion(
        "other numbers",
        f"It gives other numbers without a word: {as_text(first)}, then {as_text(second)}. The first time used up the "
        "tape.",
    )


@question(
    "retain-graph", GROUP,
    "If the graph is kept on request, what do two backwards through it give?",
    first=array("the gradient after the first"), second=array("and after the second"),
)  # fmt: skip
def retain_graph(seen: Demonstration) -> Conclusion | None:
    """The same numbers, or their sum."""
    first, second = seen["first"], seen["second"]
    if not telling(first):
        return None
    if same(second, times(2, first)):
        return Conclusion(
            "adds up", f"It works, and {as_text(first)} became {as_text(second)}: kept graphs add up as others do."
        )
    if same(first, second):
        return Conclusion("the same again", f"It works, and gives {as_text(first)} both times.")
    return None


@question(
    "vector-loss", GROUP,
    "What does a gradient of a loss with several components give, without weights for them?",
    may_raise=True, gradient=array("what came out"), of_sum=array("the gradient of the components' sum"),
)  # fmt: skip
def vector_loss(seen: Demonstration) -> Conclusion | None:
    """An error, the gradient of the sum, or a gradient for each component."""
    if seen.raised is not None:
        return Conclusion(seen.raised.kind, "Only a loss of one number has a gradient; several need a weight each.")
    gradient, of_sum = seen["gradient"], seen["of_sum"]
    if same(gradient, of_sum):
        return Conclusion(
            "of the sum", f"It gives {as_text(gradient)}, the gradient of the sum: every weight is taken as 1."
        )
    rows = shape(gradient)
    if (
        len(rows) == 2
        and len(shape(of_sum)) == 1
        and same([sum(column) for column in zip(*gradient, strict=True)], of_sum)
    ):
        return Conclusion(
            "one per component", f"It gives {rows[0]} gradients, one for each component; they add up to the sum's."
        )
    return None


@question(
    "weighted-loss", GROUP,
    "Is backward of three losses with the weights (1.0, 1.0, 0.1) the gradient of their weighted sum?",
    weighted=array("the gradient with weights"), of_sum=array("the gradient of l1 + l2 + 0.1 l3"),
)  # fmt: skip
def weighted_loss(seen: Demonstration) -> Conclusion | None:
    """Whether the two gradients are equal."""
    if not telling(seen["of_sum"]):  # with zeros both sides would be equal for any weights
        return None
    if same(seen["weighted"], seen["of_sum"]):
        return Conclusion(
            "the weighted sum",
            f"Yes: both are {as_text(seen['of_sum'])}. The weights given to backward weigh the losses.",
        )
    return Conclusion(
        "not the sum", f"No: {as_text(seen['weighted'])} with weights, {as_text(seen['of_sum'])} for the sum."
    )


@question(
    "second-derivative", GROUP,
    "Can a gradient be differentiated again: what are the first and second derivative of x³ at 3?",
    first=number("the first derivative"), second=number("the second"),
)  # fmt: skip
def second_derivative(seen: Demonstration) -> Conclusion | None:
    """3x² = 27 and 6x = 18: exact, or approximate."""
    off = max(error(seen["first"], 27.0), error(seen["second"], 18.0))
    if off < 1e-12:
        return Conclusion(f"{seen['second']:g}", "Yes: 27 and 18.")
    if off < 1e-4:
        return Conclusion(
            f"≈ {seen['second']:.7g}",
            f"Only nearly: it gives {seen['first']:.15g} and {seen['second']:.15g} where 27 and 18 are right, an error "
            f"of the fraction {off:.1e}.",
        )
    return Conclusion("wrong", f"It gives {as_text(seen['first'])} and {as_text(seen['second'])}; right are 27 and 18.")


@question(
    "second-unasked", GROUP,
    "Can a gradient be differentiated again without a request for it beforehand?",
    may_raise=True, second=maybe(number("the second derivative of x³ at 3")),
)  # fmt: skip
def second_unasked(seen: Demonstration) -> Conclusion | None:
    """An error, or 18."""
    if seen.raised is not None:
        return Conclusion(
            seen.raised.kind,
            "No: it raises; usually because backward did not record its own operations, so that the gradient has no "
            "graph.",
        )
    if seen["second"] is not None and error(seen["second"], 18.0) < 1e-6:
        return Conclusion("yes", "Yes: it gives 18. Differentiation is a function like any other.")
    return None
