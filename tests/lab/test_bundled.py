"""The three bundled backends, asked everything once: enough answers, all of them sound, from two workers each."""

from __future__ import annotations

import ast
import importlib
import inspect

import pytest

from compare_ag.lab import QUESTIONS
from compare_ag.lab.interview import interview
from compare_ag.suite import select

ASKED_FOR = [
    "requires-grad",
    "nothing-requires-grad",
    "leaf",
    "kept-gradient",
    "recorded",
    "no-grad",
    "before-backward",
    "accumulation",
    "zeroing",
    "zero-first",
    "backward-twice",
    "vector-loss",
    "weighted-loss",
    "detach",
    "detach-change",
    "data-change",
    "in-place-recorded",
    "in-place-update",
    "second-derivative",
    "branches",
    "loops",
    "relu-kink",
    "abs-kink",
    "max-tie",
    "saturation",
    "integers",
    "type-promotion",
    "item-tolist",
    "prompt-exit",
    "determinism",
    "threads",
    "failed-backward",
]


@pytest.fixture(scope="module")
def found():
    interviews = interview(select(["torch", "autograd", "numpy"]), QUESTIONS, list(QUESTIONS))
    return {one.name: one for one in interviews}


def cells(interview, status="answered"):
    return {id: reply.finding.cell for id, reply in interview.replies.items() if reply.status == status}


def test_every_question_that_was_promised_is_asked():
    assert set(ASKED_FOR) <= set(QUESTIONS)


@pytest.mark.thorough
@pytest.mark.few(1)
@pytest.mark.parametrize(("name", "least"), [("torch", 24), ("autograd", 16), ("numpy", 16)])
def test_enough_is_answered_by_running_code(name, least, found):
    replies = found[name].replies
    assert {reply.status for reply in replies.values()} <= {"answered", "not-applicable"}, [
        (id, reply.reason) for id, reply in replies.items() if reply.status not in ("answered", "not-applicable")
    ]
    ran = [reply for reply in replies.values() if reply.status == "answered"]
    assert len(ran) >= least
    for reply in ran:
        assert reply.code
        assert reply.seconds > 0
        assert reply.finding.cell != "unlike any known", reply.question.id
    assert all(reply.reason for reply in replies.values() if reply.status == "not-applicable")


def test_two_workers_each_are_enough(found):
    assert {one.workers for one in found.values()} == {2}


@pytest.mark.parametrize("name", ["torch", "autograd", "numpy"])
def test_answers_read_like_snippets(name, found):
    """Short, and without marks for tools that a reader does not have."""
    lengths = []
    for reply in found[name].replies.values():
        if reply.status == "answered":
            ast.parse(reply.code)
            lengths.append(len([line for line in reply.code.splitlines() if line.strip()]))
            assert "# noqa" not in reply.code + reply.helpers
            assert "# type:" not in reply.code + reply.helpers
            assert max(map(len, reply.code.splitlines())) <= 90, reply.question.id
    assert sorted(lengths)[len(lengths) // 2] <= 8
    assert max(lengths) <= 18


def test_what_is_known_of_torch_comes_out(found):
    """Facts of PyTorch that hold since years; whoever changes an answer for the worse finds it here."""
    said = cells(found["torch"])
    assert said["accumulation"] == said["retain-graph"] == "adds up"
    assert said["before-backward"] == said["unused-weight"] == "None"
    assert said["zero-first"] == "AttributeError"
    assert said["detach-change"] == "refused"
    assert said["data-change"] == "no: off by 25 %"
    assert said["zeroing"] == "None, or zeros"
    assert said["saturation"] == "nan"
    assert said["relu-kink"] == "0"
    assert said["max-tie"] == "half each"
    assert said["type-promotion"] == "float64, back to 32"
    assert said["failed-backward"] == "a part; graph spent"
    for refused in ("backward-twice", "vector-loss", "in-place-recorded", "second-unasked", "integers"):
        assert said[refused] == "RuntimeError"
    evidence = found["torch"].replies["recorded"].outcome
    assert [name.removesuffix("Backward0") for name in evidence["operations"]] == [
        "Neg",
        "Mean",
        "Log",
        "Sigmoid",
        "Mul",
    ]
    assert evidence["arrays"] == 1  # sigmoid and log keep one and the same p


def test_the_three_differ_where_they_are_known_to(found):
    rows = {id: [cells(found[name]).get(id) for name in ("torch", "autograd", "numpy")] for id in QUESTIONS}
    assert rows["accumulation"] == ["adds up", "starts afresh", "starts afresh"]
    assert rows["backward-twice"] == ["RuntimeError", "the same again", "other numbers"]
    assert rows["relu-kink"] == ["0", "0.5", None]
    assert rows["saturation"] == ["nan", "-inf", "-1, right"]
    assert rows["weighted-loss"] == ["the weighted sum"] * 3
    assert rows["determinism"] == ["same bits"] * 3
    assert rows["recorded"] == ["5 operations", "7 operations", "3 arrays"]
    assert rows["threads"] == ["all 200 right", "1 of 2 bad", "all 200 right"]
    assert rows["max-tie"] == ["half each", "half each", None]


def test_the_end_of_each_process_was_measured(found):
    for one in found.values():
        seen = one.replies["prompt-exit"].outcome
        assert seen["exit_clean"]
        assert 0 < seen["exit_seconds"] < 10


def literals(source):
    """What answers return without looking: of each function, the keys whose value holds neither a name nor a call."""
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            for one in ast.walk(function):
                if isinstance(one, ast.Return) and isinstance(one.value, ast.Dict):
                    for key, value in zip(one.value.keys, one.value.values, strict=True):
                        if not any(isinstance(part, ast.Name | ast.Call) for part in ast.walk(value)):
                            yield function.name, ast.literal_eval(key), ast.literal_eval(value)


ALLOWED = {"calls", "failed", "right"}
"""how often something was tried, that its exceptions are not caught, and what mathematics says"""


@pytest.mark.parametrize("name", ["torch", "autograd", "numpy"])
def test_no_answer_is_a_stored_text(name, found):
    """Nothing of what is said stands in the plugin, and what is returned was looked at, or is None: no such thing."""
    text = inspect.getsource(importlib.import_module(f"compare_ag_{name}.answers"))
    for reply in found[name].replies.values():
        if reply.status == "answered":
            assert reply.finding.sentence not in text
            assert " " not in reply.finding.cell or reply.finding.cell not in text
    assert [one for one in literals(text) if one[1] not in ALLOWED and one[2] is not None] == []


def test_a_stored_answer_would_be_found():
    stored = "def leaf():\n    w = f()\n    return {'weight': w.leaf, 'result': False}\n"
    assert list(literals(stored)) == [("leaf", "result", False)]
