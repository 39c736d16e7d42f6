"""Numbers are never broken: what does not fit beside the first column comes in a table below."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from compare_ag.report.grid import Grid


def printed(grid: Grid, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(grid)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.fixture
def grid():
    table = Grid("name", "first", "second", "third")
    table.add_row("alpha", "1.23456789", "2.23456789", "3.23456789")
    table.add_row("b", "1", "[bold]", "3")
    return table


def test_all_columns_stand_side_by_side_where_there_is_room(grid):
    lines = printed(grid, 60)
    assert lines[0].split() == ["name", "first", "second", "third"]
    assert lines[1].split() == ["alpha", "1.23456789", "2.23456789", "3.23456789"]
    assert len(lines) == 3


def test_columns_that_do_not_fit_come_below_under_the_first(grid):
    lines = printed(grid, 30)
    assert [line.split() for line in lines if "name" in line] == [["name", "first", "second"], ["name", "third"]]
    assert all(len(line) <= 30 for line in lines)
    for number in ("1.23456789", "2.23456789", "3.23456789"):
        assert any(number in line for line in lines)


def test_a_cell_is_text_and_never_markup(grid):
    assert any("[bold]" in line for line in printed(grid, 60))


def test_a_row_of_the_wrong_length_is_an_error(grid):
    with pytest.raises(ValueError, match="2 cells under 4 heads"):
        grid.add_row("a", "b")
