"""Asking real workers: third parties' answers, and what a broken one costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from compare_ag.lab import QUESTIONS
from compare_ag.lab import interview as module
from compare_ag.lab.interview import interview
from compare_ag.suite import select

ANSWERS = """
from compare_ag import Answer, NotApplicable

SLOPE = 2.0


def accumulation():
    kept = [0.0]
    for _ in range(2):
        kept.append(kept[-1] * ADDS + SLOPE)
    return {"first": [kept[1]], "second": [kept[2]]}


def item_tolist():
    SECOND
    return {"item": "float", "elements": ["float"], "vector": "ValueError"}


def leaf():
    return {"weight": True, "result": False}


@hookimpl
def compare_ag_answers():
    return [
        Answer("accumulation", accumulation),
        Answer("item-tolist", item_tolist),
        Answer("leaf", leaf),
        NotApplicable("zeroing", "nothing is kept"),
        EXTRA
    ]
"""


@pytest.fixture
def ask(install_plugin, good_plugin):
    """Install a backend with answers, ask it, and return the interview."""

    def asked(
        adds="1", second="pass", extra="", topics=("accumulation", "item-tolist", "leaf", "zeroing", "detach"), **how
    ):
        answers = ANSWERS.replace("ADDS", adds).replace("SECOND", second).replace("EXTRA", extra)
        install_plugin("mine", good_plugin + answers)
        (found,) = interview(select(["mine"]), {one: QUESTIONS[one] for one in topics}, list(QUESTIONS), **how)
        return found

    return asked


def statuses(found):
    return {topic: reply.status for topic, reply in found.replies.items()}


@pytest.mark.parametrize(
    ("adds", "cell", "said"), [("1", "adds up", "[2] became [4]"), ("0", "starts afresh", "both times it is [2]")]
)
def test_changing_what_a_plugin_does_changes_cell_and_sentence(adds, cell, said, ask):
    found = ask(adds=adds)
    finding = found.replies["accumulation"].finding
    assert finding.cell == cell
    assert said in finding.sentence
    assert f"* {adds} +" in found.replies["accumulation"].code
    assert statuses(found) == {
        "accumulation": "answered", "item-tolist": "answered", "leaf": "answered", "zeroing": "not-applicable",
        "detach": "unanswered",
    }  # fmt: skip
    assert found.workers == 1
    assert found.replies["zeroing"].reason == "nothing is kept"


def test_behaviour_that_nobody_knows_is_said_to_be_that(ask):
    finding = ask(adds="5").replies["accumulation"].finding
    assert finding.cell == "unlike any known"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("__import__('os').abort()", "killed by SIGABRT"),
        ("__import__('os')._exit(0)", "exited with code 0 without a result"),
        ("__import__('time').sleep(60)", "no answer within 2 s"),
        ("__import__('os').write(201, b'x' * 99)", "broke the result channel"),
    ],
)
def test_a_broken_answer_costs_itself_alone(second, said, ask):
    found = ask(second=second, seconds=2.0)
    assert statuses(found)["item-tolist"] == "failed"
    assert said in found.replies["item-tolist"].reason
    assert found.replies["accumulation"].status == found.replies["leaf"].status == "answered"
    assert found.workers == 2


def test_a_flood_costs_nothing(ask):
    found = ask(second="[print('x' * 1000) for _ in range(100000)]")
    reply = found.replies["item-tolist"]
    assert reply.status == "answered"
    assert len(reply.outcome.printed) < 5000


@pytest.mark.thorough
def test_after_some_hangs_nothing_more_is_asked(ask, monkeypatch):
    monkeypatch.setattr(module, "MOST_TIMEOUTS", 1)
    found = ask(second="__import__('time').sleep(60)", seconds=1.0)
    assert found.replies["leaf"].reason == "not asked: 1 answers hung before"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("return {}", "its answer lacks 'item', 'elements', 'vector'; the question asks for item, elements, vector"),
        ("return 3", "its answer returned a int; return a dict of evidence"),
        ("return {'item': 1, 'elements': [], 'vector': ''}", "its answer gives 'item' as a number; it must be a text"),
    ],
)
def test_an_answer_without_its_evidence_is_malformed(second, said, ask):
    reply = ask(second=second, topics=("item-tolist",)).replies["item-tolist"]
    assert reply.status == "malformed"
    assert said in reply.reason
    assert reply.code.startswith(second.split()[0])


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("Answer('leaf', leaf),", "compare_ag_answers() answers 'leaf' twice"),
        ("leaf,", "returned a list with a function in it"),
        ("Answer('detach', 3),", "answers 'detach' with a int, not a function"),
        ("Answer(3, leaf),", "names the question 3; an id is a text"),
        ("NotApplicable('detach', ' '),", "says without a reason that 'detach' does not apply"),
        ("1 / 0,", "its hook compare_ag_answers() raised ZeroDivisionError"),
    ],
)
def test_a_malformed_hook_is_the_reason_of_every_row(extra, said, ask):
    found = ask(extra=extra, topics=("leaf", "zeroing"))
    assert said in found.failure
    assert {reply.status for reply in found.replies.values()} == {"failed"}
    assert found.replies["leaf"].reason == found.failure


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("return [\n", "return (\n", None),
        ("@hookimpl\ndef compare_ag_answers", "def compare_ag_answers", "lacks its marker: write @compare_ag.hookimpl"),
        (
            "def compare_ag_answers",
            "def compare_ag_answer",
            "unknown hook compare_ag_answer; did you mean compare_ag_answers?",
        ),
        ("compare_ag_answers()", "compare_ag_answers(names)", "must be written compare_ag_answers() without arguments"),
    ],
)
def test_a_hook_that_does_not_fit_is_named(old, new, said, install_plugin, good_plugin):
    answers = ANSWERS.replace("ADDS", "1").replace("SECOND", "pass").replace("EXTRA", "")
    assert old in answers
    source = answers.replace(old, new)
    if said is None:
        said, source = "returned a tuple; it must return a list", source.replace("        \n    ]", "    )")
    install_plugin("mine", good_plugin + source)
    (found,) = interview(select(["mine"]), {"leaf": QUESTIONS["leaf"]}, list(QUESTIONS))
    assert said in found.failure


def test_a_question_that_nobody_asks_is_reported(ask):
    assert ask(extra="Answer('leafs', leaf),", topics=("leaf",)).unknown == ("leafs",)


def test_a_plugin_of_version_1_answers_nothing(install_plugin, good_plugin):
    install_plugin("mine", good_plugin)
    (found,) = interview(select(["mine"]), {"leaf": QUESTIONS["leaf"]}, list(QUESTIONS))
    assert (found.failure, statuses(found)) == ("", {"leaf": "unanswered"})


EXIT = """
def prompt_exit():
    BEFORE
    return {"gradient": [1.0], "threads": 0}
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("before", "ended", "cell"),
    [
        ("pass", True, None),
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()", False, "does not end"),
        ("import atexit, os; atexit.register(os._exit, 3)", True, None),
    ],
)
def test_the_end_of_the_process_is_measured_from_outside(before, ended, cell, ask, monkeypatch):
    monkeypatch.setattr(module, "LEAVE_SECONDS", 3.0)
    hook = "[][0:0] + [] or Answer('prompt-exit', prompt_exit),"
    monkeypatch.setitem(
        globals(), "ANSWERS", ANSWERS.replace("@hookimpl", EXIT.replace("BEFORE", before) + "\n\n@hookimpl")
    )
    found = ask(extra=hook, topics=("prompt-exit", "leaf"))
    reply = found.replies["prompt-exit"]
    assert (reply.outcome["exit_seconds"] is not None) == ended
    assert reply.outcome["exit_clean"] == (ended and "os._exit" not in before)
    assert cell is None or reply.finding.cell == cell
    assert found.workers == 2  # one of its own, after the others


def test_backends_are_told_apart_and_keep_their_order(install_plugin, good_plugin):
    answers = ANSWERS.replace("SECOND", "pass").replace("EXTRA", "")
    for name, adds in (("adding", "1"), ("fresh", "0")):
        install_plugin(name, good_plugin + answers.replace("ADDS", adds))
    heard = []
    found = interview(
        select(["fresh", "adding"]), {"accumulation": QUESTIONS["accumulation"]}, list(QUESTIONS),
        lambda name, reply: heard.append((name, reply.finding.cell)),
    )  # fmt: skip
    assert [(one.name, one.replies["accumulation"].finding.cell) for one in found] == [
        ("fresh", "starts afresh"), ("adding", "adds up"),
    ]  # fmt: skip
    assert sorted(heard) == [("adding", "adds up"), ("fresh", "starts afresh")]


def test_an_interrupt_ends_the_interviews(install_plugin, good_plugin):
    """The workers are told; nobody waits for an answer that takes a minute."""
    answers = ANSWERS.replace("ADDS", "1").replace("SECOND", "__import__('time').sleep(60)").replace("EXTRA", "")
    install_plugin("mine", good_plugin + answers)

    def interrupt(name, reply):
        raise KeyboardInterrupt

    topics = {one: QUESTIONS[one] for one in ("accumulation", "item-tolist")}
    with pytest.raises(KeyboardInterrupt):
        interview(select(["mine"]), topics, list(QUESTIONS), interrupt)


def test_the_lab_imports_no_framework():
    code = (
        "import sys, compare_ag.lab.interview, compare_ag.lab.output, compare_ag.cli.explain; "
        "print({'torch', 'autograd', 'pluggy', 'compare_ag_torch', 'compare_ag_numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
