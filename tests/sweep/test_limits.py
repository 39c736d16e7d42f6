"""The machine's limits: what is computed from rates, and that rates are measured of the work that they name."""

from __future__ import annotations

import math
import threading

import msgspec
import numpy as np
import pytest

from compare_ag.sweep import limits
from compare_ag.sweep.limits import MachineLimits, Rates, measure_limits

MADE = MachineLimits(
    1,
    (
        Rates("float64", (1000, 100_000), (9e9, 9e9), (8e9, 2e9), (4e9, 1e9), (1e9, 5e8), (5e8, 1e8)),
        Rates("float32", (1000, 100_000), (9e9, 9e9), (8e9, 8e9), (8e9, 8e9), (1e9, 1e9), (1e9, 1e9)),
    ),
    5.0,
)


def test_a_steps_limit_is_two_products_and_an_exp_and_a_log_of_every_example():
    """125 x 1 float64 are 1,000 bytes of X and of a vector: the rates of the first size."""
    assert MADE.step_seconds(125, 1, "float64") == pytest.approx(1000 / 8e9 + 1000 / 4e9 + 125 / 1e9 + 125 / 5e8)


def test_between_two_sizes_a_rate_follows_the_logarithm_and_each_product_has_its_own_size():
    """1,250 float64 are 10,000 bytes, half way from 1,000 to 100,000; the vector of 125 examples has 1,000."""
    assert MADE.step_seconds(125, 10, "float64") == pytest.approx(1e4 / 5e9 + 1e4 / 2.5e9 + 125 / 1e9 + 125 / 5e8)


def test_beyond_the_measured_sizes_rates_stay_as_they_are():
    tiny = MADE.step_seconds(4, 2, "float64")
    assert tiny == pytest.approx(64 / 8e9 + 64 / 4e9 + 4 / 1e9 + 4 / 5e8)
    large = MADE.step_seconds(10**6, 100, "float64")
    assert large == pytest.approx(8e8 / 2e9 + 8e8 / 1e9 + 1e6 / 5e8 + 1e6 / 1e8)


def test_the_dtype_counts_by_its_bytes_and_its_own_rates():
    assert MADE.step_seconds(125, 10, "float32") == pytest.approx(2 * 5000 / 8e9 + 2 * 125 / 1e9)


def test_the_share_is_the_limit_over_the_time():
    limit = MADE.step_seconds(125, 10, "float64")
    assert MADE.share(limit, 125, 10, "float64") == pytest.approx(1)
    assert MADE.share(4 * limit, 125, 10, "float64") == pytest.approx(0.25)


def test_a_dtype_that_was_not_measured_is_named():
    with pytest.raises(KeyError, match="not measured in float16"):
        MADE.step_seconds(4, 2, "float16")


@pytest.mark.parametrize("threads", [1, 2])
def test_every_kernel_is_measured_in_every_dtype_at_every_size(threads):
    found = measure_limits(threads, ["float64", "float32"], sizes=(4096, 16_384), budget=0.02)
    assert (found.threads, [of.dtype for of in found.rates]) == (threads, ["float64", "float32"])
    for of in found.rates:
        rates = (of.stream, of.forward, of.backward, of.exp, of.log1p)
        assert of.sizes == (4096, 16_384)
        assert [len(rate) for rate in rates] == [2] * 5
        assert all(0 < value < math.inf for rate in rates for value in rate)
    assert msgspec.json.decode(msgspec.json.encode(found), type=MachineLimits) == found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_product_goes_through_as_many_bytes_as_asked(dtype):
    kernels = limits._kernels(dtype)
    itemsize = np.dtype(dtype).itemsize
    for make, width in zip(kernels["forward"], limits.WIDTHS, strict=True):
        z = make(1 << 16)()
        assert (z.shape, z.dtype) == (((1 << 16) // itemsize // width,), dtype)
    for make, width in zip(kernels["backward"], limits.WIDTHS, strict=True):
        slope = make(1 << 16)()
        assert (slope.shape, slope.dtype) == ((width,), dtype)
        assert slope[0] == 0.5 * (1 << 16) / itemsize / width


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementwise_kernels_stay_in_their_dtype(dtype):
    for name, function in (("exp", np.exp), ("log1p", np.log1p)):
        (make,) = limits._kernels(dtype)[name]
        result = make(800)()
        assert result.dtype == dtype
        assert result.nbytes == 800
        assert result[0] == function(np.full(1, 0.5, dtype))[0]
    (make,) = limits._kernels(dtype)["stream"]
    assert make(1200)().nbytes == 400  # read twice and written once


@pytest.mark.parametrize("threads", [1, 4])
def test_a_call_costs_nothing_and_threads_share_the_bytes(monkeypatch, threads):
    """With a made-up clock: a call costs 1 µs and each thread goes through 1 GB/s."""
    asked = []

    def seconds(make, size, count, budget):
        asked.append((size, count))
        return 1e-6 + (size if size > 1 else 0) / 1e9

    monkeypatch.setattr(limits, "_seconds", seconds)
    rates = limits._bytes_per_second(lambda _: None, [4000, 40_000], threads, 0.0)
    assert rates == pytest.approx([threads * 1e9] * 2)
    assert asked == [(1, threads), (4000 // threads, threads), (40_000 // threads, threads)]


def test_a_call_that_costs_more_than_all_leaves_a_rate(monkeypatch):
    """Noise may make the call on one number the slower one."""
    monkeypatch.setattr(limits, "_seconds", lambda _, size, *__: 3e-6 if size == 1 else 2e-6)
    assert limits._bytes_per_second(lambda _: None, [1000], 1, 0.0) == [pytest.approx(1000 / 2e-7)]


@pytest.mark.parametrize("threads", [1, 3])
def test_each_thread_makes_every_call_of_its_own_kernel(threads):
    made: list[tuple[int, int]] = []

    def kernel(number):
        return lambda: made.append((number, threading.get_ident()))

    limits._together([kernel(number) for number in range(threads)], 5)
    assert sorted(number for number, _ in made) == sorted(list(range(threads)) * 5)
    assert len({ident for _, ident in made}) == threads


def test_the_blas_and_this_threads_cpus_are_as_they_were():
    import os

    import threadpoolctl

    def seen():
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        return cpus, [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]

    before = seen()
    measure_limits(1, ["float64"], sizes=(4096,), budget=0.0)
    assert seen() == before
