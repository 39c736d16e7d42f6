"""A whole run: problem → workers → records → verdicts. Public as `compare_ag.run`.

    folder     the run directory
    training   the correctness pass: every backend trains, several at a time
    judging    reference, tolerance, verdicts, exit code
    engine     launches of timing workers whose blocks alternate on one CPU
    timing     the speed part: after all training; launches until the intervals are narrow, then verdicts

This package brings `host`, `verify` and `speed` together and is the only one that knows all three. The order is
part of the method: no timing worker starts before the last correctness worker has ended, and the reference stays
in this process.
"""

from compare_ag.suite.flow import NothingToRunError, Terminated, run, select
from compare_ag.suite.observer import Observer, TimingProgress

__all__ = ["NothingToRunError", "Observer", "Terminated", "TimingProgress", "run", "select"]
