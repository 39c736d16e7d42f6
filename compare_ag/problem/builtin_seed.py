"""The problem ``seed``: the published training from which this project began, with its losses.

A beginner's note on PyTorch's autograd trains a logistic regression on four examples and prints the loss every 500
epochs. It makes an update before its loop, so the loss that it prints for epoch e is the loss after e + 1 updates.
Without that update a run misses the table by 1.3e-3.
"""

from __future__ import annotations

import numpy as np

from compare_ag.problem.core import Data
from compare_ag.problem_names import PROBLEM_NAMES

PUBLISHED: tuple[tuple[int, float], ...] = (
    (0, 0.9426676034927368),
    (500, 0.5936437249183655),
    (1000, 0.4318988025188446),
    (1500, 0.33194077014923096),
    (2000, 0.265964150428772),
    (2500, 0.22003984451293945),
    (3000, 0.18663322925567627),
    (3500, 0.1614413857460022),
    (4000, 0.14187511801719666),
    (4500, 0.12630191445350647),
    (5000, 0.11365044862031937),
    (5500, 0.10319262742996216),
    (6000, 0.09441888332366943),
    (6500, 0.08696318417787552),
    (7000, 0.08055643737316132),
    (7500, 0.07499672472476959),
    (8000, 0.07013023644685745),
    (8500, 0.06583743542432785),
    (9000, 0.06202460825443268),
    (9500, 0.05861698091030121),
)
"""(epoch, loss) as printed by the note: torch, float32. Epoch e is the loss after e + 1 updates."""

PUBLISHED_TOLERANCE = 2e-7
"""The largest difference of a correct run from the table: the exact run differs by 1.6e-7, because the table
itself was rounded."""

PUBLISHED_LEARNING_RATE = 1e-2
PUBLISHED_STEPS = 10_001
"""One update before the loop and 10,000 in it."""

RECOVERED_START = (-0.04491833, 0.8402348)
"""w0; b0 is 0. The note does not state its start: a least-squares fit of the trajectory to the table gives it."""


def seed_data() -> Data:
    """Return the four examples of the note: y = 1 - x₂, so they are separable."""
    return Data(
        X=np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
        y=np.array([0.0, 1.0, 0.0, 1.0]),
        name="seed",
        description=PROBLEM_NAMES["seed"],
    )


def is_seed(data: Data) -> bool:
    """Whether this is the published problem: by its name and, because other data may have this name, by its values."""
    seed = seed_data()
    return data.name == seed.name and np.array_equal(data.X, seed.X) and np.array_equal(data.y, seed.y)


def published_losses(steps: int) -> tuple[tuple[int, float], ...]:
    """Return the rows of the table that a run of so many steps reaches, as (updates k, loss after them)."""
    return tuple((epoch + 1, loss) for epoch, loss in PUBLISHED if epoch + 1 <= steps)
