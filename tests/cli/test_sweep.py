"""`compare-ag sweep`, `merge` and `pick` as a shell sees them: what is printed, what is left, exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from compare_ag.sweep.ledger import Ledger

COMMAND = str(Path(sys.executable).parent / "compare-ag")
SECONDS = 120.0
TINY = ("--backends", "numpy", "--n", "4,5", "--d", "1", "--steps", "3", "--no-timing")
SLOW = "        __import__('time').sleep(0.05)\n        w, b = weights\n"


def call(*arguments: object, code: int = 0, **more) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, **more)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("swept") / "sweep"
    call("sweep", *TINY, "-o", folder)
    return folder


def test_a_sweep_leaves_a_run_for_each_cell_tables_and_one_page(swept):
    names = Ledger.open(swept).names()
    assert len(names) == 2
    assert list(swept.glob("cells/*/report.html")) == []
    assert (swept / "report.html").read_text().startswith("<!doctype html>")
    rows = list(csv.DictReader(io.StringIO((swept / "cells.csv").read_text(), newline="")))
    assert [(row["n"], row["d"], row["backend"], row["status"]) for row in rows] == [
        ("4", "1", "numpy", "ok"), ("5", "1", "numpy", "ok"),
    ]  # fmt: skip
    lines = [json.loads(line) for line in (swept / "cells.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == [row["key"] for row in rows]
    call("show", swept / "cells" / names[0])  # a cell is a run like any other


def test_a_finished_sweep_started_again_runs_nothing_and_says_the_same(swept):
    before = {path: path.stat().st_mtime_ns for path in swept.rglob("*")}
    done = call("sweep", *TINY, "-o", swept)
    assert "2 cells: 2 ok." in done.stdout
    assert {path: path.stat().st_mtime_ns for path in swept.rglob("*") if path in before} == before


def test_json_gives_a_line_for_each_backend_and_cell_and_people_read_stderr(swept):
    done = call("sweep", *TINY, "-o", swept, "--json")
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 2
    assert "2 cells: 2 ok." in done.stderr


def test_another_grid_in_the_folder_is_refused_by_name(swept):
    done = call("sweep", *TINY, "--steps", "4", "-o", swept, code=2)
    assert "holds another grid: steps is 3 there and 4 in this one; name a new folder with -o" in done.stderr


def test_a_dry_run_lists_the_cells_with_what_they_need_and_makes_nothing(swept, tmp_path):
    done = call("sweep", *TINY, "-o", tmp_path / "new", "--dry-run")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"[0-9a-f]{16}  n=4 d=1 float64 1 thread logits +about +\d+:\d\d +[\d.]+ [MG]B", lines[0])
    assert lines[-1].startswith("2 cells, 2 to run: about ")
    assert not (tmp_path / "new").exists()
    assert call("sweep", *TINY, "-o", swept, "--dry-run").stdout.splitlines()[-1].startswith("2 cells, 0 to run")


def test_the_grid_comes_from_a_file_and_options_win_over_it(tmp_path):
    (tmp_path / "grid.toml").write_text('backends = ["numpy"]\nn = [4, 1e3]\ntiming = false\nthreads = 2\n')
    dumped = call(
        "sweep", "--grid", tmp_path / "grid.toml", "--n", "7,1e4", "--dtype", "float32", "--dump-config"
    ).stdout
    assert "n = [7, 10000]\n" in dumped
    assert 'dtype = ["float32"]\nthreads = [2]\n' in dumped
    assert "timing = false\n" in dumped
    (tmp_path / "dumped.toml").write_text(dumped)
    assert call("sweep", "--grid", tmp_path / "dumped.toml", "--dump-config").stdout == dumped


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n", "4,x"], "'x' is not a valid integer"),
        (["--n", "1"], "n must be an integer of at least 2"),
        (["--dtype", "float16"], "'float16' is not one of 'float32', 'float64'"),
        (["--shard", "3/2"], "'3/2' is no shard: write 3/8 for the third of eight"),
        (["--only", "ok"], "'ok' is not one of"),
        (["--backends", "nunpy"], "did you mean 'numpy'?"),
        (["--grid", "absent.toml"], "cannot read absent.toml: No such file"),
        (["--scheduler", "tcp://x:1"], "--scheduler and --workers belong to --engine dask"),
        (["--explain", "zz"], "no cell's key begins with 'zz'"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, arguments, message):
    assert message in call("sweep", "--backends", "numpy", *arguments, code=2, cwd=tmp_path).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_the_file_that_is_mistyped_is_named(tmp_path):
    (tmp_path / "grid.toml").write_text("step = 3\n")
    done = call("sweep", "--grid", "grid.toml", code=2, cwd=tmp_path)
    assert "grid.toml: unknown key 'step'; did you mean 'steps'?" in done.stderr


def test_explain_says_what_is_known_and_why_a_cell_is_stale(tmp_path, swept):
    import shutil

    folder = tmp_path / "old"
    shutil.copytree(swept, folder)
    for place in (folder / "cells").iterdir():
        text = (place / "cell.json").read_text()
        (place / "cell.json").write_text(re.sub(r'"numpy": "[\d.]+"', '"numpy": "1.0"', text))
        place.rename(place.with_name(f"old{place.name[3:]}"))
    said = call("sweep", *TINY, "-o", folder, "--explain", "old").stdout
    assert said.count("stale: numpy 1.0, now ") == 2
    assert "it will be measured as " in said
    planned = call("sweep", *TINY, "-o", folder, "--dry-run").stdout
    assert planned.count("stale") == 2
    key = planned.split()[0]
    assert call("sweep", *TINY, "-o", folder, "--explain", key).stdout.splitlines()[1] == "  missing: not measured yet"


@pytest.mark.thorough
def test_only_some_of_the_cells_that_are_left_are_run(tmp_path):
    call("sweep", *TINY, "-o", tmp_path / "s", "--only", "failed", code=1)  # nothing has failed: nothing is measured
    assert Ledger.open(tmp_path / "s").names() == []
    call("sweep", *TINY, "-o", tmp_path / "s", "--only", "missing,failed")
    assert len(Ledger.open(tmp_path / "s").names()) == 2


def test_where_every_cell_is_skipped_nothing_is_measured_and_the_exit_code_is_1(tmp_path):
    done = call("sweep", "--backends", "numpy", "--n", "1e9", "--d", "1e6", "-o", tmp_path / "s", code=1)
    assert "1 cell: 1 skipped." in done.stdout
    assert "memory: it needs about" in done.stdout
    assert "skipped" in (tmp_path / "s" / "cells.csv").read_text()


@pytest.mark.thorough
def test_a_wrong_backend_has_its_reason_and_exit_code_1_also_when_nothing_is_run(tmp_path, install_plugin, good_plugin):
    install_plugin("wrong", good_plugin.replace("p - batch.y)", "p - batch.y + 1)"))
    for _ in range(2):
        done = call("sweep", *TINY, "--backends", "wrong", "-o", tmp_path / "s", code=1)
        assert "wrong: disagree" in done.stdout


@pytest.mark.thorough
def test_a_failed_cell_is_tried_again_and_what_had_a_result_is_told(tmp_path, install_plugin, good_plugin):
    crash = good_plugin.replace("        w, b = weights\n", "        raise RuntimeError('no')\n", 1)
    module = install_plugin("shaky", crash)
    options = (*TINY, "--backends", "numpy,shaky", "-o", tmp_path / "s")
    done = call("sweep", *options, code=3)
    assert "2 cells: 2 failed." in done.stdout
    assert "shaky: crashed: RuntimeError: no" in done.stdout
    (tmp_path / "site" / f"{module}.py").write_text(good_plugin)
    assert "2 cells: 2 ok." in call("sweep", *options).stdout


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_process_and_no_half_cell(tmp_path, install_plugin, good_plugin, number, code):
    install_plugin("slow", good_plugin.replace("        w, b = weights\n", SLOW, 1))
    folder = tmp_path / "s"
    options = ("--backends", "slow", "--n", "4", "--d", "1", "--steps", "2000", "--no-timing", "-o", folder)
    process = subprocess.Popen(
        [COMMAND, "sweep", *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + SECONDS
    while len(children := psutil.Process(process.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == code, errors
    assert "interrupted: the same command continues this sweep" in errors
    psutil.wait_procs(children, SECONDS)
    assert [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert list((folder / "cells").iterdir()) == []


@pytest.mark.thorough
def test_shards_of_one_folder_or_of_several_are_the_whole(tmp_path):
    for number in (1, 2):
        call("sweep", *TINY, "--shard", f"{number}/2", "-o", tmp_path / f"part-{number}")
        call("sweep", *TINY, "--shard", f"{number}/2", "-o", tmp_path / "shared")
    assert [len(Ledger.open(tmp_path / f"part-{number}").names()) for number in (1, 2)] == [1, 1]
    done = call("merge", tmp_path / "whole", tmp_path / "part-1", tmp_path / "part-2")
    assert "2 cells: 2 ok." in done.stdout
    assert done.stdout.splitlines()[-1] == "2 cells added, 0 were there"
    assert Ledger.open(tmp_path / "whole").names() == Ledger.open(tmp_path / "shared").names()
    call("sweep", *TINY, "-o", tmp_path / "whole")


def test_a_merge_refuses_what_was_touched(tmp_path, swept):
    import shutil

    shutil.copytree(swept, tmp_path / "part")
    manifest = next((tmp_path / "part" / "cells").glob("*/records/numpy.json"))
    manifest.write_text(manifest.read_text().replace('"status": "ok"', '"status": "bad"'))
    done = call("merge", tmp_path / "whole", tmp_path / "part", code=2)
    assert "records/numpy.json is damaged: its sha256 is not the one in SHA256SUMS" in done.stderr
    assert not (tmp_path / "whole").exists()


@pytest.mark.thorough
def test_pick_measures_once_and_knows_afterwards(tmp_path):
    question = ("pick", "--n", "6", "--d", "2", "--backends", "numpy,autograd")
    refused = call(*question, "--no-measure", code=5, cwd=tmp_path)
    assert "no saved sweep tells" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    name = call(*question, "--timing-budget", "0.2", "--quiet", cwd=tmp_path).stdout.strip()
    assert name in ("numpy", "autograd")
    document = json.loads(call(*question, "--no-measure", "--json", cwd=tmp_path).stdout)
    assert (document["backend"], document["certainty"]) == (name, "measured")
    said = call(*question, "--no-measure", "--prefer", name, cwd=tmp_path).stdout.splitlines()
    assert said[0] == name
    assert said[1].startswith("measured: ")
    assert said[2] == f"from {document['cells'][0]} in {document['sweeps'][0]}"


@pytest.mark.thorough
def test_pick_where_no_backend_is_correct_exits_with_1(tmp_path, install_plugin, good_plugin):
    install_plugin("wrong", good_plugin.replace("p - batch.y)", "p - batch.y + 1)"))
    done = call("pick", "--n", "6", "--d", "2", "--backends", "wrong", "--timing-budget", "0.2", code=1, cwd=tmp_path)
    assert "no backend is correct and has a rank at this size: wrong: disagree" in done.stderr
    assert done.stdout == ""


def test_pick_prefers_only_what_it_may_choose(tmp_path):
    done = call("pick", "--n", "6", "--d", "2", "--backends", "numpy", "--prefer", "torch", code=2, cwd=tmp_path)
    assert "--prefer torch is not among the backends to choose from: numpy" in done.stderr
