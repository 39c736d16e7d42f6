"""A whole run: problem → workers → records → verdicts. Public as `compare_ag.run`.

    folder     the run directory
    training   the correctness pass: every backend trains, several at a time
    judging    reference, tolerance, verdicts, exit code
    timing     the speed pass: after all training, bursts side by side

This package brings `host`, `verify` and `speed` together and is the only one that knows all three. The order is
part of the method: no timing worker starts before the last correctness worker has ended, and the reference stays
in this process.
"""

from compare_ag.suite.flow import NothingToRunError, Terminated, run, select
from compare_ag.suite.observer import Observer

__all__ = ["NothingToRunError", "Observer", "Terminated", "run", "select"]
