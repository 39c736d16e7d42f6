"""What tests of several reports need."""

from __future__ import annotations

import json

import msgspec
import pytest

from compare_ag import records
from compare_ag.pytest_benchmark.imported import import_benchmark


@pytest.fixture(scope="session")
def imported(make_run, tmp_path_factory) -> records.Run:
    """Read from a file of pytest-benchmark by our own import: one whole step of two backends, no phase."""
    medians = {"numpy": 1e-5, "torch": 1.77e-4}
    folder = tmp_path_factory.mktemp("imported")
    manifest = make_run(medians).manifest
    facts = {
        "module": "some_plugin", "distribution": "some", "version": "1.0", "versions": {}, "backend_class": "Some",
        "dtypes": ["float64"], "splits": True, "pools": [], "os_threads": 1,
    }  # fmt: skip
    block = {
        "schema": {"name": "compare-ag/pytest-benchmark", "major": 1, "minor": 0},
        "tool_version": manifest.tool_version,
        "environment": msgspec.to_builtins(manifest.environment),
        "problems": {"d1": msgspec.to_builtins(manifest.problem)},
        "backends": dict.fromkeys(medians, facts),
    }
    benchmarks = [
        {
            "stats": {"median": median, "rounds": 40, "data": [median * (1 + 0.001 * i) for i in range(-19, 21)]},
            "extra_info": {
                "compare_ag": {"backend": name, "phase": "step", "problem": "d1", "final_loss": 0.1},
            },
        }
        for name, median in medians.items()
    ]
    file = folder / "0001.json"
    file.write_text(
        json.dumps({"benchmarks": benchmarks, "datetime": manifest.created, "compare_ag": block}), encoding="utf-8"
    )
    (run,) = import_benchmark(file, folder / "run")
    return run
