"""The gallery is what its script would make of its records today, and small enough to keep."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from compare_ag.records import load_run

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "reports" / "gallery"
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "gallery.py"))


@pytest.mark.parametrize("name", SCRIPT["RUNS"])
@pytest.mark.parametrize("file", SCRIPT["FORMS"])
def test_a_report_is_rendered_again_byte_for_byte(name, file):
    made = SCRIPT["FORMS"][file](load_run(GALLERY / name))
    assert made == (GALLERY / name / file).read_bytes(), (
        "after a change to a report: python scripts/gallery.py --render"
    )


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
    assert sum(sizes.values()) < 8_000_000
    assert sizes[GALLERY / SCRIPT["SHOT"]] < 300_000


def test_the_readmes_show_every_run():
    for readme in (ROOT / "README.md", GALLERY / "README.md"):
        text = readme.read_text(encoding="utf-8")
        assert SCRIPT["SHOT"] in text
        for name, options in SCRIPT["RUNS"].items():
            assert f"{name}/report.html" in text
            if readme.parent == GALLERY:
                assert f"compare-ag run {' '.join(options)}" in text
