"""What is trained, apart from data and from every program of it: the formula, and which number is which parameter.

    layout      which number of a flat vector is which parameter
    formula     a graph of operations, and its gradient as a graph of the same operations
    rules       what each operation computes: in float64, with which error, exactly
    arithmetic  a floating-point format, and what one operation may lose in it
    products    matrix products of float64 whose rounding error is known and tiny
    formulas    the models that come with the project

Knows numpy and python-flint alone; no problem, no backend, no worker.
"""

from compare_ag.model.layout import Layout, logistic

__all__ = ["Layout", "logistic"]
