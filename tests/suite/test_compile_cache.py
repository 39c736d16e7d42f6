"""A backend's workers share one folder for compiled code in a run; what compiling costs is measured with it empty."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import compare_ag
from compare_ag.host import compile_cache
from compare_ag.host.launch import Launch, worker_environment
from compare_ag.host.leftovers import remove_leftovers
from compare_ag.records import file_stem

COMPILER = """
import os
from pathlib import Path

CODE = Path(os.environ["XDG_CACHE_HOME"], "compiler", "code")
print("finds" if CODE.is_file() else "compiles", CODE.parent.parent, flush=True)
CODE.parent.mkdir(parents=True, exist_ok=True)
CODE.write_text("compiled")
"""
PROBLEM = "synthetic:n=20,d=2"


def said(run: compare_ag.records.Run, name: str, stage: str) -> list[str]:
    """What a backend's worker printed at a stage: a word and its folder for compiled code."""
    return (run.path / "logs" / f"{file_stem(name)}.{stage}.stdout.txt").read_text().split()


@pytest.fixture(scope="module")
def timed(tmp_path_factory, let_all_blocks_count, brief):
    """A run of numpy and of two plugins that compile."""
    with pytest.MonkeyPatch.context() as patch:
        let_all_blocks_count(patch)
        folder = tmp_path_factory.mktemp("site")
        source = Path(__file__).parents[1].joinpath("conftest.py").read_text().partition('GOOD_PLUGIN = """')[2]
        source = source.partition('"""\n')[0]
        for name in ("first", "second"):
            (folder / f"{name}_plugin.py").write_text(COMPILER + source)
            info = folder / f"{name}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[compare_ag]\n{name} = {name}_plugin\n")
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder))
        output = tmp_path_factory.mktemp("kept") / "run"
        return compare_ag.run(["first", "second", "numpy"], PROBLEM, steps=30, timing=brief, output=output)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["first", "second"])
def test_each_part_of_a_run_compiles_once_for_each_backend(timed, name):
    stages = ("train", "memory", "time0", "time1")
    assert [said(timed, name, stage)[0] for stage in stages] == ["compiles", "finds", "compiles", "finds"]


def test_the_twin_of_the_first_launch_compiles_for_itself_and_later_ones_find_the_code(timed):
    twins = timed.manifest.speed.twins
    assert twins[:2] == ["first", "second"]
    assert said(timed, "first again", "time0")[0] == "compiles"
    assert said(timed, "second again", "time1")[0] == "finds"


def test_backends_do_not_share_a_folder(timed):
    folders = {said(timed, name, "time1")[1] for name in ("first", "second")}
    assert len(folders) == 2


def test_nothing_is_left_after_the_run(timed):
    assert not Path(said(timed, "first", "time1")[1]).exists()
    assert not Path(said(timed, "first", "time1")[1]).parents[1].exists()


def test_the_first_step_of_who_compiles_is_that_of_the_worker_that_compiled(timed):
    first = timed.arrays("first")["first_step_ns"][:, 0] * 1e-9
    assert timed["first"].cost.first_step_seconds.value == pytest.approx(first[0], rel=1e-9)
    assert timed["first"].cost.first_step_seconds.high is None  # one worker: no interval
    plain = timed.arrays("numpy")["first_step_ns"][:, 0] * 1e-9
    assert len(plain) > 1
    assert timed["numpy"].cost.first_step_seconds.value == pytest.approx(math.exp(np.log(plain).mean()), rel=1e-9)


def test_a_worker_outside_a_run_keeps_compiled_code_in_its_own_folder(tmp_path):
    own = worker_environment(Launch("alone", tmp_path, 1, 0, 1.0), tmp_path / "own", "")
    shared = worker_environment(Launch("run", tmp_path, 1, 0, 1.0, cache=tmp_path / "shared"), tmp_path / "own", "")
    for name in ("NUMBA_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert Path(own[name]).is_relative_to(tmp_path / "own")
        assert Path(shared[name]).is_relative_to(tmp_path / "shared")


FUSED = """
CALLED = []


class Fused(Mine):
    def forward(self, weights, batch):
        CALLED.append("forward")
        return super().forward(weights, batch)

    def step(self, weights, batch, learning_rate):
        CALLED.append("step")
        if len(CALLED) == 1:
            print("begins with its own step", flush=True)
        return super().step(weights, batch, learning_rate)


@hookimpl
def compare_ag_backend():
    return Fused
"""


@pytest.mark.thorough
def test_the_first_step_of_a_fused_backend_is_its_own_and_not_that_of_the_phases(
    install_plugin, good_plugin, tmp_path, once, calm
):
    """A compiler's first step would else be what compiling forward, backward and update takes."""
    install_plugin("fused", good_plugin + FUSED)
    run = compare_ag.run(["fused"], PROBLEM, steps=3, timing=once, output=tmp_path / "run")
    assert run["fused"].cost.fused
    assert said(run, "fused", "time0")[:5] == ["begins", "with", "its", "own", "step"]


FILLER = """
import os, time
from pathlib import Path
folder = Path(os.environ["XDG_CACHE_HOME"])
(folder / "junk").write_bytes(bytes(1 << 21))
time.sleep(3)
"""
SPOILER = """
import os, shutil
from pathlib import Path
folder = Path(os.environ["XDG_CACHE_HOME"])
shutil.rmtree(folder)
folder.write_text("no folder")
"""


def test_who_fills_the_disk_is_stopped_and_the_others_go_on(install_plugin, good_plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(compile_cache, "LARGEST_BYTES", 1 << 20)
    monkeypatch.setattr("compare_ag.host.process.LOOK_SECONDS", 0.0)
    install_plugin("filler", FILLER + good_plugin)
    run = compare_ag.run(["filler", "numpy"], PROBLEM, steps=3, timing=False, output=tmp_path / "run")
    assert (run["filler"].status, run["numpy"].status) == ("crashed", "ok")
    assert "into its compile cache" in run["filler"].reason


def test_who_spoils_its_own_folder_fails_alone(install_plugin, good_plugin, tmp_path, once, calm):
    install_plugin("spoiler", SPOILER + good_plugin)
    run = compare_ag.run(["spoiler", "numpy"], PROBLEM, steps=3, timing=once, output=tmp_path / "run")
    assert run["numpy"].status == "ok"
    assert run["numpy"].cost is not None
    assert run["spoiler"].memory_note == "its worker could not be started: File exists"


@pytest.mark.parametrize("amount", ["bytes", "files"])
def test_a_cache_is_too_large_by_its_bytes_or_its_files(tmp_path, monkeypatch, amount):
    monkeypatch.setattr(compile_cache, "LARGEST_BYTES", 1 << 30)
    monkeypatch.setattr(compile_cache, "MOST_FILES", 3)
    (tmp_path / "below").mkdir()
    for number in range(3):
        (tmp_path / "below" / str(number)).write_bytes(b"x" * 5000)
    (tmp_path / "outside").write_bytes(b"x" * 50_000)
    (tmp_path / "below" / "2").unlink()
    (tmp_path / "below" / "2").symlink_to(tmp_path / "outside")
    assert compile_cache.too_large(tmp_path / "below") == ""
    if amount == "files":
        (tmp_path / "below" / "one more").touch()
        assert compile_cache.too_large(tmp_path / "below") == "3 files"
    else:
        monkeypatch.setattr(compile_cache, "LARGEST_BYTES", 40_000)
        assert compile_cache.too_large(tmp_path / "below") == ""
        monkeypatch.setattr(compile_cache, "LARGEST_BYTES", 10_000)
        assert compile_cache.too_large(tmp_path / "below") == "0 GiB"


def test_what_a_killed_host_leaves_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = """
import time
from compare_ag.host.compile_cache import cache_folder
with cache_folder() as folder:
    (folder / "code").touch()
    print(folder, flush=True)
    time.sleep(60)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as host:
        assert host.stdout is not None
        folder = Path(host.stdout.readline().strip())
        assert folder.parent == tmp_path
        remove_leftovers()
        assert (folder / "code").exists()
        host.send_signal(signal.SIGKILL)
    remove_leftovers()
    assert not folder.exists()


def test_a_machine_without_room_for_a_cache_runs_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with compile_cache.cache_folder() as folder:
        assert folder is None
