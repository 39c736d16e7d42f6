"""Runs to verify: one that agrees, one with a wrong backend, both timed, and changes to copies of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compare_ag
from compare_ag import records
from compare_ag.audit import Level, intact, recomputed
from compare_ag.suite.speed_verdicts import SpeedConclusion
from compare_ag.suite.timing_arrays import read_measurements

STEPS, LEAD_IN = 20, 16


def _calm(arrays: dict[str, Any], step_ns: float, generator: np.random.Generator) -> dict[str, Any]:
    """The arrays of a launch on a machine where nothing else runs: so no test depends on this machine's mood."""
    shape = arrays["block_wall_ns"].shape
    times = step_ns * np.exp(generator.normal(0, 0.002, shape) + generator.normal(0, 0.002, (shape[0], 1, 1)))
    wall, lead = (np.round(times * count).astype(np.int64) for count in (STEPS, LEAD_IN))
    changed = {
        "wall_ns": wall, "cpu_ns": wall, "inside_ns": wall, "lead_ns": lead, "make_ns": lead // LEAD_IN,
        "span_ns": wall + lead + lead // LEAD_IN, "host_ns": wall + lead + lead // LEAD_IN + 100_000,
        "steps": np.full_like(wall, STEPS), "lead_in": np.full_like(wall, LEAD_IN),
        **{name: np.zeros_like(wall) for name in ("switches", "waits", "idle_cpu_ns")},
    }  # fmt: skip
    made = arrays | {f"block_{name}": array for name, array in changed.items()}
    made |= {"block_time_ns": times, "block_clean": np.ones_like(wall)}
    return made | ({"phase_clean": np.ones_like(arrays["phase_clean"])} if "phase_clean" in arrays else {})


@pytest.fixture(scope="session")
def timed(tmp_path_factory, brief):
    """Two backends that agree, with times as on a calm machine, and what follows from these."""
    folder = tmp_path_factory.mktemp("audit") / "run"
    run = compare_ag.run(["numpy", "autograd"], steps=60, timing=brief, output=folder)
    generator, speed = np.random.default_rng(0), run.manifest.speed
    for name, step_ns in (("numpy", 10_000.0), ("autograd", 25_000.0)):
        record = run[name]
        timing = records.read_arrays(folder / record.timing_arrays, None)
        sha256 = records.write_arrays(folder, record.timing_arrays, _calm(timing, step_ns, generator))
        cost = records.replace(record.cost, steps_per_block=STEPS, lead_in=LEAD_IN)
        records.write_backend(folder, records.replace(record, cost=cost, timing_arrays_sha256=sha256))
    sha256 = records.write_arrays(folder, speed.control_arrays, _calm(run.control, 10_000.0, generator))
    speed = records.replace(speed, control_arrays_sha256=sha256)
    records.write_manifest(folder, records.replace(run.manifest, speed=speed))
    _conclude(folder)
    return records.load_run(folder)


def _conclude(folder: Path) -> None:
    """Write the costs and ratios that follow from a run's arrays."""
    run = records.load_run(folder)
    concluded = SpeedConclusion(read_measurements(run, frozenset())).result()
    for name, cost in concluded.costs.items():
        records.write_backend(folder, records.replace(run[name], cost=cost))
    old = run.manifest.speed
    speed = records.replace(
        concluded.speed, control_arrays=old.control_arrays, control_arrays_sha256=old.control_arrays_sha256
    )
    records.write_manifest(folder, records.replace(run.manifest, speed=speed, baseline=concluded.baseline))


@pytest.fixture
def copy(timed, tmp_path):
    return shutil.copytree(timed.path, tmp_path / "copy")


@pytest.fixture
def change() -> Callable[..., None]:
    """Change fields of a JSON file of a run, "part.field" as "part__field", and renew the sums."""

    def changed(folder: Path, name: str, **fields: Any) -> None:
        path = folder / name
        document = json.loads(path.read_text())
        for field, value in fields.items():
            *parts, last = field.split("__")
            place = document
            for part in parts:
                place = place[int(part)] if isinstance(place, list) else place[part]
            place[last] = value(place[last]) if callable(value) else value
        path.write_text(json.dumps(document))
        records.seal(folder)

    return changed


@pytest.fixture
def levels() -> Callable[[Path], tuple[Level, Level]]:
    """The first two levels of a run."""
    return lambda folder: (intact(folder), recomputed(records.load_run(folder)))
