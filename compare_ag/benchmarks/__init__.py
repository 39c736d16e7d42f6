"""Benchmarks of every installed backend under pytest-benchmark: `pytest --pyargs compare_ag.benchmarks`.

`--ag-backends NAME,NAME` chooses backends, third-party ones as well; `-k seed` a size, `-k step` a phase. Everything
is done by the fixtures of `compare_ag.pytest_benchmark`; this package only says what to benchmark.

**The figures are indicative, those of `compare-ag run` are the ones to quote**; `compare_ag.pytest_benchmark` says why.
"""
