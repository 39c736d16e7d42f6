"""One worker process: starting it, exchanging frames under a wall-clock deadline, ending it without leftovers.

No process pool: pools pickle, wait for ever or leave grandchildren (of 22 tried faults the best pool survived
15, this design all). Every rule below answers one of them:

* a private pipe in each direction, so that prints and junk cannot become results;
* stdout and stderr are drained into capped log files, so that a flood neither fills a pipe nor a disk;
* a warden between host and worker, which inherits what the plugin starts and leaves nothing of it (`worker.warden`);
* the process is watched beside the pipe, so that a death is seen at once, whoever else holds the pipe open;
* one budget of monotonic time in the host, charged from request to answer and looked at before every byte, so
  that a chatty hang dies like a silent one and nobody pays for a neighbour;
* limits on memory and on the number of threads, looked at from outside while the host waits (`host.watch`);
* an environment of few, named variables, so that nothing leaks and launches are alike;
* a temporary folder that is locked while its host lives, so that what a killed host left can be told and removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from compare_ag.host.compile_cache import LOOK_SECONDS, too_large
from compare_ag.host.failures import ProtocolFailure, WorkerFailure, host_fault
from compare_ag.host.launch import Launch, worker_environment
from compare_ag.host.leftovers import FOLDER_PREFIX, lock_folder, remove_leftovers, sweep
from compare_ag.host.logs import Log
from compare_ag.host.replies import Conversation, ImpossibleReplyError
from compare_ag.host.watch import MOST_THREADS, Family, fair_share
from compare_ag.worker import frames, messages
from compare_ag.worker.board import BoardReader
from compare_ag.worker.warden import CLEANING_SECONDS

POLL_SECONDS = 0.1
ALOUD_SECONDS = 1.0
"""between two looks at the memory of a worker that always has something to say"""
BETWEEN_BLOCKS_SECONDS = 0.5
EXIT_GRACE_SECONDS = 2.0
STACK_SECONDS = 0.2
CLOSED_SECONDS = 0.5
"""a worker whose channel has ended and that is still there after so long has closed it"""
CHANNEL_LOST = 87
"""exit code of a worker that finds its channel closed; the same in `worker.__main__`, which the host never imports"""


class WorkerProcess:
    """A running worker. Use as a context manager; leaving it ends the process and everything it started."""

    def __init__(self, launch: Launch, cancel: threading.Event | None = None) -> None:
        self.launch = launch
        self.warnings: list[str] = []
        self._cancel = cancel or threading.Event()
        self._nonce = secrets.randbits(64)
        self._sent = 0
        self._received = 0
        self._conversation = Conversation()
        self._ended = False
        self._asked = self._heard = self._waiting = time.monotonic()
        self._left = launch.deadline_seconds
        self._reported = False
        self._hung = False
        self._worker_pid = 0
        self._limit = launch.memory_limit or fair_share(launch.shares or os.cpu_count() or 1)
        self._exceeded: WorkerFailure | None = None
        self._looked = self._measured = time.monotonic()
        with contextlib.ExitStack() as stack:
            try:
                self._start(stack)
            except OSError as error:
                reason = f"its worker could not be started: {error.strerror or error}"
                raise WorkerFailure("crashed", reason, "import") from error
            stack.pop_all()
        _LIVE.add(self)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        """Make folder, pipes and process; ``stack`` takes away what was made where a later part fails."""
        remove_leftovers()
        if self.launch.cache is not None:
            self.launch.cache.mkdir(parents=True, exist_ok=True)  # anew where a plugin has removed it
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._lock = lock_folder(self._folder)
        stack.callback(os.close, self._lock)
        self.board = BoardReader(self._folder)
        stack.callback(self.board.close)

        # each descriptor is closed in one place: a second close could hit a number that another thread has by then
        with contextlib.ExitStack() as children:
            child_in, self._to_worker = os.pipe()
            children.callback(os.close, child_in)
            stack.callback(os.close, self._to_worker)
            self._from_worker, child_out = os.pipe()
            children.callback(os.close, child_out)
            stack.callback(os.close, self._from_worker)
            child_lifeline, self._lifeline = os.pipe()
            children.callback(os.close, child_lifeline)
            stack.callback(os.close, self._lifeline)
            self._process = self._spawn((child_in, child_out, self.board.descriptor, child_lifeline))
        self._family = Family(self._process.pid)
        self._pidfd = _open_process(self._process.pid)
        os.set_blocking(self._to_worker, False)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._logs = [
            Log(self._process.stdout, self.launch.log_folder / f"{self.launch.label}.stdout.txt"),
            Log(self._process.stderr, self.launch.log_folder / f"{self.launch.label}.stderr.txt"),
        ]

    def _spawn(self, descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
        """Start the warden with the worker's ends of request pipe and reply pipe, board and lifeline."""
        command = [sys.executable, "-P", "-X", "faulthandler", "-m", "compare_ag.worker"]
        command += [",".join(map(str, descriptors)), f"{self._nonce:016x}", str(self.launch.address_space or 0)]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
            env=worker_environment(self.launch, self._folder, f"{self._nonce:016x}"),
            cwd=self._folder,
        )

    # --- conversation ---

    def allow(self, seconds: float) -> None:
        """From now on the worker has so much time, whatever it has used up: one question's share."""
        self._left = seconds
        self._asked = self._heard = self._waiting = time.monotonic()

    def begin_waiting(self) -> None:
        """The worker's time for the reply that is due counts from now: until now nobody has listened to it."""
        self._waiting = time.monotonic()

    def send(self, message: messages.Message, **arrays: messages.Array) -> None:
        """Send one request. Raises `WorkerFailure` where the worker dies or the deadline passes meanwhile."""
        if not self._worker_pid:
            self.expect(messages.Hello)
        if not isinstance(message, messages.Bye) and self._is_unread():
            raise self._broken("wrote into the result channel without being asked")
        self._conversation.ask(message, arrays)
        if isinstance(message, messages.Train):
            self.board.make_room(self._conversation.tail_room)
        self._left -= max(0.0, self._heard - self._waiting)
        self._asked = self._heard = self._waiting = time.monotonic()
        for buffer in frames.pack(message, arrays, self._nonce, self._sent):
            view = memoryview(buffer)
            while view:
                self._wait(self._to_worker, select.POLLOUT)
                try:
                    view = view[os.write(self._to_worker, view[: 1 << 20]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._death() from None
        self._sent += 1

    def receive(self) -> tuple[Any, dict[str, messages.Array]]:
        """Wait for the next reply, which can answer the last request: see `replies`.

        Raises `WorkerFailure` for a death, a timeout, junk, an impossible reply, or a reported failure.
        """
        try:
            message, arrays = self._read_reply()
        except frames.ProtocolError as error:
            raise self._broken(f"broke the result channel: {error}") from None
        except ImpossibleReplyError as error:
            raise self._broken(f"its worker {error}") from None
        except WorkerFailure:
            raise
        except Exception as error:
            raise host_fault(error, self.launch) from error
        if isinstance(message, messages.Failed):
            self._reported = True
            raise WorkerFailure(message.status, message.reason, message.phase, message.step)
        return message, arrays

    def _read_reply(self) -> tuple[Any, dict[str, messages.Array]]:
        """Read one frame. Raises `ProtocolError` or `ImpossibleReplyError` where it is none, or no answer."""
        prefix = bytes(self._read(frames.PREFIX.size))
        sizes = frames.unpack_prefix(prefix, self._nonce, self._received, self._conversation.limit)
        header, payload = (self._read(size) for size in sizes)
        message, arrays = frames.unpack(bytes(header), payload, reply=True)
        self._received += 1
        self._heard = time.monotonic()
        self._conversation.check(message, arrays, int(1e9 * (self._heard - self._asked)))
        if isinstance(message, messages.Hello):
            self._worker_pid = message.pid
        return message, arrays

    def unsent(self) -> tuple[messages.Chunk, dict[str, messages.Array]] | None:
        """What the training has computed and not sent, after its worker died or hung; None where that is unknown."""
        tail = self.board.read_tail(self._conversation.tail_room)
        return None if tail is None else self._conversation.training.rest(tail, self._conversation)

    def expect(self, kind: type[messages.Message]) -> tuple[Any, dict[str, messages.Array]]:
        """Receive a reply of this type."""
        message, arrays = self.receive()
        if not isinstance(message, kind):
            raise self._broken(f"its worker answered {type(message).__name__} where {kind.__name__} was due")
        return message, arrays

    def ask(
        self, request: messages.Message, kind: type[messages.Message], **arrays: messages.Array
    ) -> tuple[Any, dict[str, messages.Array]]:
        """Send a request and receive its reply of this type."""
        self.send(request, **arrays)
        return self.expect(kind)

    def _is_unread(self) -> bool:
        """Whether the worker has sent more than its last reply."""
        return _is_ready(self._from_worker, select.POLLIN) == select.POLLIN  # with POLLHUP it is a death

    def _read(self, size: int) -> bytearray:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            self._wait(self._from_worker, select.POLLIN)
            count = os.readv(self._from_worker, [view[: 1 << 20]])
            if not count:
                raise self._death()
            view = view[count:]
        return buffer

    def _wait(self, descriptor: int, event: int) -> None:
        """Wait until the descriptor is ready.

        Raises `WorkerFailure` where the worker has ended and has left nothing to read, where it exceeds its limits, at
        the deadline and when the run is cancelled.
        """
        poll = select.poll()
        poll.register(descriptor, event)
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        while True:
            events = {ready for ready, _ in poll.poll(POLL_SECONDS * 1000)}
            if self._cancel.is_set():
                raise self._failure("cancelled", "the run was interrupted")
            now = time.monotonic()
            if now - self._waiting > self._left:
                self._hung = True
                limit = f"{self.launch.deadline_seconds:g} s"
                where = self._position()
                raise self._failure("timeout", f"no result within {limit}{where}; raise --timeout if it needs longer")
            if now - self._looked > (ALOUD_SECONDS if descriptor in events else POLL_SECONDS):
                look_at_all()
            if self._exceeded is not None:
                raise self._exceeded
            if descriptor in events:
                return
            # what it wrote before its end is in the pipe: the look at the pipe must come after the one at the process
            if self._has_ended(events) and not _is_ready(descriptor, event):
                raise self._death()

    def _has_ended(self, events: set[int]) -> bool:
        return self._pidfd in events if self._pidfd is not None else self._exited(0)

    def look_between_blocks(self) -> None:
        """`look`, for a worker whose replies come sooner than anybody looks while waiting; not too often."""
        if time.monotonic() - self._looked > BETWEEN_BLOCKS_SECONDS:
            look_at_all()

    def look(self) -> None:
        """Compare memory and threads of the worker and all that it started with their limits; end it beyond them."""
        self._looked = time.monotonic()
        if self._ended or self._exceeded is not None or self._process.returncode is not None:
            return
        held = self._family.resident_bytes()
        where = self._position()
        if held > self._limit and (self._family.proportional_bytes() or held) > self._limit:
            from compare_ag.problem.estimate import size

            source = "" if self.launch.memory_limit else ", its share of the memory that was free"
            reason = f"needed more than {size(self._limit)}{source}{where}; raise --memory-limit if it may have more"
            self._exceeded = self._failure("oom", reason)
        elif self._family.threads > MOST_THREADS:
            reason = f"started more than {MOST_THREADS:,} processes and threads{where}"
            self._exceeded = self._failure("crashed", reason)
        elif much := self._too_much_cache():
            self._exceeded = self._failure("crashed", f"wrote more than {much} into its compile cache{where}")
        else:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)  # its warden's: ends everything

    def _too_much_cache(self) -> str:
        """What is too much about its compile cache; empty where nothing is, and between two looks."""
        if self.launch.cache is None or self._looked - self._measured < LOOK_SECONDS:
            return ""
        self._measured = self._looked
        return too_large(self.launch.cache)

    def others_cpu_seconds(self) -> float:
        """CPU seconds, so far, of the processes that the worker started, orphans included."""
        import psutil

        total = 0.0
        try:
            warden = psutil.Process(self._process.pid)
            times = warden.cpu_times()
            total += float(times.children_user + times.children_system)  # of orphans that have ended
            family = warden.children(recursive=True)
        except (psutil.Error, OSError):  # it has ended
            return 0.0
        for process in family:
            with contextlib.suppress(psutil.Error, OSError):  # gone meanwhile
                spent = process.cpu_times()
                total += float(spent.children_user + spent.children_system)  # of those that it has waited for
                if process.pid != self._worker_pid:
                    total += float(spent.user + spent.system)
        return total

    # --- the end ---

    def position(self) -> tuple[str, int | None]:
        """Phase and step where the worker says that it is; no step beyond what it was asked for."""
        phase, step = self.board.read()
        return phase, self._conversation.possible_step(step)

    def _position(self) -> str:
        phase, step = self.position()
        return f" (last seen in {phase}{'' if step is None else f', step {step}'})"

    def _failure(self, status: str, reason: str) -> WorkerFailure:
        return WorkerFailure(status, reason, *self.position())

    def _broken(self, reason: str) -> ProtocolFailure:
        return ProtocolFailure("malformed", reason[: messages.MOST_REASON], *self.position())

    def _death(self) -> WorkerFailure:
        """Explain why the result channel is closed."""
        if self._exceeded is not None:
            return self._exceeded
        if not self._exited(CLOSED_SECONDS):
            return self._failure("malformed", f"closed the result channel{self._position()}")
        code = self._process.wait()
        if code == CHANNEL_LOST:
            return self._failure("malformed", f"closed the result channel{self._position()}")
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            hint = ", probably out of memory" if name == "SIGKILL" else ""
            return self._failure("oom" if hint else "crashed", f"killed by {name}{hint}{self._position()}")
        if code == 0:
            return self._failure("crashed", f"exited with code 0 without a result{self._position()}")
        return self._failure("crashed", f"exit code {code}{self._position()}")

    def finish(self, grace_seconds: float = EXIT_GRACE_SECONDS) -> float | None:
        """End a worker that did its work: ask it to go, give it a moment, note what was not clean.

        Returns the seconds from the request to the process's end; None where it had to be killed.
        """
        seconds = None
        with contextlib.suppress(WorkerFailure):
            self.send(messages.Bye())
        told = time.monotonic()
        if not self._exited(grace_seconds):
            self.warnings.append(f"still running {grace_seconds:g} s after its last result; it was killed")
        else:
            seconds = time.monotonic() - told
            if code := self._process.wait():
                name = signal.Signals(-code).name if -code in signal.valid_signals() else f"exit code {code}"
                self.warnings.append(f"unclean exit after its last result ({name}); its numbers are complete")
        self.close()
        return seconds

    def close(self) -> None:
        """End the worker and everything that it started; close logs and pipes. Idempotent."""
        if self._ended:
            return
        self._ended = True
        _LIVE.discard(self)
        if self._process.returncode is None and (self._hung or self._reported):
            if self._hung:  # ask for every thread's stack first, so that the log shows where it hangs
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGUSR1)
            self._exited(STACK_SECONDS)  # one that has told why it failed is on its way out
        os.close(self._lifeline)  # the warden ends everything
        if not self._exited(CLEANING_SECONDS + 0.5):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        if code == -signal.SIGKILL or sys.platform != "linux":  # perhaps the warden was killed, or it has no subreaper
            for pid in self._family.survivors():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            sweep(f"{self._nonce:016x}")
        for descriptor in (self._to_worker, self._from_worker):
            os.close(descriptor)
        if self._pidfd is not None:
            os.close(self._pidfd)
        for log in self._logs:
            log.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def _exited(self, seconds: float) -> bool:
        """Wait until the worker and its warden have ended; they are not collected."""
        if self._process.returncode is not None:
            return True
        if self._pidfd is not None:
            return bool(_is_ready(self._pidfd, select.POLLIN, seconds))
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    @property
    def log_paths(self) -> list[Path]:
        """The log files that hold anything."""
        logs = [log.path for log in self._logs if log.size]
        return [*logs, self.launch.bug_log] if self.launch.bug_log.exists() else logs


_LIVE: set[WorkerProcess] = set()
"""those that have not been closed: who waits for one looks at all, since nobody may be waiting for another"""


def look_at_all() -> None:
    """Look at every worker that has not been looked at for a while."""
    due = time.monotonic() - POLL_SECONDS
    for process in list(_LIVE):
        if process._looked <= due:
            process.look()


def _is_ready(descriptor: int, event: int, seconds: float = 0.0) -> int:
    """What `select.poll` reports within so many seconds; 0 for nothing."""
    poll = select.poll()
    poll.register(descriptor, event)
    return sum(found for _, found in poll.poll(seconds * 1000))


def _open_process(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or a sandbox that forbids it
        return None
