"""Every phase of a training step, for every backend, at three sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compare_ag.pytest_benchmark.phases import PHASES

if TYPE_CHECKING:
    from compare_ag.pytest_benchmark.phases import PhaseBenchmark

SIZES = ("seed", "1000x20", "10000x100")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("phase", PHASES)
def test_phase(ag_benchmark: PhaseBenchmark, phase: str) -> None:
    """Check the backend's numbers, then time the phase."""
    ag_benchmark(phase)
