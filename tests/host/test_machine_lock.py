"""One timing at a time: who excludes whom, who is named, whose death frees the lock, and which files are refused."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compare_ag.host import machine_lock
from compare_ag.host.machine_lock import HEADER, BusyError, Holder, hold

HOLDER = """
import sys, time
from compare_ag.host.machine_lock import hold
for purpose in sys.argv[1:]:
    with hold(purpose) as held:
        print("held", held.since, held.failure, flush=True)
        sys.stdin.readline()
print("free", flush=True)
sys.stdin.readline()
"""
NOBODY = 65534


@pytest.fixture(autouse=True)
def path(tmp_path, monkeypatch) -> Path:
    """The lock file of each test."""
    file = tmp_path / "machine.lock"
    monkeypatch.setenv("COMPARE_AG_LOCK", str(file))
    return file


@contextlib.contextmanager
def holder(*purposes: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock for one purpose after the other; a line to its stdin ends each."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *purposes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("held")
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> str:
    """End what the process holds; return what it says next."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def is_refused(purpose) -> bool:
    try:
        with hold(purpose, wait=False) as held:
            assert held.failure == ""
    except BusyError:
        return True
    return False


@pytest.mark.parametrize(
    ("theirs", "ours", "refused"),
    [
        ("timing", "timing", True),
        ("timing", "training", True),
        ("training", "timing", True),
        ("training", "training", False),
    ],
)
def test_timing_excludes_all_and_training_shares(theirs, ours, refused):
    with holder(theirs):
        assert is_refused(ours) is refused
    assert not is_refused(ours)


def test_who_is_in_the_way_is_named_with_process_and_time(path):
    before = time.time()
    with holder("timing") as process, pytest.raises(BusyError) as caught, hold("training", wait=False):
        pass
    found = re.fullmatch(
        rf"nothing has run, because process {process.pid} has been timing on this machine since (\S+ )?(\S+)",
        str(caught.value),
    )
    assert found, caught.value
    clock = {time.strftime("%H:%M:%S", time.localtime(before + i)) for i in range(60)}
    assert found[2] in clock


def test_waiting_tells_for_whom_and_ends_when_the_holder_dies():
    told: list[str] = []
    with holder("timing") as process:

        def tell(reason: str) -> None:
            told.append(reason)
            if len(told) == 2:
                process.send_signal(signal.SIGKILL)

        began = time.time()
        with hold("timing", tell=tell) as held:
            assert held.since >= began
            assert held.failure == ""
    assert f"process {process.pid} has been timing" in told[0]
    assert told[-1] == ""
    assert all(told[:-1])


def test_a_holder_that_has_released_the_lock_and_lives_on_is_not_named():
    with holder("training") as past, holder("training") as present:
        assert end(past) == "free\n"
        with pytest.raises(BusyError, match=rf"process {present.pid} ") as caught, hold("timing", wait=False):
            pass
        assert str(past.pid) not in re.findall(r"\d+", str(caught.value))


def test_several_holders_are_named_and_too_many_are_counted():
    with (
        holder("training") as one,
        holder("training") as other,
        pytest.raises(BusyError) as caught,
        hold("timing", wait=False),
    ):
        pass
    assert f"process {one.pid} has been training" in str(caught.value)
    assert f"process {other.pid} has been training" in str(caught.value)
    many = [Holder(pid, "training", None) for pid in range(1, 6)]
    assert machine_lock.describe(many).endswith("process 3 is training on this machine; and 2 more")


def test_a_holder_without_a_note_is_found_by_the_kernels_list(path):
    if not Path("/proc/locks").exists():
        pytest.skip("this system does not list its locks")
    with holder("timing") as process:
        path.write_bytes(HEADER)
        with pytest.raises(BusyError) as caught, hold("timing", wait=False):
            pass
        assert re.search(rf"process {process.pid}, started at \S+, is timing on this machine", str(caught.value))


def test_nobody_known_is_said_to_be_unknown(path, monkeypatch):
    monkeypatch.setattr(machine_lock, "_listed", lambda _status: [])
    with holder("timing"):
        path.write_bytes(HEADER)
        with pytest.raises(BusyError, match="an unknown process is timing or training"), hold("timing", wait=False):
            pass


def test_the_kernels_list_is_read_by_device_and_inode(tmp_path):
    status = os.stat(tmp_path)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    table = tmp_path / "locks"
    other_inode, blocked = f"{device}:{status.st_ino + 1}", f"-> FLOCK  ADVISORY  WRITE 14 {device}:{status.st_ino}"
    table.write_text(
        f"1: FLOCK  ADVISORY  WRITE 11 {device}:{status.st_ino} 0 EOF\n"
        f"2: FLOCK  ADVISORY  READ 12 {other_inode} 0 EOF\n"
        f"3: POSIX  ADVISORY  WRITE 13 {device}:{status.st_ino} 0 EOF\n"
        f"4: {blocked} 0 EOF\n"
        f"5: FLOCK  ADVISORY  READ 15 fff:ff:{status.st_ino} 0 EOF\n"
        f"6: FLOCK  ADVISORY  READ 0 {device}:{status.st_ino} 0 EOF\n"
    )
    assert machine_lock._listed(status, table) == [(11, "timing")]
    lines = table.read_text().splitlines(keepends=True)
    table.write_text(lines[4])
    assert machine_lock._listed(status, table) == [(15, "training")]


def test_invented_notes_name_nobody_and_lock_nothing(path):
    start = machine_lock._start_of(os.getppid())
    invented = (
        b"\xff\x00\x1b[2J\n"
        + b"00000001 9999999999 1 timing 1.000\n"  # no such process
        + f"00000002 {os.getppid()} {start}0 timing 1.000\n".encode()  # started at another time
        + f"00000003 {os.getppid()} {start} cheating 1.000\n".encode()
        + f"00000004 {os.getppid()} {start} timing 99999999999999.000\n".encode()
    )
    path.write_bytes(HEADER + invented)
    with holder("training") as process, pytest.raises(BusyError) as caught, hold("timing", wait=False):
        pass
    assert str(caught.value).count("process ") == 1
    assert f"process {process.pid} has been training" in str(caught.value)
    assert not is_refused("timing")  # and has begun the file anew
    assert b"cheating" not in path.read_bytes()


def test_notes_do_not_grow_without_end_and_timing_begins_the_file_anew(path, monkeypatch):
    monkeypatch.setattr(machine_lock, "MOST_BYTES", 500)
    for _ in range(30):
        with hold("training"):
            pass
    assert 400 < path.stat().st_size < 700
    with hold("timing"):
        assert path.stat().st_size < 100


# --- processes and threads ---


def test_a_hold_inside_another_of_the_same_thread_is_part_of_it():
    with hold("timing") as outer, hold("training") as inner, hold("timing") as innermost:
        assert inner is innermost is outer
    with hold("training"), hold("training"):
        pass
    assert not is_refused("timing")
    with hold("training"), pytest.raises(RuntimeError, match="before the training of the same thread"), hold("timing"):
        pass


def test_another_thread_of_this_process_is_excluded():
    with hold("timing"):
        assert is_refused_to_a_thread("timing")


@pytest.mark.parametrize("purpose", ["timing", "training"])
def test_a_command_that_the_holder_starts_does_not_wait_for_it(purpose):
    code = "from compare_ag.host.machine_lock import hold\nwith hold('timing', wait=False): pass"
    with hold(purpose):
        subprocess.run([sys.executable, "-c", code], check=True)
    with holder("training"), hold("training"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "BusyError" in done.stderr  # the first process is no ancestor


def test_a_fork_of_the_holder_that_ends_does_not_free_the_lock():
    code = """
import os, subprocess, sys
from compare_ag.host.machine_lock import hold
with hold("timing"):
    if os.fork() == 0:
        raise SystemExit  # leaves the block, as the holder will
    os.wait()
    print("held", flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_refused("timing")
        process.kill()


def test_an_interrupt_ends_the_wait():
    with holder("timing"):
        interrupt = threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT])
        interrupt.start()
        told: list[str] = []
        with pytest.raises(KeyboardInterrupt), hold("timing", tell=told.append):
            pass
        assert told[0]
        assert told[-1] == ""
    assert not is_refused("timing")


# --- files ---


def test_the_file_is_made_for_everybody_whatever_the_umask(path):
    before = os.umask(0o077)
    try:
        with hold("timing"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
    finally:
        os.umask(before)


OTHER_USER = """
import os, sys
sys.path[:] = {path!r}
import psutil
from compare_ag.host.machine_lock import BusyError, hold
os.setgid({user})
os.setuid({user})
for _ in range(2):
    try:
        with hold("timing", wait=False) as held:
            print("held", held.failure, flush=True)
            sys.stdin.readline()
    except BusyError as error:
        print(error, flush=True)
    sys.stdin.readline()
"""


def test_another_user_excludes_and_is_excluded_with_a_file_that_it_may_only_read(monkeypatch):
    """In a sticky folder, where Linux may refuse O_CREAT for a file of another user (fs.protected_regular)."""
    if os.getuid() != 0:
        pytest.skip("only root can play another user")
    file = Path("/dev/shm" if os.path.isdir("/dev/shm") else "/tmp") / f"compare-ag-test-{os.getpid()}.lock"
    monkeypatch.setenv("COMPARE_AG_LOCK", str(file))
    command = [sys.executable, "-c", OTHER_USER.format(path=sys.path, user=NOBODY)]
    try:
        with (
            holder("timing") as process,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
        ):
            assert other.stdout is not None
            assert f"process {process.pid} has been timing" in other.stdout.readline()
            file.chmod(0o644)
            process.kill()
            process.wait()
            assert end(other) == "held \n"
            with pytest.raises(BusyError) as caught, hold("training", wait=False):
                pass
            if Path("/proc/locks").exists():  # the other user could not write a note
                assert f"process {other.pid}, started at" in str(caught.value)
            other.kill()
    finally:
        file.unlink(missing_ok=True)


def test_a_file_that_is_replaced_while_it_is_opened_is_not_taken(path, monkeypatch):
    real, opened = machine_lock.open_lock_file, []

    def replaced_meanwhile():
        file = real()
        if not opened:
            path.unlink()
        opened.append(file)
        return file

    monkeypatch.setattr(machine_lock, "open_lock_file", replaced_meanwhile)
    with hold("timing") as held:
        assert held.file is opened[1]
        assert is_refused_to_a_thread("timing")


def is_refused_to_a_thread(purpose) -> bool:
    refused: list[bool] = []
    thread = threading.Thread(target=lambda: refused.append(is_refused(purpose)))
    thread.start()
    thread.join()
    return refused[0]


def test_a_file_that_was_replaced_is_not_the_lock(path):
    old = machine_lock.open_lock_file()
    path.unlink()
    new = machine_lock.open_lock_file()
    assert old.lock(exclusive=True)
    assert not old.is_current()
    assert new.lock(exclusive=True)
    assert new.is_current()
    old.close()
    new.close()


def link_to_a_file(path: Path) -> Path:
    target = path.with_name("precious")
    target.write_text("precious")
    path.symlink_to(target)
    return target


def second_name_of_a_file(path: Path) -> Path:
    target = path.with_name("precious")
    target.write_text("")
    os.link(target, path)
    return target


def another_file(path: Path) -> Path:
    path.write_text("precious")
    return path


def link_to_nothing(path: Path) -> Path:
    path.symlink_to(path.with_name("nothing"))
    return path.parent


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path.parent


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (link_to_a_file, "is a symbolic link"),
        (link_to_nothing, "is a symbolic link"),
        (second_name_of_a_file, "has a second name"),
        (another_file, "has content that is not of compare-ag"),
        (pipe, "is not a regular file"),
        (folder, "cannot be opened: Is a directory"),
    ],
)
def test_what_is_no_lock_file_is_left_alone_and_the_work_goes_on(path, make, reason):
    target = make(path)
    before = sorted(target.iterdir()) if target.is_dir() else target.read_bytes()
    for purpose in ("timing", "training"):
        with hold(purpose) as held:
            assert held.failure == f"{path} {reason}" or held.failure.startswith(f"{path} {reason}")
    assert (sorted(target.iterdir()) if target.is_dir() else target.read_bytes()) == before


def test_where_no_file_can_be_made_the_work_goes_on(path, monkeypatch):
    monkeypatch.setenv("COMPARE_AG_LOCK", str(path / "missing" / "lock"))
    with hold("timing", wait=False) as held:
        assert "cannot be opened: No such file or directory" in held.failure
    monkeypatch.setenv("COMPARE_AG_LOCK", "")
    monkeypatch.setattr(machine_lock, "FOLDERS", (str(path / "a"), str(path / "b")))
    with hold("timing") as held:
        assert str(path / "a") in held.failure
        assert str(path / "b") in held.failure


def test_the_second_place_serves_only_where_the_first_has_no_file(path, tmp_path, monkeypatch):
    monkeypatch.delenv("COMPARE_AG_LOCK")
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    monkeypatch.setattr(machine_lock, "FOLDERS", (str(first), str(second)))
    with hold("timing") as held:
        assert held.failure == ""
        assert (second / "compare-ag.lock").exists()
    first.mkdir()
    (first / "compare-ag.lock").mkdir()
    with hold("timing") as held:
        assert "first" in held.failure
    (first / "compare-ag.lock").rmdir()
    with hold("timing") as held:
        assert held.failure == ""
        assert (first / "compare-ag.lock").exists()
