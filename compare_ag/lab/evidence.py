"""Checks that evidence has the form that a question asks for. A worker's evidence is not trusted before this check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compare_ag.lab.question import Field, Question, shape

NON_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class EvidenceError(Exception):
    """The evidence does not fit the question; the message is for the answer's author."""


def read_evidence(question: Question, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence by name, numbers as floats. Raises `EvidenceError`."""
    missing = [name for name in question.evidence if name not in sent]
    unknown = [name for name in sent if name not in question.evidence]
    if missing or unknown:
        faults = [f"lacks {', '.join(map(repr, missing))}"] if missing else []
        faults += [f"gives {', '.join(map(repr, unknown))} that nobody asked for"] if unknown else []
        raise EvidenceError(f"{' and '.join(faults)}; the question asks for {', '.join(question.evidence)}")
    return {name: _read(name, field, sent[name]) for name, field in question.evidence.items()}


def _read(name: str, field: Field, value: Any) -> Any:
    if value is None and field.optional:
        return None
    try:
        return _READ[field.kind](value)
    except TypeError:
        wanted = {"flag": "True or False", "number": "one number", "array": "numbers", "text": "a text"}
        got = _kind(value)
        what = wanted.get(field.kind, "a list of texts") + (" or None" if field.optional else "")
        raise EvidenceError(f"gives {name!r} as {got}; it must be {what}: {field.meaning}") from None


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, list) and len(value) == 1:  # of shape (1,), which is a scalar in some frameworks
        return _number(value[0])
    if isinstance(value, str) and value in NON_FINITE:
        return NON_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _array(value: Any) -> Any:
    if not isinstance(value, list):
        return _number(value)
    parts = [_array(part) for part in value]
    if len({shape(part) for part in parts}) > 1:  # rows of unequal length
        raise TypeError
    return parts


def _text(value: Any) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise TypeError
    return str(value["text"])


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError
    return [_text(text) for text in value]


_READ = {"flag": _flag, "number": _number, "array": _array, "text": _text, "texts": _texts}


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, bool):
        return "True or False"
    if isinstance(value, dict):
        return "a text"
    return "a list" if isinstance(value, list) else "a number"
