"""Formulas as data: which are refused, what is differentiated along several paths, and how they are read in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from flint import arb, ctx

from compare_ag.model.arithmetic import Arithmetic, Known
from compare_ag.model.formula import EXAMPLES, apply, constant, data, gradient, in_order, labels, parameter
from compare_ag.model.formulas import logistic_formula, logistic_ways
from compare_ag.model.rules import Balls
from compare_ag.verify import readings
from compare_ag.verify.readings import Reader

E = EXAMPLES
X, y, c = data("X", E, 3), labels("y", E), data("c", E)
w, b = parameter("w", 3), parameter("b")
W, B = parameter("W", 3, 2), parameter("B", 2)


def balls(arrays):
    return {k: Balls([arb(float(u)) for u in np.ravel(one).tolist()], np.shape(one)) for k, one in arrays.items()}


def some(rng, n, points=()):
    shapes = {"w": (3,), "b": (), "W": (3, 2), "B": (2,)}
    at = {name: np.asarray(rng.normal(size=(*points, *shape))) for name, shape in shapes.items()}
    return at | {"X": rng.normal(size=(n, 3)), "y": rng.integers(0, 2, n).astype(float), "c": rng.normal(size=n)}


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("add", (X, c)), ("multiply", (w, c)), ("either", (X, c)), ("known_as", (w, W)),
        ("affine", (X, parameter("u", 4), b)), ("affine", (X, W, b)), ("affine", (X, w, B)), ("affine", (w, w, b)),
        ("dot", (w, W)), ("dot", (w, c)), ("dot", (c, c)), ("mean", (w,)), ("sum_of_examples", (b,)),
        ("share", (b, w)), ("share", (c, c)), ("each", (b, w)), ("over_examples", (X, w)), ("over_examples", (c, c)),
        ("back_through", (w, w)), ("back_through", (X, W)), ("back_through", (c, W)),
        ("logsumexp", (c,)), ("softmax", (w,)), ("weigh", (X, w)), ("weigh", (X, X)), ("pick", (X, w)), ("pick", (w, y)),
        ("unpick", (c, y, c)), ("unpick", (w, y, X)), ("descend", (w, b, W)), ("descend", (w, w, w)),
    ],
)  # fmt: skip  # a table
def test_shapes_that_do_not_fit_are_refused(op, args):
    with pytest.raises(ValueError, match=f"{op} of the shapes"):
        apply(op, *args)


def test_shapes_are_those_of_the_results():
    Z = apply("affine", X, W, B)
    assert [one.shape for one in (apply("affine", X, w, b), Z, apply("mean", Z), apply("logsumexp", Z))] == [
        (E,), (E, 2), (2,), (E,),
    ]  # fmt: skip  # a table
    assert apply("over_examples", X, Z).shape == (3, 2)
    assert apply("back_through", Z, W).shape == (E, 3)
    assert (b * w).shape == (w * b).shape == (3,)
    assert (apply("dot", W, W).shape, apply("each", B, X).shape) == ((), (E, 2))


def test_to_multiply_by_the_constant_one_is_nothing():
    assert constant(1.0) * w is w
    assert w * constant(1.0) is w
    assert (constant(2.0) * w).op == "multiply"


def test_a_parameter_without_a_part_is_refused():
    end = apply("mean", apply("affine", X, w, b))
    for wrt in ([parameter("w", 3)], [w, W], [c]):
        with pytest.raises(ValueError, match="has no part in it"):
            gradient(end, wrt)
    with pytest.raises(ValueError, match="W, B has no part"):
        gradient(end, [W, w, B])


def test_a_shared_node_is_one_node_and_its_paths_add_up():
    """f = (w·w)² + w·w + w·exp w; what is shared is computed once."""
    square = apply("dot", w, w)
    end = square * square + square + apply("dot", w, apply("exp", w))
    assert len([one for one in in_order([end]) if one.op == "dot"]) == 2
    (slope,) = gradient(end, [w])
    at = np.array([0.5, -1.0, 2.0])
    (found,) = Reader([slope]).values({"w": at}, 1)
    assert np.allclose(found, 4 * (at @ at) * at + 2 * at + np.exp(at) * (1 + at), rtol=1e-14)


def test_a_long_chain_of_shared_nodes_is_not_followed_along_every_path():
    """2⁶⁰ paths, 60 nodes."""
    node = b
    for _ in range(60):
        node = node + node
    (slope,) = gradient(node, [b])
    reader = Reader([node, slope])
    assert len(reader.order) < 200
    assert [float(one) for one in reader.values({"b": np.asarray(1.0)}, 1)] == [2.0**60, 2.0**60]


def test_derivatives_by_inner_nodes_are_those_of_the_rest():
    formula = logistic_formula("logits", 3, False)
    (slope,) = gradient(formula.objective, [formula["z"]])
    at = some(np.random.default_rng(0), 6)
    (found,) = Reader([slope]).values(at, 6)
    z = at["X"] @ at["w"] + at["b"]
    assert np.allclose(found, (1 / (1 + np.exp(-z)) - at["y"]) / 6, rtol=1e-13)


def test_nodes_that_are_given_are_not_computed():
    formula = logistic_formula("logits", 3, False)
    reader = Reader([formula["ℓ"]], {formula["z"]: "z"})
    assert set(reader.leaves.values()) == {"y", "z"}
    (found,) = reader.values({"y": np.array([0.0, 1.0]), "z": np.array([1.0, 1.0])}, 2)
    assert np.allclose(found, np.logaddexp(0, [1.0, -1.0]))


def test_both_forms_and_all_ways_are_one_real_function():
    rng = np.random.default_rng(2)
    at = some(rng, 7) | {"l2": np.asarray(0.25), "1/n": np.asarray(1.0) / 8, "ones": np.ones(3)}
    at = {name: one[:8] if name in ("X", "y") else one for name, one in (at | some(rng, 8)).items()}
    with ctx.workprec(200):
        losses = []
        for form in ("logits", "probability"):
            for penalised in (True, False):
                for formula in logistic_ways(form, 3, penalised):
                    ends = [formula.objective, *gradient(formula.objective, formula.parameters)]
                    found = Reader(ends).exactly(balls(at), 8).at({})
                    losses.append((penalised, [entry for one in found for entry in one.entries]))
        assert len(losses) > 8
        for penalised in (True, False):
            first, *others = [one for kind, one in losses if kind is penalised]
            assert all(abs(float(p - q)) < 1e-45 for other in others for p, q in zip(first, other, strict=True))


# --- two ways to write one function -----------------------------------------------------------------------


def bound(node, at, n=1, arithmetic=None):
    (found,) = Reader([node]).bounds(at, n, arithmetic or Arithmetic.of("float32"))
    return found


def test_either_has_the_first_ways_value_and_the_errors_of_both():
    s = apply("exp", b)
    other = apply("log", constant(1.0) + apply("exp", apply("exactly", s)))
    first, node = apply("softplus", s), apply("either", apply("softplus", s), other)
    at = {"b": np.asarray(2.0)}
    assert bound(node, at).value == bound(first, at).value
    assert bound(node, at).error == pytest.approx(float(bound(first, at).error) + float(bound(other, at).error))


def test_what_is_written_exactly_carries_no_error_on():
    """The way by exactly counts its own operations: 1 + exp(s), of a right s, and its logarithm."""
    noisy = apply("affine", data("row", E, 2), parameter("p", 2), constant(0.0))
    at = {"row": np.array([[1e4, -1e4]]), "p": np.array([1.0, 1.0])}
    assert float(bound(noisy, at).error[0]) > 1e-3
    assert float(bound(apply("exactly", noisy), at).error[0]) == 0.0
    assert float(bound(apply("exp", apply("exactly", noisy)), at).error[0]) < 1e-5
    assert float(bound(apply("exp", noisy), at).error[0]) > 1e-3


def test_known_as_has_the_second_ones_value_and_the_first_ones_error():
    p = apply("sigmoid", b)
    node = apply("known_as", constant(1.0) - p, apply("sigmoid", -b))
    at = {"b": np.asarray(40.0)}
    found = bound(node, at)
    assert float(found.value) == pytest.approx(np.exp(-40.0), rel=1e-12)
    assert float(found.error) == float(bound(constant(1.0) - p, at).error)
    assert float(found.error) > 1e-8


def test_a_probability_that_saturates_decides_nothing():
    formula = logistic_formula("probability", 1, False)
    reader = Reader([formula.objective, *gradient(formula.objective, formula.parameters)])
    at = {"X": np.ones((2, 1)), "y": np.array([0.0, 1.0]), "b": np.asarray(0.0)}
    for dtype, fine, lost in (("float32", 8.0, 20.0), ("float64", 20.0, 40.0)):
        with np.errstate(all="ignore"):
            for weight, finite in ((fine, True), (lost, False)):
                found = reader.bounds(at | {"w": np.array([weight])}, 2, Arithmetic.of(dtype))
                assert [bool(np.isfinite(one.error).all()) for one in found] == [finite] * 3


def test_the_gradient_arriving_by_another_way_is_an_alternative_and_not_a_sum():
    formula = logistic_formula("probability", 3, False)
    plain = logistic_formula("logits", 3, False)
    at = some(np.random.default_rng(3), 5)
    ends = [gradient(one.objective, one.parameters) for one in (formula, plain)]
    for one, other in zip(Reader(ends[0]).values(at, 5), Reader(ends[1]).values(at, 5), strict=True):
        assert np.allclose(one, other, rtol=1e-13)


# --- multiplying by whole numbers -------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "rounds"), [(1.5, True), (3.0, True), (0.1, True), (2.0, False), (-4.0, False)])
def test_only_powers_of_two_multiply_without_rounding(factor, rounds):
    found = bound(constant(factor) * b, {"b": np.asarray(1.0 + 2.0**-23)})
    assert (float(found.error) > 0) is rounds


def test_labels_multiply_without_rounding_and_their_signs_add_without():
    sign = constant(1.0) - constant(2.0) * y
    found = bound(sign * c, {"y": np.array([0.0, 1.0]), "c": np.array([0.1, 0.3])}, 2)
    assert found.error.tolist() == [0.0, 0.0]
    assert found.value.tolist() == [0.1, -0.3]


# --- in pieces --------------------------------------------------------------------------------------------


def everything():
    """Numbers of examples, of parameters, and sums of both kinds, of matrices too."""
    z, Z = apply("affine", X, w, b), apply("affine", X, W, B)
    f = apply("mean", apply("softplus", z) + apply("logsumexp", apply("tanh", Z))) + apply("dot", w, w)
    return [f, *gradient(f, [w, b, W, B]), z, apply("tanh", Z), apply("mean", Z), apply("sum_of_examples", z * z)]


@pytest.mark.parametrize("points", [(), (1,), (4,)])
@pytest.mark.parametrize("arithmetic", [Arithmetic.of("float32"), Arithmetic.of("float64"), Known.here()])
@pytest.mark.parametrize("cells", [1, 7, 64])
def test_examples_in_pieces_give_what_one_piece_gives(monkeypatch, points, arithmetic, cells):
    n, reader = 50, Reader(everything())
    at = some(np.random.default_rng(4), n, points)
    whole = reader.bounds(at, n, arithmetic)
    monkeypatch.setattr(readings, "CELLS", cells)
    monkeypatch.setattr(readings, "MOST_EXAMPLES", cells)
    for one, other in zip(reader.bounds(at, n, arithmetic), whole, strict=True):
        assert one.value.shape == other.value.shape == one.error.shape
        assert np.allclose(one.value, other.value, rtol=1e-13, atol=1e-13)
        assert np.allclose(one.error, other.error, rtol=0.05)
        assert np.allclose(one.size, other.size, rtol=1e-12)


def test_more_examples_than_are_read_at_a_time_are_all_counted():
    n = readings.MOST_EXAMPLES * 2 + 17
    reader = Reader(everything())
    at = some(np.random.default_rng(5), n, (3,))
    values = reader.values(at, n)
    for arithmetic in (Known.here(), Arithmetic.of("float64")):
        for found, value in zip(reader.bounds(at, n, arithmetic), values, strict=True):
            assert found.value.shape == value.shape
            assert np.allclose(found.value, value, rtol=1e-11, atol=1e-11)


def test_sums_of_pieces_are_known_to_their_last_digit():
    """Terms that cancel from one piece to the next: partial sums are added with their errors."""
    n = readings.MOST_EXAMPLES * 3
    terms = np.zeros(n)
    terms[:: readings.MOST_EXAMPLES] = 1.0, 1e20, -1e20
    (found,) = Reader([apply("sum_of_examples", c)]).bounds({"c": terms}, n, Known.here())
    assert abs(float(found.value) - 1.0) <= float(found.error)


def test_large_data_are_read_a_few_examples_at_a_time(monkeypatch):
    """The same numbers, whether data are read at once or in pieces, and in whatever dtype they are held."""
    n, reader = 50, Reader(everything())
    at = some(np.random.default_rng(7), n)
    data = {name: at[name].astype(np.float32) for name in ("X", "c", "y") if name in at}
    parameters = {name: one for name, one in at.items() if name not in data}
    whole = reader.on(data, n).at(parameters)
    monkeypatch.setattr(readings, "CELLS_AT_ONCE", 0)
    monkeypatch.setattr(readings, "CELLS", 7)
    streamed = reader.on(data, n)
    assert isinstance(streamed, readings.Streamed)
    for one, other in zip(streamed.at(parameters), whole, strict=True):
        assert one.shape == other.shape
        assert one.dtype == np.float64
        assert np.allclose(one, other, rtol=1e-13, atol=1e-13)


def test_data_alone_are_read_once_for_all_points():
    formula = logistic_formula("logits", 3, True)
    at = some(np.random.default_rng(6), 5) | {"l2": np.asarray(0.5)}
    reader = Reader([formula.objective])
    fixed = {name: at[name] for name in ("X", "y", "l2")}
    numbers = reader.on(fixed, 5)
    for seed in range(3):
        point = {name: one for name, one in some(np.random.default_rng(seed), 5).items() if name in ("w", "b")}
        assert np.allclose(numbers.at(point), reader.values(fixed | point, 5), rtol=1e-14)


def test_a_named_quantity_is_found_by_its_symbol():
    formula = logistic_formula("logits", 3, True)
    assert formula["f"] is formula.objective
    assert formula["w"] is formula.parameters[0]
    with pytest.raises(StopIteration):
        formula["nothing"]
