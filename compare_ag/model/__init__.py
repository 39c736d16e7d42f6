"""The model, apart from data and programs: its formula, and the order of its parameters.

    layout      the order of the parameters in a flat vector
    formula     a graph of operations, and its gradient as a graph of the same operations
    rules       the result of each operation: in float64, with a bound on its error, exactly
    arithmetic  a floating-point format, and the largest error of an operation in it
    products    matrix products of float64 whose rounding error is known and tiny
    formulas    the models that come with the project

Knows numpy and python-flint alone; no problem, no backend, no worker.
"""

from compare_ag.model.layout import Layout, logistic

__all__ = ["Layout", "logistic"]
