"""The passes of one run, one after the other, and the manifest that sums them up.

    training   every backend trains, several at a time; each is judged as soon as it and the reference are ready
    graphs     the graphs of the loss that backends recorded at the end of their training are judged together
    memory     workers of their own, several at a time
    timing     launches of all backends that may be ranked, one after the other
    end        backends that were not reached, damaged files, exit code, manifest

The order is part of the method: no timing worker starts before the last worker of another pass has ended. An interrupt
ends the pass that it meets, and the end follows at once. A failure of a backend, or a bug of ours met at a backend,
costs this backend its result and no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import compare_ag
from compare_ag import records
from compare_ag.exit_codes import ExitCode
from compare_ag.host import machine_lock
from compare_ag.host.environment import capture, usable_cpus
from compare_ag.host.failures import HostFault, ProtocolFailure, WorkerFailure, host_fault
from compare_ag.problem import recorded_steps
from compare_ag.records import BackendRecord, Environment, Manifest, Run
from compare_ag.suite.anonymity import anonymous_text
from compare_ag.suite.evidence_arrays import evidence_arrays
from compare_ag.suite.judge import Judge
from compare_ag.suite.make_records import not_run_record, problem_record, run_exit_code
from compare_ag.suite.memory import measure_memory
from compare_ag.suite.recorded_graphs import RUN_PATIENCE, GraphAnswer, choose_place, judge_graphs
from compare_ag.suite.run_files import RunFiles
from compare_ag.suite.timing import TimingPass, TimingResult, choose_baseline
from compare_ag.suite.training import Conditions, Training, TrainingPass

if TYPE_CHECKING:
    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.records.graphs import GraphDocument
    from compare_ag.speed.schedule import Settings
    from compare_ag.suite.observer import Observer


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived: end like an interrupt, but exit with 143."""


class WorkerLimits(NamedTuple):
    """Of each worker: seconds, bytes of memory, bytes of address space; see `start_run.run`."""

    timeout: float
    memory: int | None
    address_space: int | None


class RunPasses:
    """One run while it goes on; `run` makes all passes and returns the result."""

    def __init__(
        self,
        problem: Problem,
        offers: dict[str, Offer],
        folder: Path,
        baseline: str | None,
        timing: Settings | None,
        limits: WorkerLimits,
        observer: Observer,
        caches: Path | None,
    ) -> None:
        self.problem = problem
        self.offers = offers
        self.files = RunFiles(folder)
        self.log_root = folder
        self.baseline = baseline
        self.timing = timing
        self.observer = observer
        self.started = time.monotonic()
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
            exit_code=int(ExitCode.INTERRUPTED),  # for a run that is killed, which writes no other manifest
            backends=list(offers),
            baseline=baseline,
            problem=problem_record(problem),
            environment=Environment(**capture(problem.threads)),
            options={"timeout": limits.timeout, "timing": timing is not None and timing.mode},
            warnings=self.judge.warnings(),
        )

    @property
    def records(self) -> dict[str, BackendRecord]:
        """The records so far, by backend."""
        return self.files.records

    def run(self) -> Run:
        """Make all passes. An interrupt ends them early: the run then holds the results until there."""
        self.files.save_manifest(self.manifest)
        self.observer.begin(list(self.offers), self.problem)
        interrupt: KeyboardInterrupt | None = None
        try:
            with self._hold_machine("training"):
                self._train()
            if self.timing is not None:
                self._measure(self.timing)
        except KeyboardInterrupt as error:
            interrupt = error
        finally:
            self.observer.end()
        return self._conclude(interrupt)

    @contextmanager
    def _hold_machine(self, purpose: machine_lock.Purpose) -> Iterator[None]:
        """Hold the machine's lock meanwhile; where there can be no lock, a warning of this run gives the reason."""
        with machine_lock.hold(purpose, tell=self.observer.waiting) as hold:
            if hold.failure:
                warning = anonymous_text(f"other timings on this machine were not excluded: {hold.failure}")
                if warning not in self.manifest.warnings:
                    self.manifest = records.replace(self.manifest, warnings=[*self.manifest.warnings, warning])
            yield

    def _host_fault(self, name: str, error: Exception) -> HostFault:
        self.host_faults = True
        return host_fault(error, self.conditions.launch(name, "judge"))

    # --- training and graphs ---

    def _train(self) -> None:
        reference = threading.Thread(target=self.judge.prepare, name="reference", daemon=True)

        def judge_finished() -> None:
            """Judge and save the trainings that have ended, once the reference has been computed."""
            if reference.is_alive():
                return
            for name, finished in training.finished.items():
                if name not in self.records:
                    self._save_training(name, finished)

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
        self._save_graphs(training.finished)

    def _save_training(self, name: str, training: Training) -> None:
        try:
            record, arrays = self.judge.record(name, training, self.log_root)
            evidence = {} if record.verdict is None else evidence_arrays(self.problem, training)
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this backend, not the run
            failed = Training(training.offer, training.hash_seed, failure=self._host_fault(name, error))
            failed.logs = [*training.logs, self.conditions.launch(name, "judge").bug_log]
            (record, arrays), evidence = self.judge.record(name, failed, self.log_root), {}
        self.host_faults |= isinstance(training.failure, HostFault)
        # they have been judged, and for wide data the answers of one backend take a gigabyte
        training.answers, training.fused_answers, training.probes = [], [], None
        self.files.save_training(record, arrays, evidence)
        self.observer.trained(self.records[name])

    def _save_graphs(self, trainings: dict[str, Training]) -> None:
        """Judge and save the graphs at the start of the training; none where no backend offers one."""
        answers = {name: GraphAnswer(trainings[name].graph) for name in self.offers if name in trainings}
        if any(answer.nodes is not None for answer in answers.values()):
            path = self.files.save_graphs(self._judge_graphs(answers))
            self.manifest = records.replace(self.manifest, graph=path)

    def _judge_graphs(self, answers: dict[str, GraphAnswer]) -> GraphDocument:
        """Judge all graphs together; where a bug of ours stops that, leave out each graph that alone causes it."""
        place = choose_place(self.problem, 0)
        try:
            return judge_graphs(self.problem, place, answers, RUN_PATIENCE)
        except Exception:  # noqa: BLE001 - raised again below, for the graphs that cause it
            for name in answers:
                try:
                    judge_graphs(self.problem, place, {name: answers[name]}, RUN_PATIENCE)
                except Exception as error:  # noqa: BLE001 - a bug of ours costs this graph, not the run
                    answers[name] = GraphAnswer(None, self._host_fault(name, error))
            return judge_graphs(self.problem, place, answers, RUN_PATIENCE)

    # --- memory and timing ---

    def _measure(self, settings: Settings) -> None:
        """Measure memory and time of the backends whose numbers are not wrong."""
        eligible = {name: offer for name, offer in self.offers.items() if self._may_be_timed(name)}
        for name in self.offers.keys() - eligible.keys():
            if self.records[name].status in records.JUDGED:
                note = "not timed: a backend whose numbers are wrong has no rank"
                self.files.save_record(records.replace(self.records[name], timing_note=note))
        checkpoint = self.judge.checkpoint(settings.checkpoint)
        if not eligible or checkpoint is None:
            return
        with self._hold_machine("timing"):
            self._measure_memory(eligible, checkpoint)
            eligible = {name: offer for name, offer in eligible.items() if self._may_be_timed(name)}
            if not eligible:
                return
            # a chosen baseline that cannot be timed leaves no ratios; otherwise it is chosen among the timed backends
            baseline = choose_baseline(list(eligible), self.baseline)
            timed_from = time.time()
            result = TimingPass(eligible, self.conditions, settings, checkpoint, self.observer, baseline).run()
            timed_until = time.time()
        for name in eligible:
            self._save_timing(name, result)
        speed = result.speed
        if speed is not None:
            speed = self.files.save_control(speed, result.control_arrays)
            speed = records.replace(speed, timed_from=timed_from, timed_until=timed_until)
        self.manifest = records.replace(self.manifest, baseline=result.baseline, speed=speed)
        if result.interrupted is not None:
            raise result.interrupted

    def _may_be_timed(self, name: str) -> bool:
        record = self.records[name]
        return record.status in ("ok", "undecidable") and record.verdict is not None

    def _measure_memory(self, eligible: dict[str, Offer], checkpoint: tuple[int, Any, Any]) -> None:
        """Measure memory in workers that are not timed; a failure is a note, because the numbers have been judged.

        Two failures cost the backend its timing too: a worker that breaks the protocol cannot be believed in anything,
        and a worker that hangs would hang again and cost its timeout again.
        """
        for name in eligible:
            self.observer.progress(name, "memory", 0, 1)
        result = measure_memory(eligible, self.conditions, checkpoint)
        for name in eligible:
            failure = result.failures.get(name)
            note = "" if failure is None else failure.reason
            self.host_faults |= isinstance(failure, HostFault)
            record = records.replace(self.records[name], memory=result.measured.get(name), memory_note=note)
            if isinstance(failure, ProtocolFailure) or (failure is not None and failure.status == "timeout"):
                record = self._failed_record(record, failure, "while its memory was measured")
            self.files.save_record(record)

    def _save_timing(self, name: str, result: TimingResult) -> None:
        record = self.records[name]
        if name in result.arrays:
            record = self.files.save_timing(record, result.arrays[name])
        if name in result.costs:
            record = records.replace(record, cost=result.costs[name])
        elif name in result.failures:
            self.host_faults |= isinstance(result.failures[name], HostFault)
            record = self._failed_record(record, result.failures[name], "while being timed")
        else:
            record = records.replace(record, timing_note="not timed: the run was interrupted before")
        self.files.save_record(record)
        self.observer.timed(self.records[name])

    def _failed_record(self, record: BackendRecord, failure: WorkerFailure, clause: str) -> BackendRecord:
        """The record of a backend that has been judged and then failed; clause: in which pass."""
        logs = (self.log_root / "logs").glob(f"{records.file_stem(record.name)}.*.txt")
        return records.replace(
            record,
            status=failure.status,
            reason=f"{clause}: {failure.reason}",
            phase=failure.phase,
            step=failure.step,
            logs=sorted(path.relative_to(self.log_root).as_posix() for path in logs),
            timing_note=f"it failed {clause}",
        )

    # --- the end ---

    def _conclude(self, interrupt: KeyboardInterrupt | None) -> Run:
        """Complete the records, repair the directory, and write the manifest with the exit code."""
        for name, offer in self.offers.items():
            if name not in self.records:
                self.files.save_training(not_run_record(name, offer), {})
        self.files.sort(list(self.offers))
        reference_sha256 = self.files.save_reference(self.judge.reference_arrays())
        codes, warnings = self._sum_up(interrupt)
        self.manifest = records.replace(
            self.manifest,
            state="partial" if interrupt is not None else "complete",
            duration_seconds=time.monotonic() - self.started,
            exit_code=run_exit_code(self.records.values(), codes),
            further_exit_codes=[int(code) for code in codes],
            warnings=[*self.manifest.warnings, *warnings],
            reference_sha256=reference_sha256,
            max_pair_difference=self.judge.max_pair_difference(self.records, self.files.arrays),
            reference=self.judge.description(),
            consensus_is_wrong=self.judge.consensus_is_wrong(self.records, self.files.arrays),
        )
        self.files.writer.save(records.seal)  # the workers have ended: their logs are complete
        self.files.save_manifest(self.manifest)
        return self.files.run(self.manifest)

    def _sum_up(self, interrupt: KeyboardInterrupt | None) -> tuple[list[ExitCode], list[str]]:
        """The exit codes that no record shows, and the warnings about the directory; damaged files are restored."""
        codes, warnings = [], []
        if interrupt is not None:
            codes.append(ExitCode.TERMINATED if isinstance(interrupt, Terminated) else ExitCode.INTERRUPTED)
        if damaged := self.files.find_damaged():
            self.files.write_again()
            codes.append(ExitCode.NOT_SAVED)
            listing = anonymous_text(", ".join(damaged[:4])) + (", …" if len(damaged) > 4 else "")
            warnings.append(
                f"another program deleted or changed {len(damaged)} files of this run while it went on "
                f"({listing}); they were written again"
            )
        if self.judge.error is not None or self.host_faults:
            codes.append(ExitCode.BUG)
        writer = self.files.writer
        if writer.failure is not None:
            codes.append(ExitCode.NOT_SAVED)
            remedy = "the results went to a temporary directory instead: move them"
            if writer.gave_up:
                remedy = "what is printed here is all that is left of this run"
            warnings.append(f"{anonymous_text(str(writer.failure))}; {remedy}")
        return codes, warnings
