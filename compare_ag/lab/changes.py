"""Questions on values that change: aliases of a tensor, changes behind the library's back, updates in place."""

from __future__ import annotations

from compare_ag.lab.question import (
    Conclusion,
    Demonstration,
    array,
    as_text,
    error,
    finite,
    flag,
    maybe,
    percent,
    question,
    same,
    shape,
)

GROUP = "Changing values"


@question(
    "detach", GROUP,
    "Does a detached tensor share its memory with the original, and is it still followed?",
    shares=flag("a change of the one is seen in the other"), followed=flag("the detached one is followed"),
)  # fmt: skip
def detach(seen: Demonstration) -> Conclusion | None:
    """Whether the memory is shared, and whether the alias is followed."""
    shares, followed = seen["shares"], seen["followed"]
    if followed:
        return Conclusion("still followed", "It is still connected to the graph, so it is not detached at all.")
    if shares:
        return Conclusion(
            "shares memory",
            "It is no longer followed, but it is the same memory: a change in place hits the original too.",
        )
    return Conclusion("a copy", "It is no longer followed, and a copy: it can be changed without harm.")


def _judge_change(seen: Demonstration) -> Conclusion | None:
    """Refused (the exception tells which line refuses and why), wrong, or right."""
    if seen.raised is not None:
        return Conclusion("refused", f"It is refused: {seen.raised.kind} instead of a gradient.")
    if shape(seen["gradient"]) != shape(seen["right"]) or not finite(seen["right"]):
        return None
    if not finite(seen["gradient"]):
        return Conclusion(
            "no: not finite",
            f"No: backward gives {as_text(seen['gradient'])} without a word, where {as_text(seen['right'])} is right.",
        )
    off = error(seen["gradient"], seen["right"])
    if off > 1e-6:
        return Conclusion(
            f"no: off by {percent(off)}",
            f"No: backward gives {as_text(seen['gradient'])} without a word, where {as_text(seen['right'])} is right; "
            f"that is an error of {percent(off)}.",
        )
    return Conclusion(
        "no harm",
        f"No harm: backward gives {as_text(seen['gradient'])} all the same, from what it kept of its own.",
    )


@question(
    "detach-change", GROUP,
    "A value that backward needs is changed in place through its detached alias: is that noticed?",
    may_raise=True, gradient=array("the gradient after the change"), right=array("the gradient without it"),
)  # fmt: skip
def detach_change(seen: Demonstration) -> Conclusion | None:
    """Noticed, or a silent error of a measured size."""
    return _judge_change(seen)


@question(
    "data-change", GROUP,
    "A value that backward needs is changed behind the library (`.data`, a plain array): is that noticed?",
    may_raise=True, gradient=array("the gradient after the change"), right=array("the gradient without it"),
)  # fmt: skip
def data_change(seen: Demonstration) -> Conclusion | None:
    """Noticed, or a silent error of a measured size."""
    return _judge_change(seen)


@question(
    "in-place-recorded", GROUP,
    "Can a weight be updated in place while operations are recorded?",
    may_raise=True, before=array("the weight before"), after=array("and after w -= something"),
)  # fmt: skip
def in_place_recorded(seen: Demonstration) -> Conclusion | None:
    """Refused or done."""
    if seen.raised is not None:
        recorded = "in-place" in seen.raised.line or "inplace" in seen.raised.line
        why = ": the update would itself be recorded, and overwrite what the graph starts from" if recorded else ""
        return Conclusion(seen.raised.kind, f"No, that is refused{why}.")
    if not finite(seen["before"]):
        return None
    if same(seen["before"], seen["after"]):
        return Conclusion(
            "no change", "Nothing is said, but the weight keeps its value: the name was only bound to a new array."
        )
    return Conclusion(
        "changes", f"Yes: {as_text(seen['before'])} became {as_text(seen['after'])}, and nothing objected."
    )


@question(
    "in-place-update", GROUP,
    "Is the usual update in place, outside of recording, one of the same tensor, which is followed as before?",
    may_raise=True, before=array("the weight before"), after=array("and after the update"),
    same_memory=flag("it is the same memory"), followed=maybe(flag("it is followed as a leaf afterwards")),
)  # fmt: skip
def in_place_update(seen: Demonstration) -> Conclusion | None:
    """In place, and still a leaf."""
    if seen.raised is not None:
        return Conclusion(seen.raised.kind, "No: it cannot be updated in place here either.")
    if not finite(seen["before"]) or same(seen["before"], seen["after"]) or not seen["same_memory"]:
        return None
    if seen["followed"] is False:
        return Conclusion("not followed", "The value changes in place, but afterwards the tensor is no leaf any more.")
    more = "; it is followed as before" if seen["followed"] else ""
    return Conclusion(
        "in place", f"Yes: {as_text(seen['before'])} became {as_text(seen['after'])} in the same memory{more}."
    )
