"""No broken plugin stops a run: each fault has its row with status, reason and place, and the others finish."""

from __future__ import annotations

import gc
import subprocess
import time

import numpy as np
import psutil
import pytest

import compare_ag
from compare_ag import records

STEPS = 40
pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture
def run_with(install_plugin, tmp_path):
    """Run the broken plugin beside numpy on a small problem."""

    def result(source: str, *, timeout: float = 30.0, **options):
        install_plugin("broken", source)
        options = {"problem": "synthetic:n=30,d=3", "steps": STEPS, "timing": False} | options
        return compare_ag.run(["broken", "numpy"], output=tmp_path / "run", timeout=timeout, **options)

    return result


PRELUDE = """
import os, sys, time, signal, ctypes, subprocess, fcntl
def writable(fd):
    try:
        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    except OSError:
        return False
"""


def in_forward(good: str, statement: str, *, at: int = 17) -> str:
    """The good plugin, but forward runs this statement at its call number ``at`` (step ``at``)."""
    return PRELUDE + good.replace(
        "        w, b = weights\n        z",
        "        self.calls = getattr(self, 'calls', -1) + 1\n"
        f"        if self.calls == {at}:\n            {statement}\n"
        "        w, b = weights\n        z",
    )


FAULTS = {
    "raises": ("raise ValueError('no such luck')", "crashed", "ValueError: no such luck"),
    "segfaults": ("ctypes.string_at(0)", "crashed", "killed by SIGSEGV (last seen in forward, step 17)"),
    "exits": ("sys.exit(5)", "crashed", "SystemExit: 5"),
    "exits hard": ("os._exit(9)", "crashed", "exit code 9 (last seen in forward, step 17)"),
    "exits hard with 0": ("os._exit(0)", "crashed", "exited with code 0 without a result"),
    "interrupts": ("raise KeyboardInterrupt", "crashed", "KeyboardInterrupt"),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", "oom", "killed by SIGKILL, probably out of memory"),
    "runs out of memory": ("raise MemoryError", "oom", "MemoryError"),
    "cannot even say why": (
        "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})",
        "crashed",
        "Mute: (its message cannot be shown)",
    ),
    "closes every descriptor": ("os.closerange(3, 4096)", None, None),
    "writes junk everywhere": (
        # and stays there: where it is when the junk is read depends on the machine otherwise
        "[os.write(fd, b'x' * 100) for fd in range(200, 206) if writable(fd)]; __import__('time').sleep(20)",
        "malformed",
        "broke the result channel",
    ),
    "returns a wrong shape": (
        "return np.zeros(3), (weights.w, batch, np.zeros(30))",
        "malformed",
        "loss: expected float64 array of shape (), got float64 of shape (3,)",
    ),
    "returns a wrong dtype": ("return np.zeros((), 'float32'), (weights.w, batch, np.zeros(30))", "malformed", "loss: expected float64 array of shape (), got float32"),
    "returns no array": ("return 0.5, (weights.w, batch, np.zeros(30))", "malformed", "to_numpy must return a numpy array, got float"),
}  # fmt: skip


@pytest.mark.few(
    "raises",
    "segfaults",
    "exits hard with 0",
    "is killed",
    "closes every descriptor",
    "writes junk everywhere",
    "returns a wrong shape",
)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_step_has_its_row_and_the_other_backend_finishes(fault, run_with, good_plugin):
    statement, status, said = FAULTS[fault]
    run = run_with(in_forward(good_plugin, statement))
    assert run["numpy"].status == "ok"
    assert run.exit_code == 3
    broken = run["broken"]
    if status is None:  # what is closed first decides whether it dies or goes silent
        assert broken.status in ("malformed", "crashed")
        return
    assert broken.status == status
    assert said in broken.reason
    assert (broken.phase, broken.step) in (("forward", 17), ("to_numpy", 17))


def test_the_steps_before_a_fault_are_kept(run_with, good_plugin):
    run = run_with(in_forward(good_plugin, "raise ValueError"))
    assert len(run.arrays("broken")["losses"]) == 17
    assert "17 losses are kept" in run["broken"].reason


@pytest.mark.thorough
@pytest.mark.parametrize("end", ["os._exit(9)", "ctypes.string_at(0)", "time.sleep(60)"])
def test_all_steps_before_a_death_or_a_hang_are_kept(end, run_with, good_plugin):
    run = run_with(in_forward(good_plugin, end), timeout=6.0)
    assert len(run.arrays("broken")["losses"]) == 17
    assert np.allclose(run.arrays("broken")["losses"], run.arrays("numpy")["losses"][:17], rtol=1e-12)


@pytest.mark.few("sleeps", "holds the interpreter lock")
@pytest.mark.parametrize(
    "hang",
    ["time.sleep(60)", "exec('while True: pass')", "exec('while True: print(1)')",
     "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
     "ctypes.PyDLL(None).sleep(60)"],
    ids=["sleeps", "spins", "chatters", "ignores SIGTERM", "holds the interpreter lock"],
)  # fmt: skip
def test_a_hang_ends_at_the_deadline(hang, run_with, good_plugin):
    run = run_with(in_forward(good_plugin, hang), timeout=5.0)
    assert run["broken"].status == "timeout"
    assert "no result within 5 s (last seen in forward, step 17)" in run["broken"].reason
    assert run["numpy"].status == "ok"
    assert sum(path.stat().st_size for path in (run.path / "logs").iterdir()) < 2.2e6


@pytest.mark.thorough
def test_a_hang_leaves_its_stack_in_the_log(run_with, good_plugin):
    run = run_with(in_forward(good_plugin, "time.sleep(60)"), timeout=4.0)
    assert any("in forward" in (run.path / log).read_text() for log in run["broken"].logs)


def test_a_flood_of_output_goes_to_a_capped_log_and_harms_nobody(run_with, good_plugin, capfd):
    run = run_with(in_forward(good_plugin, "print('x' * 5_000_000); os.write(2, bytes(range(256)))"))
    assert run["broken"].status == "ok"
    assert run.exit_code == 0
    (log,) = [run.path / log for log in run["broken"].logs if "stdout" in log]
    assert log.stat().st_size < 1.1e6
    assert "more bytes were dropped" in log.read_text()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_grandchildren_do_not_outlive_the_run(run_with, good_plugin):
    statement = "[subprocess.Popen(['sleep', '61'], start_new_session=new) for new in (False, True)]"
    run = run_with(in_forward(good_plugin, statement))
    assert run["broken"].status == "ok"
    time.sleep(0.2)
    left = [process.pid for process in psutil.process_iter() if _command(process) == ["sleep", "61"]]
    assert left == []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.thorough
def test_a_worker_that_does_not_end_after_its_result_is_fine_with_a_warning(run_with, good_plugin):
    source = good_plugin + "\nimport atexit, time\natexit.register(time.sleep, 60)\n"
    run = run_with(source)
    assert run["broken"].status == "ok"
    assert run.exit_code == 0
    assert any("still running" in warning for warning in run["broken"].warnings)


def test_dying_after_the_result_is_fine_with_a_warning(run_with, good_plugin):
    source = good_plugin + "\nimport atexit, ctypes\natexit.register(ctypes.string_at, 0)\n"
    run = run_with(source)
    assert run["broken"].status == "ok"
    assert any("unclean exit" in warning for warning in run["broken"].warnings)


def test_a_worker_that_is_done_waits_for_threads_and_atexit_and_keeps_all_output(run_with, good_plugin, tmp_path):
    late = tmp_path / "late"
    source = f"""
import atexit, ctypes, threading, time


def write():
    time.sleep(0.3)
    open({str(late)!r}, "w").close()


ctypes.CDLL(None).puts(b"printed by C")
atexit.register(print, "printed by atexit")
threading.Thread(target=write).start()
"""
    run = run_with(source + good_plugin)
    assert (run["broken"].status, run["broken"].warnings) == ("ok", [])
    assert late.exists()
    printed = "".join((run.path / log).read_text() for log in run["broken"].logs)
    assert "printed by C" in printed
    assert "printed by atexit" in printed


def test_a_plugin_that_shares_storage_with_its_inputs_is_caught(run_with, good_plugin):
    source = good_plugin.replace("return np.array(array)", "return array").replace(
        "return Weights(*(np.asarray(v - rate * g) for v, g in zip(weights, gradient)))",
        "weights.w[...] -= rate * gradient.w\n        weights.b[...] -= rate * gradient.b\n        return weights",
    )
    run = run_with(source)
    assert run["broken"].status == "malformed"
    assert "make_tensor must copy" in run["broken"].reason


def test_a_plugin_that_changes_the_data_on_the_way_in_is_caught(run_with, good_plugin):
    run = run_with(good_plugin.replace("np.array(array)", "np.array(array) * (1 + 1e-12)"))
    assert run["broken"].status == "malformed"
    assert "make_tensor(X): its values differ" in run["broken"].reason


def test_an_unsupported_dtype_is_said_before_training(run_with, good_plugin):
    source = good_plugin.replace("class Mine(Backend):", "class Mine(Backend):\n    dtypes = ('float32',)")
    run = run_with(source)
    assert run["broken"].status == "unsupported"
    assert "computes in float32, not in float64" in run["broken"].reason


WRONG = {
    "gradient off by 1e-6": ("residual @ batch.X / n", "residual @ batch.X / n * (1 + 1e-6)"),
    "sign flipped": ("v - rate * g", "v + rate * g"),
    "bias without gradient": ("np.asarray(residual.sum() / n)", "np.asarray(0 * residual.sum())"),
    "mean over n + 1": ("residual @ batch.X / n", "residual @ batch.X / (n + 1)"),
    "learning rate off by 1 %": ("dtype.type(learning_rate)", "dtype.type(learning_rate * 1.01)"),
    "float32 inside": ("p - batch.y)", "(p - batch.y).astype('float32').astype('float64'))"),
}


@pytest.mark.thorough
@pytest.mark.few("gradient off by 1e-6", "learning rate off by 1 %")
@pytest.mark.parametrize("bug", WRONG)
def test_wrong_numbers_are_found_and_never_ranked(bug, run_with, good_plugin, once):
    old, new = WRONG[bug]
    assert old in good_plugin
    run = run_with(good_plugin.replace(old, new), timing=once)
    broken = run["broken"]
    assert broken.status == "disagree"
    assert broken.verdict.first_step is not None
    assert float(broken.verdict.worst_ratio) > 1
    assert broken.cost is None
    assert "no rank" in broken.timing_note
    assert run["numpy"].cost is not None
    assert run.exit_code == 1


def test_two_backends_with_nan_never_agree(install_plugin, tmp_path, good_plugin):
    source = in_forward(good_plugin, "return np.array(np.nan), (weights.w * np.nan, batch, batch.y * np.nan)")
    install_plugin("nan-one", source)
    install_plugin("nan-two", source)
    run = compare_ag.run(
        ["nan-one", "nan-two"], "synthetic:n=30,d=3", steps=STEPS, timing=False, output=tmp_path / "run"
    )
    for name in ("nan-one", "nan-two"):
        assert run[name].status == "non-finite"
        assert run[name].step == 17
    assert run.exit_code == 1


def test_a_fused_step_that_differs_from_the_phases_is_found(run_with, good_plugin):
    source = good_plugin.replace(
        "    def to_numpy",
        "    def step(self, weights, batch, learning_rate):\n"
        "        loss, tape = self.forward(weights, batch)\n"
        "        return loss, self.update(weights, self.backward(tape), learning_rate * 1.001)\n\n"
        "    def to_numpy",
    )
    run = run_with(source)
    assert run["broken"].verdict.status == "agrees"
    assert run["broken"].fused_verdict.status == "diverges"
    assert run["broken"].status == "disagree"
    assert run["broken"].reason.startswith("the fused step: ")
    # what is shown is the pass that decided
    assert records.decisive(run["broken"]) == run["broken"].fused_verdict
    arrays = run.arrays("broken")
    assert not np.array_equal(arrays["fused_final_w"], arrays["final_w"])


@pytest.mark.thorough
def test_a_backend_that_fails_only_while_it_is_timed_keeps_its_verdict(run_with, good_plugin, once):
    source = good_plugin.replace(
        "        w, b = weights\n        z",
        "        from traceback import walk_stack\n"
        "        if any(frame.f_code.co_name == 'audit_block' for frame, _ in walk_stack(None)):\n"
        "            raise ValueError('tired')\n"
        "        w, b = weights\n        z",
    )
    run = run_with(source, timing=once)
    assert run["broken"].status == "crashed"
    assert "while being timed: ValueError: tired" in run["broken"].reason
    assert run["broken"].verdict.status == "agrees"
    assert run["numpy"].cost is not None
    assert run.exit_code == 3


@pytest.mark.thorough
def test_a_plugin_that_replaces_the_clock_does_not_change_its_times(run_with, good_plugin, once):
    clocks = ("perf_counter_ns", "process_time_ns", "perf_counter", "process_time", "monotonic")
    source = "import time\n" + "".join(f"time.{clock} = lambda: 7\n" for clock in clocks) + good_plugin
    run = run_with(source, timing=once)
    ratio = run["broken"].cost.step.value / run["numpy"].cost.step.value
    assert 0.1 < ratio < 100


def test_an_update_that_returns_another_shape_is_malformed(run_with, good_plugin):
    run = run_with(good_plugin.replace("return Weights(*(np.asarray(v", "return Weights(*(np.atleast_1d(v"))
    assert run["broken"].status == "malformed"
    assert "weights.b: expected float64 array of shape (), got float64 of shape (1,)" in run["broken"].reason


@pytest.mark.thorough
def test_a_slow_preparation_ends_at_the_deadline(run_with, good_plugin):
    source = good_plugin.replace("self.l2, self.loss", "__import__('time').sleep(60)\n        self.l2, self.loss")
    run = run_with(source, timeout=4.0)
    assert run["broken"].status == "timeout"
    assert run["broken"].phase == "prepare"


def test_results_go_elsewhere_when_the_directory_fails_in_the_middle(tmp_path, monkeypatch, once):
    """The disk fills up after the run has begun: everything is kept in a temporary directory, and exit 6 says so."""
    home, write = tmp_path / "run", records.write_bytes

    def full(path, data):
        if home in path.parents and path.name != "manifest.json":
            raise records.SaveError(f"could not save {path.name}: No space left on device")
        write(path, data)

    monkeypatch.setattr("compare_ag.records.files.write_bytes", full)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    run = compare_ag.run(["numpy"], steps=10, timing=once, output=home)
    assert run.exit_code == 6
    assert run.path.parent == tmp_path
    assert run.path != home
    again = compare_ag.load_run(run.path)
    assert len(again.arrays("numpy")["losses"]) == 11
    assert any("No space left on device" in warning for warning in again.manifest.warnings)


def test_a_child_without_our_mark_in_its_environment_does_not_outlive_the_run(run_with, good_plugin):
    run = run_with(in_forward(good_plugin, "subprocess.Popen(['sleep', '62'], env={'PATH': os.environ['PATH']})"))
    assert run["broken"].status == "ok"
    time.sleep(0.2)
    assert [process.pid for process in psutil.process_iter() if _command(process) == ["sleep", "62"]] == []


def test_the_reason_arrives_without_stderr(run_with, good_plugin):
    run = run_with(in_forward(good_plugin, "sys.stderr = None; raise ValueError('boo')"))
    assert run["broken"].reason.startswith("ValueError: boo")


def test_a_worker_that_cannot_be_started_has_its_row_and_leaves_nothing_open(
    run_with, good_plugin, monkeypatch, tmp_path
):
    real, folder = subprocess.Popen, tmp_path / "temporary"
    folder.mkdir()
    calls = []

    def popen(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*arguments, **keywords)

    monkeypatch.setattr("compare_ag.host.process.subprocess.Popen", popen)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    before = psutil.Process().num_fds()
    run = run_with(good_plugin)
    assert sorted(record.status for record in run.records.values()) == ["crashed", "ok"]
    (failed,) = [record for record in run.records.values() if record.status == "crashed"]
    assert failed.reason == "its worker could not be started: Resource temporarily unavailable"
    gc.collect()
    assert psutil.Process().num_fds() <= before
    assert list(folder.iterdir()) == []


@pytest.mark.thorough
def test_a_stream_of_answers_does_not_outrun_the_deadline(run_with, good_plugin):
    """Each step is quick and its results arrive all the time; the pass as a whole is too long."""
    source = good_plugin.replace(
        "        w, b = weights\n", "        __import__('time').sleep(0.05)\n        w, b = weights\n", 1
    )
    run = run_with(source, timeout=3.0, steps=400)
    assert run["broken"].status == "timeout"
    assert 5 < len(run.arrays("broken")["losses"]) < 100


@pytest.mark.thorough
def test_a_backend_does_not_pay_for_its_neighbours_time(install_plugin, good_plugin, tmp_path, once):
    slow = "import time; time.sleep(1.5)\n" + good_plugin
    for name in ("one", "two", "three"):
        install_plugin(name, slow)
    names, problem = ["one", "two", "three"], "synthetic:n=20,d=2"
    run = compare_ag.run(names, problem, steps=5, timeout=4.0, timing=once, output=tmp_path / "run")
    assert [record.status for record in run.records.values()] == ["ok"] * 3
    assert all(record.cost is not None for record in run.records.values())


def test_a_reference_that_cannot_be_computed_loses_no_training(tmp_path, monkeypatch):
    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("compare_ag.suite.judge.reference_trajectory", broken)
    run = compare_ag.run(["numpy"], steps=10, timing=False, output=tmp_path / "run")
    assert run["numpy"].status == "undecidable"
    assert run["numpy"].reason == "the reference could not be computed: MemoryError: no room"
    assert run.exit_code == 4
    assert len(compare_ag.load_run(run.path).arrays("numpy")["losses"]) == 11


@pytest.mark.thorough
def test_an_interrupt_while_a_timing_is_written_leaves_a_readable_run(tmp_path, monkeypatch, once):
    write = records.write_backend

    def interrupted(folder, record):
        if record.cost is not None:
            raise KeyboardInterrupt
        write(folder, record)

    monkeypatch.setattr(records, "write_backend", interrupted)
    run = compare_ag.run(["numpy"], steps=10, timing=once, output=tmp_path / "run")
    assert run.exit_code == 130
    again = compare_ag.load_run(run.path)
    assert again["numpy"].status == "ok"
    assert len(again.arrays("numpy")["losses"]) == 11
