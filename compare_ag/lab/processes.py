"""Questions on runs: the end of the process, repetition, threads, and the state after a failure."""

from __future__ import annotations

import math

from compare_ag.lab.question import (
    Conclusion,
    Demonstration,
    array,
    as_text,
    finite,
    flat,
    maybe,
    number,
    question,
    same,
    shape,
)

GROUP = "Runs and failures"
PROMPT_SECONDS = 5.0
"""limit of a prompt exit on a busy machine; unloading a framework takes about 0.2 s on an idle machine"""
LEAVE_SECONDS = 10.0
"""limit after which a process counts as one that never ends"""


@question(
    "prompt-exit", GROUP,
    "Does the process end promptly once backward has been called and nothing is left to do? (Measured from outside.)",
    leaves=True, gradient=array("the gradient, so that backward has really run"),
    threads=number("threads of Python that are alive afterwards and were not before"),
)  # fmt: skip
def prompt_exit(seen: Demonstration) -> Conclusion | None:
    """Seconds from the request to exit to the end of the process, as the host measured them."""
    seconds = seen["exit_seconds"]
    if seconds is None:
        return Conclusion("does not end", f"It did not end within {LEAVE_SECONDS:g} s and had to be killed.")
    unclean = "" if seen["exit_clean"] else ", but not with exit code 0"
    left = f"backward left {seen['threads']:g} more threads of Python running"
    if seconds < PROMPT_SECONDS:
        return Conclusion(f"{seconds:.2f} s", f"Yes: it ended {seconds:.2f} s after the request{unclean}; {left}.")
    return Conclusion(f"slowly: {seconds:.1f} s", f"It ended only {seconds:.1f} s after the request{unclean}; {left}.")


@question(
    "determinism", GROUP,
    "Do two trainings from the same start end with the same bits?",
    first=array("the weights after the first"), second=array("and after the second"),
)  # fmt: skip
def determinism(seen: Demonstration) -> Conclusion | None:
    """Whether the bits are the same."""
    if repr(seen["first"]) == repr(seen["second"]):  # repr distinguishes -0.0 from 0.0, and NaN equals NaN
        if any(map(math.isnan, flat(seen["first"]))):  # the bits of a NaN are not in the evidence
            return Conclusion(
                "same, with NaN", f"Both end with {as_text(seen['first'])}; the bits of a NaN are not compared."
            )
        return Conclusion("same bits", f"Yes: {as_text(seen['first'])} both times, to the last bit.")
    near = "within rounding" if _near(seen["first"], seen["second"]) else "by more than rounding"
    return Conclusion("other bits", f"No: they differ {near}, {as_text(seen['first'])} and {as_text(seen['second'])}.")


def _near(left: object, right: object) -> bool:
    """Equal within rounding, NaN and infinities at the same places."""
    left_numbers, right_numbers = flat(left), flat(right)
    if shape(left) != shape(right) or len(left_numbers) != len(right_numbers):
        return False
    pairs = [pair for pair in zip(left_numbers, right_numbers, strict=True) if repr(pair[0]) != repr(pair[1])]
    return all(same(a, b) for a, b in pairs)


@question(
    "threads", GROUP,
    "If several threads differentiate at the same time, are all gradients right?",
    calls=number("gradients asked for, all in all"), wrong=number("of them wrong"), failed=number("of them raised"),
)  # fmt: skip
def threads(seen: Demonstration) -> Conclusion | None:
    """How many gradients were wrong or raised."""
    counts = [seen[name] for name in ("calls", "wrong", "failed")]
    if not all(count >= 0 and count == count // 1 for count in counts):
        return None
    calls, wrong, failed = map(int, counts)
    if not calls or wrong + failed > calls:
        return None
    if not wrong and not failed:
        return Conclusion(f"all {calls} right", f"All {calls} were right, which is no proof.")
    return Conclusion(
        f"{wrong + failed} of {calls} bad",
        f"No: {wrong} of {calls} were wrong and {failed} raised.",
    )


@question(
    "failed-backward", GROUP,
    "When backward fails halfway, what does it leave behind, and can it be repeated?",
    left=maybe(array("the gradient that a weight holds after the failure")),
    again=maybe(array("the gradient of a second attempt through the same graph; None where it raised")),
    right=array("the right gradient"),
)  # fmt: skip
def failed_backward(seen: Demonstration) -> Conclusion | None:
    """A part of the gradient, a spent graph, or no effect."""
    left, again = seen["left"], seen["again"]
    if not finite(seen["right"]):
        return None
    part = "nothing" if left is None else "a part"
    remains = (
        "No gradient is left behind"
        if left is None
        else f"The weights reached before the failure hold their gradient, {as_text(left)}"
    )
    if again is None:
        return Conclusion(f"{part}; graph spent", f"{remains}; the graph is spent, and a second attempt raises.")
    if same(again, seen["right"]):
        return Conclusion(f"{part}; repeatable", f"{remains}; a second attempt through the same graph is right.")
    return Conclusion(
        f"{part}; wrong after",
        f"{remains}; a second attempt gives {as_text(again)} where {as_text(seen['right'])} is right, without a word.",
    )
