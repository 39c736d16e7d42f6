"""Digits kept: how many decimal digits of the reference's final weights a backend has reproduced."""

from __future__ import annotations

import math

import numpy as np

from compare_ag.model import logistic
from compare_ag.records import Run, decisive


def digits_kept(run: Run, name: str) -> float | None:
    """−log10(‖(w, b) − reference‖ / ‖reference‖) at the end, at most what the format can hold, −log10(ε/2).

    None where the final weights were not judged, or the reference is 0 or not finite. Negative where the error is
    larger than the weights.
    """
    verdict = decisive(run[name])
    if verdict is None or verdict.weights_error is None or verdict.status == "undecidable" or not run.reference:
        return None
    error = float(verdict.weights_error)
    final = logistic(run.manifest.problem.features).flat((run.reference["final_w"], run.reference["final_b"]))
    norm = math.hypot(*final)  # squares nothing: no overflow
    if not (math.isfinite(error) and math.isfinite(norm) and norm > 0):
        return None
    held = float(np.finfo(run.manifest.problem.dtype).eps) / 2
    return -math.log10(max(error / norm, held))
