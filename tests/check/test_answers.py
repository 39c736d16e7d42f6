"""The rung on answers: well-formed ones pass, others are named with what is wrong, none at all is no fault."""

from __future__ import annotations

import pytest

from compare_ag.check import check_backend

ANSWERS = """
from compare_ag import Answer, NotApplicable


def accumulation():
    first = [2.0]
    return {"first": first, "second": [4.0]}


@hookimpl
def compare_ag_answers():
    return [Answer("accumulation", accumulation), NotApplicable("zeroing", "nothing is kept")]
"""


def verdict(install_plugin, good_plugin, answers):
    install_plugin("mine", good_plugin + answers)
    (result,) = check_backend("mine", ["answers"])
    return result.status, result.message


def test_sound_answers_pass(install_plugin, good_plugin):
    status, message = verdict(install_plugin, good_plugin, ANSWERS)
    assert status == "passed"
    assert message.startswith("1 answers ran, 1 are said not to apply, ")


def test_a_plugin_without_answers_is_not_asked(install_plugin, good_plugin):
    assert verdict(install_plugin, good_plugin, "") == ("skipped", "it answers no questions")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('Answer("accumulation"', 'Answer("acumulation"', "answers 'acumulation', which is no question; did you mean 'accumulation'?"),
        ('"zeroing"', '"accumulation"', "compare_ag_answers() answers 'accumulation' twice"),
        ('"second": [4.0]', '"last": [4.0]', "accumulation: its answer lacks 'second' and gives 'last'"),
        ("first = [2.0]", "first = True", "accumulation: its answer gives 'first' as True or False; it must be numbers"),
        ("first = [2.0]", "raise ValueError('no')", "accumulation: its answer raised ValueError: no"),
        ("first = [2.0]", "import os; os._exit(3)", "accumulation: exit code 3"),
        (", accumulation)", ", lambda: {})", "has no source that can be read: define it in a file, with def"),
        (", accumulation)", ", len)", "is a builtin_function_or_method; give a plain function"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(old, new, said, install_plugin, good_plugin):
    assert ANSWERS.count(old) == 1
    status, message = verdict(install_plugin, good_plugin, ANSWERS.replace(old, new))
    assert status == "failed"
    assert said in message
