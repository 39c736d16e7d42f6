"""What is trained, apart from data and from every program of it: which number of its parameters is which.

Knows numpy alone; no problem, no backend, no worker.
"""

from compare_ag.model.layout import Layout, logistic

__all__ = ["Layout", "logistic"]
