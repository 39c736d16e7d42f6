"""How far one step of logistic regression may be off at θ, derived by hand in norms: a witness for the rules.

    rms Δz ≤ γ_m S‖θ‖, max|Δz| ≤ γ_m R‖θ‖
    rms Δr ≤ min(¼ rms Δz, rms r max|Δz| exp max|Δz|, 1) + κ_σ u + (1 + κ_AD) u rms r
    ‖Δg‖  ≤ S (rms Δr + Γ (rms r + rms Δr)) + u‖g‖ + 4u l2‖θ‖
    δ     ≤ η (‖Δg‖ + 2u‖g‖) + u‖θ'‖

R and S are the largest and the root mean square of the ‖x̃ᵢ‖ of the batch. In the probability form, with p literally
1/(1 + exp(-z)) and ε = u (2/(1 - p) + κ_exp + 1), rms(|r| ε/(1 - ε)) stands in the place of κ_σ u.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

K_EXP, K_SIGMOID, K_AD = 8.0, 10.0, 8.0
SECOND_ORDER = 1.01
FALSE_ALARM = 1e-9


def step_error(problem: Any, theta: Any, rows: Any) -> float:
    """δ at θ (m,) on the examples ``rows``."""
    X, y = problem.X[rows].astype(np.float64), problem.y[rows].astype(np.float64)
    design = np.hstack([X, np.ones((len(y), 1))])
    u, rate, l2 = float(np.finfo(problem.dtype).eps) / 2, float(problem.learning_rate), float(problem.l2)
    n, m = design.shape

    def gamma(k: float) -> float:
        return k * u / (1.0 - k * u)

    def rms(values: Any) -> float:
        return math.sqrt(float(np.mean(np.square(values))))

    lengths, norm = np.linalg.norm(design, axis=1), float(np.linalg.norm(theta))
    longest, spread = float(lengths.max()), rms(lengths)
    z = design @ theta
    p = 1.0 / (1.0 + np.exp(-z))
    r = rms(p - y)
    slope = design.T @ (p - y) / n + l2 * np.append(theta[:-1], 0.0)
    multiplier = math.sqrt(2.0 * math.log(2.0 * (n + 2.0) * m / FALSE_ALARM))
    gamma_sum = min(gamma(n + 2.0), multiplier / math.sqrt(n + 2.0) * gamma(n + 2.0))
    largest = gamma(m) * longest * norm
    carried = min(0.25 * gamma(m) * spread * norm, r * largest * math.exp(largest), 1.0)
    amplified = K_SIGMOID * u
    if problem.loss == "probability":
        lost = u * (2.0 * (1.0 + np.exp(z + largest)) + K_EXP + 1.0)
        amplified = rms(np.abs(p - y) * lost / (1.0 - lost))
    in_residual = carried + amplified + (1.0 + K_AD) * u * r
    in_slope = spread * (in_residual + gamma_sum * (r + in_residual))
    g = float(np.linalg.norm(slope))
    in_slope += u * g + 4.0 * u * l2 * norm
    after = float(np.linalg.norm(theta - rate * slope))
    return SECOND_ORDER * (rate * (in_slope + 2.0 * u * g) + u * after)
