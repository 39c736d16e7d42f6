"""Which changes must not pass, in sentences."""

from __future__ import annotations

from collections.abc import Iterable

from compare_ag.compare.changes import BackendChange


def regressions(backends: Iterable[BackendChange], had: str, threshold: float, *, strict: bool = False) -> list[str]:
    """One sentence for each backend that became wrong, for each that became slower, and for each that may have.

    had: what the status is held against: "before", or the baseline's name. strict: a disturbed timing does not pass.
    """
    found = []
    for one in backends:
        name = one.name
        if one.became == "wrong":
            found.append(f"{name}: {_state(one)}; {_former(one, had)}")
        if one.speed.verdict == "slower" and one.speed.ratio is not None:
            ratio = one.speed.ratio
            ends = "" if ratio.low is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
            found.append(
                f"{name} takes {ratio.value:.3f} times as long{ends}: slower by more than {100 * threshold:.3g} %"
            )
        if strict and one.speed.verdict == "not decided":
            found.append(f"{name}: its speed is not decided, which --strict does not let pass: {one.speed.note}")
    return found


def _state(one: BackendChange) -> str:
    if one.status_after in ("ok", "imported") and one.published_after is False:
        return "the published losses are not reproduced"
    said = f" ({one.found})" if one.found else ""
    return f"{one.status_after}{said}"


def _former(one: BackendChange, had: str) -> str:
    return "it was not there before" if one.status_before is None else f"{had}: {one.status_before}"
