"""One timing at a time on a machine: a lock that timing takes alone and that training shares.

A timing is disturbed by another timing and by a training, which is every pass that only computes results. So timing
takes the lock exclusively and training takes it shared. The lock is an advisory lock (flock) on one file for the whole
machine, not for a user's folder or an environment. The kernel frees it when its holder dies, however that happens.

    COMPARE_AG_LOCK            the file, where this variable is set and not empty
    /tmp/compare-ag.lock       else; /dev/shm takes its place where /tmp is missing or read-only

A container has its own lock where it has its own /tmp, unless several containers mount the same file and name it in
COMPARE_AG_LOCK.

Users share the file. It is opened without O_CREAT first, because Linux refuses that flag for another user's file in a
sticky folder (fs.protected_regular), and created only where it is missing, readable and writable for all users. A
descriptor for reading is enough to lock it. A symbolic link, a file with a second hard link, anything but a regular
file and a file with other content are refused, so that the lock can never overwrite another file.

The file's lines are notes that tell a waiting process which process holds the lock:

    compare-ag machine lock 1
    ID PID START PURPOSE SINCE      a holder: START distinguishes its process from a later one of the same PID; SINCE
                                    in seconds since 1970
    ID free                         that holder has released the lock

The notes are hints and never decide which process holds the lock. A timing begins the file anew. Where a holder could
not write its note, /proc/locks names the process on Linux.

A process never waits for one of its own ancestors: a program that holds the lock for timing may start commands that
time, one after the other. Within a thread, a hold inside another hold is part of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

Purpose: TypeAlias = Literal["timing", "training"]

VARIABLE = "COMPARE_AG_LOCK"
FOLDERS = ("/tmp", "/dev/shm")  # not tempfile.gettempdir(), which may be a folder of the user's own
FILE_NAME = "compare-ag.lock"
HEADER = b"compare-ag machine lock 1\n"
POLL_SECONDS = 0.2
RACE_SECONDS = 0.02
"""seconds between tries while another process may be about to set a new file's mode or to write its note"""
TRIES = 5
MOST_BYTES = 1 << 16
"""most bytes of notes: beyond, trainings add no note until a timing begins the file anew"""
MOST_NAMED = 3
"""most holders in a message"""

_NOTE = re.compile(rb"([0-9a-f]{8}) (\d{1,10}) (\S{1,40}) (timing|training) (\d{1,10}\.\d{3})")
_FREE = re.compile(rb"([0-9a-f]{8}) free")
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_APPEND


class BusyError(Exception):
    """The machine is in use and the caller does not want to wait; the message names the holder."""


class UnusableError(Exception):
    """No file can be locked; the message says which and why."""


@dataclass(frozen=True)
class Holder:
    """A process that holds the lock."""

    pid: int
    purpose: Purpose
    since: float | None
    """seconds since 1970; None where unknown"""
    noted: bool = True
    """whether ``since`` is the time when it took the lock; else it is the start of the process"""

    def describe(self) -> str:
        """``process 4711 has been timing on this machine since 12:03:04``."""
        if self.since is None:
            return f"process {self.pid} is {self.purpose} on this machine"
        if self.noted:
            return f"process {self.pid} has been {self.purpose} on this machine since {_clock(self.since)}"
        return f"process {self.pid}, started at {_clock(self.since)}, is {self.purpose} on this machine"


@dataclass(frozen=True)
class Hold:
    """The lock while it is held."""

    purpose: Purpose
    since: float
    """when it was acquired, in seconds since 1970"""
    failure: str = ""
    """why there is no lock and other programs may time meanwhile; empty where the lock is held"""
    file: LockFile | None = None
    """None where nothing is locked, or where an ancestor holds the lock"""


@contextlib.contextmanager
def hold(
    purpose: Purpose, *, wait: bool = True, tell: Callable[[str], object] = lambda _reason: None
) -> Iterator[Hold]:
    """Hold the machine's lock: exclusively for "timing", shared with others for "training".

    Args:
      purpose: the work under the lock.
      wait: whether to wait for the holders in the way.
      tell: is called about five times a second during a wait with the holders' description, and with "" at its end.

    Where no file can be locked, the body runs nevertheless and `Hold.failure` gives the reason. Raises `BusyError`
    where it would have to wait and ``wait`` is false, and `RuntimeError` for timing inside a training of the same
    thread, which would wait for itself.
    """
    thread = threading.get_ident()
    outer = _holds.get(thread)
    if outer is not None:
        if (outer.purpose, purpose) == ("training", "timing"):
            raise RuntimeError("timing cannot begin before the training of the same thread has released the machine")
        yield outer
        return
    acquired = _acquire(purpose, wait, tell)
    _holds[thread] = acquired
    try:
        yield acquired
    finally:
        del _holds[thread]
        if acquired.file is not None:
            acquired.file.release()


_holds: dict[int, Hold] = {}
"""the hold of each thread of this process"""


def _acquire(purpose: Purpose, wait: bool, tell: Callable[[str], object]) -> Hold:
    """Try until the lock is acquired. Raises `BusyError` where ``wait`` is false and another process holds it."""
    tries, has_told = 0, False
    try:
        while True:
            try:
                result = _try(purpose)
            except UnusableError as error:
                return Hold(purpose, time.time(), str(error))
            if isinstance(result, Hold):
                return result
            tries += 1
            if not result and tries < TRIES:
                time.sleep(RACE_SECONDS)  # the holder may be about to write its note, or the file was replaced
                continue
            reason = describe(result)
            if not wait:
                raise BusyError(f"nothing has run, because {reason}")
            has_told = True
            tell(reason)
            time.sleep(POLL_SECONDS)
    finally:
        if has_told:
            tell("")


def _try(purpose: Purpose) -> Hold | list[Holder]:
    """The lock, or the known holders in the way. The file is opened for each try, because it may have been replaced."""
    file = open_lock_file()
    keep = False
    try:
        if not file.lock(exclusive=purpose == "timing"):
            # a training blocks a timing only
            holders = [holder for holder in file.holders() if "timing" in (purpose, holder.purpose)]
            if holders and {holder.pid for holder in holders} <= _ancestors():
                return Hold(purpose, time.time())
            return holders
        if not file.is_current():
            return []
        since = time.time()
        file.note(purpose, since)
        keep = True
        return Hold(purpose, since, file=file)
    finally:
        if not keep:
            file.close()


def describe(holders: list[Holder]) -> str:
    """A clause that names the holders; of many, the first ones and a count."""
    if not holders:
        return "an unknown process is timing or training on this machine"
    named = [holder.describe() for holder in holders[:MOST_NAMED]]
    more = len(holders) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")


def _clock(since: float) -> str:
    """Local time, with the date where that is not today's."""
    moment = datetime.fromtimestamp(since)
    return moment.strftime("%H:%M:%S" if moment.date() == datetime.now().date() else "%Y-%m-%d %H:%M:%S")


# --- the file ---


@dataclass
class LockFile:
    """The lock's file, open."""

    path: Path
    stream: io.FileIO
    writable: bool
    owner: int = field(default_factory=os.getpid)
    _id: str = ""

    def lock(self, *, exclusive: bool) -> bool:
        """Try to lock; return whether it succeeded. Raises `UnusableError` where the file system has no such locks."""
        try:
            fcntl.flock(self.stream, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise UnusableError(f"{self.path} cannot be locked: {error.strerror or error}") from error
        return True

    def is_current(self) -> bool:
        """Whether the path still leads to this file; else other processes lock a different file."""
        try:
            return os.path.samestat(os.stat(self.path, follow_symlinks=False), os.fstat(self.stream.fileno()))
        except OSError:
            return False

    def note(self, purpose: Purpose, since: float) -> None:
        """Write the note for waiting processes. A note that cannot be written is left out."""
        if not self.writable:
            return
        own_id = secrets.token_hex(4)
        line = f"{own_id} {os.getpid()} {_start_of(os.getpid()) or '-'} {purpose} {since:.3f}\n".encode()
        with contextlib.suppress(OSError):
            if purpose == "timing":  # the lock is exclusive, so that every other note is out of date
                self.stream.truncate(0)
            size = os.fstat(self.stream.fileno()).st_size
            if size < MOST_BYTES:
                self.stream.write(line if size else HEADER + line)
                self._id = own_id

    def release(self) -> None:
        """Free the lock. In a fork of the holder this only closes the fork's own descriptor."""
        if os.getpid() == self.owner:
            if self._id:
                with contextlib.suppress(OSError):
                    self.stream.write(f"{self._id} free\n".encode())
            with contextlib.suppress(OSError):
                fcntl.flock(self.stream, fcntl.LOCK_UN)
        self.close()

    def close(self) -> None:
        """Close the file, which frees a lock that no fork shares."""
        self.stream.close()

    def holders(self) -> list[Holder]:
        """The processes that hold the lock, as far as they are known."""
        holders = {holder.pid: holder for holder in self._read_notes()}
        for pid, purpose in _listed(os.fstat(self.stream.fileno())):
            if pid not in holders:
                holders[pid] = Holder(pid, purpose, _creation_time(pid), noted=False)
        return list(holders.values())

    def _read_notes(self) -> list[Holder]:
        """The holders by their notes, without released and dead holders."""
        try:
            lines = os.pread(self.stream.fileno(), 2 * MOST_BYTES, 0).splitlines()
        except OSError:
            return []
        notes: dict[bytes, re.Match[bytes]] = {}
        for line in lines:
            if match := _NOTE.fullmatch(line):
                notes[match[1]] = match
            elif match := _FREE.fullmatch(line):
                notes.pop(match[1], None)
        return [
            Holder(int(match[2]), "timing" if match[4] == b"timing" else "training", float(match[5]))
            for match in notes.values()
            if _is_alive(int(match[2]), match[3].decode(errors="replace"))
        ]


def open_lock_file() -> LockFile:
    """Open the machine's lock file, and create it where it is missing. Raises `UnusableError`."""
    given = os.environ.get(VARIABLE)
    paths = [Path(given)] if given else [Path(folder, FILE_NAME) for folder in FOLDERS]
    reasons = []
    for path in paths:
        try:
            return _open(path)
        except UnusableError as error:
            reasons.append(str(error))
            if os.path.lexists(path):
                break  # another user may be able to lock this file, and a lock elsewhere would not exclude that user
    raise UnusableError("; ".join(reasons))


def _open(path: Path) -> LockFile:
    """Open or create this file. Raises `UnusableError`."""
    failure: OSError | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(RACE_SECONDS)
        try:
            return _open_existing(path)
        except FileNotFoundError as error:
            failure = error
        except PermissionError as error:  # also for a moment, until the process that creates it has set its mode
            failure = error
            continue
        except OSError as error:
            failure = error
            break
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666)
        except FileExistsError:
            continue
        except OSError as error:
            failure = error
            break
        stream = os.fdopen(descriptor, "r+b", buffering=0)
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(descriptor, 0o666)  # whatever the umask
        return LockFile(path, stream, writable=True)
    if failure is not None and failure.errno == errno.ELOOP:
        raise UnusableError(f"{path} is a symbolic link") from failure
    raise UnusableError(f"{path} cannot be opened: {failure and failure.strerror}") from failure


def _open_existing(path: Path) -> LockFile:
    """Open the file, for writing where allowed. Raises `OSError`, and `UnusableError` for a file of another purpose."""
    try:
        descriptor, writable = os.open(path, os.O_RDWR | _FLAGS), True
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        descriptor, writable = os.open(path, os.O_RDONLY | _FLAGS), False
    stream = os.fdopen(descriptor, "r+b" if writable else "rb", buffering=0)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableError(f"{path} is not a regular file")
        if status.st_nlink == 0:  # deleted since
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if status.st_nlink > 1:
            raise UnusableError(f"{path} has a second name, so it may be a file of another purpose")
        if status.st_size and os.pread(descriptor, len(HEADER), 0) not in (HEADER, b""):  # empty: truncated since
            raise UnusableError(f"{path} has content that is not of compare-ag")
    except BaseException:
        stream.close()
        raise
    return LockFile(path, stream, writable)


# --- processes ---


def _listed(status: os.stat_result, table: Path = Path("/proc/locks")) -> list[tuple[int, Purpose]]:
    """Processes that hold an flock on this file, as Linux lists them; empty elsewhere.

    A line is ``1: FLOCK ADVISORY WRITE 4711 08:01:1234 0 EOF``, with device (hexadecimal) and inode. Some file systems
    report another device to stat, so that the inode alone decides where no line has the device too.
    """
    try:
        lines = table.read_text(errors="replace").splitlines()
    except OSError:
        return []
    device = (os.major(status.st_dev), os.minor(status.st_dev))
    same_file: list[tuple[int, Purpose]] = []
    same_inode: list[tuple[int, Purpose]] = []
    for line in lines:
        match = re.match(r"\d+: FLOCK +\S+ +(READ|WRITE) +(\d+) +([0-9a-f]+):([0-9a-f]+):(\d+) ", line)
        if match is None or int(match[5]) != status.st_ino or int(match[2]) == 0:  # 0: outside this container
            continue
        entry: tuple[int, Purpose] = (int(match[2]), "timing" if match[1] == "WRITE" else "training")
        same_inode.append(entry)
        if (int(match[3], 16), int(match[4], 16)) == device:
            same_file.append(entry)
    return same_file or same_inode


def _start_of(pid: int) -> str:
    """A text that distinguishes this process from a later one of the same number; empty where it ended or is hidden."""
    try:
        # field 22 of proc(5), clock ticks since the machine started; the name, in brackets, may contain blanks
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        created = _creation_time(pid)
        return "" if created is None else str(round(created))


def _creation_time(pid: int) -> float | None:
    """The start of a process, in seconds since 1970; None where it ended or is hidden."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, OSError, OverflowError):
        return None


def _is_alive(pid: int, start: str) -> bool:
    """Whether the process with this number and this start still exists."""
    if actual := _start_of(pid):
        return actual == start
    try:
        os.kill(pid, 0)
    except PermissionError:  # it exists and is hidden from us
        return True
    except (OSError, OverflowError):
        return False
    return True


def _ancestors() -> set[int]:
    """The chain of parents of this process."""
    import psutil

    try:
        return {parent.pid for parent in psutil.Process().parents()}
    except psutil.Error:
        return set()
