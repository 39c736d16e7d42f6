"""SHA256SUMS: what `sha256sum -c` checks, right after every save, and readable at whatever moment a host is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from compare_ag import records
from compare_ag.cli import main
from compare_ag.records import files, load_run
from compare_ag.records.sums import SUMS, files_of, read_sums
from compare_ag.report.page import write_report


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole.path, tmp_path / "copy")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def command(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def test_every_file_of_a_run_is_listed_with_its_hash(whole):
    listed = read_sums(whole.path)
    assert sorted(listed.kept) == sorted(files_of(whole.path))
    assert {"manifest.json", "records/numpy.json", "arrays/numpy.npz", "arrays/reference.npz"} < set(listed.kept)
    assert not listed.pending


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum on this machine")
def test_sha256sum_checks_a_run(copy):
    write_report(load_run(copy))
    check = ["sha256sum", "-c", "--strict", "--quiet", SUMS]
    assert subprocess.run(check, cwd=copy, check=False).returncode == 0
    flip(copy / "report.html")
    assert subprocess.run(check, cwd=copy, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("form", ["show", "report", "export", "compare"])
@pytest.mark.parametrize("file", ["manifest.json", "records/numpy.json", "arrays/numpy.timing.npz"])
def test_commands_refuse_a_damaged_run_by_the_name_of_the_file(capsys, copy, form, file):
    flip(copy / file)
    more = {"export": ["--format", "md"], "compare": ["--baseline", "numpy"]}.get(form, [])
    code, out, err = command(capsys, form, copy, *more)
    assert code == 2
    assert f"{file} is damaged: its sha256 is not the one in SHA256SUMS" in err
    assert not out


def test_what_is_readable_is_shown_marked(capsys, copy):
    flip(copy / "arrays/numpy.npz")
    (copy / "records/numpy.json").write_text("{")
    code, out, _ = command(capsys, "show", "--salvage", copy)
    assert code == 0
    assert "DAMAGED" in out
    assert "numpy" in out
    assert command(capsys, "export", "--format", "md", "--salvage", copy)[0] == 0
    assert command(capsys, "report", "--salvage", copy)[0] == 0
    assert "DAMAGED" in (copy / "report.html").read_text()


def test_a_lost_line_and_lost_sums_are_noticed(copy):
    lines = (copy / SUMS).read_text().splitlines(keepends=True)
    (copy / SUMS).write_text("".join(line for line in lines if "records/numpy.json" not in line))
    with pytest.raises(records.RecordError, match=r"records/numpy\.json is not listed in SHA256SUMS"):
        load_run(copy)
    (copy / SUMS).unlink()
    with pytest.raises(records.RecordError, match="SHA256SUMS is missing"):
        load_run(copy)


def test_a_run_of_an_older_version_needs_no_sums_and_gets_no_half_ones(copy):
    (copy / SUMS).unlink()
    manifest = (copy / "manifest.json").read_text().replace('"minor": 8', '"minor": 7')
    (copy / "manifest.json").write_text(manifest)
    write_report(load_run(copy))
    assert not (copy / SUMS).exists()
    assert load_run(copy)["numpy"].status == "ok"


def test_a_page_never_makes_a_run_unreadable_and_its_line_follows_it(copy):
    write_report(load_run(copy))
    before = read_sums(copy).kept["report.html"]
    (copy / "report.html").write_text("mine")
    assert load_run(copy)
    (copy / "report.html").unlink()
    assert load_run(copy)
    write_report(load_run(copy))
    assert read_sums(copy).kept["report.html"] == before


@pytest.mark.parametrize("bad", ["x", "0" * 64 + "  ../manifest.json", "0" * 64 + "  /etc/passwd", "\xff"])
def test_damaged_sums_are_named(copy, bad):
    with open(copy / SUMS, "a", encoding="latin-1") as file:
        file.write(bad + "\n")
    with pytest.raises(records.RecordError, match=r"SHA256SUMS is damaged: line \d+"):
        load_run(copy)


def test_a_run_is_intact_at_every_step_of_every_save(copy, monkeypatch):
    """A copy of the directory after each rename is what a kill there would leave."""
    run, replace, seen = load_run(copy), os.replace, 0

    def look(*paths):
        nonlocal seen
        replace(*paths)
        seen += 1
        assert load_run(copy).manifest.state in ("complete", "running")

    records.write_manifest(copy, records.replace(run.manifest, state="running"))
    monkeypatch.setattr(files.os, "replace", look)
    records.write_backend(copy, records.replace(run["numpy"], reason="again"))
    records.write_arrays(copy, "arrays/new.npz", dict(run.arrays("numpy")))
    records.write_manifest(copy, records.replace(run.manifest, state="running", duration_seconds=1.0))
    records.seal(copy)
    records.write_manifest(copy, run.manifest)
    assert seen >= 12


@pytest.mark.parametrize("name", ["manifest.json", "records/numpy.json", "arrays/numpy.npz", SUMS, "report.html"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(copy, name):
    if (copy / name).exists():
        (copy / name).unlink()
    os.mkfifo(copy / name)
    if name == "report.html":
        assert load_run(copy)
        return
    with pytest.raises(records.RecordError, match=r"not a regular file|not a run directory"):
        load_run(copy)


def test_temporary_files_of_killed_hosts_are_removed_and_those_of_living_ones_are_not(tmp_path):
    left, held = tmp_path / ".x.json.1.tmp", tmp_path / ".x.json.2.tmp"
    for path in (left, held):
        path.write_text("half")
        os.utime(path, (time.time() - 60,) * 2)
    code = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        records.remove_leftovers(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [held.name]
        holder.stdin.close()
    records.remove_leftovers(tmp_path)
    assert not any(tmp_path.iterdir())
