"""``compare-ag explain``: the matrix, one topic in full, JSON, and what goes wrong."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from compare_ag.lab import QUESTIONS

BROKEN = '''

from compare_ag import Answer, NotApplicable


def accumulation():
    """Not shown."""
    print("to \\x1b[2J the terminal")
    return {"first": [1.0], "second": [2.0]}


def leaf():
    return {"weight": nobody, "result": False}


def saturation():
    return {"value": float("-inf"), "gradient": float("nan")}


@hookimpl
def compare_ag_answers():
    answers = [Answer("accumulation", accumulation), Answer("leaf", leaf), Answer("saturation", saturation)]
    return answers + [Answer("leafs", leaf), NotApplicable("zeroing", "nothing is kept")]
'''


def explain(*arguments, columns="80"):
    environment = {**os.environ, "COLUMNS": columns, "NO_COLOR": "1"}
    command = [sys.executable, "-m", "compare_ag", "explain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def mine(install_plugin, good_plugin):
    install_plugin("mine", good_plugin + BROKEN)


def test_the_matrix_has_a_row_for_each_question_and_fits_80_columns(mine):
    done = explain("--backends", "mine,numpy")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.split() and line.split()[0] in QUESTIONS] == list(QUESTIONS)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["mine", "numpy"]
    (row,) = [line for line in lines if line.startswith("accumulation")]
    assert row.split("  ")[0] == "accumulation"
    assert "adds up" in row
    assert "starts afresh" in row
    (row,) = [line for line in lines if line.startswith("leaf ")]
    assert row.split()[1:] == ["NameError?", "n/a"]
    assert done.returncode == 3
    assert "mine, leaf: failed: its answer raised NameError: name 'nobody' is not defined" in done.stderr
    assert "warning: mine answers 'leafs', which is no question here" in done.stderr


def test_many_backends_are_shown_in_several_tables():
    from rich.console import Console

    from compare_ag.lab.interview import Interview, Reply
    from compare_ag.lab.output import Matrix

    asked = list(QUESTIONS.values())[:3]
    names = [f"backend-{number}" for number in range(7)]
    interviews = [Interview(name, {one.id: Reply(one, "unanswered") for one in asked}) for name in names]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Matrix(asked, interviews))
    text = console.export_text()
    assert all(name in text for name in names)
    assert sum(line.startswith(asked[0].id) for line in text.splitlines()) == 3
    assert max(map(len, text.splitlines())) <= 80


def test_a_topic_shows_question_code_outcome_and_sentence(mine):
    done = explain("accumulation", "--backends", "mine")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [  # without spaces at the ends, which a pipe has no use for
        "accumulation  If the same loss is differentiated twice, do the gradients add up?",
        "",
        "mine  numpy " + __import__("numpy").__version__,
        '  print("to \\x1b[2J the terminal")',
        '  return {"first": [1.0], "second": [2.0]}',
        "",
        "  printed  to \\x1b[2J the terminal",
        "  first = [1]",
        "  second = [2]",
        "  → They add up: [1] became [2]. Without zeroing, every step descends along the",
        "  sum of all gradients so far.",
    ]


def test_what_is_not_answered_or_does_not_apply_is_shown_as_such(mine):
    assert "→ Not applicable: nothing is kept." in explain("zeroing", "--backends", "mine").stdout
    done = explain("detach", "--backends", "mine")
    assert "→ Not answered: the plugin does not answer it." in done.stdout
    assert done.returncode == 0


def test_a_broken_answer_is_a_row_with_its_reason(mine):
    done = explain("leaf", "--backends", "mine,numpy")
    assert "raised   NameError: name 'nobody' is not defined" in done.stdout
    assert "→ The code raised NameError, which is unlike any behaviour that this question knows." in " ".join(
        done.stdout.split()
    )
    assert done.returncode == 3


def test_json_is_complete_and_strict(mine):
    done = explain("saturation", "--backends", "mine", "--json")
    document = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document["schema"] == {"name": "compare-ag/explain", "major": 1, "minor": 0}
    (answer,) = document["answers"]
    assert answer["evidence"] == {"value": "-inf", "gradient": "nan"}
    assert (answer["backend"], answer["status"], answer["cell"]) == ("mine", "answered", "nan")
    assert answer["code"].startswith("return {")
    assert document["backends"][0]["unknown"] == ["leafs"]
    assert "saturation" in done.stderr


def test_an_unknown_topic_is_a_usage_error_with_what_may_be_meant():
    done = explain("accumlation")
    assert done.returncode == 2
    assert "there is no topic 'accumlation'; did you mean 'accumulation'?" in done.stderr
    assert "`compare-ag explain --list` shows them" in explain("zzz").stderr


def test_an_unknown_backend_is_a_usage_error():
    done = explain("leaf", "--backends", "nunpy")
    assert done.returncode == 2
    assert "did you mean 'numpy'" in done.stderr


def test_the_list_shows_every_topic_and_for_one_its_evidence():
    assert [line.split()[0] for line in explain("--list").stdout.splitlines()] == list(QUESTIONS)
    assert explain("accumulation", "--list").stdout.splitlines()[1:] == [
        "  first: array: the gradient after the first backward",
        "  second: array: and after the second, of the same loss",
    ]


def test_the_list_as_json_is_json_alone():
    done = explain("--list", "--json")
    document = json.loads(done.stdout)
    assert [one["id"] for one in document["questions"]] == list(QUESTIONS)
    assert document["answers"] == document["backends"] == []
    assert done.returncode == 0
    (question,) = json.loads(explain("kept-gradient", "--list", "--json").stdout)["questions"]
    assert question["evidence"][0] == {
        "name": "weight", "kind": "array", "meaning": "what the weight holds, or None", "optional": True,
    }  # fmt: skip


def test_a_backend_that_cannot_be_loaded_is_its_reason_in_every_row(install_plugin):
    install_plugin("mine", "import nowhere_to_be_found")
    done = explain("leaf", "--backends", "mine,numpy")
    assert done.returncode == 3
    assert "needs the module 'nowhere_to_be_found'" in done.stdout + done.stderr
    assert "no operation is recorded" in done.stdout


def test_code_is_coloured_in_a_terminal_alone():
    from rich.console import Console

    from compare_ag.lab.output import Code

    def printed(terminal: bool) -> str:
        file = io.StringIO()
        Console(width=60, file=file, force_terminal=terminal, color_system="standard").print(Code('return {"x": 1}'))
        return file.getvalue()

    assert "\x1b[" in printed(True)
    assert printed(False) == 'return {"x": 1}\n'
