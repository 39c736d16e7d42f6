"""Runs to make pages of, and a real browser where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from compare_ag import records

ROOT = Path(__file__).resolve().parents[3]
AXE = ROOT / ".ci" / "node" / "node_modules" / "axe-core" / "axe.min.js"
NEEDED = "COMPARE_AG_NEED_BROWSER"
TIMES = {"numpy": 1.0e-5, "torch": 2.5e-5, "autograd": 9e-5, "wrong": 2e-5, "broken": 1e-5}


@pytest.fixture(scope="session")
def varied(tmp_path_factory, make_run) -> records.Run:
    """A saved run with everything: many steps, many features, a backend that is wrong, one that crashed."""
    path = tmp_path_factory.mktemp("page") / "run"
    run = make_run(TIMES, steps=2500, features=9, statuses={"wrong": "disagree", "broken": "crashed"}, path=path)
    crashed = records.replace(
        run["broken"],
        reason="SIGSEGV in forward, step 17",
        phase="forward",
        step=17,
        logs=["logs/broken.train.stderr.txt"],
    )
    records.write_backend(path, crashed)
    trajectory = {key: array for key, array in run.arrays("torch").items() if not key.endswith("_ns")}
    trajectory["final_w"] = trajectory["final_w"] + 1e-15  # it differs from the reference, as real ones do
    sha256 = records.write_arrays(path, run["torch"].arrays, trajectory)
    records.write_backend(path, records.replace(run["torch"], arrays_sha256=sha256))
    return records.load_run(path)


def _cannot(why: str) -> NoReturn:
    """Skip; fail where .ci/run has found everything to be there."""
    if os.environ.get(NEEDED):
        pytest.fail(f"{why}; {NEEDED} is set", pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium of the system."""
    try:
        import playwright.sync_api as api
    except ImportError:
        _cannot("needs playwright (requirements-dev.txt)")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        _cannot("no Chromium is installed (Debian: apt install chromium); .ci/run installs one where it may")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, the accessibility audit."""
    if not AXE.is_file():
        _cannot("axe-core is not installed: npm install --prefix .ci/node axe-core; .ci/run does so where npm is")
    return AXE.read_text(encoding="utf-8")
