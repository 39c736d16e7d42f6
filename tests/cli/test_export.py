"""``compare-ag export``: where its files go, and what it says where it cannot make them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from compare_ag import records
from compare_ag.cli import main


@pytest.fixture
def folder(make_run, tmp_path, monkeypatch):
    """A working directory with the run ``here``."""
    make_run({"numpy": 10e-6, "torch": 50e-6}, path=tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["export", *map(str, arguments)])
    return (int(end.value.code or 0), *capsys.readouterr())


def test_markdown_goes_to_stdout_and_the_others_beside_the_run(folder, capsys):
    code, out, _ = call(capsys, "here", "--format", "md")
    assert code == 0
    assert "| numpy (numpy 1.0) | ok |" in out
    code, out, _ = call(capsys, "here", "--format", "json")
    assert (code, out) == (0, "wrote here/export/run.json\n")
    assert json.loads(Path("here/export/run.json").read_text())["schema"]["name"] == "compare-ag/export"
    code, out, _ = call(capsys, "here", "--format", "csv")
    assert out.splitlines()[0] == "wrote here/export/summary.csv"


def test_an_output_is_a_file_or_a_folder_as_the_format_has_it(folder, capsys):
    assert call(capsys, "here", "--format", "md", "-o", "deep/table.md")[:2] == (0, "wrote deep/table.md\n")
    code, out, _ = call(capsys, "here", "--format", "json", "-o", "-")
    assert (code, json.loads(out)["records"][0]["name"]) == (0, "numpy")
    code, out, _ = call(capsys, "here", "--format", "png", "-o", "figures")
    assert (code, len(out.splitlines())) == (0, 4)
    assert Path("figures/speed.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = call(capsys, "here", "--format", "md", "-o", "figures")
    assert (code, out) == (2, "")
    assert "figures is a folder, and md is one file: name the file" in err
    for output in ("-", "deep/table.md"):
        code, out, err = call(capsys, "here", "--format", "csv", "-o", output)
        assert (code, out) == (2, "")
        assert "csv makes several files: name a folder" in err


def test_without_matplotlib_one_line_says_what_to_install(folder, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    code, out, err = call(capsys, "here", "--format", "svg")
    assert (code, out) == (2, "")
    assert "figures need matplotlib, which is not installed; install it with:" in err
    assert "'matplotlib>=3.9'" in err


def test_a_run_with_nothing_to_draw_says_so(make_run, tmp_path, capsys):
    make_run({"one": 0.0}, statuses={"one": "crashed"}, path=tmp_path / "run")
    (tmp_path / "run" / "arrays" / "reference.npz").unlink()
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"reference_sha256"', '"unknown"'))
    records.seal(tmp_path / "run")
    code, _, err = call(capsys, tmp_path / "run", "--format", "png")
    assert code == 2
    assert "nothing to draw: no backend of this run has finite losses or was timed" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["here"], 2, "--format"),
        (["here", "--format", "pdf"], 2, "pdf"),
        (["nowhere", "--format", "md"], 2, "nowhere is not a run directory"),
        (["here", "--format", "json", "-o", "here/manifest.json/x"], 6, "could not save"),
    ],
)
def test_what_cannot_be_exported_is_said(folder, capsys, arguments, code, said):
    got, out, err = call(capsys, *arguments)
    assert (got, out) == (code, "")
    assert said in err


def test_each_file_is_written_before_the_next_one_is_made(tmp_path):
    from compare_ag.cli.export import _write

    def files():
        yield "a.csv", b"1"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write(files(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_tables_figures_and_arrays_tell_how_far_they_are(make_run):
    from compare_ag.report.figures import each_figure
    from compare_ag.report.spreadsheet import each_table
    from compare_ag.report.whole import run_json

    run = make_run({"numpy": 10e-6, "mine": 20e-6}, steps=12_000)
    said: list[tuple[str, int, int]] = []
    tell = lambda *words: said.append(words)  # noqa: E731 - collects what is told
    list(each_table(run, tell))
    assert ("losses.csv", 10_000, 12_001) in said
    said.clear()
    run_json(run, tell)
    assert [done for _, done, _ in said] == list(range(said[0][2]))
    said.clear()
    list(each_figure(run, "svg", tell))
    assert [(done, total) for _, done, total in said] == [(i, len(said)) for i in range(len(said))]
