"""What the tests of records start from: a document of pytest-benchmark, a run on disk, and changes to both."""

from __future__ import annotations

import msgspec
import pytest

import compare_ag
from tests.made import make_run


@pytest.fixture(scope="session")
def whole(tmp_path_factory, brief):
    """A run of numpy, timed, as it was saved."""
    return compare_ag.run(["numpy"], steps=30, timing=brief, output=tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def benchmark_document():
    """What pytest-benchmark writes of one benchmark of ours."""
    manifest = make_run({"numpy": 1e-6}).manifest
    backend = {
        "module": "m", "distribution": "d", "version": "1", "versions": {}, "backend_class": "c",
        "dtypes": ["float32"], "splits": True, "pools": [], "os_threads": 1,
    }  # fmt: skip
    return {
        "benchmarks": [
            {
                "stats": {"median": 1e-6, "rounds": 3, "data": [1e-6]},
                "extra_info": {"compare_ag": {"backend": "numpy", "phase": "step", "problem": "d", "final_loss": 0.5}},
            }
        ],
        "compare_ag": {
            "schema": {"name": "compare-ag/pytest-benchmark", "major": 1},
            "tool_version": "0",
            "environment": msgspec.to_builtins(manifest.environment),
            "problems": {"d": msgspec.to_builtins(manifest.problem)},
            "backends": {"numpy": backend},
        },
    }
