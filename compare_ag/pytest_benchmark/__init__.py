"""The bridge to pytest-benchmark: fixtures that check a backend's numbers before they time it, and the way back.

    plugin    what pytest loads (entry point of ``pytest11``): the option --ag-backends, the fixtures, the JSON's block
    phases    what is timed: a phase of a step, or the step, each round on what an untimed setup has just made
    training  one backend with one problem in its worker, and the check that its numbers are right
    formula   exact loss and gradient at a point, and how far rounding can lead away from them
    imported  from pytest-benchmark's JSON to a run directory

A backend that dies or hangs costs its own tests, since it runs in a worker.

What its numbers cannot tell: the backends run one after the other rather than by turns, and one process is one draw of
a memory layout; whatever changed in the meantime is counted as a difference between them. Hence an imported run ranks
nobody. What is reliable is the check: a benchmark whose numbers are wrong fails.
"""
