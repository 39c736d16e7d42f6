"""A run as rows of plain dicts, which every library of data frames takes: see `Run.rows`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_ag.records.structs import Interval, Real, decisive

if TYPE_CHECKING:
    from compare_ag.records.run import Run


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
