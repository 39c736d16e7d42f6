"""Nodes are recognised by their numbers and judged against exact ones, whatever the framework calls them."""

from __future__ import annotations

import dataclasses

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defvjp, primitive
from compare_ag_autograd import AutogradBackend, make_vjp
from compare_ag_numpy import NumpyBackend
from compare_ag_torch import TorchBackend

from compare_ag import Weights
from compare_ag.problem import ProblemError, problem_by_name
from compare_ag.report.graph.svg import draw
from compare_ag.suite.recorded_graphs import GraphAnswer, choose_place, judge_graphs
from compare_ag.verify import Oracle, exact_trajectory
from compare_ag.verify.quantities import named_quantities

ALL = {"torch": "torch", "autograd": "autograd", "numpy": "numpy"}


def symbols(document, name):
    graph = next(graph for graph in document.graphs if graph.backend == name)
    return {
        node.operation: document.quantities[node.quantity].symbol for node in graph.nodes if node.quantity is not None
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["probability", "logits"])
def test_every_gradient_of_the_seed_problem_agrees_node_by_node_with_the_oracle(recorder, loss, l2, dtype):
    document = recorder.document(problem_by_name("seed", loss=loss, l2=l2, dtype=dtype), **ALL)
    for graph in document.graphs:
        assert graph.status == "ok", graph.message
        unnamed = [node.operation for node in graph.nodes if node.quantity is None]
        assert unnamed == (["(w, b)"] if graph.backend == "autograd" else [])
        with_gradient = [node for node in graph.nodes if node.gradient is not None]
        assert len(with_gradient) == (4 if graph.backend == "numpy" else len(graph.nodes) - len(unnamed))
        assert all(float(node.gradient_ratio) <= 0.5 for node in with_gradient)
        assert all(float(node.value_ratio) <= 0.5 for node in graph.nodes if node.quantity is not None)


def test_other_names_carry_the_same_quantities(recorder):
    document = recorder.document(problem_by_name("seed"), **ALL)
    assert symbols(document, "torch")["AddmvBackward0"] == symbols(document, "autograd")["dot"].replace("Xw", "z")
    assert symbols(document, "torch")["SigmoidBackward0"] == symbols(document, "autograd")["divide"] == "p"
    assert symbols(document, "numpy")["reciprocal"] == "p"
    assert symbols(document, "torch")["MeanBackward0"] == symbols(document, "autograd")["mean"] == "−f"
    assert symbols(document, "numpy")["add.reduce"] == "−Σℓ"


@pytest.mark.parametrize("step", [0, 40])
def test_a_large_problem_is_compared_by_first_numbers_norm_and_sum(recorder, step):
    problem = problem_by_name("synthetic:n=300,d=7", l2=0.25, dtype="float32", steps=40)
    document = recorder.document(problem, step, **ALL)
    assert [graph.status for graph in document.graphs] == ["ok"] * 3
    z = next(node for node in document.graphs[0].nodes if node.operation == "AddmvBackward0")
    assert (z.value.shape, len(z.value.values), z.value.complete) == ([300], 8, False)


def test_at_zero_weights_the_gradient_tells_p_from_its_complement(recorder):
    problem = problem_by_name("synthetic:n=6,d=2", loss="probability")
    zero = type(problem)(**{**problem.__dict__, "w0": np.zeros(2), "b0": np.zeros(())})
    found = symbols(recorder.document(zero, torch="torch"), "torch")
    assert (found["SigmoidBackward0"], found["RsubBackward1"]) == ("p", "1−p")


# --- the same loss, written in other ways -------------------------------------------------------------------


def naive(z, y):
    return anp.log(1 + anp.exp((1 - 2 * y) * z))


def with_margin(z, y):
    return anp.logaddexp(0, -((2 * y - 1) * z))


def cross_entropy(z, y):
    return anp.maximum(z, 0) - y * z + anp.log1p(anp.exp(-anp.abs(z)))


def by_hand(z, y):
    s = (1 - 2 * y) * z
    return anp.maximum(s, 0) + anp.log1p(anp.exp(-anp.abs(s)))


class Written(AutogradBackend):
    """autograd on another formula of the losses."""

    def __init__(self, losses, end=anp.mean):
        self.losses, self.end = losses, end

    def prepare(self, setting):
        super().prepare(setting)
        half = setting.l2 / 2
        self.formula = lambda w, b, X, y: self.end(self.losses(anp.dot(X, w) + b, y)) + half * anp.sum(w * w)
        self.record = make_vjp(self.formula, argnum=(0, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("losses", [naive, with_margin, cross_entropy, by_hand])
@pytest.mark.parametrize("end", [anp.mean, lambda x: anp.sum(x) / len(x), lambda x: anp.sum(x / len(x))])
def test_every_way_to_write_the_stable_form_is_recognised(recorder, losses, end, dtype):
    problem = problem_by_name("synthetic:n=9,d=3", l2=0.25, dtype=dtype, steps=30)
    graph = recorder.document(problem, 30, it=Written(losses, end)).graphs[0]
    assert graph.status == "ok", graph.message
    unnamed = [node.operation for node in graph.nodes if node.quantity is None]
    # max(z, 0) - yz, and the sum of shares, are nobody's quantities
    assert len(unnamed) <= 2, unnamed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_way_to_write_the_probability_form_is_recognised(recorder, dtype):
    def losses(z, y):
        p = 1 / (1 + anp.exp(-z))
        return -y * anp.log(p) - (1 - y) * anp.log(1 - p)

    problem = problem_by_name("synthetic:n=9,d=3", loss="probability", l2=0.25, dtype=dtype, steps=30)
    graph = recorder.document(problem, 30, it=Written(losses)).graphs[0]
    assert graph.status == "ok", graph.message
    assert [node.operation for node in graph.nodes if node.quantity is None] == ["(w, b)"]


# --- what is wrong is found, and where ----------------------------------------------------------------------


@primitive
def softplus(s):
    return np.logaddexp(0, s)


defvjp(softplus, lambda ans, s: lambda g: g * np.exp(s - ans) * 1.001)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wrong_local_gradient_is_caught_at_its_node(recorder, dtype):
    problem = problem_by_name("synthetic:n=9,d=3", dtype=dtype)
    document = recorder.document(problem, it=Written(lambda z, y: softplus((1 - 2 * y) * z)), numpy="numpy")
    graph = document.graphs[0]
    assert graph.status == "disagree"
    (origin,) = graph.origins
    node = graph.nodes[origin]
    assert document.quantities[node.quantity].symbol == "s"
    assert float(node.gradient_ratio) > 10
    assert graph.message.startswith("the gradient that arrives at multiply (s) is ")
    assert "while what arrives at softplus (ℓ) is right" in graph.message
    wrong = {document.quantities[one.quantity].symbol for one in graph.nodes if one.wrong}
    assert wrong == {"s", "z", "Xw", "w", "b"}
    assert document.graphs[1].status == "ok"


@primitive
def mean(losses):
    return np.mean(losses)


defvjp(mean, lambda _, losses: lambda g: g * np.full(losses.shape, 1.001 / len(losses)))


def softplus_less_yz(z, y):
    return right_softplus(z) - y * z


@primitive
def right_softplus(z):
    return np.logaddexp(0, z)


defvjp(right_softplus, lambda ans, z: lambda g: g * np.exp(z - ans))


@pytest.mark.parametrize("losses", [naive, with_margin, cross_entropy, by_hand, softplus_less_yz])
def test_a_wrong_gradient_of_the_losses_is_caught_there_however_they_are_written(recorder, losses):
    problem = problem_by_name("synthetic:n=9,d=3", steps=30)
    document = recorder.document(problem, 30, it=Written(losses, mean))
    graph = document.graphs[0]
    assert [document.quantities[graph.nodes[i].quantity].symbol for i in graph.origins] == ["ℓ"]
    assert "while what arrives at mean (f) is right" in graph.message


@pytest.mark.parametrize("base", [TorchBackend, NumpyBackend, AutogradBackend])
def test_a_wrong_backward_is_caught_at_the_parameter(recorder, base):
    class Wrong(base):
        def backward(self, tape):
            w, b = super().backward(tape)
            return Weights(w * 1.001, b)

    graph = recorder.document(problem_by_name("seed"), it=Wrong()).graphs[0]
    assert [graph.nodes[i].role for i in graph.origins] == ["parameter"]
    assert graph.nodes[graph.origins[0]].value.shape == [2]


@pytest.mark.parametrize("base", [TorchBackend, NumpyBackend, AutogradBackend])
def test_a_wrong_loss_is_caught_at_the_loss(recorder, base):
    graph = recorder.document(
        problem_by_name("seed", l2=0.1), it=type("Wrong", (base,), {"prepare": lambda self, s: base.prepare(self, s._replace(l2=0.11))})()
    ).graphs[0]  # fmt: skip
    assert graph.status == "disagree"
    assert graph.message.startswith("the value of the loss (")


def test_a_wrong_component_of_a_long_array_is_seen(recorder):
    """Beyond the first numbers only norm and sum speak."""
    problem = problem_by_name("synthetic:n=300,d=7", dtype="float64")

    @primitive
    def same(z):
        return z * 1.0

    def vjp(ans, z):
        return lambda g: g * np.where(np.arange(300) == 250, 1 + 1e-9, 1)

    defvjp(same, vjp)
    graph = recorder.document(problem, it=Written(lambda z, y: anp.logaddexp(0, (1 - 2 * y) * same(z)))).graphs[0]
    (origin,) = (graph.nodes[i] for i in graph.origins)
    assert (origin.value.shape, origin.gradient.complete) == ([300], False)
    assert float(origin.gradient_ratio) > 1


def test_where_the_probability_form_saturates_nothing_is_decided(recorder):
    problem = problem_by_name("seed", dtype="float32")
    far = dataclasses.replace(problem, w0=np.array([400.0, 800.0], "float32"))
    document = recorder.document(far, **ALL)
    for graph in document.graphs:
        assert graph.status == "undecidable"
        said, reason = graph.message.split("; ")[-1].split(" cannot be decided: ")
        assert reason == "the probability form saturates"
        said = said.split(", ")
        assert sorted(said) == ["f", "∂f/∂b", "∂f/∂w"]


def test_a_right_penalty_does_not_vouch_for_a_loss_that_cannot_be_decided(recorder):
    """Of a saturated form with l2, what belongs to the penalty is right, and says nothing of the rest."""
    problem = problem_by_name("synthetic:n=8,d=8,separability=50", loss="probability", l2=0.1)
    far = dataclasses.replace(problem, w0=np.full(8, 1e4))
    graph = recorder.document(far, torch="torch").graphs[0]
    assert graph.status == "undecidable"
    assert "; of the gradients that follow from ∂f/∂f = 1, 2 of 14 can be compared and are right" in graph.message
    assert sum(node.gradient_ratio is not None for node in graph.nodes) == 3


def test_the_gradient_of_the_loss_itself_is_not_counted_as_a_result(recorder):
    """numpy's is written in: its derivation has three."""
    graph = recorder.document(problem_by_name("seed"), numpy="numpy").graphs[0]
    assert "; of the gradients that follow from ∂f/∂f = 1, all 3 are right, the worst at " in graph.message


def test_numbers_whose_squares_overflow_are_named_without_a_warning(recorder):
    problem = problem_by_name("seed", loss="logits", dtype="float64")
    far = dataclasses.replace(problem, w0=np.array([3e200, -5e200]))
    document = recorder.document(far, torch="torch")
    assert symbols(document, "torch")["AddmvBackward0"] == "z"


def test_what_would_take_too_long_is_shown_and_not_compared(recorder):
    problem = problem_by_name("seed")
    document = judge_graphs(
        problem, choose_place(problem, 0), {"numpy": GraphAnswer(recorder.nodes("numpy", problem))}, patience=0.0
    )
    assert document.note == "nothing was compared: exact values for 4 examples would take too long"
    assert (document.quantities, document.graphs[0].status) == ([], "undecidable")
    assert draw(document).count("no named quantity") == len(document.graphs[0].nodes)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_step_is_looked_at_where_the_reference_is_after_so_many_updates(batch_size):
    problem = problem_by_name("synthetic:n=10,d=3", batch_size=batch_size, dtype="float32", steps=40)
    exact = exact_trajectory(dataclasses.replace(problem, steps=7)).final.high
    at = choose_place(problem, 7)
    np.testing.assert_allclose(np.append(at.w, at.b), exact, rtol=1e-6)
    assert at.w.dtype == "float32"
    assert (at.rows is None) == (batch_size is None)
    assert at.rows is None or len(at.rows) == 4
    with pytest.raises(ValueError, match="there is no step 41"):
        choose_place(problem, 41)


def test_where_the_reference_has_overflowed_there_is_nothing_to_look_at():
    """Whatever a backend does there, it would be accused, or believed, for nothing."""
    problem = problem_by_name(
        "synthetic:n=4,d=2", steps=400, learning_rate=1000.0, loss="logits", l2=1.0, dtype="float32"
    )
    with pytest.raises(ProblemError, match="not finite in float32 after 300 updates: choose a smaller --step"):
        choose_place(problem, 300)
    assert np.isfinite(choose_place(problem, 5).w).all()
    far = problem_by_name("seed", loss="logits", l2=1.0, learning_rate=1e22, steps=2, dtype="float32")
    with pytest.raises(ProblemError, match="the reference's loss is not finite in float32 after 1 updates"):
        choose_place(far, 1)  # w is 1e22


def test_the_quantities_are_those_of_the_oracle():
    problem = problem_by_name("synthetic:n=12,d=3", loss="probability", l2=0.5)
    w, b = problem.w0, np.asarray(0.25)
    exact = Oracle(problem).at(problem.layout.flat((w, b)))
    found = {one.symbol: one for one in named_quantities(problem, w, b)}
    assert float(found["f"].value.high) == float(exact.loss.high)
    np.testing.assert_array_equal(found["w"].gradient.high, exact.gradient.high[:-1])
    assert float(found["b"].gradient.high) == exact.gradient.high[-1]
    assert all(np.max(one.value.radius) < 1e-30 for one in found.values())
