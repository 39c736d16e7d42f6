"""The first step at which two backends differ, and which of them is wrong.

screening    a backend is trained with every step recorded, and every step is judged
search       the first fault of two backends: step, phase, coordinate, size in tolerances
reproducer   a short script that shows a fault without this package's host
transplant   loss from one backend, gradient from another, update from a third: which part is wrong
"""

from compare_ag.bisect.screening import Fault, Screening, TooLongError, screen
from compare_ag.bisect.search import Divergence, bisect
from compare_ag.bisect.transplant import Transplant, transplant

__all__ = ["Divergence", "Fault", "Screening", "TooLongError", "Transplant", "bisect", "screen", "transplant"]
