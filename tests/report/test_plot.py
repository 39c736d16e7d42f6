"""Plots of letters: where a course runs, what coincides, and what a narrow or old terminal makes of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from compare_ag.report.chart import Axis, Chart, ChartSeries, spread_widely
from compare_ag.report.plot import HEIGHT, MOST_WIDTH, SIDE_BY_SIDE, Beside, Plot

ROOM = MOST_WIDTH - 9
"""columns inside a plot that is as wide as they get"""


def plot(courses, bound=None, *, name="loss", log=False, peaks=False) -> Plot:
    """The plot of a chart with these courses; bound: a line below them."""
    draw = "peaks" if peaks else "line"
    series = [
        ChartSeries(name, look, draw, np.arange(len(values)), values)
        for look, (name, values) in enumerate(courses.items())
    ]
    if bound is not None:
        series.insert(0, ChartSeries("tolerance", "bound", "line", np.arange(len(bound)), bound))
    return Plot(Chart("made", "", "", Axis("step"), Axis(name, "log" if log else "linear"), series, 100))


def drawn(renderable, width: int = 80) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(renderable)
    return file.getvalue().splitlines()


def area(lines: list[str]) -> list[str]:
    """The plot's rows, without labels and axis."""
    return [line[9:].ljust(ROOM) for line in lines[1 : 1 + HEIGHT]]


def test_a_falling_course_falls_from_corner_to_corner():
    lines = drawn(plot({"one": np.linspace(5, 1, 101)}))
    rows = area(lines)
    assert rows[0].startswith("o")
    assert rows[-1].rstrip().endswith("o")
    assert len(rows[-1].rstrip()) == ROOM
    places = [row.index("o") for row in rows]
    assert places == sorted(places)
    assert [lines[i].split()[0] for i in (1, 1 + HEIGHT // 2, HEIGHT)] == ["5", "3", "1"]
    assert lines[HEIGHT + 2].split() == ["0", "100"]


def test_courses_that_coincide_are_one_and_those_that_part_are_told_apart():
    one = np.full(100, 1.0)
    other = np.concatenate([one[:50], one[50:] + 1])
    rows = area(drawn(plot({"one": one, "other": other})))
    assert set(rows[-1][:32]) == {"#"}
    assert set(rows[-1][35:]) == {"o"}
    assert set(rows[0][35:]) == {"x"}
    legend = drawn(plot({"one": one, "other": other}))[-1]
    assert legend.split() == ["o", "one", "x", "other", "#", "several"]


def test_a_log_scale_leaves_out_what_has_no_place_on_it():
    values = np.array([1e-2, 0, -1, np.nan, np.inf, *[1e-8] * (ROOM - 5)])
    rows = area(drawn(plot({"one": values}, log=True)))
    assert rows[0][0] == "o"
    assert {row[1:5] for row in rows} == {"    "}
    assert set(rows[-1][5:]) == {"o"}
    assert drawn(plot({"one": values}, log=True))[1].split()[0] == "1e-02"


def test_no_peak_is_thinned_away():
    values = np.full(10_000, 1e-8)
    values[5_003] = 1e-2
    for peaks, seen in ((True, True), (False, False)):
        rows = area(drawn(plot({"one": values}, log=True, peaks=peaks)))
        assert (rows[0].count("o") == 1) == seen


def test_the_bound_is_drawn_below_the_courses():
    rows = area(drawn(plot({"one": np.linspace(0, 1, ROOM)}, np.linspace(1, 0, ROOM))))
    assert rows[0].startswith("─")
    assert rows[-1].startswith("o")
    middle = rows[HEIGHT // 2]
    assert middle[ROOM // 2] == "o"
    legend = drawn(plot({"one": np.ones(5)}, np.ones(5)))[-1]
    assert legend.split() == ["o", "one", "─", "tolerance"]


@pytest.mark.parametrize("courses", [{}, {"one": np.array([])}, {"one": np.full(5, np.nan)}, {"one": np.zeros(5)}])
def test_nothing_to_draw_is_said(courses):
    assert drawn(plot(courses, log=True))[1].startswith("nothing to draw")


@pytest.mark.parametrize("width", [30, 80, SIDE_BY_SIDE, 200])
def test_plots_fit_and_stand_beside_each_other_where_there_is_room(width):
    plots = [plot({"a long name of a backend": np.linspace(1, 2, 50)}, name=f"plot {i}") for i in range(2)]
    lines = drawn(Beside(plots), width)
    assert max(map(len, lines)) <= width
    assert any("Plot 0" in line and "Plot 1" in line for line in lines) == (width >= SIDE_BY_SIDE)


def test_losses_that_fall_by_orders_want_a_log_scale():
    assert spread_widely([np.array([1.0, 0.001])])
    assert not spread_widely([np.array([1.0, 0.1])])
    assert not spread_widely([np.array([1.0, 0.0])])
    assert not spread_widely([np.array([np.nan])])
    assert not spread_widely([])


def test_losses_near_the_largest_number_have_labels():
    largest = np.finfo(np.float64).max
    for log in (False, True):
        lines = drawn(plot({"one": np.linspace(0.5, 1.0, 50) * largest}, log=log))
        assert lines[1].split()[0] in ("1.8e+308", "2e+308")
        assert not any("inf" in line or "nan" in line for line in lines)
