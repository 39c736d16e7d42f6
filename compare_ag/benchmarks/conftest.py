"""Which backends and which sizes the suite covers, and the prepared training that each benchmark gets."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from compare_ag.benchmarks.door import DESTINATION
from compare_ag.benchmarks.training import Training
from compare_ag.host.discovery import Offer, SelectionError, discover
from compare_ag.problem import Problem, make_problem, problem_by_name, synthetic
from compare_ag.worker.load import PluginError, load_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = ("seed", "1000x20", "10000x100")


def chosen_offers(names: list[str] | None) -> list[Offer]:
    """The backends that `--backend` names, else all available ones. Raises CollectError, shown without a traceback."""
    try:
        offers = discover().select(names) if names else discover().available()
    except SelectionError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    if not offers:
        raise pytest.Collector.CollectError("no backend is available; `compare-ag list` says what is missing")
    return offers


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every benchmark runs for each backend at each size."""
    if "training" in metafunc.fixturenames:
        offers = chosen_offers(metafunc.config.getoption(DESTINATION, default=None))
        metafunc.parametrize("offer", offers, ids=[offer.name for offer in offers])
        metafunc.parametrize("size", SIZES)


@lru_cache
def problem_of(size: str) -> Problem:
    """`seed` as published (float32, probability form), or NxD synthetic examples in float64 with the logits form."""
    if size == "seed":
        return problem_by_name("seed")
    n, d = map(int, size.split("x"))
    return make_problem(synthetic(n=n, d=d))


@pytest.fixture
def training(offer: Offer, size: str) -> Iterator[Training]:
    """The backend, prepared, with the problem in it. A plugin that cannot be loaded fails its benchmarks."""
    problem = problem_of(size)
    try:
        backend = load_backend(offer.module)
    except PluginError as error:
        pytest.fail(f"backend {offer.name}: {error}", pytrace=False)
    if problem.dtype not in backend.dtypes:
        pytest.skip(f"{offer.name} computes in {', '.join(backend.dtypes)}, not in {problem.dtype}")
    # numpy's error state, because a backend may set it for the process, which it takes for its own
    with np.errstate(), threadpool_limits(limits=problem.threads):
        yield Training(backend(), problem)
