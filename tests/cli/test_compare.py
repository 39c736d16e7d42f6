"""``compare-ag compare`` as a gate: exit codes, the three forms of its answer, and what it refuses."""

from __future__ import annotations

import json

import pytest

from compare_ag.cli import main

TIMES = {"numpy": 10e-6, "mine": 20e-6}


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    """Folders of saved runs."""
    folder = tmp_path_factory.mktemp("compare")
    make_run(TIMES, path=folder / "before")
    make_run(TIMES, seed=1, path=folder / "same")
    make_run(TIMES | {"mine": 24e-6}, seed=1, path=folder / "slower")
    make_run(TIMES | {"mine": 24e-6}, machine={"cpu": "Other CPU"}, path=folder / "elsewhere")
    make_run(TIMES, steps=100, problem={"digest": "d2"}, path=folder / "other")
    return folder


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """No line is folded."""
    monkeypatch.setenv("COLUMNS", "160")


def call(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["compare", *map(str, arguments)])
    return (int(end.value.code), *capsys.readouterr())


def test_the_command_line_works_twice_in_one_process(runs, capsys):

    assert call(capsys, runs / "before", runs / "same")[0] == 0


def test_the_exit_code_gates(runs, capsys):
    code, out, _ = call(capsys, runs / "before", runs / "same")
    assert code == 0
    assert out.startswith("before → same: nothing became wrong, nothing is seen to be slower by more than 5 %.")
    code, out, _ = call(capsys, runs / "before", runs / "slower")
    assert code == 1
    assert "- mine takes 1.2" in out
    assert call(capsys, runs / "before", runs / "slower", "--threshold", "0.5")[0] == 0


@pytest.mark.parametrize("form", [(), ("--md",)])
def test_a_busier_machine_is_told_loudly(make_run, runs, tmp_path, capsys, form):
    make_run(TIMES, seed=1, mood=1.2, path=tmp_path / "busy")
    code, out, _ = call(capsys, runs / "before", tmp_path / "busy", "--yardstick", "none", *form)
    assert code == 1
    assert "ALL BECAME SLOWER ALIKE" in out.split("erdict")[0]
    assert "ALL BECAME" not in call(capsys, runs / "before", tmp_path / "busy", *form)[1]


def test_what_is_still_wrong_is_named_though_it_passes(make_run, tmp_path, capsys):
    make_run(TIMES, statuses={"mine": "disagree"}, path=tmp_path / "a")
    code, out, _ = call(capsys, tmp_path / "a", tmp_path / "a")
    assert code == 0
    assert "5 %. Still wrong: mine.\n" in out
    code, out, _ = call(capsys, tmp_path / "a", "--baseline", "numpy", "--md")
    assert code == 1
    assert "- mine: disagree" in out
    assert "became wrong" not in out


def test_a_run_given_as_here_has_a_name(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs / "before")
    assert call(capsys, ".", "../same")[1].startswith("before → same: ")


def test_another_machine_is_said_loudly(runs, capsys):
    code, out, _ = call(capsys, runs / "before", runs / "elsewhere")
    assert code == 0
    assert "TIMES ARE NOT COMPARED" in out
    assert "CPU: Made CPU → Other CPU" in out
    assert "nothing is seen to be slower" not in out


def test_what_is_not_decided_is_not_claimed(make_run, tmp_path, capsys):
    make_run(TIMES, launches=1, path=tmp_path / "one")
    code, out, _ = call(capsys, tmp_path / "one", tmp_path / "one")
    assert code == 0
    assert out.startswith("one → one: nothing became wrong; whether anything is slower is not decided.")


def test_markdown_and_json_say_the_same(runs, capsys):
    code, out, _ = call(capsys, runs / "before", runs / "slower", "--md")
    assert code == 1
    assert out.startswith("### compare-ag: changes that should not pass\n")
    assert "| mine | ok | ok |  | 20.0 µs | 24.0 µs | 1.2" in out
    code, text, _ = call(capsys, runs / "before", runs / "slower", "--json")
    found = json.loads(text)
    assert (code, found["exit_code"]) == (1, 1)
    assert found["schema"] == {"name": "compare-ag/comparison", "major": 1, "minor": 2}
    assert [one["speed"]["verdict"] for one in found["backends"]] == ["yardstick", "slower"]


@pytest.fixture(scope="module")
def noisy(make_run, tmp_path_factory):
    """A run in which all went well, and one in which other programs disturbed a backend."""
    folder = tmp_path_factory.mktemp("noisy")
    make_run(TIMES, judged=True, path=folder / "A")
    make_run(TIMES | {"mine": 60e-6}, seed=1, disturbed={"mine": 0.63}, path=folder / "B")
    return folder


@pytest.mark.parametrize("form", [(), ("--md",)])
def test_a_disturbed_timing_passes_unless_strict_and_says_so_before_all_tables(noisy, capsys, form):
    code, out, _ = call(capsys, noisy / "A", noisy / "B", *form)
    assert code == 0
    head = out.split("erdict")[0].split("| backend")[0]
    assert "A → B: nothing became wrong; whether anything is slower is not decided (a timing was disturbed)." in head
    assert "- not decided: mine was disturbed in B (" in head
    assert "of blocks disturbed)" in head
    assert "it passes here, --strict makes it fail" in out
    code, out, _ = call(capsys, noisy / "A", noisy / "B", "--strict", *form)
    assert code == 1
    assert "A → B: 1 change that should not pass." in out
    assert "it fails here because of --strict" in out


def test_json_says_what_was_not_decided(noisy, capsys):
    code, text, _ = call(capsys, noisy / "A", noisy / "B", "--json", "--strict")
    found = json.loads(text)
    assert (code, found["exit_code"], found["strict"]) == (1, 1, True)
    assert [one["speed"]["verdict"] for one in found["backends"]] == ["yardstick", "not decided"]
    assert found["backends"][1]["speed"]["ratio"] is None


def test_strict_holds_within_one_run(noisy, capsys):
    assert call(capsys, noisy / "B", "--baseline", "numpy")[0] == 0
    assert call(capsys, noisy / "B", "--baseline", "numpy", "--strict")[0] == 1


def test_one_run_with_a_baseline(runs, capsys):
    code, out, _ = call(capsys, runs / "before", "--baseline", "numpy")
    assert code == 1
    assert out.startswith("before, compared with numpy: 1 change that should not pass.")
    assert call(capsys, runs / "before", "--baseline", "mine")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["before", "other"], "different problems"),
        (["before"], "name two runs, or one run and --baseline NAME"),
        (["before", "same", "slower"], "name two runs"),
        (["before", "same", "--baseline", "numpy"], "--baseline is for one run"),
        (["before", "--baseline", "numpy", "--yardstick", "numpy"], "--yardstick is for two runs"),
        (["before", "--baseline", "torch"], "'torch' is not in this run; its backends: numpy, mine"),
        (["before", "nowhere"], "nowhere is not a run directory"),
        (["before", "same", "--threshold", "much"], "'much' is no share: write 5% or 0.05"),
        (["before", "same", "--threshold", "-5%"], "must be 0 or more"),
        (["before", "same", "--md", "--json"], "exclude each other"),
        (["before", "same", "--yardstick", "torch"], "'torch' was not timed in both runs"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(runs)
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert said in err
    assert out == ""
