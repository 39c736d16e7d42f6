"""The default output fits on one screen, whatever became of the backends, and says what to do next."""

from __future__ import annotations

import io
import re
import shlex

import pytest
from rich.console import Console

from compare_ag import records
from compare_ag.problem import problem_by_name
from compare_ag.report.screen import bisect_command, print_screen, problem_options

SCREEN = 40
"""lines that a terminal of 100 columns shows at once"""
TIMES = {"numpy": 1e-5, "torch": 5e-5, "autograd": 9e-5}


def shown(run, width=100, asked=None) -> list[str]:
    file = io.StringIO()
    print_screen(run, Console(file=file, width=width, color_system=None, legacy_windows=False), asked)
    return file.getvalue().splitlines()


def rows_on_a_terminal(lines: list[str], width: int) -> int:
    """Lines that are to be copied are not broken by us, so that the terminal breaks them."""
    return sum(max(1, -(-len(line) // width)) for line in lines)


def with_record(run, name, **changes):
    changed = dict(run.records) | {name: records.replace(run[name], **changes)}
    made = records.Run(run.path, run.manifest, changed, run._cache)
    made.__dict__["reference"] = run.reference
    return made


@pytest.fixture
def ok(make_run):
    return make_run(TIMES, judged=True)


@pytest.fixture
def disagree(make_run):
    run = make_run(TIMES | {"wrong": 2e-5}, statuses={"wrong": "disagree"}, judged=True)
    return with_record(run, "wrong", verdict=records.replace(
        run["wrong"].verdict, message="wrong in update (b): ...", first_step=7, quantity="update", coordinate="b",
        phase="update", observed=9.4e-4, tolerance=1.7e-10, diagnosis=["the update is made twice"],
    ))  # fmt: skip


@pytest.fixture
def failed(make_run):
    run = make_run(TIMES | {"falls": 0.0}, statuses={"falls": "crashed"}, judged=True)
    return with_record(run, "falls", reason="killed by SIGABRT " * 9, logs=["logs/falls.train.stderr.txt"])


@pytest.mark.parametrize("kind", ["ok", "disagree", "failed", "imported"])
def test_the_default_output_fits_on_one_screen(kind, request):
    run = request.getfixturevalue(kind)
    lines = shown(run)
    assert rows_on_a_terminal(lines, 100) <= SCREEN, "\n".join(lines)
    assert rows_on_a_terminal(shown(run, 140), 140) <= SCREEN
    for name in run.records:
        assert any(line.startswith(f"{name} ") for line in lines), name
    assert lines[-1] == f"Run kept in {run.path}"


def test_many_warnings_are_counted_and_each_of_the_others_is_one_line(ok):
    warnings = [f"something that is worth knowing, number {i}, " + "at length " * 20 for i in range(12)]
    run = records.Run(ok.path, records.replace(ok.manifest, warnings=warnings), ok.records, ok._cache)
    lines = shown(run)
    assert rows_on_a_terminal(lines, 100) <= SCREEN
    assert [line[-1] for line in lines if line.startswith("warning: ")] == ["…"] * 3
    assert "and 9 more: --details" in lines


def test_every_backend_has_a_row_with_what_a_first_look_needs(ok):
    lines = shown(ok)
    (head,) = [line for line in lines if line.startswith("backend ")]
    assert head.split("  ")[0] == "backend"
    for word in ("status", "final norm", "distance", "time per step", "ratio", "peak memory"):
        assert word in head
    (row,) = [line for line in lines if line.startswith("torch ")]
    assert "ok" in row
    assert "50.1 µs ± 0." in row or "50.0 µs ± 0." in row
    assert " 5.0" in row
    assert "MB" in row
    assert any(line.startswith("numpy ") and "baseline" in line for line in lines)


def test_losses_stand_side_by_side_with_their_course(ok):
    lines = shown(ok)
    start = lines.index("Loss after k steps") + 1
    assert lines[start].split() == ["k", "numpy", "torch", "autograd", "reference", "tolerance"]
    table = lines[start + 1 : start + 10]
    assert [line.split()[0] for line in table] == ["0", "29", "57", "86", "114", "143", "171", "200", "course"]
    assert table[-1].count("█") == 4


def test_losses_of_many_backends_show_those_that_disagree_first(make_run):
    times = {f"b{i}": 1e-5 for i in range(9)}
    lines = shown(make_run(times, statuses={"b8": "disagree"}))
    head = lines[lines.index("Loss after k steps") + 1].split()
    assert head[1:-2] == ["b0", "b1", "b2", "b3", "b8"]
    assert "4 more backends: --details" in lines
    assert max(map(len, lines[lines.index("Loss after k steps") :][:12])) <= 100


def test_a_disagreement_comes_first_with_where_how_much_why_and_the_line_to_copy(disagree):
    lines = shown(disagree)
    place = lines.index("wrong leaves its tolerance:")
    assert place <= 3
    assert lines[place + 1 : place + 4] == [
        "  where     first at step 7, in update, b",
        "  how much  off by 0.00094, 5.5e+06 times its tolerance 1.7e-10",
        "  why       the update is made twice",
    ]
    own_data = "--data made --target COLUMN --steps 200 --lr 0.5"
    assert lines[place + 4] == f"  locate    compare-ag bisect wrong numpy {own_data}"
    assert "What fails first: compare-ag check wrong" in lines


def test_without_a_known_mistake_it_says_so_and_a_number_that_is_none_is_told_in_words(disagree):
    verdict = records.replace(
        disagree["wrong"].verdict, diagnosis=[], observed="nan", message="first non-finite loss at step 3"
    )
    lines = shown(with_record(disagree, "wrong", verdict=verdict, status="non-finite"))
    assert "  why       none of the known mistakes explains these numbers" in lines
    assert "  how much  first non-finite loss at step 3" in lines


def test_a_failure_shows_its_reason_and_its_log(failed):
    text = " ".join(" ".join(shown(failed)).split())
    assert "falls crashed: killed by SIGABRT" in text
    assert "logs/falls.train.stderr.txt" in text
    assert "What fails first: compare-ag check falls" in text


def test_an_imported_run_points_to_a_run_with_intervals(imported):
    lines = shown(imported)
    assert any(line.startswith("Ratios with intervals: compare-ag run --backends numpy,torch") for line in lines)
    assert "Loss after k steps" not in lines


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("seed", {}),
        ("seed", {"steps": 50, "learning_rate": 0.1, "loss": "logits", "dtype": "float64"}),
        ("synthetic:n=30,d=3,seed=4", {"batch_size": 7, "seed": 3, "l2": 0.1234567, "threads": 2}),
        ("synthetic:n=30,d=3,separability=0.123456789,condition=1e3", {"dtype": "float32", "learning_rate": 0.1}),
    ],
)
def test_the_command_makes_the_same_problem_again(name, options, make_run):
    """Where the records tell it: the options that are printed give a problem of the same digest, to the bit."""
    from compare_ag.cli import main as _  # noqa: F401  # the commands register themselves
    from compare_ag.cli.bisect import bisect
    from compare_ag.cli.problem_options import chosen_problem
    from compare_ag.suite.make_records import problem_record

    problem = problem_by_name(name, **options)
    run = make_run({"numpy": 0.0, "wrong": 0.0})
    run = records.Run(run.path, records.replace(run.manifest, problem=problem_record(problem)), run.records, run._cache)
    words = shlex.split(bisect_command(run, "wrong", problem_options(run)))
    assert words[:2] == ["compare-ag", "bisect"]
    given = dict(bisect.make_context("bisect", words[2:]).params)
    for argument in ("first", "second", "output", "as_json"):
        del given[argument]
    again = chosen_problem(**given)
    assert again.digest() == problem.digest()
    assert again.steps == problem.steps
    assert (again.threads, again.seed) == (problem.threads, problem.seed)


def test_a_backend_is_never_bisected_with_itself(make_run):
    alone = make_run({"numpy": 0.0}, statuses={"numpy": "disagree"})
    assert bisect_command(alone, "numpy", "") == "compare-ag bisect numpy autograd"


def test_lines_to_copy_are_not_broken(disagree):
    asked = "--data 'a file with a very long name in a folder with a very long name.csv' --target kind --standardize"
    lines = shown(disagree, 60, asked)
    assert f"  locate    compare-ag bisect wrong numpy {asked}" in lines


def test_colour_adds_nothing_but_colour(disagree):
    file = io.StringIO()
    print_screen(disagree, Console(file=file, width=100, force_terminal=True, color_system="truecolor"))
    assert "\x1b[" in file.getvalue()
    assert re.sub(r"\x1b\[[\d;]*m", "", file.getvalue()).splitlines() == shown(disagree)
