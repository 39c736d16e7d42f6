"""Benchmarks of every installed backend under pytest-benchmark: `pytest --pyargs compare_ag.benchmarks`.

`--backend NAME` (repeatable) chooses backends, third-party ones as well; `-k seed` a size, `-k step` a phase.

    door        registers `--backend`, for pytest runs that ask for this package
    conftest    backends × sizes
    formula     loss and gradient in float64, and how far rounding can lead away from them
    training    one backend with one problem in it, and the check that its numbers are right
    test_phases what is timed

**The figures are indicative, those of `compare-ag run` are the ones to quote.** Here the pytest process plays
the worker: all frameworks share one process and its memory allocator, the backends run one after the other
rather than by turns, so that whatever the machine does in the meantime is counted as a difference between
them, and a mean over rounds in one process says nothing about the next process. What is reliable is the
verdict: a benchmark whose numbers are wrong fails.
"""
