"""A backend that is right and slow: numpy's own, whose forward computes loss and gradient many times."""

from __future__ import annotations

from typing import Any

from compare_ag_numpy import NumpyBackend

from compare_ag import Batch, Weights

TIMES = 600
"""a whole step takes about so many of numpy's, whatever the size"""


class SlowBackend(NumpyBackend):
    """All but the last of the evaluations are thrown away."""

    def forward(self, weights: Weights, batch: Batch) -> tuple[Any, Any]:
        """The loss and the residuals, as numpy's forward gives them, at last."""
        for _ in range(TIMES - 1):
            _, tape = super().forward(weights, batch)
            super().backward(tape)
        return super().forward(weights, batch)
