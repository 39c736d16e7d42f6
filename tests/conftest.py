"""Fixtures for all tests: plugins that are written on the spot and found through real metadata, without pip."""

from __future__ import annotations

import os
import runpy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compare_ag.speed.schedule import Settings

BRIEF = Settings(
    "brief", budget_seconds=0.1, target=0.01, least_launches=2, bare_imports=1, instances=1, most_instances=1, rounds=4
)
"""the whole timing part, as short as it can be"""

GOOD_PLUGIN = """
import numpy as np
from compare_ag import Backend, Weights, hookimpl


class Mine(Backend):
    def prepare(self, setting):
        self.l2, self.loss = setting.l2, setting.loss

    def make_tensor(self, array, *, requires_grad=False):
        return np.array(array)

    def forward(self, weights, batch):
        w, b = weights
        z = batch.X @ w + b
        one = z.dtype.type(1)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            p = one / (one + np.exp(-z))
            if self.loss == "probability":
                losses = -batch.y * np.log(p) - (one - batch.y) * np.log(one - p)
            else:
                s = (one - 2 * batch.y) * z
                losses = np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))
        loss = losses.mean() + z.dtype.type(self.l2 / 2) * (w @ w)
        return np.asarray(loss, dtype=z.dtype), (w, batch, p - batch.y)

    def backward(self, tape):
        w, batch, residual = tape
        n = residual.dtype.type(len(residual))
        gradient = residual @ batch.X / n + residual.dtype.type(self.l2) * w
        return Weights(gradient, np.asarray(residual.sum() / n))

    def update(self, weights, gradient, learning_rate):
        rate = gradient.w.dtype.type(learning_rate)
        return Weights(*(np.asarray(v - rate * g) for v, g in zip(weights, gradient)))

    def to_numpy(self, tensor):
        return tensor


@hookimpl
def compare_ag_backend():
    return Mine
"""


@pytest.fixture(scope="session", autouse=True)
def _machine_lock_of_this_session(tmp_path_factory):
    """Each worker of pytest-xdist has its own lock, for itself and the commands it starts: they do not wait for each
    other, nor for a user who times something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPARE_AG_LOCK", str(tmp_path_factory.mktemp("lock") / "compare-ag.lock"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _modules_compiled_once():
    """Hundreds of processes are started from here: each would compile the whole package anew if it may not keep it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield


@pytest.fixture(autouse=True)
def _no_worker_of_ours(monkeypatch):
    """A pytest that a test starts is no worker of this session: it writes its own reports."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


_HOSTILE = runpy.run_path(str(Path(__file__).with_name("payloads.py")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``payload`` runs once for each of `payloads.PAYLOADS`."""
    if "payload" in metafunc.fixturenames:
        metafunc.parametrize("payload", _HOSTILE["PAYLOADS"].values(), ids=_HOSTILE["PAYLOADS"])


@pytest.fixture(scope="session")
def infect() -> Callable[..., Any]:
    """`payloads.infect`: a run with a payload wherever a record holds a stranger's text."""
    function: Callable[..., Any] = _HOSTILE["infect"]
    return function


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Any]:
    """`made.make_run`: a run of invented numbers, without a worker."""
    function: Callable[..., Any] = runpy.run_path(str(Path(__file__).with_name("made.py")))["make_run"]
    return function


@pytest.fixture(scope="session")
def brief() -> Settings:
    """For runs whose times do not matter but must be there."""
    return BRIEF


@pytest.fixture(scope="session")
def once() -> Settings:
    """As `brief`, with one launch: for runs where somebody must be timed, and nothing is said of how well."""
    return replace(BRIEF, least_launches=1, most_launches=1)


@pytest.fixture(scope="session")
def let_all_blocks_count() -> Callable[[pytest.MonkeyPatch], None]:
    """Patch the engine so: whatever the kernel counted in blocks, and however fast the CPU was."""

    def let(patch: pytest.MonkeyPatch) -> None:
        patch.setattr("compare_ag.suite.launches.mark_undisturbed", lambda switches, *_, **__: switches == switches)
        patch.setattr("compare_ag.suite.launches.at_full_speed", lambda probe_ns, _: probe_ns[1:] == probe_ns[1:])

    return let


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch, let_all_blocks_count: Callable[[pytest.MonkeyPatch], None]) -> None:
    """No block counts as disturbed: what a test expects does not depend on what else runs on the machine."""
    let_all_blocks_count(monkeypatch)


LONGEST = (
    "divergence/test_divergence.py",
    "docs/test_readme.py",
    "selftest/test_selftest.py",
    "plugins_guide/test_author_guide.py",
    "suite/test_boundary.py",
    "suite/test_faults.py",
    "suite/test_timing.py",
    "conformance/test_kit.py",
    "divergence/test_divergence_edges.py",
    "cli/test_cli.py",
    "cli/test_one_timing_at_a_time.py",
    "bridge/test_suite.py",
    "bridge/test_fixtures.py",
    "report/page/test_browser.py",
    "suite/test_memory.py",
    "graphs/test_commands.py",
    "cli/test_shell.py",
    "packaging/test_wheel.py",
    "suite/test_extremes.py",
    "docs/test_pages.py",
    "template/test_template.py",
)
"""the files that take longest, longest first"""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist hand out the files in our order: its own, by the number of tests, starts the slow ones last."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def _turn(item: pytest.Item) -> int:
    """Formalities first, as what they find is in the way of everything else; then what must not be left for the end."""
    if "formalities" in item.path.parts:
        return 0
    name = Path(os.path.relpath(item.path, Path(__file__).parent)).as_posix()
    return 1 + (LONGEST.index(name) if name in LONGEST else len(LONGEST))


def _leave_few(items: list[pytest.Item]) -> None:
    """Mark as thorough what `few` leaves out of the cases of a test."""
    before: Counter[str] = Counter()
    for item in items:
        if (few := item.get_closest_marker("few")) is not None:
            assert isinstance(item, pytest.Function)
            test, case = item.nodeid.split("[")[0], item.callspec.id
            usual = case in few.args if isinstance(few.args[0], str) else before[test] < few.args[0]
            before[test] += 1
            if not usual:
                item.add_marker("thorough")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest itself looks at the markers."""
    _leave_few(items)
    items.sort(key=_turn)


@pytest.fixture
def good_plugin() -> str:
    """The source of a right, complete third-party plugin, to be used as it is or broken on purpose."""
    return GOOD_PLUGIN


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a module and a distribution that offers it; return the module's name.

    It is found by this process and by every process started from it, exactly as an installed one.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *([path] if path else [])]))

    def install(name: str, source: str = GOOD_PLUGIN, distribution: str | None = None) -> str:
        module = f"{name.replace('-', '_')}_plugin"
        (site / f"{module}.py").write_text(source)
        owner = distribution or f"cag-{name}"
        folder = site / f"{owner.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[compare_ag]\n{name} = {module}\n")
        return module

    return install
