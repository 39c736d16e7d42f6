"""What the machine can do: the least time that a step may be expected to take, from kernels of numpy, in about 5 s.

    stream      c = a + b, bytes per second through reading and writing
    X w, r X    the two products that a step cannot avoid, bytes of X per second
    exp, log1p  one of each for every example, numbers per second

Each is measured on working sets from the first-level cache to memory, in each dtype, by as many threads at a time as
steps may use, every thread on its own part. The best of many repetitions counts, and what a call of numpy costs on
arrays of one number is subtracted: neither disturbances nor calls are the machine's limits.

The limit of a step adds up two products and n exponentials and logarithms at its size. It is no law: a step that goes
through X once, and uses each row for both products while it is in the cache, may take less.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from compare_ag.suite.cpu_pinning import host_on, timed_cpus

SIZES = tuple(1 << power for power in (14, 17, 20, 23, 26))
"""bytes of a working set, all threads together: 16 KiB to 64 MiB"""
WIDTHS = (16, 256)
"""columns of X; the faster of them counts"""
BUDGET_SECONDS = 5.0
BLOCK_SECONDS = 2e-3
"""of repetitions between two looks at the clock, at least: waking up a thread takes a hundredth of it"""
LEAST_NET = 0.1
"""of a call's time, what is left of it at least when the cost of calling is subtracted"""

Array = np.ndarray[tuple[int, ...], np.dtype[np.floating]]
Kernel = Callable[[], object]
Maker = Callable[[int], Kernel]
"""makes a kernel that works on so many bytes"""


class Rates(msgspec.Struct, frozen=True):
    """What one dtype reaches at each of `sizes`, all threads together."""

    dtype: str
    sizes: tuple[int, ...]
    """bytes of the working set"""
    stream: tuple[float, ...]
    """bytes per second, read and written"""
    forward: tuple[float, ...]
    """X w, bytes of X per second"""
    backward: tuple[float, ...]
    """r X, bytes of X per second"""
    exp: tuple[float, ...]
    """numbers per second"""
    log1p: tuple[float, ...]
    """numbers per second"""


class MachineLimits(msgspec.Struct, frozen=True):
    """The machine's limits at a number of threads."""

    threads: int
    rates: tuple[Rates, ...]
    seconds: float
    """what measuring took"""

    def step_seconds(self, n: int, d: int, dtype: str) -> float:
        """The least time of a step on n ≥ 1 examples of d ≥ 1 features. Raises KeyError for a dtype not measured."""
        rates = next((of for of in self.rates if of.dtype == dtype), None)
        if rates is None:
            raise KeyError(f"the limits of this machine were not measured in {dtype}")
        matrix, vector = (count * np.dtype(dtype).itemsize for count in (n * d, n))

        def rate(values: Sequence[float], size: int) -> float:
            # between two working sets in proportion to the logarithm of the size, beyond them as at the nearest
            return float(np.interp(math.log(size), np.log(rates.sizes), values))

        products = matrix / rate(rates.forward, matrix) + matrix / rate(rates.backward, matrix)
        return products + n / rate(rates.exp, vector) + n / rate(rates.log1p, vector)

    def share(self, seconds_per_step: float, n: int, d: int, dtype: str) -> float:
        """The limit over the time of a step: 1 where it takes the least time expected, near 0 for pure overhead."""
        return self.step_seconds(n, d, dtype) / seconds_per_step


def measure_limits(
    threads: int = 1,
    dtypes: Sequence[str] = ("float32", "float64"),
    *,
    sizes: Sequence[int] = SIZES,
    budget: float = BUDGET_SECONDS,
) -> MachineLimits:
    """Measure on the CPUs that steps are timed on; the caller holds the machine's lock (`host.machine_lock`).

    threads: at a time, 1 or more. sizes: bytes of the working sets, rising. budget: seconds, about.
    """
    started = time.monotonic()
    kernels = {dtype: _kernels(dtype) for dtype in dtypes}
    share = budget / sum(len(makers) * (len(sizes) + 1) for of in kernels.values() for makers in of.values())
    rates = []
    with threadpool_limits(1), host_on(timed_cpus(threads)), np.errstate(all="ignore"):
        for dtype, of in kernels.items():
            itemsize = np.dtype(dtype).itemsize
            found: dict[str, tuple[float, ...]] = {}
            for name, makers in of.items():
                per_byte = [_bytes_per_second(make, sizes, threads, share) for make in makers]
                unit = itemsize if name in ("exp", "log1p") else 1
                found[name] = tuple(max(column) / unit for column in zip(*per_byte, strict=True))
            rates.append(Rates(dtype, tuple(sizes), **found))
    return MachineLimits(threads, tuple(rates), time.monotonic() - started)


def _kernels(dtype: str) -> dict[str, list[Maker]]:
    """How to make each kernel on so many bytes; of several ways the fastest counts."""
    itemsize = np.dtype(dtype).itemsize

    def numbers(size: int) -> Array:
        return np.full(max(1, size // itemsize), 0.5, dtype)

    def stream(size: int) -> Kernel:
        a, b, c = (numbers(size // 3) for _ in range(3))
        return lambda: np.add(a, b, out=c)

    def elementwise(function: np.ufunc) -> Maker:
        def make(size: int) -> Kernel:
            x = numbers(size)
            result = x.copy()  # its pages exist before the clock starts
            return lambda: function(x, out=result)

        return make

    def product(width: int, transposed: bool) -> Maker:
        def make(size: int) -> Kernel:
            columns = min(width, max(1, size // itemsize))
            X = numbers(size // columns * columns)
            X = X[: len(X) // columns * columns].reshape(-1, columns)
            w, r = np.ones(columns, dtype), np.ones(len(X), dtype)
            return (lambda: r.dot(X)) if transposed else (lambda: X.dot(w))

        return make

    return {
        "stream": [stream],
        "forward": [product(width, transposed=False) for width in WIDTHS],
        "backward": [product(width, transposed=True) for width in WIDTHS],
        "exp": [elementwise(np.exp)],
        "log1p": [elementwise(np.log1p)],
    }


def _bytes_per_second(make: Maker, sizes: Sequence[int], threads: int, budget: float) -> list[float]:
    """The rate of a kernel at each size, without what a call costs."""
    call = _seconds(make, 1, threads, budget)
    found = []
    for size in sizes:
        seconds = _seconds(make, size // threads, threads, budget)
        found.append(size / max(LEAST_NET * seconds, seconds - call))
    return found


def _seconds(make: Maker, size: int, threads: int, budget: float) -> float:
    """The least seconds of a call, of calls that so many threads make at a time, each on ``size`` bytes of its own."""
    kernels = [make(size) for _ in range(threads)]
    _together(kernels, 1)  # caches, pages, and the BLAS's own buffers
    deadline = time.perf_counter() + budget
    calls, best = 1, math.inf
    while True:
        seconds = _together(kernels, calls)
        if seconds < BLOCK_SECONDS and calls < 1 << 20:
            calls *= 2
            continue
        best = min(best, seconds / calls)
        if time.perf_counter() > deadline:
            return best


def _together(kernels: Sequence[Kernel], calls: int) -> float:
    """Seconds from the first thread's first call to the last one's end; numpy lets them compute at the same time."""
    if len(kernels) == 1:
        start = time.perf_counter()
        for _ in range(calls):
            kernels[0]()
        return time.perf_counter() - start
    ready = threading.Barrier(len(kernels))
    starts, ends = [math.inf] * len(kernels), [0.0] * len(kernels)

    def work(index: int, kernel: Kernel) -> None:
        ready.wait()
        starts[index] = time.perf_counter()
        for _ in range(calls):
            kernel()
        ends[index] = time.perf_counter()

    workers = [threading.Thread(target=work, args=pair) for pair in enumerate(kernels)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(ends) - min(starts)
