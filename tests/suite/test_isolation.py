"""What host and worker keep from each other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import compare_ag
from compare_ag.host.process import WorkerProcess


@pytest.mark.thorough
def test_the_host_process_imports_no_plugin_and_no_framework(tmp_path):
    code = (
        "import sys, compare_ag\n"
        "from compare_ag.speed.schedule import Settings\n"
        "brief = Settings('brief', 0.1, 0.01, least_launches=1, bare_imports=1, instances=1, most_instances=1, rounds=3,"
        " most_launches=1)\n"
        f"run = compare_ag.run(['numpy', 'autograd', 'torch', 'jax-jit'], output={str(tmp_path / 'run')!r}, steps=20, timing=brief)\n"
        "assert run.exit_code == 0, run\n"
        "tops = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(t for t in tops if t in {'torch', 'autograd', 'jax', 'numba', 'pluggy', 'sklearn', 'scipy'}"
        " or t.startswith('compare_ag_')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_worker_sees_few_variables_and_its_own_home(install_plugin, good_plugin, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    spy = "import json, os\nprint(json.dumps(dict(os.environ)))\nprint(os.getcwd())\n"
    install_plugin("spy", spy + good_plugin)
    run = compare_ag.run(["spy"], "synthetic:n=20,d=2", steps=3, timing=False, threads=1, output=tmp_path / "run")
    assert run.exit_code == 0
    (log,) = run["spy"].logs
    lines = (run.path / log).read_text().splitlines()
    seen = json.loads(lines[0])
    assert "SECRET_TOKEN" not in seen
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["PYTHONHASHSEED"] == str(run["spy"].hash_seed)
    assert seen["HOME"] == seen["TMPDIR"] == lines[1]
    assert not Path(lines[1]).exists()


@pytest.mark.thorough
def test_a_worker_never_receives_an_expected_answer(tmp_path, monkeypatch, brief, calm):
    """Of everything the host sends, timing included, no number is a loss or a weight of a later step."""
    sent: list[np.ndarray] = []
    send = WorkerProcess.send

    def spy(self, message, **arrays):
        sent.extend(arrays.values())
        send(self, message, **arrays)

    monkeypatch.setattr(WorkerProcess, "send", spy)
    run = compare_ag.run(["numpy"], "synthetic:n=23,d=3", steps=50, timing=brief, output=tmp_path / "run")
    assert run["numpy"].cost is not None
    told = np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in sent])
    answers = np.concatenate([run.reference[name].ravel() for name in ("losses", "w", "final_w")])
    start = run.reference["w"][0, 0]
    assert np.isin(answers, told).sum() == np.isin(answers, start).sum() == 3


@pytest.mark.thorough
def test_a_run_directory_names_neither_host_nor_user_nor_home(tmp_path, monkeypatch, brief):
    """Planted names are looked for in every byte; the machine's own, which may be as short as ``vm``, as whole words
    of the record, since two letters occur in any compressed array.
    """
    real = (os.uname().nodename, str(Path.home()), str(tmp_path))
    home = tmp_path / "planted-home"
    home.mkdir()
    planted = {"HOME": str(home), "USER": "planted-user", "LOGNAME": "planted-user", "HOSTNAME": "planted-host"}
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("socket.gethostname", lambda: "planted-host")
    monkeypatch.setattr("platform.node", lambda: "planted-host")
    run = compare_ag.run(["numpy"], steps=5, timing=brief, output=tmp_path / "run")
    contents = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for private in ("planted-", *real[1:]):
        assert not [path for path, content in contents.items() if private.encode() in content]
    for path in (path for path in contents if path.suffix == ".json"):
        assert not re.search(rf"(?<!\w){re.escape(real[0])}(?!\w)", contents[path].decode()), path


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers through /proc")
def test_workers_die_with_a_killed_host(install_plugin, good_plugin, tmp_path, monkeypatch):
    install_plugin(
        "sleeper",
        "import time\n"
        + good_plugin.replace("        w, b = weights", "        time.sleep(60)\n        w, b = weights"),
    )
    code = f"import compare_ag; compare_ag.run(['sleeper'], output={str(tmp_path / 'run')!r})"
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a killed host cannot clear its workers' folders away
    host = subprocess.Popen([sys.executable, "-c", code])
    workers = _children(host.pid)
    assert workers
    host.send_signal(signal.SIGKILL)
    host.wait()
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert alive == []


def _children(pid: int) -> list[psutil.Process]:
    for _ in range(200):
        children = [c for c in psutil.Process(pid).children() if "compare_ag.worker" in " ".join(c.cmdline())]
        if children:
            return children
        time.sleep(0.05)
    return []


def test_every_backend_gets_the_same_bits_rounded_once(install_plugin, good_plugin, tmp_path):
    source = good_plugin.replace(
        "return np.array(array)", "print(array.dtype, array.tobytes().hex())\n        return np.array(array)"
    )
    install_plugin("one", source)
    install_plugin("two", source)
    run = compare_ag.run(
        ["one", "two"], "synthetic:n=5,d=2", steps=1, dtype="float32", timing=False, output=tmp_path / "run"
    )
    logs = [(run.path / run[name].logs[0]).read_text() for name in ("one", "two")]
    prepared = [log.splitlines()[:4] for log in logs]  # X, y, w, b; the points asked about later are drawn for each
    assert prepared[0] == prepared[1]
    assert logs[0].startswith("float32 ")


def test_mini_batches_reach_every_backend_in_the_same_order(install_plugin, good_plugin, tmp_path):
    install_plugin(
        "echo",
        good_plugin.replace(
            "        w, b = weights\n",
            "        w, b = weights\n        print(batch.y.tolist(), batch.X[:, 0].tolist())\n",
            1,
        ),
    )
    run = compare_ag.run(
        ["echo", "numpy"], "synthetic:n=10,d=2", steps=7, batch_size=4, timing=False, output=tmp_path / "run"
    )
    assert run.exit_code == 0
    sizes = [
        len(json.loads(line.split("] [")[0] + "]"))
        for line in (run.path / run["echo"].logs[0]).read_text().splitlines()
    ]
    trained = [size for size in sizes if size != 10][:8]
    assert trained == [4, 4, 2, 4, 4, 2, 4, 4]  # the short batch is kept; T+1 forwards
    assert np.array_equal(run.arrays("echo")["losses"].shape, (8,))
