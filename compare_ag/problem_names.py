"""The built-in problems by name: one line about each, for ``--help``, shell completion and messages.

This module must not import numpy (nor anything that does): the command line shows these lines without
paying for it. What the problems are made of stands in `compare_ag.problem.builtin`, which takes its
descriptions from here, so that there is one source.
"""

from __future__ import annotations

PROBLEM_NAMES: dict[str, str] = {
    "seed": "4 examples of 2 features and 20 published losses to reproduce",
    "synthetic": "Gaussian features with chosen n, d, separability, condition and seed",
    "breast-cancer": "malignant against benign tumours, 569 × 30, standardised (needs scikit-learn)",
    "digits": "handwritten 0 against 1, 360 × 64, standardised (needs scikit-learn)",
    "iris": "versicolor against virginica, 100 × 4, standardised (needs scikit-learn)",
}
"""Name → one line, in the order in which people should meet them."""
