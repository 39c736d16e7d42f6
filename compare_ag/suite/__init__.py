"""A whole run: problem → workers → records → verdicts. Public as `compare_ag.run`.

    start_run        checks the request, chooses the backends, makes the run directory
    run_passes       the passes of a run in their order, and its end
    run_folder       the run directory, and its replacement where it cannot be written
    run_files        records and arrays, saved as they come

    training         the correctness pass: every backend trains, several at a time
    training_evidence  what a worker sent, as the evidence that `verify` judges
    judge            reference, tolerance, verdicts
    recorded_graphs  the graphs of the loss, judged together
    make_records     records from these objects; exit codes
    evidence_arrays  the evidence as arrays of the run directory, and back

    memory           the memory pass
    timing           the speed pass: launches until the intervals are narrow, then verdicts
    engine           launches of timing workers whose blocks alternate on one CPU (timing_crew, cpu_pinning, checkpoint)
    judged_blocks    which timed blocks are judged, and with what result
    launches         from the blocks of each worker to a number for each launch
    backend_costs    costs of each backend;  speed_verdicts  ratios and warnings
    timing_arrays    the blocks as arrays of the run directory, and back

    observer         what a run reports while it goes on;  display  the state that a progress display shows
    anonymity        removes names of the machine and its owner from texts

This package brings `host`, `verify` and `speed` together and is the only one that knows all three. The order is
part of the method: no timing worker starts before the last correctness worker has ended, and the reference stays
in this process.
"""

from compare_ag.suite.observer import Observer, TimingProgress
from compare_ag.suite.run_passes import Terminated
from compare_ag.suite.start_run import NothingToRunError, run, select

__all__ = ["NothingToRunError", "Observer", "Terminated", "TimingProgress", "run", "select"]
