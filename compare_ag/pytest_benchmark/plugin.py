"""The pytest plugin: backends as parameters, fixtures that check and then time, our block in pytest-benchmark's JSON.

pytest loads this module wherever compare-ag is installed, so it imports nothing until a test asks for a fixture.

    ag_backend    the backend's `Offer`: every test that uses it, or a fixture below, runs once for each backend
    ag_problem    the `Problem`: seed, or what ``@pytest.mark.ag_problem("synthetic:n=1000,d=20", ...)`` says
    ag_training   the backend prepared with the problem, in a worker of its own
    ag_benchmark  ``ag_benchmark("step")``: asserts that its numbers are right, then times that phase
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.terminal import TerminalReporter

    from compare_ag.host.discovery import Offer
    from compare_ag.problem import Problem
    from compare_ag.pytest_benchmark.phases import PhaseBenchmark
    from compare_ag.pytest_benchmark.prepared import PreparedBackend, Workers

SCHEMA = {"name": "compare-ag/pytest-benchmark", "major": 1, "minor": 0}
LOCK_FAILURE = pytest.StashKey[str]()
"""why benchmarks ran without the machine's lock, where they did"""
TIMEOUT = 120.0
WORKERS = pytest.StashKey["Workers"]()
SEEN = pytest.StashKey[dict[str, dict[str, Any]]]()
"""what the session's benchmarks were about: "problems" by digest, "backends" by name"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--ag-backends`` and ``--ag-timeout``."""
    group = parser.getgroup("compare-ag")
    group.addoption(
        "--ag-backends",
        metavar="NAME,NAME",
        help="backends for the fixtures ag_backend and ag_benchmark, as `compare-ag list` shows them (default: all)",
    )
    group.addoption(
        "--ag-timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"what a backend may take for one check or one benchmark before its test fails (default: {TIMEOUT:g})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "ag_problem(name, **options): what ag_benchmark trains, as `compare_ag.run` takes it (default: seed)"
    )
    seen: dict[str, dict[str, Any]] = {"problems": {}, "backends": {}}
    config.stash[SEEN] = seen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that asks for a backend once for each."""
    if "ag_backend" not in metafunc.fixturenames:
        return
    given = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize") if mark.args]
    if any("ag_backend" in (names if isinstance(names, str) else list(names)) for names in given):
        return  # the test says itself which
    offers = _offers(metafunc.config.getoption("ag_backends", default=None))
    metafunc.parametrize("ag_backend", offers, ids=[offer.name for offer in offers])


def _offers(names: str | None) -> list[Offer]:
    """The backends that the option names, else all available ones. Raises CollectError, shown without a traceback."""
    from compare_ag.host.discovery import SelectionError, discover

    wanted = None if names is None else [name.strip() for name in names.split(",")]
    try:
        offers = discover().available() if wanted is None else discover().select(wanted)
    except SelectionError as error:
        raise pytest.Collector.CollectError(str(error)) from None
    if not offers:
        raise pytest.Collector.CollectError("no backend is available; `compare-ag list` says what is missing")
    return offers


@pytest.fixture
def ag_problem(request: pytest.FixtureRequest) -> Problem:
    """The problem that the marker names, else seed. A conftest may override this fixture."""
    from compare_ag.problem import ProblemError

    marker = request.node.get_closest_marker("ag_problem")
    args, options = (marker.args, marker.kwargs) if marker is not None else ((), {})
    try:
        return _problem(*args, **options) if args else _problem("seed", **options)
    except ProblemError as error:
        pytest.fail(f"ag_problem: {error}", pytrace=False)


@lru_cache
def _problem(name: str, **options: Any) -> Problem:
    from compare_ag.problem import problem_by_name

    return problem_by_name(name, **options)


@pytest.fixture
def ag_training(request: pytest.FixtureRequest, ag_backend: Offer, ag_problem: Problem) -> PreparedBackend:
    """The backend, prepared, with the problem in it. A plugin that cannot be loaded fails its tests."""
    from compare_ag.pytest_benchmark.prepared import UnsupportedError

    with _backend_failures(request.config, ag_backend, ag_problem):
        try:
            return _workers(request.config).get(ag_backend, ag_problem)
        except UnsupportedError as reason:
            pytest.skip(str(reason))


def _workers(config: pytest.Config) -> Workers:
    if WORKERS not in config.stash:
        from compare_ag.pytest_benchmark.prepared import Workers

        config.stash[WORKERS] = Workers(config.getoption("ag_timeout", default=TIMEOUT))
    return config.stash[WORKERS]


@contextmanager
def _backend_failures(config: pytest.Config, offer: Offer, problem: Problem) -> Iterator[None]:
    """Fail the test, and end the worker, where the backend dies, hangs or breaks the protocol meanwhile."""
    from compare_ag.host.failures import HostFault, WorkerFailure
    from compare_ag.text import printable

    try:
        yield
    except HostFault:
        raise  # a bug of ours is no failure of the backend
    except WorkerFailure as failure:
        _workers(config).drop(offer, problem, failure)
        reason = failure.reason.replace("--timeout", "--ag-timeout")
        pytest.fail(f"backend {offer.name}: {failure.status}: {printable(reason)}", pytrace=False)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the workers."""
    if WORKERS in config.stash:
        config.stash[WORKERS].close()


@pytest.fixture
def ag_benchmark(
    request: pytest.FixtureRequest, ag_backend: Offer, ag_problem: Problem, ag_training: PreparedBackend
) -> PhaseBenchmark:
    """Call it with a phase (make_tensor, forward, backward, update, step): checks the numbers, then times."""
    if not request.config.pluginmanager.hasplugin("benchmark"):
        pytest.fail("ag_benchmark needs pytest-benchmark: pip install 'compare-ag[bench]'", pytrace=False)
    from compare_ag.pytest_benchmark.phases import PhaseBenchmark

    def benchmark(clock: Callable[[], float]) -> Any:
        """pytest-benchmark's fixture, reading this clock; what the test's own marker says besides is kept."""
        marker = request.node.get_closest_marker("benchmark")
        options = {} if marker is None else marker.kwargs
        request.node.add_marker(pytest.mark.benchmark(**{**options, "timer": clock}), append=False)
        return request.getfixturevalue("benchmark")

    config = request.config
    return PhaseBenchmark(
        benchmark,
        ag_training,
        config.stash[SEEN],
        lambda: _machine(config),
        lambda: _backend_failures(config, ag_backend, ag_problem),
    )


@contextmanager
def _machine(config: pytest.Config) -> Iterator[None]:
    """Hold the machine's lock while one benchmark runs; who holds it is shown while this waits."""
    from compare_ag.host import machine_lock

    # with --benchmark-disable, and in the workers of pytest-xdist, pytest-benchmark runs the function and times nothing
    disabled = getattr(getattr(config, "_benchmarksession", None), "disabled", False)
    said = ""

    def tell(reason: str) -> None:
        nonlocal said
        terminal = config.pluginmanager.getplugin("terminalreporter")
        capture = config.pluginmanager.getplugin("capturemanager")
        if reason and reason != said and terminal is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                terminal.ensure_newline()
                terminal.write_line(f"compare-ag: waiting: {reason}")
        said = reason

    with machine_lock.hold("training" if disabled else "timing", tell=tell) as held:
        if held.failure:
            config.stash[LOCK_FAILURE] = held.failure
        yield


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say once where benchmarks ran without the machine's lock."""
    if failure := config.stash.get(LOCK_FAILURE, ""):
        terminalreporter.write_line(f"compare-ag: other timings on this machine were not excluded: {failure}")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add what a reader needs to know: machine and versions, problems, backends with the threads that were seen.

    A benchmark's parameters become readable, too: where one is an `Offer`, pytest-benchmark would write its
    representation, which names a folder of this machine; it becomes the backend's name.
    """
    for benchmark in output_json["benchmarks"]:
        benchmark["params"] = _named(benchmark["params"])
    seen = config.stash[SEEN]
    if not seen["backends"]:
        return
    import compare_ag
    from compare_ag.host.environment import capture

    threads = max(problem["threads"] for problem in seen["problems"].values())
    output_json["compare_ag"] = {
        "schema": SCHEMA,
        "tool_version": compare_ag.__version__,
        "environment": capture(threads),
        "problems": seen["problems"],
        "backends": seen["backends"],
    }


def _named(params: dict[str, Any] | None) -> dict[str, Any] | None:
    """A copy of a benchmark's parameters with each backend's name in place of its `Offer`."""
    if params is None:
        return None
    from compare_ag.host.discovery import Offer

    return {name: value.name if isinstance(value, Offer) else value for name, value in params.items()}
