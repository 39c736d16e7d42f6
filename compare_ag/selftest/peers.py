"""The judgement of two published rules on a mutant's data, for the reader's comparison.

allclose   final weights against those of the correct backend: |a - b| ≤ 1e-8 + 1e-5 |b|   (numpy's defaults)
gradcheck  reported gradient against central differences of the reported loss, h = 1e-6:
           |a - n| ≤ 1e-5 + 1e-3 |n|                                          (torch.autograd.gradcheck's defaults)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compare_ag.verify import Probes, Route
from compare_ag.worker.messages import Array

H = 1e-6
MARK = "start, difference"


def allclose_sees(final: Array, correct: Array) -> bool:
    """Whether `numpy.allclose` at rtol 1e-5 tells the final weights (m,) from the correct weights."""
    return not np.allclose(final, correct, rtol=1e-5)


def with_differences(probes: Probes) -> Probes:
    """The main route with the points start ± h eⱼ at its end, for `gradcheck_sees`."""
    main = probes.main
    start = main.weights[main.names.index("start")]
    steps = H * np.eye(len(start), dtype=start.dtype)
    extra = np.concatenate([start + steps, start - steps])
    main = replace(main, names=(*main.names, *[MARK] * len(extra)), weights=np.concatenate([main.weights, extra]))
    return replace(probes, routes=(main, *probes.routes[1:]))


def gradcheck_sees(main: Route, loss: Array, gradient: Array) -> bool:
    """Whether central differences tell the reported gradient from a right gradient: loss (P, 2), gradient (P, 2, m)."""
    first = main.names.index(MARK)
    m = main.weights.shape[1]
    up, down = loss[first : first + m, 0], loss[first + m : first + 2 * m, 0]
    with np.errstate(all="ignore"):
        numerical = (up.astype(np.float64) - down) / (2 * H)
        reported = gradient[main.names.index("start"), 0]
        return not np.allclose(reported, numerical, atol=1e-5, rtol=1e-3)
