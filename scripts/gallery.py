"""Make the gallery: reference runs from fixed commands, each with its records and its reports, and a screenshot.

    python scripts/gallery.py            run everything again (about 3 minutes), then render
    python scripts/gallery.py --render   render again from the records that are there, as after a change to a report

A test renders every file of `FORMS` from the records and compares bytes. To show another form of report here, add it to
`FORMS`. The screenshot needs Playwright and a Chromium; without them the old one stays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from compare_ag.records import Run, load_run, seal
from compare_ag.records.base import WITH_SUMS
from compare_ag.report.page import render
from compare_ag.text import without_paths

GALLERY = Path(__file__).resolve().parents[1] / "reports" / "gallery"

RUNS = {
    "seed": ["--backends", "torch,numpy,autograd"],
    "breast-cancer": [
        "--backends", "torch,numpy,autograd", "--problem", "breast-cancer", "--loss", "logits", "--l2", "0.01",
        "--steps", "1000", "--quick",
    ],
    "failing-plugin": [
        "--backends", "numpy,autograd,falls", "--problem", "synthetic:n=100,d=8", "--steps", "300", "--quick",
    ],
}  # fmt: skip
"""name -> what follows `compare-ag run`"""

FORMS: dict[str, Callable[[Run], bytes]] = {
    "report.html": lambda run: render(run).encode(),
}
"""file in each run's folder -> how it is made from the records"""

FALLS = '''
"""The numpy backend, until its process is ended from within at the 120th forward."""

import os

import compare_ag_numpy
from compare_ag import hookimpl


class Falls(compare_ag_numpy.NumpyBackend):
    calls = 0

    def forward(self, weights, batch):
        self.calls += 1
        if self.calls == 120:
            os.abort()
        return super().forward(weights, batch)


@hookimpl
def compare_ag_backend():
    return Falls
'''
SHOT = "report-seed.png"


def install_falls(site: Path) -> None:
    """A plugin as an author would install it: a module, and a distribution that offers it."""
    (site / "falls_plugin.py").write_text(FALLS, encoding="utf-8")
    metadata = site / "falls-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: falls\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[compare_ag]\nfalls = falls_plugin\n", encoding="utf-8")


def make_runs(wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        site = Path(temporary)
        install_falls(site)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [temporary, os.environ.get("PYTHONPATH")]))
        }
        for name in wanted:
            folder = GALLERY / name
            shutil.rmtree(folder, ignore_errors=True)
            command = [sys.executable, "-m", "compare_ag", "run", "--quiet", *RUNS[name], "-o", str(folder)]
            done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
            expected = 3 if name == "failing-plugin" else 0
            if done.returncode != expected:
                sys.exit(f"{name}: exit code {done.returncode} instead of {expected}")
            keep_logs_of(load_run(folder))


def keep_logs_of(run: Run) -> None:
    """Keep the logs that a record names, without this machine's folders; others hold nothing that anybody reads."""
    named = {log for record in run.records.values() for log in record.logs}
    for path in (run.path / "logs").iterdir():
        if path.relative_to(run.path).as_posix() in named:
            path.write_text(without_paths(path.read_text(encoding="utf-8", errors="replace")), encoding="utf-8")
        else:
            path.unlink()
    if not any((run.path / "logs").iterdir()):
        (run.path / "logs").rmdir()
    seal(run.path)


def render_all() -> None:
    for manifest in sorted(GALLERY.glob("*/manifest.json")):
        run = load_run(manifest.parent)
        for file, form in FORMS.items():
            (manifest.parent / file).write_bytes(form(run))
            print(f"wrote {manifest.parent.name}/{file}")
        if run.manifest.schema.minor >= WITH_SUMS:
            seal(manifest.parent)


def screenshot() -> None:
    """The upper part of the seed's page, as the README shows it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("no screenshot: it needs Playwright and a Chromium")
        return
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        page = browser.new_page(viewport={"width": 1060, "height": 900}, color_scheme="light")
        page.goto((GALLERY / "seed" / "report.html").as_uri())
        page.wait_for_selector("#plot-losses[data-drawn]")
        page.wait_for_timeout(300)
        bottom = page.locator("#figure-losses").bounding_box()
        height = 900 if bottom is None else bottom["y"] + bottom["height"] + 16
        clip = {"x": 0, "y": 0, "width": 1060, "height": height}
        page.screenshot(path=GALLERY / SHOT, full_page=True, clip=clip)  # type: ignore[arg-type]  # a dict of the right keys
        browser.close()
    print(f"wrote {SHOT}, {(GALLERY / SHOT).stat().st_size // 1000} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="only render again, from the records that are there")
    parser.add_argument("--only", choices=sorted(RUNS), help="run again this one alone")
    arguments = parser.parse_args()
    if not arguments.render:
        make_runs([arguments.only] if arguments.only else list(RUNS))
    render_all()
    screenshot()


if __name__ == "__main__":
    main()
