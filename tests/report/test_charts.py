"""A chart is made once: the page, the exported figures and the terminal draw the same series and the same numbers."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from compare_ag import records
from compare_ag.report import charts, cost_charts
from compare_ag.report.chart import Axis, Chart, ChartSeries
from compare_ag.report.page.packing import Packer
from compare_ag.report.page.plotly import LEAST_TICKS, specs
from compare_ag.report.plot import Plot

TIMES = {"numpy": 10e-6, "torch": 50e-6, "off": 20e-6, "dead": 0.0}
STATUSES = {"off": "disagree", "dead": "crashed"}
TRAINED = ["numpy", "torch", "off"]


@pytest.fixture
def run(make_run):
    return make_run(TIMES, statuses=STATUSES, features=9)


def words(chart: Chart) -> list[str]:
    """The words of the chart in letters, the legend last."""
    file = io.StringIO()
    Console(file=file, width=80).print(Plot(chart))
    return " ".join(file.getvalue().splitlines()[12:]).split()


def figure_legend(run, stem: str, monkeypatch) -> list[str]:
    from matplotlib.legend import Legend

    from compare_ag.report import figures

    monkeypatch.setattr(figures, "_save", lambda *arguments: arguments[0])
    return [text.get_text() for text in figures.figures(run, "png")[f"{stem}.png"].findobj(Legend)[0].get_texts()]


def test_the_losses_are_drawn_by_three_renderers_from_one_chart(run, monkeypatch):
    chart = charts.losses(run)
    assert [series.name for series in chart.series] == ["reference", *TRAINED]
    np.testing.assert_array_equal(chart.series[1].y, run.arrays("numpy")["losses"])
    reference = chart.series[0]
    np.testing.assert_allclose(reference.high - reference.low, 2 * run.reference["loss_tolerance"], rtol=0.2)
    (spec,) = specs([chart], Packer()).values()
    assert [part["name"] for part in spec["series"]] == ["tolerance", "reference", *TRAINED]
    assert figure_legend(run, "losses", monkeypatch) == ["reference with tolerance", *TRAINED]
    assert words(chart) == ["o", "numpy", "x", "torch", "+", "off", "#", "several", "─", "reference"]


def test_a_fused_step_is_a_course_of_its_own_in_every_form(run, monkeypatch):
    run.arrays("torch")["fused_losses"] = run.arrays("torch")["losses"] + 1e-3
    for chart in (charts.losses(run), charts.difference(run)):
        assert [series.name for series in chart.series][1:] == ["numpy", "torch", "torch, fused step", "off"]
        assert "fused" in words(chart)
    assert "torch, fused step" in figure_legend(run, "losses", monkeypatch)


def test_a_backend_without_a_difference_has_no_line_and_is_named(run, monkeypatch):
    run.arrays("torch")["losses"] = run.reference["losses"].copy()
    chart = charts.difference(run)
    assert "No difference at any step: torch." in chart.notes
    (spec,) = specs([chart], Packer()).values()
    assert {part["name"] for part in spec["series"]} == {"tolerance", "numpy", "off"}
    assert "torch (no difference)" in figure_legend(run, "difference", monkeypatch)


def test_a_course_that_is_not_finite_is_not_called_equal(run):
    run.arrays("torch")["losses"] = np.full(201, np.nan)
    chart = charts.difference(run)
    assert "No finite difference at any step: torch." in chart.notes
    assert not any(note.startswith("No difference") for note in chart.notes)


def test_a_noisy_course_is_a_cloud_with_its_peaks_on_the_page(run):
    (spec,) = specs([charts.difference(run)], Packer()).values()
    assert [part["draw"] for part in spec["series"] if part["name"] == "off"] == ["cloud", "line"]


def test_without_a_trained_backend_there_is_no_chart_of_losses(make_run):
    failed = make_run({"dead": 0.0}, statuses=STATUSES)
    assert [chart.id for chart in charts.charts(failed)] == []


def test_the_ratios_beside_the_times_share_their_rows(run):
    times, ratios = cost_charts.speed(run), cost_charts.ratios_to_baseline(run)
    assert ratios.y.rows == times.y.rows
    (ratio,) = ratios.series
    assert times.y.rows[int(ratio.y[0])] == "torch"
    pair = run.manifest.speed.pair("torch", "numpy").ratio
    assert (ratio.x[0], ratio.low[0], ratio.high[0]) == (pair.value, pair.low, pair.high)
    assert ratios.x.title == "ratio to numpy"
    assert len(ratios.lines) == 3  # 1, and both ends of the noise floor


def test_a_run_of_one_process_has_no_band_and_no_interval(imported):
    ratios = cost_charts.ratios_to_baseline(imported)
    assert (ratios.region, ratios.key, len(ratios.lines)) == (None, "", 1)
    assert cost_charts.speed(imported).series[-1].low is None
    (spec,) = specs([ratios], Packer()).values()
    assert spec["series"][0]["error"] is None


def test_the_scale_follows_the_spread_where_a_reader_cannot_change_it():
    def chart(*values: float) -> Chart:
        y = np.array(values)
        series = [
            ChartSeries("reference", "reference", "line", np.arange(len(y)), np.zeros(len(y))),
            ChartSeries("one", 0, "line", np.arange(len(y)), y),
        ]
        return Chart("made", "", "", Axis("step"), Axis("loss", "either", toggle=True), series, 100)

    assert chart(1.0, 0.001).is_log
    assert not chart(1.0, 0.1).is_log
    assert not chart(1.0, 0.0).is_log
    assert not chart(np.nan).is_log
    (spec,) = specs([chart(1.0, 0.001)], Packer()).values()
    assert spec["y"]["type"] == "linear"  # a reader of the page can


def test_marks_beyond_what_a_page_shows_are_thinned_and_a_note_says_so():
    def spec(count: int) -> dict:
        ticks = [ChartSeries(f"{i}: blocks", i, "ticks", np.arange(1.0, count + 1), np.zeros(count)) for i in range(30)]
        packer = Packer()
        (made,) = specs([Chart("made", "", "", Axis("s"), Axis(""), ticks, 100)], packer).values()
        return made

    assert spec(LEAST_TICKS)["notes"] == []
    assert spec(LEAST_TICKS + 1)["notes"] == [
        "The ticks are thinned evenly with all extremes kept; the run directory holds them all."
    ]


def test_every_spec_is_json_and_refers_to_packed_arrays(run):
    packer = Packer()
    text = json.dumps(specs(charts.charts(run), packer), allow_nan=False)
    numbers = {int(number) for number in re.findall(r'"array": (\d+)', text)}
    assert numbers == set(range(len(packer.packed)))


def test_batches_say_whose_loss_it_is(run):
    problem = records.replace(run.manifest.problem, batch_size=7)
    batched = records.Run(run.path, records.replace(run.manifest, problem=problem), run.records, run._cache)
    batched.__dict__["reference"] = run.reference
    assert charts.losses(batched).y.title == "loss of the step's batch"
