"""Questions on recording: which tensors are followed, the parts of a graph, and how to switch recording off."""

from __future__ import annotations

import math

from compare_ag.lab.question import (
    Conclusion,
    Demonstration,
    array,
    as_text,
    error,
    flag,
    flat,
    maybe,
    number,
    question,
    texts,
)

GROUP = "What is recorded"


@question(
    "requires-grad", GROUP,
    "Which tensors take part in differentiation, and do results of operations inherit it?",
    weight=flag("a weight is followed"), data=flag("data are followed"),
    of_weight=flag("the result of an operation on a weight is"), of_data=flag("the result of data alone is"),
)  # fmt: skip
def requires_grad(seen: Demonstration) -> Conclusion | None:
    """Which tensors are marked, and whether results inherit the mark."""
    flags = seen["weight"], seen["data"], seen["of_weight"], seen["of_data"]
    if flags == (True, False, True, False):
        return Conclusion(
            "weights and results",
            "Only a tensor that was chosen is followed; every result of an operation on it inherits that, and what is "
            "computed from data alone is left out.",
        )
    if flags == (True, False, False, False):
        return Conclusion("weights alone", "Chosen tensors are known, but the results of operations do not inherit it.")
    if all(flags):
        return Conclusion("everything", "Every tensor is followed, data included: that costs memory and time.")
    if not any(flags):
        return Conclusion("no tensor", "No tensor is marked: the formulas determine which values are differentiated.")
    return None


@question(
    "nothing-requires-grad", GROUP,
    "What happens when a gradient is asked for of a loss that depends on no followed tensor?",
    may_raise=True, gradient=maybe(array("the gradient that came out")),
)  # fmt: skip
def nothing_requires_grad(seen: Demonstration) -> Conclusion | None:
    """An error, None or zeros."""
    if seen.raised is not None:
        return Conclusion(
            seen.raised.kind, "It raises; usually because no graph is recorded that it could go back along."
        )
    return _absent(seen["gradient"], "the loss does not depend on it")


@question(
    "unused-weight", GROUP,
    "What is the gradient of a weight that the loss does not use, while it uses another?",
    may_raise=True, unused=maybe(array("the gradient of the unused weight")),
    used=maybe(array("the gradient of the used one")),
)  # fmt: skip
def unused_weight(seen: Demonstration) -> Conclusion | None:
    """None or zeros."""
    if seen.raised is not None:
        return Conclusion(seen.raised.kind, "A weight that the graph does not reach is an error.")
    return _absent(seen["unused"], "the loss does not depend on it") if seen["used"] is not None else None


def _absent(gradient: object, why: str) -> Conclusion | None:
    if gradient is None:
        return Conclusion("None", f"There is no gradient, not even zeros: {why}, so backward never visits it.")
    if error(gradient, times_zero(gradient)) == 0.0:
        return Conclusion("zeros", f"The gradient is zero, as mathematics says: {why}.")
    return None


def times_zero(value: object) -> object:
    """Zeros of the same shape."""
    return [times_zero(element) for element in value] if isinstance(value, list) else 0.0


@question(
    "leaf", GROUP,
    "Which tensors are leaves of the graph, where the chain rule ends?",
    weight=flag("a weight is a leaf"), result=flag("the result of an operation on it is a leaf"),
)  # fmt: skip
def leaf(seen: Demonstration) -> Conclusion | None:
    """The weight alone, or both where there is no graph."""
    if (seen["weight"], seen["result"]) == (True, False):
        return Conclusion(
            "the weight", "A weight made by hand is a leaf: nothing was recorded before it. A result is not."
        )
    if (seen["weight"], seen["result"]) == (True, True):
        return Conclusion(
            "both", "Nothing was recorded before either of them: there is no graph that could have an inside."
        )
    return None


@question(
    "kept-gradient", GROUP,
    "After backward, which tensors hold their gradient: weights, intermediate results, those that were asked to?",
    weight=maybe(array("what the weight holds")), result=maybe(array("what an intermediate result holds")),
    asked=maybe(array("what a result holds that was asked to keep it; None where none can be asked")),
)  # fmt: skip
def kept_gradient(seen: Demonstration) -> Conclusion | None:
    """Leaves alone, all tensors, or no tensor."""
    weight, result, asked = (seen[name] is not None for name in ("weight", "result", "asked"))
    more = " unless it is asked to keep it" if asked else ""
    if weight and not result:
        return Conclusion(
            "leaves" + (", on request" if asked else ""),
            f"The leaf holds its gradient, {as_text(seen['weight'])}; an intermediate result lets it go{more}.",
        )
    if weight and result:
        return Conclusion("all tensors", "Leaf and intermediate result both hold their gradient.")
    if not weight and not result and not asked:
        return Conclusion(
            "no tensor", "No tensor holds a gradient: it is a value that is returned, not a state of a tensor."
        )
    return None


@question(
    "recorded", GROUP,
    "What does forward leave for backward: which operations, from the loss back to the weights?",
    operations=texts("names of the recorded operations, from the loss back, the weights left out"),
    arrays=maybe(number("how many arrays it keeps, each memory once, where that can be counted")),
)  # fmt: skip
def recorded(seen: Demonstration) -> Conclusion | None:
    """A chain of operations, or arrays alone."""
    names, arrays = seen["operations"], seen["arrays"]
    if arrays is not None and not (math.isfinite(arrays) and arrays >= 0 and arrays.is_integer()):
        return None
    memory = "" if arrays is None else _count(int(arrays), "array")
    if names:
        count, verb = _count(len(names), "operation"), "is" if len(names) == 1 else "are"
        return Conclusion(count, f"{count} {verb} recorded{memory and f', with {memory}'}: {' ← '.join(names)}.")
    if arrays:
        return Conclusion(memory, f"No operation is recorded; the tape is {memory} for a derivative on paper.")
    return None


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


@question(
    "no-grad", GROUP,
    "If recording is switched off, is really nothing recorded, and what time and memory does that save?",
    recorded=flag("the result is connected to a graph nevertheless"),
    seconds=array("seconds of the same computation, recorded and not"),
    kept_bytes=array("bytes that it leaves behind beside its result, recorded and not"),
)  # fmt: skip
def no_grad(seen: Demonstration) -> Conclusion | None:
    """Nothing recorded, with the measured saving."""
    numbers = [*flat(seen["seconds"]), *flat(seen["kept_bytes"])]
    if len(numbers) != 4 or not all(math.isfinite(number) and number >= 0 for number in numbers):
        return None
    slow, fast, much, little = numbers
    if seen["recorded"]:
        return Conclusion("still recorded", "The result is connected to a graph although recording was switched off.")
    part = max(0.0, 1 - fast / slow) if slow > 0 else 0.0
    time = f"{100 * part:.0f} % of the time" if part else "no time"
    kilobytes = max(0.0, much - little) / 1000
    memory = f"{kilobytes:,.3g} kB" if kilobytes else "no memory"
    return Conclusion(
        f"saves {100 * part:.0f} %, {memory}",
        f"Nothing is recorded. Just now that saved {time} ({slow * 1e6:.3g} µs became {fast * 1e6:.3g} µs), and "
        f"{memory} that forward would have kept for backward.",
    )
