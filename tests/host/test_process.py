"""One worker process, directly: it starts, answers, is waited for no longer than agreed, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from compare_ag.host.environment import usable_cpus
from compare_ag.host.failures import HostFault, WorkerFailure
from compare_ag.host.launch import Launch
from compare_ag.host.leftovers import FOLDER_PREFIX, LOCK_NAME
from compare_ag.host.logs import LOG_CAP
from compare_ag.host.process import WorkerProcess
from compare_ag.host.replies import Conversation
from compare_ag.host.watch import fair_share
from compare_ag.worker import board, messages

PLENTY = 60.0


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary directory for this test alone, for its child processes too."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def launch(tmp_path):
    """How to start the worker of a test; its logs go to ``tmp_path``."""

    def make(deadline: float = PLENTY) -> Launch:
        return Launch("mine", tmp_path, 1, 0, deadline)

    return make


@pytest.fixture
def load(install_plugin, launch):
    """Start a worker, let it import a plugin of this source, and return both the failure and the worker, closed."""

    def result(source: str, deadline: float = PLENTY) -> tuple[WorkerFailure, WorkerProcess]:
        module = install_plugin("mine", source)
        with WorkerProcess(launch(deadline)) as process:
            process.expect(messages.Hello)
            with pytest.raises(WorkerFailure) as caught:
                process.ask(messages.Load("mine", module, None), messages.Loaded)
        return caught.value, process

    return result


def failure(process: WorkerProcess) -> WorkerFailure:
    """What waiting for the next reply ends with."""
    with pytest.raises(WorkerFailure) as caught:
        process.receive()
    return caught.value


def greeted(process: WorkerProcess) -> psutil.Process:
    """The worker as the system sees it, once it is up."""
    message, _ = process.expect(messages.Hello)
    return psutil.Process(message.pid)


def descriptors() -> set[str]:
    """The numbers of this process's open descriptors, but for the boards': they stay readable after the end."""
    found = set()
    for number in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one that listed the others
            if os.fstat(int(number)).st_size != board.SIZE:
                found.add(number)
    return found


# --- conversation ---------------------------------------------------------------------------------------------


def test_it_greets_answers_and_leaves(launch, temporary):
    with WorkerProcess(launch()) as process:
        worker = greeted(process)
        assert worker.pid != os.getpid()
        assert [path.name.startswith(FOLDER_PREFIX) for path in temporary.iterdir()] == [True]
        for cpus in (usable_cpus()[:1], usable_cpus()):
            message, arrays = process.ask(messages.Pin(cpus), messages.Pinned)
            assert message.cpus in (cpus, [])
            assert arrays == {}
        process.finish()
    assert process.warnings == []
    assert process.log_paths == []
    assert not worker.is_running()
    assert list(temporary.iterdir()) == []


def test_a_reply_of_another_kind_is_malformed(launch):
    with WorkerProcess(launch()) as process:
        with pytest.raises(WorkerFailure, match="answered Hello where Loaded was due") as caught:
            process.expect(messages.Loaded)
        assert caught.value.status == "malformed"
        with pytest.raises(WorkerFailure, match="answered Pinned where Observed was due"):
            process.ask(messages.Pin(usable_cpus()), messages.Observed)


def test_a_reported_failure_is_told_in_the_workers_words(load):
    caught, process = load("raise LookupError('no such thing')")
    assert (caught.status, caught.phase, caught.step) == ("import-error", "import", None)
    assert "LookupError: no such thing" in str(caught)
    assert "no such thing" in process.log_paths[0].read_text()


def test_a_reply_to_nothing_is_malformed(install_plugin, launch):
    twice = (
        "from compare_ag.worker import frames, messages\n"
        "pack = frames.pack\n"
        "frames.pack = lambda m, a, n, s: [*pack(m, a, n, s), *pack(messages.Renewed(), {}, n, s + 1)]\n"
    )
    module = install_plugin("mine", twice + "import compare_ag_numpy\nfrom compare_ag_numpy import compare_ag_backend")
    with WorkerProcess(launch()) as process:
        process.expect(messages.Hello)
        process.ask(messages.Load("mine", module, None), messages.Loaded)
        while not process._is_unread():
            pass
        with pytest.raises(WorkerFailure, match="wrote into the result channel without being asked") as caught:
            process.ask(messages.Observe(), messages.Observed)
        assert caught.value.status == "malformed"
        process.finish()


def test_a_bug_in_the_checks_is_no_fault_of_the_worker(launch, monkeypatch, tmp_path):
    def buggy(*_):
        raise KeyError("ours")

    with WorkerProcess(launch()) as process:
        process.expect(messages.Hello)
        monkeypatch.setattr(Conversation, "check", buggy)
        with pytest.raises(HostFault, match="a bug of compare-ag and not of this backend: KeyError: 'ours'") as caught:
            process.ask(messages.Observe(), messages.Observed)
        assert caught.value.status == "undecidable"
        assert process.log_paths == [tmp_path / "mine.bug.txt"]
        assert "KeyError: 'ours'" in process.log_paths[0].read_text()


# --- the deadline ---------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_silence_ends_at_the_deadline_and_nothing_survives_it(load, temporary):
    source = "import os, time, pathlib\npathlib.Path(__file__).with_name('pid').write_text(str(os.getpid()))\n"
    caught, process = load(source + "time.sleep(60)", deadline=4.0)
    assert caught.status == "timeout"
    assert str(caught) == "no result within 4 s (last seen in import); raise --timeout if it needs longer"
    (log,) = process.log_paths
    assert log.name == "mine.stderr.txt"
    assert "mine_plugin.py" in log.read_text(), "it says where it hung"
    assert not psutil.pid_exists(int((temporary.parent / "site" / "pid").read_text()))


def test_a_cancelled_run_waits_for_nobody(launch):
    cancel = threading.Event()
    with WorkerProcess(launch(), cancel) as process:
        greeted(process)
        cancel.set()
        assert failure(process).status == "cancelled"


# --- death ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (signal.SIGKILL, "oom", "killed by SIGKILL, probably out of memory (last seen in import)"),
        (signal.SIGTERM, "crashed", "killed by SIGTERM (last seen in import)"),
    ],
)
def test_a_death_by_signal_is_named(sent, status, said, launch):
    with WorkerProcess(launch()) as process:
        greeted(process).send_signal(sent)
        caught = failure(process)
        assert (caught.status, caught.reason) == (status, said)
        with pytest.raises(WorkerFailure, match=sent.name):
            process.ask(messages.Observe(), messages.Observed)
        process.finish()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os; os._exit(3)", "exit code 3 (last seen in import)"),
        ("import os; os._exit(0)", "exited with code 0 without a result (last seen in import)"),
        ("import os, time; os.closerange(200, 300); time.sleep(60)", "closed the result channel (last seen in import)"),
    ],
)
def test_an_end_without_a_word_is_explained(source, said, load):
    caught, _ = load(source)
    assert caught.reason == said
    assert caught.status == ("malformed" if "closed" in said else "crashed")


FORKED = """
import ctypes, os, time
if not os.fork():
    time.sleep(60)
{end}
"""


@pytest.mark.parametrize(
    ("end", "said"), [("ctypes.string_at(0)", "killed by SIGSEGV"), ("os._exit(7)", "exit code 7")]
)
def test_a_death_is_seen_while_a_child_holds_the_channel(end, said, load):
    caught, _ = load(FORKED.format(end=end), deadline=PLENTY)
    assert caught.reason == f"{said} (last seen in import)"


ESCAPED = """
import os, pathlib, subprocess, sys, time
here = pathlib.Path(__file__)
code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
for i in range(2):
    command = [sys.executable, "-c", code, str(here.with_name(f"pid{i}"))]
    if i:  # of a parent that is gone
        command = ["/bin/sh", "-c", '"$@" & exit', "sh", *command]
    subprocess.Popen(command, start_new_session=True, env={}, stdin=-3, stdout=-3, stderr=-3)
while not all(here.with_name(f"pid{i}").exists() and here.with_name(f"pid{i}").read_text() for i in range(2)):
    time.sleep(0.01)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no subreapers")
@pytest.mark.parametrize("end", ["os._exit(3)", "raise ValueError", "time.sleep(60)"])
def test_nobody_with_another_session_and_an_empty_environment_survives(end, load, tmp_path):
    load(ESCAPED + end, deadline=6.0)
    pids = [int((tmp_path / "site" / f"pid{i}").read_text()) for i in range(2)]
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="finds the survivors through /proc")
def test_a_plugin_that_kills_its_parent_kills_no_host_and_leaves_nobody(load, tmp_path):
    # long enough alive for the host to have seen its children
    caught, _ = load(ESCAPED + "time.sleep(1)\nos.kill(os.getppid(), 9)\ntime.sleep(60)", deadline=PLENTY)
    assert caught.reason.startswith("killed by SIGKILL")
    pids = [int((tmp_path / "site" / f"pid{i}").read_text()) for i in range(2)]
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=5)
    assert alive == []


@pytest.mark.parametrize("sent", ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR2"])
def test_a_signal_to_its_parent_or_its_group_harms_the_plugin_alone(sent, load):
    caught, _ = load(f"import os, signal\nos.kill(os.getppid(), signal.{sent})\nos.killpg(0, signal.SIGKILL)")
    assert caught.status in ("oom", "crashed")


# --- memory and threads -----------------------------------------------------------------------------------------

HUNGRY = """
import os, time
kept = []
if {child} and os.fork():
    time.sleep(60)
for _ in range(40):
    kept.append(bytes(b"x") * (16 << 20))
    time.sleep(0.02)
time.sleep(60)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("child", [False, True])
def test_memory_beyond_the_limit_is_oom(child, install_plugin, launch):
    module = install_plugin("mine", HUNGRY.format(child=child))
    with WorkerProcess(replace(launch(), memory_limit=200 << 20)) as process:
        process.expect(messages.Hello)
        with pytest.raises(WorkerFailure, match=r"needed more than 200.0 MiB \(last seen in import\)") as caught:
            process.ask(messages.Load("mine", module, None), messages.Loaded)
        assert caught.value.status == "oom"
        assert "raise --memory-limit" in caught.value.reason


def test_a_worker_that_nobody_waits_for_is_watched_too(install_plugin, launch):
    module = install_plugin("mine", HUNGRY.format(child=False))
    with WorkerProcess(replace(launch(), memory_limit=200 << 20)) as hungry, WorkerProcess(launch()) as other:
        for process in (hungry, other):
            process.expect(messages.Hello)
        hungry.send(messages.Load("mine", module, None))
        other.allow(30.0)
        while hungry._exceeded is None:
            other.allow(0.5)
            with pytest.raises(WorkerFailure, match="no result within"):
                other.receive()
        assert failure(hungry).status == "oom"


@pytest.mark.thorough
def test_memory_that_is_shared_counts_once(install_plugin, launch):
    source = (
        "import os, time\nkept = b'x' * (120 << 20)\nif os.fork():\n    time.sleep(1)\n    raise ValueError('fine')\n"
    )
    module = install_plugin("mine", source + "time.sleep(60)")
    with WorkerProcess(replace(launch(), memory_limit=230 << 20)) as process:
        process.expect(messages.Hello)
        with pytest.raises(WorkerFailure, match="ValueError: fine"):
            process.ask(messages.Load("mine", module, None), messages.Loaded)


def test_address_space_is_limited_where_asked_for(install_plugin, launch):
    module = install_plugin("mine", "import numpy\nnumpy.empty(1 << 30)")
    with WorkerProcess(replace(launch(), address_space=4 << 30)) as process:
        process.expect(messages.Hello)
        with pytest.raises(WorkerFailure, match="Unable to allocate"):
            process.ask(messages.Load("mine", module, None), messages.Loaded)


def test_a_bomb_of_threads_is_ended(install_plugin, launch, monkeypatch):
    monkeypatch.setattr("compare_ag.host.process.MOST_THREADS", 100)
    bomb = "import threading, time\n[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(150)]\n"
    module = install_plugin("mine", bomb + "time.sleep(60)")
    with WorkerProcess(launch()) as process:
        process.expect(messages.Hello)
        with pytest.raises(WorkerFailure, match="started more than 100 processes and threads") as caught:
            process.ask(messages.Load("mine", module, None), messages.Loaded)
        assert caught.value.status == "crashed"


# --- the end --------------------------------------------------------------------------------------------------


def test_closing_twice_is_closing_once(launch, temporary):
    before = descriptors()
    process = WorkerProcess(launch())
    worker = greeted(process)
    process.close()
    assert not worker.is_running()
    assert list(temporary.iterdir()) == []
    # what gets the descriptors' numbers now belongs to somebody else
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    process.close()
    for descriptor in others:
        os.close(descriptor)  # raises where the second close took it
    assert descriptors() == before


def test_a_worker_that_cannot_be_started_is_a_failure_and_leaves_nothing(launch, temporary, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    before = descriptors()
    with pytest.raises(WorkerFailure, match="its worker could not be started: No such file") as caught:
        WorkerProcess(launch())
    assert (caught.value.status, caught.value.phase) == ("crashed", "import")
    assert list(temporary.iterdir()) == []
    assert descriptors() == before


def test_a_flood_of_output_is_cut_and_what_was_dropped_is_counted(load):
    size = LOG_CAP + 12_345
    _, process = load(f"import os, sys\nsys.stdout.write('x' * {size})\nsys.stdout.flush()\nos._exit(1)")
    (log,) = process.log_paths
    assert log.name == "mine.stdout.txt"
    assert log.read_text() == "x" * LOG_CAP + "\n[12345 more bytes were dropped]\n"


# --- what a killed host leaves --------------------------------------------------------------------------------


HOST = """
import sys, time
from pathlib import Path
from compare_ag.host.launch import Launch
from compare_ag.host.process import WorkerProcess
from compare_ag.worker import frames, messages
process = WorkerProcess(Launch('other', Path(sys.argv[1]), 1, 0, 60.0))
process.expect(messages.Hello)
print(process.board and 'ready', flush=True)
time.sleep(60)
"""


@pytest.fixture
def other_host(tmp_path):
    """Another host with a worker that is up, and the worker's folder."""
    command = [sys.executable, "-c", HOST, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        (folder,) = Path(tempfile.gettempdir()).iterdir()
        yield host, folder
        host.kill()


def test_a_killed_hosts_folder_is_removed_by_the_next_and_a_living_ones_is_not(launch, other_host):
    host, folder = other_host
    with WorkerProcess(launch()):
        assert folder.is_dir()
    host.send_signal(signal.SIGKILL)
    host.wait()
    assert folder.is_dir()
    with WorkerProcess(launch()):
        assert not folder.exists()


def test_only_what_a_host_has_locked_passes_for_a_leftover(launch, temporary, tmp_path):
    def plant(folder: Path) -> Path:
        folder.mkdir()
        (folder / LOCK_NAME).touch()
        return folder

    elsewhere = plant(tmp_path / f"{FOLDER_PREFIX}elsewhere")
    link = temporary / f"{FOLDER_PREFIX}link"
    link.symlink_to(elsewhere)
    kept = [elsewhere / LOCK_NAME, link, plant(temporary / "compare-ag-run-results")]
    for name in ("without-lock", "lock-elsewhere"):
        kept.append(temporary / f"{FOLDER_PREFIX}{name}")
        kept[-1].mkdir()
    (kept[-1] / LOCK_NAME).symlink_to(elsewhere / LOCK_NAME)
    kept.append(temporary / f"{FOLDER_PREFIX}file")
    kept[-1].touch()
    leftover = plant(temporary / f"{FOLDER_PREFIX}leftover")
    (leftover / "way-out").symlink_to(elsewhere)
    with WorkerProcess(launch()):
        assert not leftover.exists()
    assert [path for path in kept if not path.exists()] == []


def test_a_fair_share_leaves_one_for_the_host(monkeypatch):
    monkeypatch.setattr("compare_ag.problem.estimate.available_memory", lambda: 40 << 30)
    assert fair_share(2) == int(0.9 * (40 << 30)) // 3
    assert fair_share(0) == fair_share(1)
