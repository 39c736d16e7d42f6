"""What is no graph is one clear message: in the worker, for a plugin's author, and in the host, for a stranger's bytes."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag import Node
from compare_ag.problem import problem_by_name
from compare_ag.worker import messages
from compare_ag.worker.training import MalformedError

LOSS = Node("f", "mean", ["z"], np.ones(()), np.ones(()), "loss")
Z = Node("z", "affine", [], np.ones(4), np.ones(4))


class Says:
    """A backend that returns this graph."""

    def __init__(self, nodes):
        self.nodes = nodes

    def prepare(self, setting):
        pass

    def make_tensor(self, array, *, requires_grad=False):
        return np.array(array)

    def graph(self, weights, batch):
        return self.nodes


WRONG = {
    "no list": ("a graph", "graph must return a list of Node or None, got str"),
    "no nodes": ([], "graph: 0 nodes; a graph to look at has 1 to 500"),
    "something else in it": ([LOSS, Z, ("f", "g")], "graph must return a list of Node, got one that holds tuple"),
    "an id twice": ([LOSS, Z, Z], "graph: two nodes have the id 'z'"),
    "a dangling id": ([LOSS], "graph: node 'f' (mean): its input 'z' is no node of the graph"),
    "a cycle": (
        [LOSS, Z._replace(inputs=["y"]), Z._replace(id="y", inputs=["z"])],
        "graph: node 'f' (mean) is computed from itself: the graph has a cycle",
    ),
    "itself as input": ([LOSS._replace(inputs=["f"])], "is computed from itself"),
    "no loss": ([Z], "graph: exactly one node must have the role 'loss', of shape (); 0 have it"),
    "two losses": ([LOSS, Z, LOSS._replace(id="g")], "2 have it"),
    "a loss that is a vector": ([LOSS._replace(value=np.ones(1), gradient=None), Z], "of shape ()"),
    "an unknown role": ([LOSS, Z._replace(role="queen")], "its role is 'queen', not one of parameter, input, constant"),
    "a gradient of another shape": (
        [LOSS, Z._replace(gradient=np.ones(3))],
        "graph: node 'z' (affine): its gradient has shape (3,), its value (4,)",
    ),
    "no array": ([LOSS, Z._replace(value=[1.0])], "its value must be a numpy array of real numbers or None, got list"),
    "objects": ([LOSS, Z._replace(value=np.array([None]), gradient=None)], "numpy array of real numbers or None, got object"),
    "complex numbers": ([LOSS, Z._replace(gradient=np.ones(4, complex))], "got complex128"),
    "inputs that are a string": ([LOSS._replace(inputs=7), Z], "inputs must be a list of ids, got int"),
    "an id that is a number": ([LOSS, Z._replace(id=3)], "id and operation of a node must be strings"),
    "an odd arrival": ([LOSS, Z._replace(arrival=-1)], "arrival must be a small number or None"),
    "too many nodes": ([LOSS, Z] + [Z._replace(id=str(i)) for i in range(499)], "501 nodes"),
    "too many edges": (
        [LOSS, Z] + [Z._replace(id=str(i), inputs=[str(j) for j in range(i)]) for i in range(120)],
        "more than 5000 edges",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_graph_is_refused_by_name(what, recorder):
    nodes, message = WRONG[what]
    with pytest.raises(MalformedError) as refused:
        recorder.nodes(Says(nodes), problem_by_name("seed"))
    assert message in str(refused.value)


def test_none_is_no_graph_and_no_mistake(recorder):
    assert recorder.nodes(Says(None), problem_by_name("seed")) is None


def test_any_order_of_nodes_will_do(recorder):
    problem = problem_by_name("seed")
    there, back = (recorder.nodes(Says(nodes), problem) for nodes in ([LOSS, Z], [Z, LOSS]))
    assert there == back
    assert [node.operation for node in there] == ["affine", "mean"]


def test_long_arrays_are_cut_to_their_first_numbers_norm_and_sum(recorder):
    values = np.arange(65.0)
    nodes = recorder.nodes(Says([LOSS, Z._replace(value=values, gradient=None)]), problem_by_name("seed"))
    value = nodes[0].value
    assert (value.shape, value.values, value.complete) == ([65], list(values[: messages.HEAD]), False)
    assert value.norm == pytest.approx(np.linalg.norm(values), rel=1e-15)
    assert value.total == values.sum()


def test_long_names_are_cut_and_numbers_of_any_kind_read(recorder):
    named = Z._replace(operation="x" * 500, value=np.array([True, False]), gradient=None)
    nodes = recorder.nodes(Says([LOSS, named]), problem_by_name("seed"))
    assert nodes[0].operation == "x" * 99 + "…"
    assert (nodes[0].value.values, nodes[0].value.dtype) == ([1.0, 0.0], "float64")


def test_values_that_are_not_finite_cross(recorder):
    odd = Z._replace(value=np.array([np.nan, np.inf, -np.inf, 0.0]))
    (node, _) = recorder.nodes(Says([LOSS, odd]), problem_by_name("seed"))
    assert node.value.values == ["nan", "inf", "-inf", 0.0]
    assert node.value.norm == "nan"
