"""Entry of the child process: ``python -P -X faulthandler -m compare_ag.worker FDS NONCE ADDRESS_SPACE``.

Forks into a worker and its warden (`worker.warden`). The worker isolates itself, then answers the host's requests in
turn until it receives `Bye` or a request fails. Any exception of a plugin, also SystemExit, becomes one `Failed`
message with phase and step; the traceback goes to stderr, which is the log.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time  # bound now: a plugin may replace time's own
from typing import Any, NoReturn

from compare_ag.worker.isolate import end_with_host, limit_and_listen, raise_fd
from compare_ag.worker.warden import start_worker

CHANNEL_LOST = 87
"""exit code of a worker whose channel to the host is closed; see `host.process`"""


class Worker:
    """One conversation: reads requests from one descriptor, writes replies to the other."""

    def __init__(self, read_fd: int, write_fd: int, nonce: int, board: int) -> None:
        # imported after isolation, so that a broken numpy is reported like any other death
        from compare_ag.worker.board import Board

        self._in = read_fd
        self._out = write_fd
        self._nonce = nonce
        self._received = 0
        self._sent = 0
        self._trainee: Any = None
        self._batches: list[Any] = []
        self._backend: Any = None
        self.answers: dict[str, Any] = {}
        """the lab's questions and the functions that answer them"""
        self._cpu_per_wall = 0.0
        self._padding: list[bytearray] = []
        self._kept: list[bytearray] = []
        self._channel = os.fstat(write_fd)
        self.board = Board(board)

    # --- bytes ---

    def _read(self, size: int) -> bytearray:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            count = os.readv(self._in, [view])
            if not count:
                os._exit(0)  # the host has closed the channel
            view = view[count:]
        return buffer

    def receive(self) -> tuple[Any, dict[str, Any]]:
        """Wait for the next request."""
        from compare_ag.worker import frames

        prefix = bytes(self._read(frames.PREFIX.size))
        limit = frames.MAX_REQUEST
        sizes = frames.unpack_prefix(prefix, self._nonce, self._received, limit, header_limit=limit)
        self._received += 1
        header, payload = (self._read(size) for size in sizes)
        return frames.unpack(bytes(header), payload, reply=False)

    def send(self, message: Any, **arrays: Any) -> None:
        """Write one reply."""
        from compare_ag.worker import frames

        self.require_channel()
        for buffer in frames.pack(message, arrays, self._nonce, self._sent):
            view = memoryview(buffer)
            while view:
                try:
                    view = view[os.write(self._out, view) :]
                except OSError:  # closed between two writes, or the host has ended
                    os._exit(CHANNEL_LOST)
        self._sent += 1

    def require_channel(self) -> None:
        """End the process where its descriptor is closed or belongs to another file: no reply can be sent any more."""
        try:
            now = os.fstat(self._out)
        except OSError:
            os._exit(CHANNEL_LOST)
        if (now.st_dev, now.st_ino) != (self._channel.st_dev, self._channel.st_ino):
            os._exit(CHANNEL_LOST)

    # --- requests ---

    def serve(self) -> None:
        """Answer requests until `Bye`; a failure of the backend is reported and ends the conversation."""
        # the clock binds the system's functions now: a plugin that replaces time.perf_counter_ns later changes nothing
        from compare_ag.worker import (
            clock,  # noqa: F401 - imported for its binding, used when a burst is asked for
            messages,
        )

        self.send(messages.Hello(os.getpid()))
        answers: dict[Any, Callable[[Any, dict[str, Any]], None]] = {
            messages.Load: self._load,
            messages.Prepare: self._prepare,
            messages.Train: self._train,
            messages.Evaluate: self._evaluate,
            messages.Exchange: self._exchange,
            messages.ListMutants: self._list_mutants,
            messages.Pin: self._pin,
            messages.Cold: self._cold,
            messages.Renew: self._renew,
            messages.Block: self._block,
            messages.TimeRounds: self._time_rounds,
            messages.Audit: self._audit,
            messages.Observe: self._observe,
            messages.MeasureMemory: self._hold,
            messages.MeasureTape: self._measure_tape,
            messages.RecordGraph: self._record_graph,
            messages.ListAnswers: self._list_answers,
            messages.Ask: self._ask,
        }
        while True:
            request, arrays = self.receive()
            if isinstance(request, messages.Bye):
                return
            try:
                answers[type(request)](request, arrays)
            except BaseException as error:  # noqa: BLE001 - every exception of a plugin must become a row in the run
                self._report(error)
                return

    def _report(self, error: BaseException) -> None:
        from compare_ag.text import shortened
        from compare_ag.worker import messages
        from compare_ag.worker.load import PluginError, describe
        from compare_ag.worker.training import MalformedError

        phase, step = self.board.read()
        if isinstance(error, PluginError) and isinstance(error.status, str):
            status, reason = error.status, str(error)
        elif isinstance(error, MalformedError):
            status, reason = "malformed", str(error)
        else:
            reason = describe(error)
            status = "oom" if _is_out_of_memory(error) else "crashed"
        self.send(messages.Failed(status, shortened(reason, messages.MOST_REASON), phase, step))
        if status in ("crashed", "oom"):
            # a plugin may have broken stderr, and the log is no result
            with contextlib.suppress(Exception), os.fdopen(os.dup(2), "w", errors="backslashreplace") as log:
                traceback.print_exception(error, file=log)

    def _load(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.contract.backend import Backend
        from compare_ag.text import shortened
        from compare_ag.worker import load
        from compare_ag.worker.messages import MOST_WORD, Loaded

        self.board.enter("import")
        if request.before is not None:
            for name in request.before.modules:
                importlib.import_module(name)
            self._kept = [bytearray(size) for size in request.before.padding]
        start = perf_counter()
        backend = load.load_backend(request.module, request.dtype, request.mutation)
        seconds = perf_counter() - start
        self.board.enter("handshake")
        self._backend = backend
        self.send(
            Loaded(
                backend=shortened(load.class_name(backend), MOST_WORD),
                api_version=backend.api_version,
                dtypes=[str.__str__(dtype) for dtype in backend.dtypes],
                splits=backend.splits,
                overrides_step=backend.step is not Backend.step,
                versions=load.framework_versions(request.module),
                import_seconds=seconds,
            )
        )

    def _prepare(self, request: Any, arrays: dict[str, Any]) -> None:
        from compare_ag.contract.backend import Setting
        from compare_ag.worker.messages import Prepared
        from compare_ag.worker.training import Inputs, Trainee

        inputs = Inputs(**arrays, batch_size=request.batch_size)
        self.board.enter("prepare")
        start = perf_counter()
        backend = self._backend()
        built = perf_counter() - start
        trainee = self._trainee = Trainee(backend, Setting(**request.setting), inputs, self.board)
        self.send(Prepared(built + trainee.prepare_seconds, trainee.make_tensor_seconds, inputs.digest()))

    def _train(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.worker.messages import Chunk, Trained
        from compare_ag.worker.training import Recorder, train

        def emit(first: int, steps: list[int], gradient_steps: list[int], arrays: dict[str, Any]) -> None:
            self.send(Chunk(first, steps, gradient_steps), **arrays)

        recorder = Recorder(self._trainee, request.record, emit, self.require_channel)
        start, cpu = perf_counter(), process_time()
        try:
            w, b = train(self._trainee, request.steps, request.learning_rate, recorder, fused=request.fused)
        except BaseException:
            recorder.flush()  # send the steps before the failure
            raise
        seconds = perf_counter() - start
        self._cpu_per_wall = (process_time() - cpu) / seconds
        self.board.enter("finish")
        self.send(Trained(seconds, self._trainee.inputs.digest()), w=w, b=b)

    def _evaluate(self, request: Any, arrays: dict[str, Any]) -> None:
        from compare_ag.worker.evaluate import evaluate
        from compare_ag.worker.messages import Evaluated

        data = (arrays["X"], arrays["y"]) if "X" in arrays else None
        answers, data_unchanged, changed = evaluate(
            self._trainee,
            arrays["w"],
            arrays["b"],
            data,
            request.learning_rate,
            fused=request.fused,
            first=request.first,
        )
        self.send(Evaluated(data_unchanged, changed), **answers)

    def _exchange(self, request: Any, arrays: dict[str, Any]) -> None:
        from compare_ag.worker.evaluate import exchange
        from compare_ag.worker.messages import Exchanged

        results = exchange(self._trainee, request.part, request.step, arrays, request.learning_rate)
        self.send(Exchanged(), **results)

    def _list_mutants(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.worker import load
        from compare_ag.worker.messages import MutantFacts, MutantList

        self.board.enter("import")
        mutants = load.load_mutants(request.module)
        facts = [
            MutantFacts(m.name, m.part, m.meaning, [float(size) for size in m.sizes], m.legitimate, m.shows_in)
            for m in mutants
        ]
        self.send(MutantList(facts))

    def _pin(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.worker.messages import Pinned
        from compare_ag.worker.observe import pin

        self.send(Pinned(pin(request.cpus)))

    def _cold(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.worker import clock
        from compare_ag.worker.messages import FirstSteps

        self.board.enter("step", 0)
        wall = clock.first_steps(self._trainee, request.learning_rate, request.most_steps, request.nanoseconds)
        self._batches = clock.timed_batches(self._trainee)
        self.send(FirstSteps(), step_ns=wall)

    def _renew(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.worker import clock
        from compare_ag.worker.messages import Renewed

        self.board.enter("make_tensor")
        self._padding = [bytearray(size) for size in request.padding]
        self._trainee.renew()
        self._batches = clock.timed_batches(self._trainee)
        self.send(Renewed())

    def _block(self, request: Any, arrays: dict[str, Any]) -> None:
        from compare_ag.worker import clock

        self.board.enter("step")
        how = clock.phased_block if request.phased else partial(clock.whole_block, segment=request.segment)
        steps, lead_in, rate = request.steps, request.lead_in, request.learning_rate
        block = partial(how, self._trainee, self._batches, arrays["w"], arrays["b"], steps, lead_in, rate)
        clock.let_host_rest()
        timed, computed = clock.at_depth(request.depth, block)
        if self._trainee.threads > 1:
            clock.settle()  # the next block on these CPUs belongs to another worker
        self.send(timed, **computed)

    def _time_rounds(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.worker.messages import Rounds
        from compare_ag.worker.rounds import rounds

        self.send(Rounds(), **rounds(self._trainee, request.phase, request.count, request.learning_rate))

    def _audit(self, request: Any, arrays: dict[str, Any]) -> None:
        from compare_ag.worker import clock

        self.board.enter("step")
        steps, lead_in, rate = request.steps, request.lead_in, request.learning_rate
        self.send(clock.audit_block(self._trainee, self._batches, arrays["w"], arrays["b"], steps, lead_in, rate))

    def _observe(self, _request: Any, _: dict[str, Any]) -> None:
        from compare_ag.worker import observe
        from compare_ag.worker.messages import Observed

        self.send(Observed(observe.thread_pools(), observe.os_threads(), self._cpu_per_wall))

    def _hold(self, request: Any, _: dict[str, Any]) -> None:
        # the worker's own modules are loaded before the first measurement, so that they do not count for the backend
        import hashlib  # noqa: F401 - as below, imported for the memory that it takes
        import importlib.metadata  # noqa: F401 - as below, imported for the memory that it takes

        from compare_ag.worker import clock, load, observe, tape, training  # noqa: F401 - for what importing them holds
        from compare_ag.worker.messages import MemoryHeld

        self.send(MemoryHeld(*observe.memory(clear=request.clear)))

    def _measure_tape(self, _request: Any, arrays: dict[str, Any]) -> None:
        from compare_ag.worker.messages import TapeSize
        from compare_ag.worker.tape import tape_size

        self.board.enter("forward")
        self.send(TapeSize(*tape_size(self._trainee, arrays["w"], arrays["b"])))

    def _record_graph(self, request: Any, arrays: dict[str, Any]) -> None:
        from compare_ag.worker.graph_nodes import graph

        self.board.enter("graph", request.step)
        answer, numbers = graph(self._trainee, request.step, arrays["w"], arrays["b"])
        self.send(answer, **numbers)

    def _list_answers(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.contract.answer import Answer
        from compare_ag.text import shortened
        from compare_ag.worker import load
        from compare_ag.worker.messages import MOST_REASON, AnswerFacts, AnswerList

        self.board.enter("import")
        start = perf_counter()
        answers = load.load_answers(request.module)
        seconds = perf_counter() - start
        self.answers = {answer.question: answer.function for answer in answers if isinstance(answer, Answer)}
        facts = [
            AnswerFacts(answer.question, None if isinstance(answer, Answer) else shortened(answer.reason, MOST_REASON))
            for answer in answers
        ]
        self.send(AnswerList(facts, load.framework_versions(request.module), seconds))

    def _ask(self, request: Any, _: dict[str, Any]) -> None:
        from compare_ag.worker.answering import run_answer

        self.board.enter("answer")
        self.send(run_answer(self.answers[request.question]))


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether this is a MemoryError or a framework's own out-of-memory error (three classes, so the text decides)."""
    if isinstance(error, MemoryError):
        return True
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - a plugin's __str__ may do anything
        return False
    return any(mark in text for mark in ("DefaultCPUAllocator", "out of memory", "Unable to allocate"))


def main(argv: list[str]) -> None:
    """Start the worker under its warden, isolate it, and serve the conversation whose descriptors the host passed."""
    read_fd, write_fd, board_fd, lifeline_fd = (raise_fd(int(fd)) for fd in argv[0].split(","))
    start_worker(lifeline_fd, closed=(read_fd, write_fd, board_fd))
    end_with_host(lifeline_fd)
    limit_and_listen(int(argv[2]))
    worker = Worker(read_fd, write_fd, int(argv[1], 16), board_fd)
    worker.serve()
    if not worker.answers:  # with answers it ends as Python does, because the lab measures that time
        _end()


def _end() -> NoReturn:
    """End as Python does, but without freeing each object, which takes longer than to leave the memory to the system.

    multiprocessing ends its processes in the same way.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads; typeshed leaves it out
    atexit._run_exitfuncs()
    with contextlib.suppress(Exception):  # a plugin may have closed or replaced them
        sys.stdout.flush()
        sys.stderr.flush()
    import ctypes

    with contextlib.suppress(Exception):  # as above
        ctypes.CDLL(None).fflush(None)  # what C code has printed
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
