"""One drawing of graphs for two media: the terminal and the SVG have the same rows, in the same order, with all edges."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from compare_ag.cli.plain import register
from compare_ag.records.graphs import BackendGraph, GraphDocument, GraphNode, Quantity, numbers_of
from compare_ag.report.graph.layout import lay_out
from compare_ag.report.graph.svg import draw
from compare_ag.report.graph.text import MOST_LANES, graph_text

SVG = "{http://www.w3.org/2000/svg}"


def document(*graphs: BackendGraph, quantities: tuple[str, ...] = ()) -> GraphDocument:
    one = numbers_of(np.float64(1), 64, 8)
    known = [Quantity(symbol=symbol, meaning=f"the {symbol}", value=one, gradient=None) for symbol in quantities]
    return GraphDocument(
        problem="made", loss="logits", dtype="float64", l2=0.0, examples=4, features=2, step=0, quantities=known,
        graphs=list(graphs),
    )  # fmt: skip


def graph(name: str, *inputs: list[int], values: bool = False, quantities: list[int | None] | None = None):
    """A graph whose nodes a, b, … have these inputs; the last is the loss."""
    value = numbers_of(np.float64(2), 64, 8) if values else None
    nodes = [
        GraphNode(
            operation=chr(ord("a") + i) if len(inputs) < 27 else f"n{i}",
            role="loss" if i == len(inputs) - 1 else "operation",
            inputs=own,
            value=value,
            quantity=None if quantities is None else quantities[i],
        )
        for i, own in enumerate(inputs)
    ]
    return BackendGraph(backend=name, message="made", nodes=nodes)


def shown(made: GraphDocument, width: int = 80) -> list[str]:
    """The drawing's lines, without what stands above and below it."""
    file = io.StringIO()
    Console(file=file, width=width).print(graph_text(made))
    text = file.getvalue().split("\n\n")
    return [line.rstrip() for part in text[1:-2] for line in part.splitlines()]


def test_neighbours_are_joined_by_a_straight_line_and_others_by_a_lane():
    made = document(graph("mine", [], [0], [0, 1]))
    assert shown(made) == ["mine", "╭─● a   ?", "│ ● b   ?", "╰─● c   ?"]


def test_a_line_leaves_a_box_below_its_numbers_and_enters_the_next_beside_its_name():
    made = document(graph("mine", [], [0], [0, 1], values=True))
    assert shown(made) == [
        "mine",
        "  ● a ()  ?",
        "╭─┤ = 2",
        "│ ● b ()  ?",
        "│ │ = 2",
        "╰─● c ()  ?",
        "    = 2",
    ]  # fmt: skip


def test_lines_that_cross_and_meet_stay_apart():
    made = document(graph("mine", [], [], [0], [1], [2, 3]))
    assert shown(made) == ["mine", " ╭─● a   ?", "╭┼─● b   ?", "│├─● c   ?", "╰┼─● d   ?", " ╰─● e   ?"]
    (column,) = lay_out(made, made.graphs, lambda _: 20).columns
    assert sorted((edge.start.node.operation, edge.end.node.operation) for edge in column.edges) == [
        ("a", "c"), ("b", "d"), ("c", "e"), ("d", "e"),
    ]  # fmt: skip
    for first in column.edges:
        for second in column.edges:
            if first is not second and first.lane is not None and first.lane == second.lane:
                assert first.end.top <= second.start.top or second.end.top <= first.start.top


def test_a_terminal_without_unicode_shows_the_same_lines():
    made = document(graph("mine", [], [], [0], [1], [2, 3], quantities=[0] * 5), quantities=("x",))
    plain = "\n".join(shown(made)).encode("ascii", register()).decode()
    assert "?" not in plain
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in shown(made)]


def test_equal_quantities_stand_on_one_line_in_both_media():
    left = graph("left", [], [0], [1], quantities=[0, 1, 2])
    right = graph("right", [], [0], quantities=[0, 2], values=True)
    made = document(left, right, quantities=("x", "u", "f"))
    lines = shown(made, 90)
    assert lines[0].split() == ["left", "right"]
    assert [len(re.findall("●", line)) for line in lines if "●" in line] == [2, 1, 2]
    root = ET.fromstring(draw(made))
    tops = [(group[0].text, int(group[1].get("y"))) for group in root.iter(f"{SVG}g")]
    assert tops[0][1] == tops[3][1]  # a of both
    assert tops[2][1] == tops[4][1]  # the losses c and b


def test_both_media_have_the_same_nodes_in_the_same_order():
    made = document(graph("mine", [], [], [0, 1], [2], [0, 3], [4, 1], values=True))
    text = [line.split("●")[1].split()[0] for line in shown(made) if "●" in line]
    root = ET.fromstring(draw(made))
    drawn = sorted((int(group[1].get("y")), group[0].text) for group in root.iter(f"{SVG}g"))
    assert text == [name for _, name in drawn]
    assert len(root.findall(f"{SVG}path[@class='cag-graph-edge']")) == 7


@pytest.mark.parametrize("width", [40, 80])
def test_many_lanes_leave_room_for_the_boxes(width):
    fan = graph("mine", *([[]] * 300), list(range(300)))
    lines = shown(document(fan), width)
    assert sum("●" in line for line in lines) == 301
    assert max(map(len, lines)) <= width
    assert max(line.index("●") for line in lines if "●" in line) == MOST_LANES + 1
    ET.fromstring(draw(document(fan)))


def test_boxes_of_the_svg_do_not_overlap_and_lie_within_it():
    made = document(
        graph("left", [], [0], [1, 0], values=True, quantities=[0, None, 1]),
        graph("right", [], [0], [1], quantities=[0, 0, 1]),
        quantities=("x", "f"),
    )
    root = ET.fromstring(draw(made))
    boxes = [tuple(int(group[1].get(key)) for key in ("x", "y", "width", "height")) for group in root.iter(f"{SVG}g")]
    for x, y, width, height in boxes:
        assert x + width <= int(root.get("width"))
        assert y + height <= int(root.get("height"))
    for first in boxes:
        for second in boxes:
            if first is not second and first[0] == second[0] and first[1] < second[1]:
                assert first[1] + first[3] < second[1]
