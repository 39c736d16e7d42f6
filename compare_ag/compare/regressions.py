"""Sentences on the changes that must not pass."""

from __future__ import annotations

from collections.abc import Iterable

from compare_ag.compare.changes import BackendChange


def regressions(backends: Iterable[BackendChange], had: str, threshold: float, *, strict: bool = False) -> list[str]:
    """A sentence for each backend that became wrong, and for each that became slower.

    had: the other side of the comparison: "before", or the baseline's name. strict: also a sentence for each backend
    whose timing was disturbed, so that its speed is not decided.
    """
    sentences = []
    for backend in backends:
        name = backend.name
        if backend.became == "wrong":
            sentences.append(f"{name}: {_state(backend)}; {_former(backend, had)}")
        if backend.speed.verdict == "slower" and backend.speed.ratio is not None:
            ratio = backend.speed.ratio
            ends = "" if ratio.low is None else f" ({ratio.low:.3f} to {ratio.high:.3f})"
            sentences.append(
                f"{name} takes {ratio.value:.3f} times as long{ends}: slower by more than {100 * threshold:.3g} %"
            )
        if strict and backend.speed.verdict == "not decided":
            sentences.append(
                f"{name}: its speed is not decided, which --strict does not let pass: {backend.speed.note}"
            )
    return sentences


def _state(backend: BackendChange) -> str:
    if backend.status_after in ("ok", "imported") and backend.published_after is False:
        return "the published losses are not reproduced"
    reason = f" ({backend.found})" if backend.found else ""
    return f"{backend.status_after}{reason}"


def _former(backend: BackendChange, had: str) -> str:
    return "it was not there before" if backend.status_before is None else f"{had}: {backend.status_before}"
