"""Every judge says something else when the evidence is something else, and nothing where it does not know."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compare_ag.lab import QUESTIONS, Conclusion, Demonstration, Raised
from compare_ag.lab.question import SLIPS, as_text, error, question, same

BOOM = Raised("RuntimeError", "RuntimeError: no")
LACKS = Raised("AttributeError", "AttributeError: 'NoneType' object has no attribute 'zero_'")
NO_GRAD = Raised("AttributeError", "AttributeError: 'numpy.ndarray' object has no attribute 'grad'")
MISSPELT = Raised("AttributeError", "AttributeError: module 'autograd' has no attribute 'tensr'")
UNLIKE = "unlike any known"
NAN = math.nan

CASES: dict[str, list[tuple[dict[str, object] | Raised, str]]] = {
    "requires-grad": [
        ({"weight": True, "data": False, "of_weight": True, "of_data": False}, "weights and results"),
        ({"weight": True, "data": False, "of_weight": False, "of_data": False}, "weights alone"),
        ({"weight": True, "data": True, "of_weight": True, "of_data": True}, "everything"),
        ({"weight": False, "data": False, "of_weight": False, "of_data": False}, "no tensor"),
        ({"weight": False, "data": True, "of_weight": False, "of_data": False}, UNLIKE),
    ],
    "nothing-requires-grad": [
        (BOOM, "RuntimeError"), ({"gradient": None}, "None"), ({"gradient": [0.0, 0.0]}, "zeros"),
        ({"gradient": [0.0, 1.0]}, UNLIKE), ({"gradient": [0.0, NAN]}, UNLIKE),
    ],
    "unused-weight": [
        (BOOM, "RuntimeError"), ({"unused": None, "used": [1.0]}, "None"), ({"unused": [0.0], "used": [1.0]}, "zeros"),
        ({"unused": [0.0, NAN], "used": [1.0, 1.0]}, UNLIKE), ({"unused": None, "used": None}, UNLIKE), ({"unused": [1.0], "used": [1.0]}, UNLIKE),
    ],
    "leaf": [
        ({"weight": True, "result": False}, "the weight"), ({"weight": True, "result": True}, "both"),
        ({"weight": False, "result": True}, UNLIKE),
    ],
    "kept-gradient": [
        ({"weight": [1.0], "result": None, "asked": [1.0]}, "leaves, on request"),
        ({"weight": [1.0], "result": None, "asked": None}, "leaves"),
        ({"weight": [1.0], "result": [1.0], "asked": None}, "all tensors"),
        ({"weight": None, "result": None, "asked": None}, "no tensor"),
        ({"weight": None, "result": [1.0], "asked": None}, UNLIKE),
    ],
    "recorded": [
        ({"operations": ["Mean", "Log"], "arrays": 2.0}, "2 operations"),
        ({"operations": ["Mul"], "arrays": 1.0}, "1 operation"), ({"operations": ["Mul"], "arrays": NAN}, UNLIKE),
        ({"operations": [], "arrays": 3.0}, "3 arrays"), ({"operations": [], "arrays": None}, UNLIKE),
    ],
    "no-grad": [
        ({"recorded": False, "seconds": [2e-6, 1e-6], "kept_bytes": [8000.0, 0.0]}, "saves 50 %, 8 kB"),
        ({"recorded": False, "seconds": [1e-6, 2e-6], "kept_bytes": [8.0, 8.0]}, "saves 0 %, no memory"),
        ({"recorded": True, "seconds": [1e-6, 2e-6], "kept_bytes": [8.0, 8.0]}, "still recorded"),
        ({"recorded": False, "seconds": [1e-6], "kept_bytes": [8.0, 8.0]}, UNLIKE),
    ],
    "before-backward": [
        ({"gradient": None}, "None"), ({"gradient": [0.0]}, "zeros"), ({"gradient": [1.0]}, UNLIKE),
        (NO_GRAD, "no attribute"), (MISSPELT, UNLIKE), (LACKS, UNLIKE), (BOOM, "RuntimeError?"),
    ],
    "accumulation": [
        ({"first": [2.0, 4.0], "second": [4.0, 8.0]}, "adds up"),
        ({"first": [2.0, 4.0], "second": [2.0, 4.0]}, "starts afresh"),
        ({"first": [NAN], "second": [NAN]}, UNLIKE), ({"first": [math.inf], "second": [math.inf]}, UNLIKE),
        ({"first": [2.0, 4.0], "second": [2.0, NAN]}, UNLIKE),
        ({"first": [2.0, 4.0], "second": [3.0, 5.0]}, UNLIKE), ({"first": [0.0], "second": [0.0]}, UNLIKE),
    ],
    "zeroing": [
        ({"usual": None, "asked": [0.0]}, "None, or zeros"), ({"usual": [0.0], "asked": None}, "zeros, or None"),
        ({"usual": [0.0], "asked": [0.0]}, "zeros"), ({"usual": [2.0], "asked": None}, "not zeroed"),
    ],
    "zero-first": [(LACKS, "AttributeError"), ({"gradient": [1.0]}, "works"), (BOOM, UNLIKE)],
    "backward-twice": [
        (BOOM, "RuntimeError"), ({"first": [1.0], "second": [1.0]}, "the same again"),
        ({"first": [1.0], "second": [2.0]}, "adds up"), ({"first": [1.0], "second": [0.25]}, "other numbers"),
        ({"first": [NAN], "second": [NAN]}, UNLIKE), ({"first": [1.0], "second": [NAN]}, "other numbers"),
        ({"first": [0.0], "second": [0.0]}, UNLIKE),
    ],
    "retain-graph": [
        ({"first": [1.0], "second": [2.0]}, "adds up"), ({"first": [1.0], "second": [1.0]}, "the same again"),
        ({"first": [1.0], "second": [5.0]}, UNLIKE), ({"first": [NAN], "second": [NAN]}, UNLIKE),
    ],
    "vector-loss": [
        (BOOM, "RuntimeError"), ({"gradient": [1.0, 2.0], "of_sum": [1.0, 2.0]}, "of the sum"),
        ({"gradient": [[1.0, 0.0], [0.0, 2.0]], "of_sum": [1.0, 2.0]}, "one per component"),
        ({"gradient": [[1.0, 0.0], [0.0, 3.0]], "of_sum": [1.0, 2.0]}, UNLIKE),
        ({"gradient": [NAN], "of_sum": [NAN]}, UNLIKE),
    ],
    "weighted-loss": [
        ({"weighted": [2.0, 0.6], "of_sum": [2.0, 0.6]}, "the weighted sum"),
        ({"weighted": [2.0, 6.0], "of_sum": [2.0, 0.6]}, "not the sum"),
        ({"weighted": [0.0], "of_sum": [0.0]}, UNLIKE), ({"weighted": [NAN], "of_sum": [NAN]}, UNLIKE),
        ({"weighted": [NAN, 0.6], "of_sum": [2.0, 0.6]}, "not the sum"),
    ],
    "second-derivative": [
        ({"first": 27.0, "second": 18.0}, "18"), ({"first": 27.0, "second": 18.0 + 1e-7}, "≈ 18"),
        ({"first": 27.0, "second": 0.0}, "wrong"), ({"first": 27.0, "second": NAN}, "wrong"),
    ],
    "second-unasked": [(BOOM, "RuntimeError"), ({"second": 18.0}, "yes"), ({"second": NAN}, UNLIKE), ({"second": None}, UNLIKE)],
    "detach": [
        ({"shares": True, "followed": False}, "shares memory"), ({"shares": False, "followed": False}, "a copy"),
        ({"shares": True, "followed": True}, "still followed"),
    ],
    "detach-change": [
        (BOOM, "refused"), ({"gradient": [0.5], "right": [1.0]}, "no: off by 50 %"),
        ({"gradient": [1.0], "right": [[1.0]]}, UNLIKE),
        ({"gradient": [1.0], "right": [1.0]}, "no harm"),
    ],
    "data-change": [
        (BOOM, "refused"), ({"gradient": [0.75], "right": [1.0]}, "no: off by 25 %"),
        ({"gradient": [NAN, NAN], "right": [1.0, 2.0]}, "no: not finite"),
        ({"gradient": [1.0, NAN], "right": [1.0, 2.0]}, "no: not finite"), ({"gradient": [NAN], "right": [NAN]}, UNLIKE),
        ({"gradient": [1.0], "right": [1.0]}, "no harm"),
    ],
    "in-place-recorded": [
        (BOOM, "RuntimeError"), ({"before": [1.0], "after": [1.0]}, "no change"),
        ({"before": [NAN], "after": [NAN]}, UNLIKE),
        ({"before": [1.0], "after": [0.9]}, "changes"),
    ],
    "in-place-update": [
        (BOOM, "RuntimeError"), ({"before": [1.0], "after": [0.9], "same_memory": True, "followed": True}, "in place"),
        ({"before": [1.0], "after": [0.9], "same_memory": True, "followed": False}, "not followed"),
        ({"before": [1.0], "after": [0.9], "same_memory": False, "followed": True}, UNLIKE),
        ({"before": [NAN], "after": [NAN], "same_memory": True, "followed": True}, UNLIKE),
    ],
    "branches": [
        ({"positive": 6.0, "negative": -1.0}, "the branch that ran"), ({"positive": 6.0, "negative": -6.0}, "wrong"),
        ({"positive": 6.0, "negative": NAN}, "wrong"),
    ],
    "loops": [
        ({"slopes": [1.0, 4.0, 12.0], "operations": [1.0, 2.0, 3.0]}, "unrolled"),
        ({"slopes": [1.0, 4.0, 12.0], "operations": None}, "right"),
        ({"slopes": [1.0, 4.0, 12.0], "operations": [1.0, 1.0, 1.0]}, "right"),
        ({"slopes": [1.0, 1.0, 1.0], "operations": None}, "wrong"),
        ({"slopes": [1.0, 4.0, NAN], "operations": None}, "wrong"),
        ({"slopes": [1.0, 4.0, 12.0], "operations": [1.0, NAN, 3.0]}, UNLIKE),
    ],
    "relu-kink": [
        ({"slope": 0.0}, "0"), ({"slope": 1.0}, "1"), ({"slope": 0.5}, "0.5"), ({"slope": -1.0}, "-1: wrong"),
        ({"slope": math.nan}, "nan"),
    ],
    "abs-kink": [({"slope": 0.0}, "0"), ({"slope": 0.3}, "0.3"), ({"slope": 2.0}, "2: wrong")],
    "max-tie": [
        ({"gradient": [0.5, 0.5]}, "half each"), ({"gradient": [1.0, 0.0]}, "the first"),
        ({"gradient": [0.0, 1.0]}, "the last"), ({"gradient": [1.0, 1.0]}, "both: too much"),
        ({"gradient": [0.0, 0.0]}, "neither"), ({"gradient": [0.3, 0.7]}, UNLIKE),
    ],
    "saturation": [
        ({"value": -math.inf, "gradient": math.nan}, "nan"), ({"value": -math.inf, "gradient": -math.inf}, "-inf"),
        ({"value": -40.0, "gradient": -1.0}, "-1, right"), ({"value": -40.0, "gradient": 0.0}, "0"),
    ],
    "integers": [
        (BOOM, "RuntimeError"), ({"gradient": [2.0, 4.0], "dtype": "int64"}, "yes, in int64"),
        ({"gradient": [2.0, 0.0], "dtype": "float32"}, "wrong"),
    ],
    "type-promotion": [
        (BOOM, "RuntimeError"), ({"loss": "float64", "gradient": "float32"}, "float64, back to 32"),
        ({"loss": "float64", "gradient": "float64"}, "float64"), ({"loss": "float32", "gradient": "float32"}, "float32"),
        ({"loss": "float16", "gradient": "float32"}, UNLIKE),
    ],
    "item-tolist": [
        ({"item": "float", "elements": ["float"], "vector": "ValueError"}, "Python floats"),
        ({"item": "Tensor", "elements": ["float"], "vector": "ValueError"}, "other types"),
    ],
    "prompt-exit": [
        ({"gradient": [1.0], "threads": 0.0, "exit_seconds": 0.25, "exit_clean": True}, "0.25 s"),
        ({"gradient": [1.0], "threads": 0.0, "exit_seconds": 7.0, "exit_clean": True}, "slowly: 7.0 s"),
        ({"gradient": [1.0], "threads": 1.0, "exit_seconds": None, "exit_clean": False}, "does not end"),
    ],
    "determinism": [
        ({"first": [0.1], "second": [0.1]}, "same bits"), ({"first": [0.1], "second": [0.1 + 1e-12]}, "other bits"),
        ({"first": [0.1, NAN], "second": [0.1, NAN]}, "same, with NaN"), ({"first": [0.0], "second": [-0.0]}, "other bits"),
    ],
    "threads": [
        ({"calls": 200.0, "wrong": 0.0, "failed": 0.0}, "all 200 right"),
        ({"calls": 200.0, "wrong": 3.0, "failed": 1.0}, "4 of 200 bad"),
        ({"calls": 0.0, "wrong": 0.0, "failed": 0.0}, UNLIKE), ({"calls": 2.0, "wrong": 3.0, "failed": 0.0}, UNLIKE),
    ],
    "failed-backward": [
        ({"left": None, "again": [2.0], "right": [2.0]}, "nothing; repeatable"),
        ({"left": [2.0], "again": None, "right": [2.0]}, "a part; graph spent"),
        ({"left": None, "again": [0.5], "right": [2.0]}, "nothing; wrong after"),
        ({"left": None, "again": [NAN], "right": [2.0]}, "nothing; wrong after"),
        ({"left": None, "again": [NAN], "right": [NAN]}, UNLIKE),
    ],
}  # fmt: skip


def found(id: str, seen: dict[str, object] | Raised) -> Conclusion:
    outcome = Demonstration({}, seen) if isinstance(seen, Raised) else Demonstration(seen)
    return QUESTIONS[id].find(outcome)


def test_every_question_has_cases_and_several_findings():
    assert list(CASES) == list(QUESTIONS)
    for id, cases in CASES.items():
        assert len({cell for _, cell in cases}) >= 2, id


@pytest.mark.parametrize(
    ("id", "seen", "cell"), [(id, seen, cell) for id, cases in CASES.items() for seen, cell in cases]
)
def test_a_finding_follows_the_evidence(id, seen, cell):
    assert found(id, seen).cell == cell


@pytest.mark.parametrize("id", QUESTIONS)
def test_other_evidence_gives_another_sentence(id):
    cells = {found(id, seen).cell: found(id, seen).sentence for seen, _ in CASES[id]}
    sentences = list(cells.values())
    assert len(set(sentences)) == len(cells)
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in sentences)


def test_the_size_of_an_error_is_in_the_sentence():
    assert "25 %" in found("data-change", {"gradient": [0.75], "right": [1.0]}).sentence
    assert "[2, 2] became [4, 4]" in found("accumulation", {"first": [2.0, 2.0], "second": [4.0, 4.0]}).sentence


@pytest.mark.parametrize("id", QUESTIONS)
def test_a_slip_in_the_code_is_no_behaviour_of_a_framework(id):
    """An answer with a typo must not be taken for a framework that refuses."""
    assert "NameError" in SLIPS
    for kind in SLIPS:
        assert found(id, Raised(kind, f"{kind}: w")).cell == f"{kind}?"


def evidence_of(id: str) -> st.SearchStrategy[dict[str, object]]:
    """Anything at all of the right kinds."""
    numbers = st.floats(allow_nan=True, allow_infinity=True)
    rows = st.integers(0, 3).flatmap(lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n), max_size=3))
    kinds = {
        "flag": st.booleans(), "number": numbers, "array": numbers | st.lists(numbers, max_size=4) | rows,
        "text": st.text(max_size=8), "texts": st.lists(st.text(max_size=8), max_size=3),
    }  # fmt: skip
    fields = QUESTIONS[id].evidence
    parts = {
        name: st.none() | kinds[field.kind] if field.optional else kinds[field.kind] for name, field in fields.items()
    }
    if QUESTIONS[id].leaves:
        parts |= {"exit_seconds": st.none() | st.floats(0, 100), "exit_clean": st.booleans()}
    return st.fixed_dictionaries(parts)


@pytest.mark.parametrize("id", QUESTIONS)
def test_no_evidence_breaks_a_judge(id):
    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(evidence_of(id))
    def holds(evidence):
        finding = QUESTIONS[id].find(Demonstration(evidence))
        assert finding.cell
        assert finding.sentence.endswith((".", "…"))

    holds()


def test_what_is_long_is_cut():
    finding = found("recorded", {"operations": ["Multiply"] * 500, "arrays": None})
    assert finding.cell == "500 operations"
    assert len(finding.sentence) == 600
    assert finding.sentence.endswith("…")
    assert as_text([float(one) for one in range(100)]) == "[0, 1, 2, 3, 4, 5, 6, …, 99]"
    assert len(found("integers", {"gradient": [2.0, 4.0], "dtype": "x" * 4000}).cell) == 40


def test_two_questions_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two questions are called 'leaf'"):
        question("leaf", "x", "y")(lambda _: None)


def test_weights_that_differ_are_said_to_by_how_much():
    for first, second, how in [
        ([0.1], [0.1 + 1e-12], "within rounding"), ([0.1, NAN], [0.1 + 1e-12, NAN], "within rounding"),
        ([0.1, NAN], [NAN, 0.1], "by more than rounding"), ([0.1, 0.2], [0.1, NAN], "by more than rounding"),
        ([0.1], [0.2], "by more than rounding"), ([0.1], [[0.1]], "by more than rounding"),
    ]:  # fmt: skip
        assert f"they differ {how}," in found("determinism", {"first": first, "second": second}).sentence


def test_an_exception_is_told_without_a_cause_that_nobody_saw():
    """A read-only array or one without item assignment stops the answer before anything was changed."""
    for line in ("ValueError: assignment destination is read-only", "TypeError: no item assignment"):
        kind = line.partition(":")[0]
        for id in ("detach-change", "data-change"):
            assert found(id, Raised(kind, line)).sentence == f"It is refused: {kind} instead of a gradient."


def test_an_update_that_is_refused_for_another_reason_is_not_said_to_be_recorded():
    torch = Raised(
        "RuntimeError", "RuntimeError: a leaf Variable that requires grad is being used in an in-place operation."
    )
    assert "would itself be recorded" in found("in-place-recorded", torch).sentence
    read_only = Raised("ValueError", "ValueError: output array is read-only")
    assert found("in-place-recorded", read_only).sentence == "No, that is refused."


def test_a_near_miss_shows_the_digits_in_which_it_misses():
    assert "18.0000001" in found("second-derivative", {"first": 27.0, "second": 18.0000001}).sentence


def test_same_and_error_know_shapes_and_nan():
    assert not same([1.0, math.nan], [1.0, math.nan])
    assert same([math.inf], [math.inf])
    assert error([1.0, math.nan], [1.0, 2.0]) == error([math.nan, 1.0], [2.0, 1.0]) == math.inf
    assert not same([1.0], [[1.0]])
    assert not same([1.0], [1.001])
    assert error([1.0], [[1.0]]) == math.inf
    assert error([0.5, 2.0], [1.0, 2.0]) == 0.25
