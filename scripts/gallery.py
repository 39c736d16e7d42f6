"""Make the gallery: reference runs from fixed commands, each with its records and its reports, and pictures of them.

    python scripts/gallery.py            run everything again (about 3 minutes), then render
    python scripts/gallery.py --sweep    measure the sweep again (about 25 minutes on two quiet CPUs), then render
    python scripts/gallery.py --render   render again from the records that are there, as after a change to a report

A test renders every file of `FORMS` and every SVG of `PICTURES` from the records and compares bytes. A screenshot names
the page that it shows by its SHA-256, which the test compares. To show another form of report, add it to `FORMS`; to
show another picture, add it to `PICTURES` and to reports/gallery/README.md, which is also a page of the documentation.
Screenshots need Playwright and a Chromium; without them the old ones stay.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.console import Console

from compare_ag.records import Run, load_run, seal
from compare_ag.records.base import WITH_SUMS
from compare_ag.records.graphs import GraphDocument, TraceDocument
from compare_ag.report.graph.page import graph_file
from compare_ag.report.graph.trace import slow_motion
from compare_ag.report.page import render
from compare_ag.sweep.ledger import Ledger
from compare_ag.sweep.tables import keep_tables
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

SWEEP = [
    "--backends", "numpy,autograd,torch,jax,jax-jit,numba", "--n", "4,200,1e4,1e5", "--d", "2,20,100",
    "--dtype", "float32,float64", "--timing-budget", "40",
]  # fmt: skip
"""what follows `compare-ag sweep`; of each cell the gallery has the record, and not the run"""

TRACE = ["--step", "500", "--backends", "torch,autograd,numpy"]
"""what follows `compare-ag trace`; its JSON is kept in trace.json"""


def draw_graph(source: Path) -> bytes:
    """The graphs of a run as SVG."""
    return graph_file(msgspec.json.decode(source.read_bytes(), type=GraphDocument)).encode()


def draw_trace(source: Path) -> bytes:
    """One training step as the terminal shows it, as SVG that loads no font."""
    document = msgspec.json.decode(source.read_bytes(), type=TraceDocument)
    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(slow_motion(document))
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="compare-ag trace"), flags=re.S)
    return "".join(f"{line.rstrip()}\n" for line in drawn.splitlines()).encode()


class Picture(NamedTuple):
    """One picture of the gallery."""

    file: str
    source: str
    """what it shows: a page, or a record"""
    draw: Callable[[Path], bytes] | None = None
    """from the record; None: a screenshot of the upper part of the page, down to `until`"""
    until: str = ""


PICTURES = (
    Picture("report-seed.png", "seed/report.html", until="#figure-losses"),
    Picture("report-breast-cancer.png", "breast-cancer/report.html", until="#figure-losses"),
    Picture("report-failing-plugin.png", "failing-plugin/report.html", until="#figure-losses"),
    Picture("report-sweep.png", "sweep/report.html", until="#figure-chart-0"),
    Picture("graph-seed.svg", "seed/graph.json", draw_graph),
    Picture("trace-seed.svg", "trace.json", draw_trace),
)
"""in the order of reports/gallery/README.md"""
SHOWN = "page-sha256"
"""the entry of a screenshot's metadata that names the page it shows"""
COLOURS = 256
"""of a screenshot's palette: text and lines stay sharp, and the file small"""

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


def make_sweep() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sweep"
        command = [sys.executable, "-m", "compare_ag", "sweep", "--quiet", *SWEEP, "-o", str(folder)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            sys.exit(f"sweep: exit code {done.returncode}")
        keep_sweep(folder)


def keep_sweep(folder: Path) -> None:
    """Copy a sweep without the runs of its cells: their records are what page and tables are made of."""
    kept = GALLERY / "sweep"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder / "limits", kept / "limits")
    shutil.copy(folder / "sweep.json", kept)
    for record in sorted((folder / "cells").glob("*/cell.json")):
        place = kept / "cells" / record.parent.name
        place.mkdir(parents=True)
        shutil.copy(record, place)
        seal(place)


def make_trace() -> None:
    command = [sys.executable, "-m", "compare_ag", "trace", *TRACE, "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"trace: exit code {done.returncode}")
    (GALLERY / "trace.json").write_bytes(done.stdout)


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
    keep_tables(Ledger.open(GALLERY / "sweep"))
    print("wrote sweep/report.html and its tables")


def draw_all() -> None:
    """Every picture, from the records and pages as they are."""
    screenshots = []
    for picture in PICTURES:
        if picture.draw is None:
            screenshots.append(picture)
        else:
            (GALLERY / picture.file).write_bytes(picture.draw(GALLERY / picture.source))
            print(f"wrote {picture.file}")
    take_screenshots(screenshots)


def take_screenshots(pictures: list[Picture]) -> None:
    """The upper part of each page as a wide screen shows it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("no screenshots: they need Playwright and a Chromium")
        return
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        page = browser.new_page(viewport={"width": 1060, "height": 900}, color_scheme="light")
        for picture in pictures:
            source = GALLERY / picture.source
            page.goto(source.as_uri())
            page.wait_for_selector(f"{picture.until} .plot[data-drawn]")
            page.wait_for_timeout(300)
            bottom = page.locator(picture.until).bounding_box()
            height = 900 if bottom is None else bottom["y"] + bottom["height"] + 16
            shot = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": 1060, "height": height})
            (GALLERY / picture.file).write_bytes(compress(shot, source))
            print(f"wrote {picture.file}, {(GALLERY / picture.file).stat().st_size // 1000} kB")
        browser.close()


def compress(png: bytes, source: Path) -> bytes:
    """The picture with a palette, and with the SHA-256 of the page that it shows."""
    known, buffer = PngInfo(), io.BytesIO()
    known.add_text(SHOWN, digest(source))
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(buffer, "PNG", optimize=True, pnginfo=known)
    return buffer.getvalue()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--render", action="store_true", help="only render again, from the records that are there")
    parser.add_argument("--sweep", action="store_true", help="measure the sweep again, nothing else")
    parser.add_argument("--only", choices=sorted(RUNS), help="run again this one alone")
    arguments = parser.parse_args()
    if arguments.sweep:
        make_sweep()
    elif not arguments.render:
        make_runs([arguments.only] if arguments.only else list(RUNS))
        if not arguments.only:
            make_trace()
    render_all()
    draw_all()


if __name__ == "__main__":
    main()
