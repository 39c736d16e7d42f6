"""The gallery is what its script would make of its records today, and small enough to keep."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
from PIL import Image

from compare_ag.records import load_run
from compare_ag.sweep.ledger import Ledger, check_cell
from compare_ag.sweep.tables import FILES, keep_tables

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "reports" / "gallery"
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "gallery.py"))
PICTURES = {picture.file: picture for picture in SCRIPT["PICTURES"]}
DRAWN = [name for name, picture in PICTURES.items() if picture.draw is not None]
AGAIN = "after a change to a report: python scripts/gallery.py --render"


@pytest.mark.parametrize("name", SCRIPT["RUNS"])
@pytest.mark.parametrize("file", SCRIPT["FORMS"])
def test_a_report_is_rendered_again_byte_for_byte(name, file):
    made = SCRIPT["FORMS"][file](load_run(GALLERY / name))
    assert made == (GALLERY / name / file).read_bytes(), AGAIN


@pytest.mark.parametrize("file", FILES)
def test_the_tables_and_the_page_of_the_sweep_are_made_again_byte_for_byte(tmp_path, file):
    folder = shutil.copytree(GALLERY / "sweep", tmp_path / "sweep")
    keep_tables(Ledger.open(folder))
    assert (folder / file).read_bytes() == (GALLERY / "sweep" / file).read_bytes(), AGAIN


def test_the_sweep_is_the_one_that_its_command_measures():
    grid = Ledger.open(GALLERY / "sweep").grid
    records = list(Ledger.open(GALLERY / "sweep").records())
    assert {record.cell for record in records} == set(grid.cells())
    text = (GALLERY / "README.md").read_text(encoding="utf-8")
    assert f"compare-ag sweep {' '.join(SCRIPT['SWEEP'])}" in text
    assert all(row.status == "ok" for record in records for row in record.rows)
    assert all(check_cell(place) for place in sorted((GALLERY / "sweep" / "cells").iterdir()))


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_drawn_again_byte_for_byte(name):
    picture = PICTURES[name]
    assert picture.draw(GALLERY / picture.source) == (GALLERY / name).read_bytes(), AGAIN


@pytest.mark.parametrize("name", sorted(PICTURES.keys() - set(DRAWN)))
def test_a_screenshot_shows_the_page_as_it_is(name):
    with Image.open(GALLERY / name) as image:
        assert image.width == 1060
        shown = image.text[SCRIPT["SHOWN"]]
    assert shown == SCRIPT["digest"](GALLERY / PICTURES[name].source), f"{AGAIN}, where there is a Chromium"


def test_a_picture_loads_nothing():
    for name in DRAWN:
        text = (GALLERY / name).read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?(?!#)|@import|<script|<image", text), name


def test_the_runs_show_what_they_are_for():
    runs = {name: load_run(GALLERY / name) for name in SCRIPT["RUNS"]}
    for name in ("seed", "breast-cancer"):
        assert {one: record.status for one, record in runs[name].records.items()} == {
            "torch": "ok", "numpy": "ok", "autograd": "ok",
        }  # fmt: skip
        assert all(record.cost is not None for record in runs[name].records.values())
    falls = runs["failing-plugin"]["falls"]
    assert falls.status == "crashed"
    assert "SIGABRT" in falls.reason
    assert falls.logs
    assert all((GALLERY / "failing-plugin" / log).is_file() for log in falls.logs)
    assert all(run.manifest.graph is not None for run in runs.values())


def test_the_gallery_stays_small():
    sizes = {path: path.stat().st_size for path in GALLERY.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 10_000_000
    assert {name for name in PICTURES if sizes[GALLERY / name] >= 200_000} == set()


def test_the_readmes_show_every_run():
    for readme in (ROOT / "README.md", GALLERY / "README.md"):
        text = readme.read_text(encoding="utf-8")
        assert "report-seed.png" in text
        for name, options in SCRIPT["RUNS"].items():
            assert f"{name}/report.html" in text
            if readme.parent == GALLERY:
                assert f"compare-ag run {' '.join(options)}" in text


def test_the_gallerys_page_shows_every_picture_with_words_and_its_source():
    text = (GALLERY / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
    assert [name for _, name in shown] == list(PICTURES)
    assert all(len(words) > 20 for words, _ in shown)
    assert f"compare-ag trace {' '.join(SCRIPT['TRACE'])}" in text
    for picture in PICTURES.values():
        assert f"]({picture.source})" in text
