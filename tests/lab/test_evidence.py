"""Evidence is taken for what a question asks only where it is."""

from __future__ import annotations

import math

import pytest

from compare_ag.lab import Question
from compare_ag.lab.evidence import EvidenceError, read_evidence
from compare_ag.lab.question import array, flag, maybe, number, text, texts

FIELDS = {"f": flag("f"), "n": number("n"), "a": maybe(array("a")), "t": text("t"), "l": texts("l")}
QUESTION = Question("q", "g", "asks", FIELDS, lambda _: None)
GOOD = {"f": True, "n": "-inf", "a": [[1, "nan"]], "t": {"text": "x"}, "l": [{"text": "y"}]}


def test_numbers_become_floats_and_texts_texts():
    found = read_evidence(QUESTION, GOOD)
    assert (found["f"], found["n"], found["t"], found["l"]) == (True, -math.inf, "x", ["y"])
    assert found["a"][0][0] == 1.0
    assert math.isnan(found["a"][0][1])
    assert read_evidence(QUESTION, GOOD | {"a": None, "n": [[2]]}) == found | {"a": None, "n": 2.0}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("f", 1, "gives 'f' as a number; it must be True or False: f"),
        ("n", None, "gives 'n' as None; it must be one number: n"),
        ("n", [1, 2], "gives 'n' as a list; it must be one number: n"),
        ("n", True, "gives 'n' as True or False; it must be one number: n"),
        ("a", {"text": "1"}, "gives 'a' as a text; it must be numbers or None: a, or None"),
        ("a", [[1], [1, 2]], "gives 'a' as a list; it must be numbers or None: a, or None"),
        ("a", ["huge"], "gives 'a' as a list; it must be numbers or None: a, or None"),
        ("t", "nan", "gives 't' as a number; it must be a text: t"),
        ("l", {"text": "y"}, "gives 'l' as a text; it must be a list of texts: l"),
    ],
)
def test_another_kind_is_refused_with_what_was_meant(name, value, said):
    with pytest.raises(EvidenceError) as caught:
        read_evidence(QUESTION, GOOD | {name: value})
    assert str(caught.value) == said


def test_missing_and_additional_evidence_is_named():
    with pytest.raises(EvidenceError) as caught:
        read_evidence(QUESTION, {name: value for name, value in GOOD.items() if name != "t"} | {"z": 1})
    assert str(caught.value) == "lacks 't' and gives 'z' that nobody asked for; the question asks for f, n, a, t, l"
