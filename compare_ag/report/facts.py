"""Environment and method of a run, as (word, fact) pairs and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compare_ag.exit_codes import MEANINGS
from compare_ag.records import FAILED, BackendRecord, Run, SpeedRecord
from compare_ag.report import cells
from compare_ag.report.cells import costs
from compare_ag.report.units import seconds, size

Fact = tuple[str, str]


@dataclass(frozen=True)
class Failure:
    """A backend that gave no result, or no result that may be used."""

    name: str
    status: str
    reason: str
    where: str
    logs: list[str]


def failures(run: Run) -> list[Failure]:
    """Every backend that failed, was cancelled or never ran, in the run's order."""
    return [
        Failure(
            record.name, record.status, record.reason or "no reason was recorded", _place(record), list(record.logs)
        )
        for record in run.records.values()
        if record.status in FAILED or record.status in ("cancelled", "not-run")
    ]


def _place(record: BackendRecord) -> str:
    source = f"{record.distribution} {record.version}, module {record.module}" if record.module else ""
    phase = f"in {record.phase}" if record.phase else ""
    step = f"at step {record.step}" if record.step is not None else ""
    return ", ".join(part for part in (" ".join(p for p in (phase, step) if p), source) if part)


def warnings(run: Run) -> list[str]:
    """Warnings about the run, its timing and each backend."""
    messages = list(run.manifest.warnings)
    if run.manifest.speed is not None:
        messages += [f"Timing: {warning.message}. {warning.advice}." for warning in run.manifest.speed.warnings]
    return messages + [f"{record.name}: {text}" for record in run.records.values() for text in record.warnings]


def problem(run: Run) -> list[Fact]:
    """The problem with all its settings, defaults included."""
    p = run.manifest.problem
    parameters = ", ".join(f"{name} = {float(value):g}" for name, value in p.parameters.items())
    batch = "full batch" if p.batch_size is None else f"batches of {p.batch_size}"
    return [
        ("problem", f"{p.name}{f' ({parameters})' if parameters else ''}: {p.description}"),
        ("data", f"{p.examples} examples × {p.features} features, {p.dtype}; digest {p.digest[:16]}"),
        ("labels", f"{p.label_names[0]} → 0, {p.label_names[1]} → 1"),
        ("training", f"{p.steps} steps, {batch}, {p.loss} loss, l2 {p.l2:g}"),
        ("learning rate", f"{p.learning_rate:g} ({p.learning_rate_source}); largest curvature {p.curvature:.4g}"),
        ("start", p.start),
        ("seed, threads", f"{p.seed}, {p.threads}"),
    ]


def environment(run: Run) -> list[Fact]:
    """The machine and the versions, without anything that identifies its owner."""
    m, machine = run.manifest, run.manifest.environment
    code = {int(known): meaning for known, meaning in MEANINGS.items()}.get(m.exit_code, "")
    usable = ", ".join(map(str, machine.usable_cpus))
    facts = [
        (
            "processor",
            f"{machine.cpu}, {machine.logical_cpus} logical CPUs, usable: {usable}",
        ),
        ("memory", size(machine.memory_bytes)),
        ("system", f"{machine.system}, {machine.machine}"),
        ("Python", f"{machine.implementation} {machine.python}"),
        ("libraries", _pairs(machine.libraries)),
    ]
    if machine.settings:
        facts.append(("settings", _pairs(machine.settings, ": ")))
    if machine.thread_variables:
        facts.append(("thread variables", _pairs(machine.thread_variables, "=")))
    facts += [
        ("made by", f"compare-ag {m.tool_version}, {m.created}, in {m.duration_seconds:.0f} s, {m.state}"),
        ("exit code", f"{m.exit_code}: {code}" if code else str(m.exit_code)),
        ("record format", f"{m.schema.name} {m.schema.major}.{m.schema.minor}"),
    ]
    asked = _pairs({name: str(value) for name, value in m.options.items()}, " ")
    return [*facts, ("asked for", asked)] if asked else facts


def _pairs(known: dict[str, str], between: str = " ") -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in known.items())


def backends(run: Run) -> list[Fact]:
    """Each backend's origin, versions and conditions."""
    return [(record.name, _origin(record)) for record in run.records.values()]


def _origin(record: BackendRecord) -> str:
    parts = [f"{record.distribution} {record.version}, module {record.module}"] if record.module else []
    if record.backend_class:
        parts.append(f"class {record.backend_class}")
    if record.versions:
        parts.append(_pairs(record.versions))
    if record.dtypes:
        parts.append(f"computes in {', '.join(record.dtypes)}")
    if record.splits is False:
        parts.append("forward and backward come in one call")
    if record.overrides_step:
        parts.append("brings a fused step of its own")
    if record.threads_observed is not None:
        parts.append(f"{record.threads_observed} numerical thread{'s' if record.threads_observed != 1 else ''} seen")
    if record.train_seconds is not None:
        parts.append(f"trained in {seconds(record.train_seconds)}")
    return "; ".join(parts) or "nothing is known but its name"


def method(run: Run) -> Iterator[Fact]:
    """How each kind of number was made."""
    m = run.manifest
    if m.speed is not None and m.speed.mode == "pytest-benchmark":
        yield from _imported_method(m.speed)
        return
    yield (
        "isolation",
        "Each backend ran in a process of its own, which received the problem and never an answer; the host imported "
        "no framework.",
    )
    if m.reference:
        yield "reference", f"Compared with {m.reference}."
    yield (
        "tolerance",
        "A computed bound on the rounding errors of a correct program, for this problem, dtype and step; not a fixed "
        "number of digits.",
    )
    yield (
        "gradient, step, loss",
        "Judged at recorded steps and at points that the host chose after the plugin was loaded, against exact values "
        "in ball arithmetic; each point is evaluated twice.",
    )
    yield "trajectory", "Weights and losses of all steps against the reference, with the accumulated bound."
    speed = m.speed
    if speed is None:
        yield "speed", "Not measured in this run."
        return
    known = costs(run)
    pinned = next(iter(known.values())).pinned if known else []
    where = f"all on CPU {', '.join(map(str, pinned))}" if pinned else "not pinned to a CPU"
    if speed.steps_per_block:
        length = f"blocks of {speed.steps_per_block} steps each after {speed.lead_in} untimed ones"
    else:
        length = "blocks, for each backend of as many steps and after as many untimed ones as take the same time"
    yield (
        "time per step",
        f"{speed.launches} launches of fresh processes (unit of replication), {speed.instances} × {speed.rounds - 1} "
        f"{length}, all backends in turn in "
        f"random order, {where}, {speed.threads} thread{'s' if speed.threads != 1 else ''}, from perturbed weights of "
        f"step {speed.checkpoint_step} ({speed.checkpoint}). Geometric mean over launches of the lower quintile of "
        f"undisturbed blocks; "
        f"Student's t interval over launches. {speed.seconds:.0f} s in mode {speed.mode}.",
    )
    if cells.has_own_blocks(known):
        lengths = [f"{name} {cost.steps_per_block} after {cost.lead_in}" for name, cost in known.items()]
        yield (
            "steps of a block",
            f"On average: {'; '.join(lengths)} untimed ones. Blocks that another program interrupted or slowed do not "
            "count.",
        )
    yield (
        "ratios",
        f"Of blocks that ran next to each other from the same weights; each interval at {speed.level:.2%}, so that all "
        f"hold together with 95 %; margin {speed.margin:.0%}.",
    )
    yield "noise floor", cells.noise(m.speed) or "None: a backend against itself needs two launches at least."
    yield "paid once", "Import in a bare process; the first step of each launch's fresh process, compiling included."
    yield "memory", "Resident set of a fresh worker that does nothing else; its peak is reset before training."
    yield (
        "digits kept",
        "−log₁₀(‖(w, b) − reference‖ / ‖reference‖) after the last step, at most what the dtype can hold.",
    )


def _imported_method(speed: SpeedRecord) -> Iterator[Fact]:
    """How the numbers of a run that was read from pytest-benchmark's file were made."""
    yield "isolation", "None: one pytest process imported all frameworks and ran the backends one after the other."
    yield (
        "check",
        "Before a phase was timed, loss, gradient and update at the start and after a hundred steps were checked "
        "against exact values within computed bounds, and afterwards what its last round gave. What is wrong fails as "
        "a test; the file keeps no deviations, so that there is no verdict here.",
    )
    yield "speed", f"Medians of up to {speed.rounds} rounds in that process, measured by pytest-benchmark; no ranking."
