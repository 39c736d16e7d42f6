"""Graphs on paper: the SVG is well-formed and inert whatever a plugin is called, rows are common, marks survive."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import msgspec
import numpy as np
import pytest
from rich.console import Console

from compare_ag import Node, load_run
from compare_ag.problem import problem_by_name
from compare_ag.records import RecordError
from compare_ag.records.graphs import BackendGraph, GraphDocument, GraphNode, numbers_of, read_graphs, write_graphs
from compare_ag.report.digits import compare_digits, mark_digits
from compare_ag.report.graph.page import graph_page
from compare_ag.report.graph.rows import rows
from compare_ag.report.graph.svg import draw
from compare_ag.report.graph.text import graph_text

HOSTILE = "</text><script>alert(1)</script>\x00\x1b[2J\u202e\"'&]]>" + "w" * 60
ALL = {"torch": "torch", "autograd": "autograd", "numpy": "numpy"}


@pytest.fixture(scope="module")
def seed(recorder):
    return recorder.document(problem_by_name("seed", l2=0.1), **ALL)


def hostile() -> GraphDocument:
    """A stranger's words in every place that a plugin can fill."""
    ten = numbers_of(np.arange(10.0), 64, 8)
    nodes = [
        GraphNode(operation=HOSTILE, role="input", inputs=[], value=ten),
        GraphNode(operation=HOSTILE, role="loss", inputs=[0], gradient_ratio="inf", gradient=numbers_of(np.nan, 64, 8)),
    ]
    graph = BackendGraph(backend=HOSTILE, status="disagree", message=HOSTILE, nodes=nodes, origins=[1])
    return GraphDocument(
        problem=HOSTILE, loss="logits", dtype="float32", l2=0.0, examples=4, features=2, step=0, quantities=[], graphs=[graph]
    )  # fmt: skip


def text(renderable, width, *, colour=False):
    console = Console(
        width=width, file=io.StringIO(), force_terminal=colour, color_system="truecolor" if colour else None
    )
    console.print(renderable)
    return console.file.getvalue()


def test_the_svg_is_well_formed_titled_and_loads_nothing(seed):
    drawing = draw(seed)
    root = ET.fromstring(drawing)
    assert root.get("role") == "img"
    named = root.get("aria-labelledby").split()
    assert {one.get("id") for one in root if one.get("id")} == set(named)
    assert all(name.startswith("cag-graph-") for name in re.findall(r'\bid="([^"]+)"', drawing))
    classes = {one for found in re.findall(r'class="([^"]+)"', drawing) for one in found.split()}
    assert {one for one in classes if not one.startswith("cag-graph")} == set()
    assert not re.search(r"<(script|image|use|foreignObject|a)\b|\bon\w+=|url\(|@import|href", drawing)
    assert int(root.get("width")) > 900  # its natural size: a phone scrolls


def test_hostile_words_stay_words():
    for drawn in (draw(hostile()), graph_page(hostile())):
        assert "<script" not in drawn
        assert "\x1b" not in drawn
        assert "\x00" not in drawn
        assert "\u202e" not in drawn
    root = ET.fromstring(draw(hostile()))
    assert {one.tag.split("}")[1] for one in root.iter()} <= {
        "svg",
        "title",
        "desc",
        "style",
        "g",
        "rect",
        "text",
        "path",
    }
    shown = text(graph_text(hostile()), 80)
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_page_stands_by_itself_and_forbids_scripts(seed):
    page = graph_page(seed)
    assert "default-src 'none'" in page
    assert 'name="viewport"' in page
    assert "overflow-x:auto" in page
    assert draw(seed) in page


def test_nodes_of_one_quantity_stand_in_one_row_below_what_they_are_made_of(seed):
    table = rows(seed)
    place = {(name, i): at for at, row in enumerate(table) for name, nodes in row.cells.items() for i in nodes}
    for graph in seed.graphs:
        for i, node in enumerate(graph.nodes):
            assert all(place[graph.backend, one] <= place[graph.backend, i] for one in node.inputs)
    (row,) = [row for row in table if row.quantity is not None and row.quantity.symbol == "p"]
    assert set(row.cells) == set(ALL)
    drawing = ET.fromstring(draw(seed))
    boxes = {one[0].text: one[1].get("y") for one in drawing.iter("{http://www.w3.org/2000/svg}g")}
    assert boxes["SigmoidBackward0"] == boxes["reciprocal"]


def test_graphs_that_contradict_each_other_are_drawn_all_the_same(seed):
    first = seed.graphs[0]
    turned = [
        msgspec.structs.replace(node, quantity=len(seed.quantities) - 1 - (node.quantity or 0)) for node in first.nodes
    ]
    odd = msgspec.structs.replace(seed, graphs=[first, msgspec.structs.replace(first, backend="odd", nodes=turned)])
    assert len(rows(odd)) == len({node.quantity for node in [*first.nodes, *turned]})
    ET.fromstring(draw(odd))


@pytest.mark.parametrize("width", [80, 140])
def test_the_trees_fit_every_terminal(seed, width):
    shown = text(graph_text(seed), width)
    assert max(map(len, shown.splitlines())) <= width
    for operation in ("AddmvBackward0", "container_take", "add.reduce"):
        assert operation in shown
    assert "= 0.688972 0.488772 0.698515 0.5" in shown
    assert "∂ 0.172243 −0.127807 0.174629 −0.125" in shown


def test_what_is_wrong_is_marked_without_colour(seed):
    nodes = list(seed.graphs[0].nodes)
    nodes[2] = msgspec.structs.replace(nodes[2], gradient_ratio=321.0)
    wrong = msgspec.structs.replace(
        seed, graphs=[msgspec.structs.replace(seed.graphs[0], nodes=nodes, status="disagree")]
    )
    assert "✗ gradient off: 3.2e+02 × its tolerance" in text(graph_text(wrong), 100)
    assert "✗ gradient off" in draw(wrong)
    assert "cag-graph-wrong" in draw(wrong).split("</style>")[1]


def test_a_deep_graph_of_a_stranger_is_shown_in_little_time():
    chain = [
        GraphNode(operation=f"op{i}", role="operation", inputs=[i - 1, *([i - 2] if i > 1 else [])] if i else [])
        for i in range(499)
    ]
    loss = GraphNode(operation="f", role="loss", inputs=[498])
    graph = BackendGraph(backend="deep", message="500 nodes", nodes=[*chain, loss])
    document = msgspec.structs.replace(hostile(), graphs=[graph])
    assert text(graph_text(document), 100).count("●") == 500
    ET.fromstring(draw(document))


def test_nothing_to_draw_is_none():
    nobody = BackendGraph(backend="mine", status="not-offered", message="it offers no graph")
    assert draw(msgspec.structs.replace(hostile(), graphs=[nobody])) is None


def test_a_run_directory_reads_back_and_damage_is_said(seed, tmp_path, run_with_graph):
    run = load_run(run_with_graph)
    assert read_graphs(run).graphs[0].backend == "numpy"
    write_graphs(tmp_path, seed)
    assert msgspec.json.decode((tmp_path / "graph.json").read_bytes(), type=GraphDocument) == seed
    whole = (run_with_graph / "graph.json").read_bytes()
    try:
        (run_with_graph / "graph.json").write_bytes(whole[:50])
        with pytest.raises(RecordError, match=r"graph\.json is damaged"):
            read_graphs(run)
    finally:
        (run_with_graph / "graph.json").write_bytes(whole)


# --- digits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "exact", "dtype", "shown"),
    [
        (0.5, 0.5, "float32", "0.500000000"),
        (np.float32(0.39037654), np.float32(0.39037657), "float32", "0.3903765[38]"),
        (1 / 3 + 1e-15, 1 / 3, "float64", "0.33333333333333[431]"),
        (-1.0, 1.0, "float64", "[−1.0000000000000000]"),
        (0.0, -0.0, "float64", "−0.0000000000000000"),
        (2e-20, 1e-20, "float32", "[2.00000000e−20]"),
        (float("nan"), 1.0, "float32", "[nan]"),
        (float("inf"), float("inf"), "float32", "inf"),
    ],
)
def test_digits_that_differ_stand_in_brackets(value, exact, dtype, shown):
    assert compare_digits(float(value), float(exact), dtype).plain == shown


def test_a_wrong_number_is_marked_twice():
    found = compare_digits(0.75, 0.5, "float32")
    assert mark_digits(found, wrong=True).plain == "0.[750000000] ✗"
    assert mark_digits(found, wrong=False).plain == "0.[750000000]"


def test_the_example_of_a_node_is_a_tuple():
    assert Node("f", "mean", []).role == "operation"
