"""``compare-ag verify``: three levels by name, each mismatch with its place, and the exit codes."""

from __future__ import annotations

import json
import os
import shutil

import pytest

import compare_ag
from compare_ag import records
from compare_ag.cli import main


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return compare_ag.run(["numpy"], steps=40, timing=False, output=tmp_path_factory.mktemp("verify") / "run")


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made.path, tmp_path / "run")


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["verify", *map(str, arguments)])
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def test_a_run_that_holds_says_so_level_by_level(capsys, folder):
    code, out, _ = call(capsys, folder)
    assert code == 0
    assert [line.split(":")[:2] for line in out.splitlines()] == [["intact", " holds"], ["recomputed", " holds"]]


def test_a_repetition_is_a_third_level(capsys, folder):
    code, out, _ = call(capsys, folder, "--rerun")
    assert code == 0
    assert out.splitlines()[-1].startswith("replicated: holds: 1 backends trained again")


def test_a_damaged_file_is_named_with_both_hashes(capsys, folder):
    with open(folder / "records/numpy.json", "ab") as file:
        file.write(b" ")
    code, out, _ = call(capsys, folder)
    assert code == 1
    assert "records/numpy.json: sha256: recorded" in out
    assert "recomputed: not possible\n  not tried: the run is damaged" in out


def test_an_edited_field_is_named_with_what_was_derived(capsys, folder):
    path = folder / "records/numpy.json"
    path.write_text(path.read_text().replace('"converged": false', '"converged": true'))
    records.seal(folder)
    code, out, _ = call(capsys, folder, "--json")
    assert code == 1
    levels = json.loads(out)
    assert [level["result"] for level in levels] == ["holds", "does not hold"]
    assert levels[1]["mismatches"] == [
        {"file": "records/numpy.json", "field": "convergence.converged", "recorded": True, "derived": False}
    ]


def test_a_page_that_was_changed_does_not_hold_and_stops_nothing(capsys, folder):
    from compare_ag.report.page import write_report

    write_report(records.load_run(folder))
    (folder / "report.html").write_text("mine")
    code, out, _ = call(capsys, folder)
    assert code == 1
    assert "report.html: sha256" in out
    assert "recomputed: holds" in out


@pytest.mark.parametrize("how", ["nothing", "no folder", "garbage with its sums", "pipe"])
def test_what_cannot_be_read_exits_2(capsys, folder, how):
    manifest = folder / "manifest.json"
    if how == "no folder":
        folder = folder / "elsewhere"
    elif how == "garbage with its sums":
        manifest.write_text("{")
        records.seal(folder)
    else:
        manifest.unlink()
        if how == "pipe":
            os.mkfifo(manifest)
    code, _, err = call(capsys, folder)
    assert code == 2
    assert "manifest.json" in err


def test_an_old_run_says_what_is_not_possible(capsys, folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"minor": 8', '"minor": 7'))
    (folder / "SHA256SUMS").unlink()
    code, out, _ = call(capsys, folder)
    assert code == 0
    assert out.count("not possible before schema 1.8") == 2
