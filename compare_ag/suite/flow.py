"""`compare_ag.run`: one run from a problem and some names to a directory of records."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import compare_ag
from compare_ag import records
from compare_ag.exit_codes import ExitCode
from compare_ag.host import machine_lock
from compare_ag.host.compile_cache import cache_folder
from compare_ag.host.discovery import Offer, discover
from compare_ag.host.environment import capture, usable_cpus
from compare_ag.host.failures import HostFault, ProtocolFailure, WorkerFailure, host_fault
from compare_ag.problem import Problem, ProblemError, problem_by_name, recorded_steps
from compare_ag.records import BackendRecord, Environment, Manifest, Run
from compare_ag.records.graphs import GraphDocument, write_graphs
from compare_ag.speed.schedule import MODES, Settings
from compare_ag.suite.anonymity import anonymous, anonymous_text
from compare_ag.suite.folder import Keeper, make_folder
from compare_ag.suite.judging import Judge, exit_code, problem_record
from compare_ag.suite.memory import measure_memory
from compare_ag.suite.observer import Observer
from compare_ag.suite.recorded_graphs import RUN_PATIENCE, Asked, judged, place
from compare_ag.suite.timing import TimingPass, TimingResult, choose_baseline
from compare_ag.suite.training import Conditions, Training, TrainingPass

DEFAULT_TIMEOUT = 600.0


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived: end like an interrupt, but exit with 143."""


class NothingToRunError(Exception):
    """No backend is available at all."""


class Limits(NamedTuple):
    """Of each worker: seconds, bytes of memory, bytes of address space; see `run`."""

    timeout: float
    memory: int | None
    address_space: int | None


def run(
    backends: Sequence[str] | None = None,
    problem: str | Problem = "seed",
    *,
    baseline: str | None = None,
    timing: bool | str | Settings = True,
    timeout: float = DEFAULT_TIMEOUT,
    output: str | Path | None = None,
    observer: Observer | None = None,
    wait: bool = True,
    memory_limit: int | None = None,
    address_space_limit: int | None = None,
    **options: Any,
) -> Run:
    """Train a problem with several backends, judge and time them, and keep everything in a run directory.

    Args:
      backends: names as `compare-ag list` shows them; None runs every available one.
      problem: a `Problem`, or a built-in one by name, with parameters: ``"synthetic:n=1000,d=20"``.
      baseline: the backend that time ratios refer to; None takes numpy, else the first.
      timing: "quick" (about 10 s), True or "default" (about 20 s), "precise" (until every interval is within 0.5 %),
        your own `speed.schedule.Settings`, or False for none.
      timeout: wall-clock seconds that each worker may take.
      output: the run directory, absent or empty; None makes a fresh one under ``reports/runs``.
      observer: hears of progress.
      wait: whether to wait while another process is timing, and before timing also while one is training, on this
        machine (`host.machine_lock`). False refuses to run instead, and holds the machine from the start.
      memory_limit: bytes that each worker, with all processes that it starts, may hold; beyond, it is *oom*. None: what
        the machine has free when it starts, shared among as many workers as are alive at a time.
      address_space_limit: bytes of address space of each process of a worker; None: no limit.
      options: for a problem given by name: loss, l2, steps, learning_rate, dtype, seed, threads, batch_size.

    Returns a `Run`; ``run.exit_code`` is what the command line would exit with. A failed backend is a record with
    its reason, not an exception. Raises `problem.ProblemError` and `discovery.SelectionError` for unusable input
    and `machine_lock.BusyError` for a machine in use without ``wait`` (nothing has run then), `records.SaveError` where
    the results cannot be kept.
    """
    if not 0 < timeout < math.inf:
        raise ProblemError(f"timeout must be a finite number of seconds, more than 0, not {timeout!r}")
    if options and not isinstance(problem, str):
        raise TypeError(f"{', '.join(options)}: only for a problem given by name; this one is complete")
    chosen = problem_by_name(problem, **options) if isinstance(problem, str) else problem
    offers = select(backends, baseline)
    settings = timing_settings(timing)
    with ExitStack() as stack:
        if not wait:
            # the timing's lock for the training too: between two locks this run might have to wait, half done
            stack.enter_context(machine_lock.hold("training" if settings is None else "timing", wait=False))
        folder = make_folder(Path(output) if output is not None else None, chosen.data.name)
        limits = Limits(timeout, memory_limit, address_space_limit)
        caches = stack.enter_context(cache_folder())
        return _OneRun(chosen, offers, folder, baseline, settings, limits, observer or Observer(), caches).run()


def timing_settings(timing: bool | str | Settings) -> Settings | None:
    """What `run` takes as ``timing``, in full; None for no timing. Raises ValueError for an unknown name."""
    if isinstance(timing, Settings):
        return timing
    if isinstance(timing, bool):
        return MODES["default"] if timing else None
    if timing not in MODES:
        raise ValueError(f"timing={timing!r}: expected True, False, {', '.join(map(repr, MODES))} or Settings")
    return MODES[timing]


def select(backends: Sequence[str] | None, baseline: str | None = None) -> dict[str, Offer]:
    """The offers to run, by the name they are shown under. Raises `SelectionError` or `NothingToRunError`."""
    inventory = discover()
    offers = inventory.available() if backends is None else inventory.select(backends)
    if not offers:
        raise NothingToRunError("no backend is available; `compare-ag list` says what is missing and how to install it")
    names = [offer.name for offer in offers]
    named = {
        offer.name if names.count(offer.name) == 1 else f"{offer.distribution}:{offer.name}": offer for offer in offers
    }
    if baseline is not None and baseline not in named:
        from compare_ag.host.discovery import SelectionError

        raise SelectionError(f"the baseline {baseline!r} is not among the backends of this run: {', '.join(named)}")
    return named


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _OneRun:
    """The state of one run while it goes on."""

    def __init__(
        self,
        problem: Problem,
        offers: dict[str, Offer],
        folder: Path,
        baseline: str | None,
        timing: Settings | None,
        limits: Limits,
        observer: Observer,
        caches: Path | None,
    ) -> None:
        self.problem = problem
        self.offers = offers
        self.keeper = Keeper(folder)
        self.log_root = folder
        self.baseline = baseline
        self.timing = timing
        self.observer = observer
        self.started = time.monotonic()
        self.records: dict[str, BackendRecord] = {}
        self.arrays: dict[str, dict[str, Any]] = {}
        self.timing_arrays: dict[str, dict[str, Any]] = {}
        self.control_arrays: dict[str, Any] = {}
        self.host_faults = False
        """whether a bug of ours cost a backend its verdict or its times"""
        self.judge = Judge(problem, recorded_steps(problem.steps))
        hash_seed = int(np.random.default_rng([problem.seed, 0x4A54]).integers(1 << 32))
        self.conditions = Conditions(
            problem,
            recorded_steps(problem.steps),
            folder / "logs",
            limits.timeout,
            hash_seed,
            threading.Event(),
            self.judge.probes,
            graphs=True,
            memory_limit=limits.memory,
            # timing keeps all of them alive, the baseline's twice
            shares=max(len(usable_cpus()), len(offers) + 1),
            address_space=limits.address_space,
            caches=caches,
        )
        self.manifest = Manifest(
            tool_version=compare_ag.__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            state="running",
            duration_seconds=0.0,
            exit_code=int(ExitCode.INTERRUPTED),  # what it is if the run never gets to its end
            backends=list(offers),
            baseline=baseline,
            problem=problem_record(problem),
            environment=Environment(**capture(problem.threads)),
            options={"timeout": limits.timeout, "timing": timing is not None and timing.mode},
            warnings=self.judge.warnings(),
        )

    def run(self) -> Run:
        self.keeper.save(lambda folder: records.write_manifest(folder, self.manifest))
        self.observer.begin(list(self.offers), self.problem)
        interrupted: KeyboardInterrupt | None = None
        try:
            with self._machine("training"):
                self._train()
            if self.timing is not None:
                self._time(self.timing)
        except KeyboardInterrupt as error:
            interrupted = error
        finally:
            self.observer.end()
        return self._conclude(interrupted)

    @contextmanager
    def _machine(self, purpose: machine_lock.Purpose) -> Iterator[None]:
        """Hold the machine's lock meanwhile; a warning of this run says why where none can be had."""
        with machine_lock.hold(purpose, tell=self.observer.waiting) as held:
            if held.failure:
                warning = anonymous_text(f"other timings on this machine were not excluded: {held.failure}")
                if warning not in self.manifest.warnings:
                    self.manifest = records.replace(self.manifest, warnings=[*self.manifest.warnings, warning])
            yield

    def _train(self) -> None:
        reference = threading.Thread(target=self.judge.prepare, name="reference", daemon=True)

        def judge_finished() -> None:
            """Judge and keep what has finished, as soon as there is a reference to judge by."""
            if reference.is_alive():
                return
            for name, finished in training.finished.items():
                if name not in self.records:
                    self._record(name, finished)

        training = TrainingPass(self.offers, self.conditions, self.observer, judge_finished)
        reference.start()
        try:
            training.run()
            while reference.is_alive():
                reference.join(0.1)
        finally:
            self.judge.cancelled.set()
            reference.join()
            judge_finished()
        self._keep_graphs(training.finished)

    def _keep_graphs(self, trainings: dict[str, Training]) -> None:
        """Judge and write the graphs at the start of the training; none where no backend offers one."""
        asked = {name: Asked(trainings[name].graph) for name in self.offers if name in trainings}
        if any(one.nodes is not None for one in asked.values()):
            document = self._judge_graphs(asked)
            path = self.keeper.save(lambda folder: write_graphs(folder, document))
            self.manifest = records.replace(self.manifest, graph=path)

    def _judge_graphs(self, asked: dict[str, Asked]) -> GraphDocument:
        """Judge all graphs together; where a bug of ours stops that, leave out the graphs that it stops at alone."""
        at = place(self.problem, 0)
        try:
            return judged(self.problem, at, asked, RUN_PATIENCE)
        except Exception:  # noqa: BLE001 - raised again below, for the graphs that cause it
            for name in asked:
                try:
                    judged(self.problem, at, {name: asked[name]}, RUN_PATIENCE)
                except Exception as error:  # noqa: BLE001 - a bug of ours costs this graph, not the run
                    asked[name] = Asked(None, self._host_fault(name, error))
            return judged(self.problem, at, asked, RUN_PATIENCE)

    def _host_fault(self, name: str, error: Exception) -> HostFault:
        self.host_faults = True
        return host_fault(error, self.conditions.launch(name, "judge"))

    def _record(self, name: str, training: Training) -> None:
        try:
            record, arrays = self.judge.record(name, training, self.log_root)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this backend, not the run
            bare = Training(training.offer, training.hash_seed, failure=self._host_fault(name, error))
            bare.logs = [*training.logs, self.conditions.launch(name, "judge").bug_log]
            record, arrays = self.judge.record(name, bare, self.log_root)
        self.host_faults |= isinstance(training.failure, HostFault)
        # judged: of wide data the answers of one backend take a gigabyte
        training.answers, training.fused_answers, training.probes = [], [], None
        self.arrays[name] = arrays
        self._keep(name, record)
        self.observer.trained(self.records[name])

    def _keep(self, name: str, record: BackendRecord) -> None:
        """Write the record, and its arrays before its first version: no record points at a file of another hash."""
        if self.arrays[name] and name not in self.records:
            path = f"arrays/{records.file_stem(name)}.npz"
            sha256 = self.keeper.save(lambda folder: records.write_arrays(folder / path, self.arrays[name]))
            record = records.replace(record, arrays=sha256 and path, arrays_sha256=sha256)
        record = anonymous(record)
        self.keeper.save(lambda folder: records.write_backend(folder, record))
        self.records[name] = record

    def _time(self, settings: Settings) -> None:
        eligible = {name: offer for name, offer in self.offers.items() if self._may_be_timed(name)}
        for name in self.offers.keys() - eligible.keys():
            if self.records[name].status in records.JUDGED:
                note = "not timed: a backend whose numbers are wrong has no rank"
                self._keep(name, records.replace(self.records[name], timing_note=note))
        checkpoint = self.judge.checkpoint(settings.checkpoint)
        if not eligible or checkpoint is None:
            return
        with self._machine("timing"):
            self._measure_memory(eligible, checkpoint)
            eligible = {name: offer for name, offer in eligible.items() if self._may_be_timed(name)}
            if not eligible:
                return
            # a baseline that could not be timed leaves no ratios; without a wish it is chosen among the timed
            wanted = choose_baseline(list(eligible), self.baseline)
            timed_from = time.time()
            result = TimingPass(eligible, self.conditions, settings, checkpoint, self.observer, wanted).run()
            timed_until = time.time()
        for name in eligible:
            self._add_timing(name, result)
        speed = self._kept_speed(result)
        if speed is not None:
            speed = records.replace(speed, timed_from=timed_from, timed_until=timed_until)
        self.manifest = records.replace(self.manifest, baseline=result.baseline, speed=speed)
        if result.interrupted is not None:
            raise result.interrupted

    def _may_be_timed(self, name: str) -> bool:
        record = self.records[name]
        return record.status in ("ok", "undecidable") and record.verdict is not None

    def _measure_memory(self, eligible: dict[str, Offer], checkpoint: tuple[int, Any, Any]) -> None:
        """In workers that nobody times; a failure here is a note, for the numbers have been judged already.

        Two failures cost the backend its timing too: of a worker that breaks the protocol, for nothing that it says can
        be believed, and of one that hangs, for it would hang again, and cost its timeout again.
        """
        for name in eligible:
            self.observer.progress(name, "memory", 0, 1)
        found = measure_memory(eligible, self.conditions, checkpoint)
        for name in eligible:
            memory, failure = found.measured.get(name), found.failures.get(name)
            note = "" if failure is None else failure.reason
            self.host_faults |= isinstance(failure, HostFault)
            record = records.replace(self.records[name], memory=memory, memory_note=note)
            if isinstance(failure, ProtocolFailure) or (failure is not None and failure.status == "timeout"):
                record = self._failed_while(record, failure, "while its memory was measured")
            self._keep(name, record)

    def _add_timing(self, name: str, result: TimingResult) -> None:
        record = self.records[name]
        if name in result.costs:
            path = f"arrays/{records.file_stem(name)}.timing.npz"
            sha256 = self.keeper.save(lambda folder: records.write_arrays(folder / path, result.arrays[name]))
            self.timing_arrays[name] = result.arrays[name]
            cost, kept = result.costs[name], sha256 and path
            self._keep(name, records.replace(record, cost=cost, timing_arrays=kept, timing_arrays_sha256=sha256))
        elif name in result.failures:
            self.host_faults |= isinstance(result.failures[name], HostFault)
            self._keep(name, self._failed_while(record, result.failures[name], "while being timed"))
        else:
            self._keep(name, records.replace(record, timing_note="not timed: the run was interrupted before"))
        self.observer.timed(self.records[name])

    def _kept_speed(self, result: TimingResult) -> records.SpeedRecord | None:
        """The verdicts, with the raw blocks of the control in a file of their own."""
        speed, arrays = result.speed, result.control_arrays
        if speed is None or not arrays:
            return speed
        path = "arrays/control.timing.npz"
        sha256 = self.keeper.save(lambda folder: records.write_arrays(folder / path, arrays))
        self.control_arrays = arrays
        return records.replace(speed, control_arrays=sha256 and path, control_arrays_sha256=sha256)

    def _failed_while(self, record: BackendRecord, failure: WorkerFailure, when: str) -> BackendRecord:
        logs = sorted(path.relative_to(self.log_root).as_posix() for path in self._logs(record.name))
        return records.replace(
            record,
            status=failure.status,
            reason=f"{when}: {failure.reason}",
            phase=failure.phase,
            step=failure.step,
            logs=logs,
            timing_note=f"it failed {when}",
        )

    def _logs(self, name: str) -> list[Path]:
        return list((self.log_root / "logs").glob(f"{records.file_stem(name)}.*.txt"))

    def _conclude(self, interrupted: KeyboardInterrupt | None) -> Run:
        for name, offer in self.offers.items():
            if name not in self.records:
                self.arrays[name] = {}
                self._keep(name, self.judge.not_run(name, offer))
        self.records = {name: self.records[name] for name in self.offers}
        codes = [exit_code(record) for record in self.records.values()]
        if interrupted is not None:
            codes.append(ExitCode.TERMINATED if isinstance(interrupted, Terminated) else ExitCode.INTERRUPTED)
        reference = self.judge.reference_arrays()
        reference_sha256 = None
        if reference:
            path = "arrays/reference.npz"
            reference_sha256 = self.keeper.save(lambda folder: records.write_arrays(folder / path, reference))
        warnings = list(self.manifest.warnings)
        if lost := self._damaged_files():
            self._write_again()
            codes.append(ExitCode.NOT_SAVED)
            warnings.append(
                f"another program deleted or changed {len(lost)} files of this run while it went on "
                f"({anonymous_text(', '.join(lost[:4]))}{', …' if len(lost) > 4 else ''}); they were written again"
            )
        if self.judge.error is not None or self.host_faults:
            codes.append(ExitCode.BUG)
        if self.keeper.failure is not None:
            codes.append(ExitCode.NOT_SAVED)
            failure = anonymous_text(str(self.keeper.failure))
            instead = "the results went to a temporary directory instead: move them"
            if self.keeper.gave_up:
                instead = "what is printed here is all that is left of this run"
            warnings.append(f"{failure}; {instead}")
        self.manifest = records.replace(
            self.manifest,
            state="partial" if interrupted is not None else "complete",
            duration_seconds=time.monotonic() - self.started,
            exit_code=int(ExitCode.worst(codes)),
            warnings=warnings,
            reference_sha256=reference_sha256,
            max_pair_difference=self.judge.max_pair_difference(self.records, self.arrays),
            reference=self.judge.description(),
            consensus_is_wrong=self.judge.consensus_is_wrong(self.records, self.arrays),
        )
        self.keeper.save(lambda folder: records.write_manifest(folder, self.manifest))
        # what is shown next comes from memory: the files may be gone
        in_memory = {name: {**self.arrays[name], **self.timing_arrays.get(name, {})} for name in self.records}
        shared = {"reference": reference, "control": self.control_arrays}
        return Run(self.keeper.folder, self.manifest, self.records, in_memory, shared)

    def _files(self) -> dict[str, dict[str, Any]]:
        """The files of arrays that the backends' records name, and what is in them."""
        found = {}
        for name, record in self.records.items():
            if record.arrays:
                found[record.arrays] = self.arrays[name]
            if record.timing_arrays:
                found[record.timing_arrays] = self.timing_arrays[name]
        return found

    def _damaged_files(self) -> list[str]:
        """The files of records and arrays that are no longer what was written: a plugin may have deleted them."""
        if self.keeper.gave_up:
            return []
        due: dict[str, str | None] = {}
        for record in self.records.values():
            due[f"records/{records.file_stem(record.name)}.json"] = _sha256(records.record_bytes(record))
            due |= {record.arrays or "": record.arrays_sha256, record.timing_arrays or "": record.timing_arrays_sha256}
        found = []
        for path, sha256 in due.items():
            if path:
                try:
                    damaged = _sha256((self.keeper.folder / path).read_bytes()) != sha256
                except OSError:
                    damaged = True
                found += [path] if damaged else []
        return found

    def _write_again(self) -> None:
        for path, arrays in self._files().items():
            self.keeper.save(lambda folder, path=path, arrays=arrays: records.write_arrays(folder / path, arrays))  # type: ignore[misc]  # mypy infers no lambda with defaults
        for record in self.records.values():
            self.keeper.save(lambda folder, record=record: records.write_backend(folder, record))  # type: ignore[misc]  # as above, with defaults
