"""What a cell will need, and when it is not worth a try."""

from __future__ import annotations

from compare_ag.sweep.estimate import Forecast, estimate, why_skipped

GIGABYTE = 1_000_000_000


def test_larger_cells_need_more_of_both(cell):
    small, large = estimate(cell(100, 3), cpus=2), estimate(cell(1_000_000, 100), cpus=2)
    assert large.bytes > 10 * small.bytes
    assert large.seconds > small.seconds
    assert estimate(cell(1_000_000, 100, dtype="float32"), cpus=2).bytes < large.bytes
    assert estimate(cell(timing_budget=100.0), cpus=2).seconds > estimate(cell(timing_budget=None), cpus=2).seconds + 90


def test_a_cell_that_does_not_fit_into_memory_is_skipped_and_told_how_much_it_needs(cell):
    large = cell(10_000_000, 1000)
    reason = why_skipped(large, estimate(large), lambda: 8 * GIGABYTE)
    assert reason.startswith("memory: it needs about ")
    assert reason.endswith("and 7.5 GiB are available")
    assert why_skipped(cell(), estimate(cell()), lambda: 8 * GIGABYTE) == ""


def test_a_cell_whose_training_exceeds_the_timeout_is_skipped(cell):
    slow = cell(1_000_000, 100, steps=100_000, timeout=60.0)
    reason = why_skipped(slow, estimate(slow), lambda: 10**15)
    assert reason.startswith("time: training takes about ")
    assert "--timeout is 1:00" in reason


def test_a_cell_of_more_threads_than_cpus_is_skipped(cell):
    wide = cell(threads=100_000)
    assert why_skipped(wide, estimate(wide), lambda: 10**15).startswith("threads: it needs 100000 CPUs")


def test_the_forecast_follows_what_finished_cells_took(cell):
    cells = [cell(n) for n in (10, 11, 12, 13)]
    each = estimate(cells[0]).seconds
    forecast = Forecast(cells)
    assert abs(forecast.seconds / (4 * each) - 1) < 0.01
    forecast.finish(cells[0], 3 * each)
    assert abs(forecast.seconds / (9 * each) - 1) < 0.01
    forecast.finish(cells[1], None)  # it did not run: it says nothing about the others
    assert abs(forecast.seconds / (6 * each) - 1) < 0.01
