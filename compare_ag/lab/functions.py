"""Questions on functions: control flow, points without a derivative, saturation, integers, dtypes, plain numbers."""

from __future__ import annotations

import math

from compare_ag.lab.question import (
    Conclusion,
    Demonstration,
    array,
    as_text,
    error,
    finite,
    flat,
    maybe,
    number,
    question,
    same,
    text,
    texts,
)

GROUP = "Functions and numbers"


@question(
    "branches", GROUP,
    "What is the gradient of `x² if x > 0 else -x`, at 3 and at -3?",
    positive=number("the slope at 3"), negative=number("the slope at -3"),
)  # fmt: skip
def branches(seen: Demonstration) -> Conclusion | None:
    """6 and -1: the slope of the branch that ran."""
    if error(seen["positive"], 6.0) < 1e-6 and error(seen["negative"], -1.0) < 1e-6:
        return Conclusion(
            "the branch that ran", "6 and -1: the gradient is that of the branch that ran; the condition has none."
        )
    return Conclusion(
        "wrong", f"It gives {as_text(seen['positive'])} and {as_text(seen['negative'])}; right are 6 and -1."
    )


@question(
    "loops", GROUP,
    "What is the gradient of a product that a Python loop makes, x multiplied n times, at 2 for n = 1, 2, 3?",
    slopes=array("the slope for each n"), operations=maybe(array("how many operations were recorded for each n")),
)  # fmt: skip
def loops(seen: Demonstration) -> Conclusion | None:
    """n 2ⁿ⁻¹ = 1, 4, 12, and a graph that grows with n."""
    if not same(seen["slopes"], [1.0, 4.0, 12.0]):
        return Conclusion("wrong", f"It gives {as_text(seen['slopes'])}; right are 1, 4, 12.")
    counts = None if seen["operations"] is None else flat(seen["operations"])
    if counts is None:
        return Conclusion("right", "1, 4, 12, as it should be.")
    if not finite(counts):
        return None
    if len(set(counts)) == len(counts) and counts == sorted(counts):
        return Conclusion(
            "unrolled", f"1, 4, 12: every turn is recorded anew ({as_text(counts)} operations); the loop itself is not."
        )
    return Conclusion("right", f"1, 4, 12, with {as_text(counts)} recorded operations.")


def _kink(slope: float, left: float, right: float) -> Conclusion:
    """The chosen element of the interval between the one-sided slopes."""
    if math.isnan(slope):
        return Conclusion("nan", "It gives NaN: no slope at all.")
    where = {left: "the slope from the left", right: "the slope from the right", (left + right) / 2: "the middle"}
    if slope in where:
        return Conclusion(
            as_text(slope),
            f"It gives {as_text(slope)}, {where[slope]}; everything from {as_text(left)} to {as_text(right)} is a "
            "subgradient.",
        )
    if left < slope < right:
        return Conclusion(
            as_text(slope),
            f"It gives {as_text(slope)}, a subgradient, for it lies between {as_text(left)} and {as_text(right)}.",
        )
    return Conclusion(
        f"{as_text(slope)}: wrong",
        f"It gives {as_text(slope)}, which is no subgradient: it must lie between {as_text(left)} and "
        f"{as_text(right)}.",
    )


@question(
    "relu-kink", GROUP,
    "Which slope does max(x, 0) get at 0, where it has none?",
    slope=number("the slope"),
)  # fmt: skip
def relu_kink(seen: Demonstration) -> Conclusion | None:
    """Any slope between 0 and 1."""
    return _kink(seen["slope"], 0.0, 1.0)


@question("abs-kink", GROUP, "Which slope does |x| get at 0, where it has none?", slope=number("the slope"))
def abs_kink(seen: Demonstration) -> Conclusion | None:
    """Any slope between -1 and 1."""
    return _kink(seen["slope"], -1.0, 1.0)


@question(
    "max-tie", GROUP,
    "Which argument gets the gradient of max(a, b) where a = b?",
    gradient=array("the gradient in (a, b)"),
)  # fmt: skip
def max_tie(seen: Demonstration) -> Conclusion | None:
    """The gradient is shared, given to one of the two, or given to both."""
    gradient = tuple(flat(seen["gradient"]))
    known = {
        (0.5, 0.5): ("half each", "They share it, half each: the only choice that treats both alike."),
        (1.0, 0.0): ("the first", "The first one gets all of it."),
        (0.0, 1.0): ("the last", "The last one gets all of it."),
        (1.0, 1.0): ("both: too much", "Both get all of it, which is no subgradient: their sum must be 1."),
        (0.0, 0.0): ("neither", "Neither gets any, which is no subgradient: their sum must be 1."),
    }
    return Conclusion(*known[gradient]) if gradient in known else None


@question(
    "saturation", GROUP,
    "What are log(1 - σ(z)) and its gradient at z = 40, where σ(z) rounds to 1? Right are -40 and -1.",
    value=number("the value"), gradient=number("the gradient"),
)  # fmt: skip
def saturation(seen: Demonstration) -> Conclusion | None:
    """NaN, infinity, or the right value."""
    value, gradient = seen["value"], seen["gradient"]
    lost = (
        "1 - σ(z) is 0 in floating point, its logarithm -inf"
        if value == -math.inf
        else f"the value is {as_text(value)}"
    )
    if math.isnan(gradient):
        meets = ", and the chain rule meets 0 × ∞" if value == -math.inf else ""
        return Conclusion("nan", f"The gradient is NaN: {lost}{meets}. One such example ruins a training.")
    if math.isinf(gradient):
        divides = ", and the chain rule divides by that 0" if value == -math.inf else ""
        return Conclusion(as_text(gradient), f"The gradient is infinite: {lost}{divides}.")
    if error(gradient, -1.0) < 1e-6:
        ruined = f", though {lost}" if value == -math.inf else ""
        return Conclusion("-1, right", f"The gradient is right, -1{ruined}.")
    return Conclusion(as_text(gradient), f"The gradient is {as_text(gradient)} where -1 is right: {lost}.")


@question(
    "integers", GROUP,
    "Can weights be integers?",
    may_raise=True, gradient=array("the gradient of w² at w = (1, 2)"), dtype=text("its dtype"),
)  # fmt: skip
def integers(seen: Demonstration) -> Conclusion | None:
    """Refused, or a gradient of some dtype."""
    if seen.raised is not None:
        return Conclusion(
            seen.raised.kind,
            "No, that is refused: only floating-point numbers can be moved by an arbitrarily small amount.",
        )
    if same(seen["gradient"], [2.0, 4.0]):
        exact = "int" not in seen["dtype"]
        more = "" if exact else ", itself in integers, which cannot hold a slope of 0.5"
        return Conclusion(
            f"yes, in {seen['dtype']}", f"Yes: it gives {as_text(seen['gradient'])} in {seen['dtype']}{more}."
        )
    return Conclusion("wrong", f"It gives {as_text(seen['gradient'])}; right is [2, 4].")


@question(
    "type-promotion", GROUP,
    "If float32 weights meet float64 data, in which dtype are loss and gradient?",
    may_raise=True, loss=text("the dtype of the loss"), gradient=text("the dtype of the gradient of the weights"),
)  # fmt: skip
def type_promotion(seen: Demonstration) -> Conclusion | None:
    """The dtype after promotion, and whether the gradient is converted back."""
    if seen.raised is not None:
        return Conclusion(seen.raised.kind, "They may not meet: dtypes are not promoted.")
    loss, gradient = seen["loss"], seen["gradient"]
    if (loss, gradient) == ("float64", "float32"):
        return Conclusion(
            "float64, back to 32",
            "The loss is promoted to float64; the gradient comes back in float32, as the weights are.",
        )
    if (loss, gradient) == ("float64", "float64"):
        return Conclusion(
            "float64",
            "Both are float64: the gradient does not have the dtype of the weights, and an update may change theirs.",
        )
    if (loss, gradient) == ("float32", "float32"):
        return Conclusion("float32", "Both are float32: the data lose their last digits.")
    return None


@question(
    "item-tolist", GROUP,
    "What do item() and tolist() make of a loss and of a vector?",
    item=text("the type of what item() makes of a loss"),
    elements=texts("the types of what tolist() makes of a vector"),
    vector=text("what item() makes of a vector: a type, or the name of the exception"),
)  # fmt: skip
def item_tolist(seen: Demonstration) -> Conclusion | None:
    """Whether they are Python's own numbers."""
    if seen["item"] != "float" or set(seen["elements"]) != {"float"}:
        return Conclusion(
            "other types", f"They make {seen['item']} and {', '.join(seen['elements'])}, not Python's own floats."
        )
    refuses = seen["vector"].endswith("Error")
    vector = f"refuses a vector ({seen['vector']})" if refuses else f"makes {seen['vector']} of a vector"
    return Conclusion(
        "Python floats",
        f"item() makes one Python float of a loss and {vector}; tolist() makes a list of floats. Neither has a graph.",
    )
