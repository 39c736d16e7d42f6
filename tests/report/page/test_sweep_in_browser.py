"""A sweep's page in a real browser: it draws in both themes, says nothing, asks for nothing and saves every number."""

from __future__ import annotations

import csv
import io
import runpy
from pathlib import Path

import pytest

from compare_ag.report.sweep.page import render_sweep

DRAWN = "document.querySelectorAll('.plot').length === document.querySelectorAll('.plot[data-drawn]').length"
make_varied = runpy.run_path(str(Path(__file__).parents[1] / "sweep" / "conftest.py"))["make_varied"]


@pytest.mark.thorough
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_from_a_file_without_the_network(browser, tmp_path, scheme):
    path = tmp_path / "report.html"
    path.write_text(render_sweep(*make_varied()), encoding="utf-8")
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1000, "height": 800}, accept_downloads=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function(DRAWN)
    assert said == []
    assert asked == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000  # wide tables scroll by themselves
    colours = page.evaluate("[...document.querySelectorAll('.heat td')].map(n => getComputedStyle(n).backgroundColor)")
    assert len(set(colours)) == 3  # two backends and no result; a tie is striped
    legend = page.locator(".legend").first.inner_text().split("\n")
    assert [name.strip() for name in legend if name.strip()][:3] == ["numpy", "torch", "slow"]
    with page.expect_download() as started:
        page.get_by_role("button", name="cells.csv").click()
    text = Path(started.value.path()).read_text(encoding="utf-8")
    assert len(list(csv.DictReader(io.StringIO(text)))) == 44
    context.close()
