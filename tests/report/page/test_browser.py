"""The page in a real browser: it draws, zooms, saves, prints, needs no network, and everybody can use it."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pypdf import PdfReader

from compare_ag.report.page import render, write_report

DRAWN = "document.querySelectorAll('.plot').length === document.querySelectorAll('.plot[data-drawn]').length"


class Opened:
    """A page from a file, with everything that it said or asked for."""

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(**options)
        self.reader = self.context.new_page()  # an empty page that decodes pictures of the other
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_function(DRAWN)
        self.path = path

    def axis(self, chart, which):
        return self.page.evaluate(f"""(() => {{ const a = document.getElementById("plot-{chart}")._fullLayout.{which}axis;
            return {{ type: a.type, range: a.range }}; }})()""")

    def pixels(self, chart):
        """(height, width, 3) of the chart as it is on the screen."""
        png = self.page.locator(f"#plot-{chart}").screenshot()
        height, width, raw = self.reader.evaluate(READ, base64.b64encode(png).decode())
        return np.frombuffer(base64.b64decode(raw), np.uint8).reshape(height, width, 4)[..., :3]

    def settle(self):
        """Wait for what a click has set going."""
        self.page.wait_for_timeout(250)


READ = """async (png) => {
    const bytes = Uint8Array.from(atob(png), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const raw = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    let text = "";
    for (let i = 0; i < raw.length; i += 32768) text += String.fromCharCode(...raw.subarray(i, i + 32768));
    return [bitmap.height, bitmap.width, btoa(text)];
}"""


def coloured(image: np.ndarray) -> int:
    """How many pixels are neither grey nor nearly so."""
    spread = image.max(axis=2).astype(int) - image.min(axis=2)
    return int((spread > 60).sum())


@pytest.fixture(scope="module")
def path(varied, tmp_path_factory):
    return write_report(varied, tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture(scope="module")
def opened(browser, path):
    opened = Opened(browser, path, viewport={"width": 1200, "height": 900})
    yield opened
    opened.context.close()


CHARTS = [
    "losses", "difference", "weights", "weights-off", "speed", "ratios", "phases", "first-steps", "memory", "accuracy",
]  # fmt: skip


def test_it_opens_from_a_file_without_a_message_and_asks_for_nothing(opened):
    assert opened.said == []
    assert opened.asked == [opened.path.as_uri()]


@pytest.mark.thorough
@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_is_drawn(opened, chart):
    assert coloured(opened.pixels(chart)) > 60


@pytest.mark.thorough
def test_hiding_every_course_by_the_legend_leaves_no_colour(opened):
    buttons = opened.page.locator('[data-chart="losses"] .legend button')
    before = coloured(opened.pixels("losses"))
    for _ in range(2):
        for index in range(buttons.count()):
            buttons.nth(index).click()
        opened.settle()
        if buttons.first.get_attribute("aria-pressed") == "false":
            assert coloured(opened.pixels("losses")) < 20 < before
    assert coloured(opened.pixels("losses")) > before / 2


@pytest.mark.thorough
@pytest.mark.parametrize(("chart", "which"), [("losses", "x"), ("losses", "y"), ("difference", "y"), ("speed", "x")])
def test_a_click_changes_between_linear_and_logarithmic(opened, chart, which):
    kinds = ["linear", "log"]
    started = opened.axis(chart, which)["type"]
    other = kinds[1 - kinds.index(started)]
    before = opened.pixels(chart)
    for kind in (other, started):
        button = opened.page.locator(f'[data-chart="{chart}"] [data-axis="{which}"][data-kind="{kind}"]')
        button.click()
        opened.settle()
        assert opened.axis(chart, which)["type"] == kind
        assert button.get_attribute("aria-pressed") == "true"
        if kind == other:
            assert (opened.pixels(chart) != before).any()


def test_dragging_over_a_chart_zooms_in_and_reset_goes_back(opened):
    chart = opened.page.locator("#plot-losses .nsewdrag")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    whole = opened.axis("losses", "x")["range"]
    opened.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.8, steps=4)
    opened.page.mouse.up()
    opened.settle()
    zoomed = opened.axis("losses", "x")["range"]
    assert whole[0] < zoomed[0] < zoomed[1] < whole[1]
    opened.page.locator('[data-chart="losses"] [data-zoom="reset"]').click()
    opened.settle()
    assert opened.axis("losses", "x")["range"] == pytest.approx(whole, rel=1e-3)


@pytest.mark.thorough
def test_the_zoom_buttons_do_what_they_say(opened):
    def click(word):
        opened.page.locator(f'[data-chart="difference"] [data-zoom="{word}"]').click()
        opened.settle()
        return opened.axis("difference", "x")["range"]

    whole = opened.axis("difference", "x")["range"]
    width = whole[1] - whole[0]
    inside = click("in")
    assert inside[1] - inside[0] == pytest.approx(width / 2)
    right = click("right")
    assert right == pytest.approx([end + width / 8 for end in inside])
    assert click("left") == pytest.approx(inside)
    assert click("out") == pytest.approx(whole)
    assert click("reset") == pytest.approx(whole, rel=1e-3)


def saved(opened, name):
    with opened.page.expect_download() as waiting:
        opened.page.get_by_role("button", name=name, exact=True).click()
    assert waiting.value.suggested_filename == name
    with open(waiting.value.path(), encoding="utf-8", newline="") as file:
        return file.read()


def test_the_downloads_parse_back_to_the_records_numbers(opened, varied):
    rows = list(csv.DictReader(io.StringIO(saved(opened, "results.csv"))))
    assert [row["backend"] for row in rows] == list(varied.records)
    for row, record in zip(rows, varied.records.values(), strict=True):
        assert row["status"] == record.status
        assert (float(row["step s"]) if row["step s"] else None) == (record.cost and record.cost.step.value)
    document = json.loads(saved(opened, "run.json"))
    assert document.pop("records") == [json.loads(msgspec.json.encode(record)) for record in varied.records.values()]
    assert document == json.loads(msgspec.json.encode(varied.manifest))
    rows = list(csv.DictReader(io.StringIO(saved(opened, "losses.csv"))))
    assert {row["source"] for row in rows} == {"reference", "numpy", "torch", "autograd", "wrong"}
    for row in rows:
        losses = (varied.reference if row["source"] == "reference" else varied.arrays(row["source"]))["losses"]
        assert float(row["loss"]) == losses[int(row["step"])]
    rows = list(csv.DictReader(io.StringIO(saved(opened, "timings.csv"))))
    assert len(rows) == sum(run["block_wall_ns"].size for run in map(varied.arrays, ("numpy", "torch", "autograd")))
    for row in rows:
        place = tuple(int(row[word]) for word in ("launch", "instance", "round"))
        assert int(row["wall ns"]) == varied.arrays(row["backend"])["block_wall_ns"][place]


@pytest.mark.thorough
def test_the_keyboard_reaches_everything_and_shows_where_it_is(opened):
    page = opened.page
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    wanted = page.evaluate(
        """(() => { const all = [...document.querySelectorAll("a[href], button, [tabindex='0']")];
           all.forEach((node, i) => { node.dataset.order = i; }); return all.length; })()"""
    )
    page.evaluate("document.body.setAttribute('tabindex', '-1'); document.body.focus()")
    reached = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """(() => { const node = document.activeElement, style = getComputedStyle(node);
                   return [Number(node.dataset.order), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2]; })()"""
            )
        )
    assert [order for order, _ in reached] == list(range(wanted))
    assert all(visible for _, visible in reached)


def test_the_keyboard_works_the_controls(opened):
    button = opened.page.locator('[data-chart="losses"] [data-axis="y"][data-kind="log"]')
    button.focus()
    opened.page.keyboard.press("Enter")
    opened.settle()
    assert opened.axis("losses", "y")["type"] == "log"
    assert "log" in opened.page.locator("#status").text_content()
    opened.page.locator('[data-chart="losses"] [data-axis="y"][data-kind="linear"]').focus()
    opened.page.keyboard.press("Space")
    opened.settle()
    assert opened.axis("losses", "y")["type"] == "linear"


def test_charts_have_words_for_those_who_do_not_see_them(opened):
    for chart in CHARTS:
        plot = opened.page.locator(f"#plot-{chart}")
        assert plot.get_attribute("role") == "img"
        assert len(plot.get_attribute("aria-label")) > 60


GALLERY = Path(__file__).resolve().parents[3] / "reports" / "gallery" / "seed" / "report.html"
"""of a real run, with a graph"""


@pytest.mark.parametrize(
    ("scheme", "width", "real"), [("light", 1200, False), ("dark", 360, False), ("light", 360, True)]
)
def test_an_audit_finds_nothing_serious(browser, path, axe, scheme, width, real):
    opened = Opened(browser, GALLERY if real else path, viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened.page.evaluate(axe)
    found = opened.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    bad = [
        (one["id"], one["impact"], one["nodes"][0]["html"][:120])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.context.close()


@pytest.mark.thorough
def test_charts_follow_the_theme(opened):
    light = opened.pixels("losses")
    opened.page.emulate_media(color_scheme="dark")
    opened.settle()
    dark = opened.pixels("losses")
    opened.page.emulate_media(color_scheme="light")
    opened.settle()
    assert light.mean() > 200 > 60 > dark.mean()
    assert coloured(dark) > 60


@pytest.mark.thorough
def test_it_prints_on_pages_in_light_colours(opened):
    opened.page.emulate_media(color_scheme="dark")
    pdf = opened.page.pdf(format="A4")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page/") >= 4
    opened.page.emulate_media(color_scheme="light")
    opened.settle()
    widths = opened.page.evaluate("[...document.querySelectorAll('.plot')].map((n) => n._fullLayout.width)")
    assert min(widths) > 800  # back to the screen's


@pytest.mark.thorough
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_no_printed_page_is_blank_or_holds_a_heading_alone(browser, paper):
    opened = Opened(browser, GALLERY)
    printed = PdfReader(io.BytesIO(opened.page.pdf(format=paper)))
    texts = [page.extract_text().split() for page in printed.pages]
    headings = {" ".join(heading.split()) for heading in opened.page.locator("h2, h3").all_inner_texts()}
    assert [number for number, text in enumerate(texts, 1) if not text or " ".join(text) in headings] == []
    opened.context.close()


@pytest.mark.thorough
@pytest.mark.few(1)
@pytest.mark.parametrize(("needed", "outcome"), [("", "1 skipped"), ("1", "1 error")])
def test_where_a_browser_is_needed_its_absence_is_no_skip(needed, outcome, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "opens_from_a_file"],
        env=os.environ | {"PATH": str(tmp_path), "COMPARE_AG_NEED_BROWSER": needed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout
    assert done.returncode == (1 if needed else 0)


@pytest.mark.thorough
def test_a_page_full_of_payloads_does_nothing(browser, make_run, infect, tmp_path):
    payloads = runpy.run_path(str(Path(__file__).parents[2] / "payloads.py"))["PAYLOADS"]
    run = make_run({"numpy": 1e-5, "torch": 2e-5, "broken": 0.0}, steps=20, launches=3, statuses={"broken": "crashed"})
    path = tmp_path / "report.html"
    path.write_text(render(infect(run, " ".join(payloads.values()))), encoding="utf-8")
    opened = Opened(browser, path)
    assert opened.said == []
    assert opened.asked == [path.as_uri()]
    assert opened.page.locator("script").count() == 4
    assert opened.page.locator("iframe, img, base, form, object").count() == 0
    hrefs = opened.page.evaluate(
        "[...document.querySelectorAll('a, svg a')].map((a) => a.getAttribute('href') || a.getAttribute('xlink:href'))"
    )
    assert all(href.startswith("#") for href in hrefs)
    opened.context.close()
