"""Running an answer: what is shown is what ran, everything it does is kept, and nothing it returns is too much."""

from __future__ import annotations

import importlib
import sys
import warnings

import numpy as np
import pytest

from compare_ag.worker.answering import MOST_CHARACTERS, MOST_VALUES, MalformedAnswerError, evidence, run_answer, source

MODULE = '''
import numpy as np

FACTOR = 3


class Scaled:
    def by(self, value):
        return FACTOR * value


def scaled(value):
    return Scaled().by(value)


TABLE = {"a": [1, 2.5], "b": None}
LONG = "x" * 1000
ARRAY = np.zeros(2)


def leaf_of_both():
    return 1


def middle():
    return leaf_of_both()


def uses_both():
    return leaf_of_both() + middle()


def uses_many():
    return {"value": uses_both(), "table": len(TABLE), "long": len(LONG), "array": ARRAY}


def documented():
    """What it is about.

    In several lines.
    """
    # a comment that belongs to the code
    text = """two
    lines"""
    return {"text": text, "value": scaled(2)}


def plain() -> dict:
    value = np.array([1.0, np.inf])
    return {"value": value}


def short(): return {"value": 1}


def prints():
    print("seen")
    import warnings
    warnings.warn("careful")
    warnings.warn("careful")
    return {}


def raises():
    raise ValueError("two\\nlines")


def leaves():
    raise SystemExit(3)


def floods():
    for _ in range(10000):
        print("x" * 100)
    return {}


def attribute(scaled_=None):
    return {}


def names_only_an_attribute():
    class Local:
        scaled = 1
    return {"value": Local().scaled}


def generates():
    yield 1


def make():
    inner = 1
    def closure():
        return {"value": inner}
    return closure


def global_changed():
    global FACTOR
    FACTOR = 4
    return {"value": FACTOR}
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    (folder / "answers_under_test.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    found = importlib.import_module("answers_under_test")
    exec("def from_nowhere():\n    return {}\n", vars(found))
    yield found
    sys.path.remove(str(folder))
    del sys.modules["answers_under_test"]


def test_the_body_is_shown_without_signature_and_docstring_but_with_its_comments(module):
    code, helpers = source(module.documented)
    assert code.splitlines()[0] == "# a comment that belongs to the code"
    assert code.splitlines()[-1] == 'return {"text": text, "value": scaled(2)}'
    assert helpers.startswith("FACTOR = 3\n\nclass Scaled:")
    assert helpers.index("class Scaled") < helpers.index("def scaled")
    assert source(module.plain) == ('value = np.array([1.0, np.inf])\nreturn {"value": value}', "")
    assert source(module.short)[0] == 'return {"value": 1}'


def test_helpers_stand_before_what_uses_them_and_plain_values_among_them(module):
    helpers = source(module.uses_many)[1]
    order = [helpers.index(text) for text in ("def leaf_of_both", "def middle", "def uses_both")]
    assert order == sorted(order)
    assert "TABLE = {'a': [1, 2.5], 'b': None}" in helpers
    assert f"LONG = '{'x' * 198}…" in helpers
    assert "ARRAY" not in helpers


def test_an_attribute_of_a_helpers_name_is_no_helper(module):
    assert source(module.names_only_an_attribute)[1] == ""


def test_what_ran_is_the_text_that_is_shown(module):
    """Also where taking off the indentation changes a text over several lines."""
    found = run_answer(module.documented)
    assert found.evidence == {"text": {"text": "two\nlines"}, "value": 6}
    assert '"""two\nlines"""' in found.code
    scope: dict[str, object] = {}
    exec(found.code.replace("return", "result ="), vars(module), scope)
    assert scope["result"] == {"text": "two\nlines", "value": 6}


def test_a_function_whose_code_was_exchanged_still_runs_its_text(module):
    before = module.plain.__code__
    module.plain.__code__ = (lambda: {"value": 7}).__code__.replace(
        co_filename=before.co_filename, co_firstlineno=before.co_firstlineno
    )
    try:
        assert run_answer(module.plain).evidence == {"value": [1.0, "inf"]}
    finally:
        module.plain.__code__ = before


def test_prints_warnings_and_exceptions_are_outcomes(module):
    found = run_answer(module.prints)
    assert found.printed == "seen\n"
    assert found.warned == ["UserWarning: careful"]
    raised = run_answer(module.raises).raised
    assert (raised.kind, raised.line) == ("ValueError", "ValueError: two lines")
    assert run_answer(module.leaves).raised.kind == "SystemExit"


def test_a_flood_is_cut(module):
    found = run_answer(module.floods)
    assert len(found.printed) < MOST_CHARACTERS + 100
    assert found.printed.endswith("more characters]")


def test_names_that_an_answer_sets_do_not_stay(module):
    assert run_answer(module.global_changed).evidence == {"value": 4}
    assert module.FACTOR == 3


def test_the_warning_filters_are_as_before(module):
    before = list(warnings.filters), warnings.showwarning
    run_answer(module.prints)
    assert (list(warnings.filters), warnings.showwarning) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda m: m.make(), "closes over inner"),
        (lambda m: m.attribute, "without arguments"),
        (lambda m: m.generates, "neither generator nor coroutine"),
        (lambda _: len, "is a builtin_function_or_method; give a plain function"),
        (lambda m: m.Scaled, "is a type; give a plain function"),
        (lambda m: m.from_nowhere, "has no source that can be read"),
    ],
)
def test_what_is_no_answer_says_why(make, said, module):
    found = run_answer(make(module))
    assert said in found.flaw
    assert (found.code, found.evidence) == ("", {})


def test_a_lambda_in_a_file_has_no_body_of_its_own():
    assert "define it in a file, with def" in run_answer(lambda: {"value": 1}).flaw


def test_evidence_is_plain_and_of_bounded_size():
    given = {
        "a": np.float32(0.5),
        "b": np.array([[1, 2]]),
        "c": (True, None),
        "d": "nan",
        "e": float("nan"),
        "f": np.bool_(1),
    }
    assert evidence(given) == {
        "a": 0.5, "b": [[1, 2]], "c": [True, None], "d": {"text": "nan"}, "e": "nan", "f": True,
    }  # fmt: skip
    assert evidence({"big": 10**300}) == {"big": 1e300}
    for wrong, said in [
        ([1], "returned a list"), ({1: 2}, "the key 1"), ({"a": object()}, "as a object"),
        ({"a": np.zeros(MOST_VALUES + 1)}, "more than"), ({"a": [0] * (MOST_VALUES + 1)}, "more than"),
    ]:  # fmt: skip
        with pytest.raises(MalformedAnswerError, match=said):
            evidence(wrong)
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(MalformedAnswerError, match="nested too deep"):
        evidence({"a": endless})


def test_a_tolist_that_raises_is_the_answers_fault(module):
    class Odd:
        def tolist(self):
            raise OSError("no")

    module.Odd = Odd
    module.plain.__globals__["np"] = type("np", (), {"array": staticmethod(lambda _: Odd()), "inf": 1})
    try:
        assert run_answer(module.plain).flaw == "gives evidence that cannot be read: OSError: no"
    finally:
        module.plain.__globals__["np"] = np
