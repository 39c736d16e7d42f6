"""The bundled mutants against the backend they are made of: a wrong one is wrong where it says, a legitimate one is right.

What is compared is a transcript: everything that a worker could read of a backend that is asked for loss, gradient and
update at several points and then trains. No verdict and no tolerance is involved, so that a mutant which changes
nothing shows here, not as a weakness of the verdict.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from compare_ag_mutants import compare_ag_mutants
from compare_ag_numpy import NumpyBackend

from compare_ag import Backend, Batch, Mutant, Setting, Weights
from compare_ag.worker.load import load_backend

N, D, RATE, L2 = 12, 3, 0.1, 0.05
STEPS = 420
"""a mutant may be right for its first 400 calls"""
MUTANTS = compare_ag_mutants()
WRONG = [mutant for mutant in MUTANTS if not mutant.legitimate]
LEGITIMATE = [mutant for mutant in MUTANTS if mutant.legitimate]
NAMED = {mutant.name: mutant for mutant in MUTANTS}
BOTH = {"form-clipped", "form-clamped", "softplus-threshold"}
"""change loss and gradient alike, as what clips a probability before its logarithm does"""
FORMS = ("logits", "probability")
BASES = ("numpy", "autograd", "torch")

generator = np.random.default_rng(5)
X = generator.standard_normal((N, D))
Y = (X @ [1.0, -2.0, 0.5] + generator.standard_normal(N) > 0).astype(float)
POINT = np.array([0.3, -0.4, 0.2, 0.1])  # w, then b

Transcript = dict[str, list[np.ndarray[Any, Any]]]


def named(mutants: list[Mutant]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("mutant", mutants, ids=lambda mutant: mutant.name)


@pytest.fixture(autouse=True)
def numpy_error_state():
    """`prepare` sets numpy's for the process; a mutant may diverge."""
    with np.errstate(all="ignore"):
        yield


class Bench:
    """A backend with its data, asked as a worker asks."""

    def __init__(self, made: type[Backend], dtype: str = "float64", loss: str = "logits") -> None:
        self.dtype, self.backend = dtype, made()
        self.backend.prepare(Setting(N, D, dtype, l2=L2, loss=loss))
        self.data = self.batch(slice(None))

    def batch(self, rows: slice) -> Batch:
        return Batch(*(self.backend.make_tensor(array[rows].astype(self.dtype)) for array in (X, Y)))

    def weights(self, point: np.ndarray[Any, Any]) -> Weights:
        point = point.astype(self.dtype)
        make = self.backend.make_tensor
        return Weights(make(point[:-1], requires_grad=True), make(np.array(point[-1]), requires_grad=True))

    def read(self, *tensors: Any) -> list[np.ndarray[Any, Any]]:
        return [np.array(self.backend.to_numpy(tensor)) for tensor in tensors]

    def visits(self, points: list[np.ndarray[Any, Any]], rows: slice = slice(None)) -> Transcript:
        """Each point twice on the same tensors: losses, gradients, and the weights and data afterwards."""
        seen: Transcript = {"loss": [], "gradient": [], "kept": []}
        data = self.data if rows == slice(None) else self.batch(rows)
        for point in points:
            weights = self.weights(point)
            for _ in range(2):
                loss, tape = self.backend.forward(weights, data)
                gradient = self.backend.backward(tape)
                seen["loss"] += self.read(loss)
                seen["gradient"] += self.read(*gradient)
            seen["kept"] += self.read(*weights, *data)
        return seen

    def updates(self) -> Transcript:
        """Given weights by a given gradient."""
        gradient = Weights(*self.weights(np.array([0.7, -0.3, 0.02, 0.4])))
        tensors = Weights(*(self.backend.make_tensor(array) for array in self.read(*gradient)))
        return {"update": self.read(*self.backend.update(self.weights(POINT), tensors, RATE))}

    def training(self, steps: int = STEPS, size: int = N, *, fused: bool = False) -> Transcript:
        """Losses are read after the update, as the worker does."""
        weights, kind = self.weights(POINT), "fused" if fused else "training"
        seen: Transcript = {kind: [], f"{kind} losses": []}
        for step in range(steps):
            first = step * size % N
            batch = self.data if size == N else self.batch(slice(first, first + size))
            if fused:
                loss, weights = self.backend.step(weights, batch, RATE)
            else:
                loss, tape = self.backend.forward(weights, batch)
                weights = self.backend.update(weights, self.backend.backward(tape), RATE)
            seen[kind] += self.read(*weights)
            seen[f"{kind} losses"] += self.read(loss)
        return seen


FAR = [POINT, 5 * POINT, 20 * POINT, 200 * POINT, POINT * (1 + 1e-3), POINT, 2000 * POINT]


def transcript(made: type[Backend], loss: str = "logits") -> Transcript:
    """Everything, each kind on a fresh instance so that no call counts for another kind."""
    visited = Bench(made, loss=loss).visits(FAR)
    halved = Bench(made, loss=loss)
    halved.visits([POINT])
    return (
        visited
        | {"half": halved.visits([POINT], slice(0, N, 2))["gradient"]}
        | Bench(made, loss=loss).updates()
        | Bench(made, loss=loss).training()
        | Bench(made, loss=loss).training(fused=True)
    )


def same(left: list[np.ndarray[Any, Any]], right: list[np.ndarray[Any, Any]]) -> bool:
    """Bit for bit, shapes and dtypes included; a NaN is a NaN."""
    pairs = zip(left, right, strict=True)
    return all(a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=True) for a, b in pairs)


@pytest.fixture(scope="module")
def right() -> Transcript:
    with np.errstate(all="ignore"):
        return transcript(NumpyBackend)


def changed(mutant: Mutant, size: float, right: Transcript) -> set[str]:
    wrong = transcript(mutant.make(NumpyBackend, size))
    assert wrong.keys() == right.keys()
    return {kind for kind in right if not same(wrong[kind], right[kind])}


def test_there_are_enough_of_both_kinds():
    assert len(WRONG) >= 30
    assert len(LEGITIMATE) >= 20


def test_names_are_unique_kebab_case_and_every_mutant_says_what_it_is():
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    for mutant in MUTANTS:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", mutant.name)
        assert mutant.meaning
        assert "\n" not in mutant.meaning
        assert mutant.sizes
        assert len(set(mutant.sizes)) == len(mutant.sizes)


def test_nothing_is_changed_by_nothing(right):
    class Same(NumpyBackend):
        pass

    assert changed(Mutant("same", "loss", "nothing", (1.0,), lambda *_: Same), 1.0, right) == set()


def acts_here(mutant: Mutant) -> bool:
    """On this small problem with one thread, and not by chance."""
    return mutant.shows_in not in ("large", "threads") and mutant.name != "rare"


@named([mutant for mutant in WRONG if mutant.shows_in in ("large", "threads")])
def test_what_needs_a_large_problem_or_threads_changes_nothing_here(mutant, right):
    """That it acts where it says is the self-test's to show."""
    assert all(changed(mutant, size, right) == set() for size in mutant.sizes)


@named([mutant for mutant in WRONG if mutant.name in BOTH])
def test_a_wrong_loss_with_its_own_gradient_is_wrong_in_both(mutant, right):
    found = set.union(*(changed(mutant, size, right) for size in mutant.sizes))
    assert {"loss", "gradient"} <= found
    assert "update" not in found


@named([mutant for mutant in WRONG if mutant.part in ("gradient", "update") and acts_here(mutant)])
def test_a_wrong_part_is_wrong_and_the_other_parts_are_untouched(mutant, right):
    found = {size: changed(mutant, size, right) & {"loss", "gradient", "update"} for size in mutant.sizes}
    # a size may be less than one rounding, or count more calls than these few
    assert {mutant.part} in found.values()
    assert set.union(*found.values()) == {mutant.part}


@named([mutant for mutant in WRONG if mutant.part == "loss" and mutant.name not in BOTH])
def test_a_wrong_loss_is_reported_and_nothing_is_computed_with_it(mutant, right):
    found = set.union(*(changed(mutant, size, right) for size in mutant.sizes))
    assert found
    # one that is late, or read late, is right where nothing was updated between
    assert found <= {"loss", "training losses", "fused losses"}


@named([mutant for mutant in WRONG if mutant.part == "training"])
def test_a_wrong_training_ends_elsewhere(mutant, right):
    for size in mutant.sizes:
        assert changed(mutant, size, right) & {"training", "fused", "fused losses"}


@named([mutant for mutant in WRONG if mutant.part == "protocol"])
def test_a_breach_of_the_protocol_shows_in_what_can_be_read(mutant, right):
    assert changed(mutant, max(mutant.sizes), right)


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("shape-wrong", {"gradient", "half"}),
        ("bias-broadcast", {"gradient", "half"}),
        ("loss-shape-wrong", {"loss", "training losses", "fused losses"}),
        ("loss-dtype-wrong", {"loss", "training losses", "fused losses"}),
    ],
)
def test_what_is_malformed_is_only_reported_so_and_trains_rightly(name, reported, right):
    assert changed(NAMED[name], 1.0, right) == reported


def without_sharing(made: type[Backend]) -> type[Backend]:
    """As a framework whose tensors are immutable: what `to_numpy` returns may not be written to."""

    class Immutable(made):  # a class that is only known at run time
        def to_numpy(self, tensor):
            values = super().to_numpy(tensor)
            values = values.view()
            values.flags.writeable = False
            return values

    return Immutable


@pytest.mark.parametrize("immutable", [False, True])
@pytest.mark.parametrize("base", BASES)
def test_backward_writes_into_the_data_that_the_next_forward_reads(base, immutable):
    if base != "numpy":
        pytest.importorskip(base, reason=f"the backend {base} needs its framework")
    correct = load_backend(f"compare_ag_{base}")
    bench = Bench(NAMED["writes-into-data"].make(without_sharing(correct) if immutable else correct, 1e-3))
    losses = []
    for visits in range(3):
        np.testing.assert_allclose(bench.read(bench.data.X)[0], X * 1.001**visits, rtol=1e-13)
        loss, tape = bench.backend.forward(bench.weights(POINT), bench.data)
        losses += bench.read(loss)
        bench.backend.backward(tape)
    assert len({float(loss) for loss in losses}) == 3
    np.testing.assert_array_equal(bench.read(bench.data.y)[0], Y)


def test_the_accumulated_gradient_is_the_sum_of_all_before_it():
    points = [POINT, 2 * POINT, -POINT]
    ours = Bench(NAMED["gradient-accumulated"].make(NumpyBackend, 0.5)).visits(points)["gradient"][::2]
    right = Bench(NumpyBackend).visits(points)["gradient"][::2]
    for call in range(len(right)):
        np.testing.assert_allclose(ours[call], right[call] + 0.5 * sum(right[:call]), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize("name", ["float32-inside", "loss-in-float32", "weights-in-float32"])
def test_what_is_computed_in_float32_is_as_near_as_that(name, loss, dtype):
    part = NAMED[name].part

    def answers(made: type[Backend]) -> list[np.ndarray[Any, Any]]:
        return (Bench(made, dtype, loss).visits([POINT]) | Bench(made, dtype, loss).updates())[part]

    ours, right = answers(NAMED[name].make(NumpyBackend, 1.0)), answers(NumpyBackend)
    assert dtype == "float32" or not same(ours, right)
    for one, other in zip(ours, right, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rate", [RATE, 0.125, 3.7])
@pytest.mark.parametrize("digits", NAMED["rate-in-float32"].sizes)
def test_the_rounded_rate_has_so_many_digits_and_is_another_one(rate, digits):
    backend = NAMED["rate-in-float32"].make(NumpyBackend, digits)()
    backend.prepare(Setting(N, D, "float64"))
    used = -float(backend.update(Weights(np.zeros(D), np.zeros(())), Weights(np.ones(D), np.ones(())), rate).b)
    assert used != rate
    assert abs(used / rate - 1) <= 2 ** (1 - digits)
    assert (np.frexp(used)[0] * 2**digits).is_integer()
    assert rate == 0.125 or digits < 24 or used == np.float32(rate)


def test_legitimate_variants_really_compute_differently():
    def bits(made: type[Backend]) -> bytes:
        seen = Bench(made).visits([POINT, 5 * POINT]) | Bench(made).updates() | Bench(made).training(60, fused=True)
        return b"".join(array.tobytes() for kind in sorted(seen) for array in seen[kind])

    distinct = {bits(mutant.make(NumpyBackend, 1.0)) for mutant in LEGITIMATE} - {bits(NumpyBackend)}
    # one or two may coincide by the luck of a library's kernels
    assert len(distinct) >= len(LEGITIMATE) - 2


def test_the_own_step_uses_no_other_verb():
    class Deaf(NumpyBackend):
        forward = backward = update = None

    made = NAMED["own-step"].make(Deaf, 1.0)
    assert made.step is not Backend.step
    assert set(Bench(made).training(3, fused=True)) == {"fused", "fused losses"}


@named(LEGITIMATE)
@pytest.mark.parametrize("batch_size", [N, 5])
@pytest.mark.parametrize("loss", FORMS)
def test_a_legitimate_variant_is_right(mutant, loss, batch_size):
    for size in mutant.sizes:
        made = mutant.make(NumpyBackend, size)
        for fused in (False, True):
            ours = Bench(made, loss=loss).training(20, batch_size, fused=fused)
            right = Bench(NumpyBackend, loss=loss).training(20, batch_size, fused=fused)
            for kind, values in right.items():
                for one, other in zip(ours[kind], values, strict=True):
                    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@named(LEGITIMATE)
def test_a_legitimate_variant_keeps_the_protocol(mutant):
    before = X.copy(), Y.copy()
    bench = Bench(mutant.make(NumpyBackend, mutant.sizes[0]), "float32")
    seen = bench.visits([POINT, 5 * POINT, POINT])
    assert all(array.dtype == np.float32 for arrays in seen.values() for array in arrays)
    assert [array.shape for array in seen["gradient"][:2]] == [(D,), ()]
    assert all(np.array_equal(a, b) for a, b in zip(seen["gradient"][:4], seen["gradient"][-4:], strict=True))
    assert all(np.array_equal(a, b.astype(np.float32)) for a, b in zip(seen["kept"][-2:], before, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", FORMS)
@pytest.mark.parametrize("base", BASES)
def test_all_of_them_can_be_made_of_every_bundled_backend(base, loss, dtype):
    if base != "numpy":
        pytest.importorskip(base, reason=f"the backend {base} needs its framework")
    correct = load_backend(f"compare_ag_{base}")
    for mutant in MUTANTS:
        for size in {mutant.sizes[0], mutant.sizes[-1]}:
            made = mutant.make(correct, size)
            assert issubclass(made, correct), mutant.name
            if mutant.part != "protocol":  # a breach may well raise
                Bench(made, dtype, loss).training(4, 5)
