"""One run as callers use it: its records, its arrays, which are read at first use, and tables of both as rows.

Arrays are checked when they are read (`shapes`), so that callers need not check them. Knows no report: notebooks show a
run by a function that `show_in_notebooks` receives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compare_ag.records import shapes
from compare_ag.records.base import Real, in_notebook
from compare_ag.records.costs import Interval
from compare_ag.records.documents import BackendRecord, Manifest, decisive
from compare_ag.records.files import Array, RecordError, is_inside, read_arrays
from compare_ag.records.planes import unpack


@dataclass(frozen=True)
class Run:
    """One run, as `compare_ag.run` returns it and `load_run` reads it back.

    >>> run = compare_ag.run(["numpy", "torch"])                        # doctest: +SKIP
    >>> run.exit_code, run["torch"].verdict.message                     # doctest: +SKIP
    (0, 'agrees over all 10001 steps')
    >>> run.arrays("torch")["losses"][:3]                               # doctest: +SKIP
    """

    path: Path
    manifest: Manifest
    records: Mapping[str, BackendRecord]
    _cache: dict[str, dict[str, Array]] = field(default_factory=dict, repr=False, compare=False)
    """arrays of backends that have been read, or that the run has in memory"""
    _shared: dict[str, dict[str, Array]] = field(default_factory=dict, repr=False, compare=False)
    """the same of the "reference" and of the "control\""""
    salvaged: bool = False
    """whether it was read although it is damaged: arrays that cannot be read are then missing"""

    def __getitem__(self, name: str) -> BackendRecord:
        return self.records[name]

    def _repr_html_(self) -> str | None:
        """For notebooks: the answer, a table with a row for each backend, and the losses as a chart."""
        return in_notebook(self)

    def rows(self, table: str = "backends") -> list[dict[str, Any]]:
        """Plain dicts, one for each row, as every library of data frames takes them.

        table: "backends", a row for each: status, accuracy, time per step with its interval, ratio to the baseline,
          memory; "losses", a row for each backend and step; "weights", a row for each backend and recorded step;
          "blocks", a row for each timed block.

        Times are in seconds, memory in bytes; what is not known is None. Raises ValueError for an unknown table.
        """
        if table not in ROWS:
            raise ValueError(f"there is no table {table!r}; there are {', '.join(ROWS)}")
        return list(ROWS[table](self))

    @property
    def exit_code(self) -> int:
        """The exit code that the command line gives for this run."""
        return self.manifest.exit_code

    def arrays(self, name: str) -> dict[str, Array]:
        """The arrays of one backend: losses (T+1,), weight_steps (r,), w (r, d), b (r,), final_w (d,), final_b ().

        Empty where the backend left none. Raises `RecordError` where the file is damaged.
        """
        record = self.records[name]
        if name not in self._cache:
            problem = self.manifest.problem
            trajectory = self._read(
                record.arrays, record.arrays_sha256, lambda arrays: shapes.trajectory_faults(arrays, problem, record)
            )
            timing = self._read(record.timing_arrays, record.timing_arrays_sha256, shapes.timing_faults)
            self._cache[name] = {**trajectory, **timing}
        return self._cache[name]

    def evidence(self, name: str) -> dict[str, Array]:
        """What the verdicts on one backend follow from beside its arrays, see `suite.evidence_arrays`; or {}.

        Raises `RecordError` where the file is damaged.
        """
        record = self.records[name]
        packed = self._read(record.evidence, record.evidence_sha256, lambda _: ())
        try:
            return unpack(packed) if packed else {}
        except RecordError as error:
            if self.salvaged:
                return {}
            raise RecordError(f"{self.path / (record.evidence or '')} is damaged: {error}") from None

    @cached_property
    def reference(self) -> dict[str, Array]:
        """losses and loss_tolerance (T+1,), weights_tolerance (T+1,), final_w (d,), final_b (); or {}."""
        if "reference" in self._shared:
            return self._shared["reference"]
        if self.manifest.reference_sha256 is None:
            return {}
        file, problem = "arrays/reference.npz", self.manifest.problem
        return self._read(file, self.manifest.reference_sha256, lambda arrays: shapes.reference_faults(arrays, problem))

    @cached_property
    def control(self) -> dict[str, Array]:
        """The timing blocks of the baseline's second worker, as in `arrays`; or {}."""
        if "control" in self._shared:
            return self._shared["control"]
        speed = self.manifest.speed
        if speed is None or speed.control_arrays is None:
            return {}
        return self._read(speed.control_arrays, speed.control_arrays_sha256, shapes.timing_faults)

    def _read(
        self, file: str | None, sha256: str | None, check: Callable[[Mapping[str, Array]], Iterable[str]]
    ) -> dict[str, Array]:
        """The arrays of a file that a record names, checked; {} for none. Raises `RecordError`."""
        if file is None:
            return {}
        try:
            path = self._within(file)
            arrays = read_arrays(path, sha256)
            for fault in check(arrays):
                raise RecordError(f"{path} is damaged: {fault}")
        except RecordError:
            if self.salvaged:
                return {}
            raise
        return arrays

    def _within(self, file: str) -> Path:
        """A file that a record names. Raises `RecordError` for one outside the run: somebody may have sent the run."""
        if not is_inside(file):
            raise RecordError(
                f"{self.path} is damaged: it names the file {file!r}, which is outside of the run directory"
            )
        return self.path / file


# --- rows ---


def _backend_rows(run: Run) -> Iterator[dict[str, Any]]:
    speed, baseline = run.manifest.speed, run.manifest.baseline
    for record in run.records.values():
        verdict, cost = decisive(record), record.cost
        pair = None if speed is None or baseline is None else speed.pair(record.name, baseline)
        yield {
            "backend": record.name,
            "status": record.status,
            "message": record.reason or ("" if verdict is None else verdict.message),
            "distribution": record.distribution,
            "version": record.version,
            "worst_ratio": None if verdict is None else float(verdict.worst_ratio),
            "weights_error": None if verdict is None else _known(verdict.weights_error),
            "weights_tolerance": None if verdict is None else _known(verdict.weights_tolerance),
            "train_seconds": record.train_seconds,
            **_ends("step_seconds", None if cost is None else cost.step),
            **_ends("ratio", None if pair is None else pair.ratio),
            "speed": None if pair is None else pair.verdict,
            "ranked": None if cost is None else cost.ranked,
            "import_seconds": None if cost is None else cost.import_seconds,
            "first_step_seconds": None
            if cost is None or cost.first_step_seconds is None
            else cost.first_step_seconds.value,
            "peak_bytes": None if record.memory is None else record.memory.peak_bytes,
            "tape_bytes": None if record.memory is None else record.memory.tape_bytes,
        }


def _known(value: Real | None) -> float | None:
    return None if value is None else float(value)


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Three columns: the estimate and the ends of its interval."""
    ends = (None, None, None) if interval is None else (interval.value, interval.low, interval.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _loss_rows(run: Run) -> Iterator[dict[str, Any]]:
    exact, allowed = (run.reference.get(key, np.array([])) for key in ("losses", "loss_tolerance"))
    for name in run.records:
        for step, loss in enumerate(run.arrays(name).get("losses", np.array([])).tolist()):
            yield {
                "backend": name,
                "step": step,
                "loss": loss,
                "reference": float(exact[step]) if step < len(exact) else None,
                "tolerance": float(allowed[step]) if step < len(allowed) else None,
            }


def _weight_rows(run: Run) -> Iterator[dict[str, Any]]:
    for name in run.records:
        arrays = run.arrays(name)
        if "weight_steps" in arrays:
            for step, b, w in zip(arrays["weight_steps"], arrays["b"], arrays["w"], strict=True):
                values = {f"w[{i}]": value for i, value in enumerate(w.tolist())}
                yield {"backend": name, "step": int(step), "b": float(b), **values}


def _block_rows(run: Run) -> Iterator[dict[str, Any]]:
    common = 0 if run.manifest.speed is None else run.manifest.speed.steps_per_block
    for name in run.records:
        arrays = run.arrays(name)
        wall = arrays.get("block_wall_ns", np.empty((0, 0, 0)))
        steps, clean = arrays.get("block_steps", np.full(wall.shape, common)), arrays.get("block_clean")
        for place, nanoseconds in np.ndenumerate(wall):
            yield {
                "backend": name,
                **dict(zip(("launch", "instance", "round"), place, strict=True)),
                "steps": int(steps[place]),
                "wall_seconds": float(nanoseconds) * 1e-9,
                "counts": None if clean is None else bool(clean[place]),
            }


ROWS: dict[str, Callable[[Run], Iterator[dict[str, Any]]]] = {
    "backends": _backend_rows,
    "losses": _loss_rows,
    "weights": _weight_rows,
    "blocks": _block_rows,
}
