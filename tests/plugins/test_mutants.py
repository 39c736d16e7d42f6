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


FAR = [POINT, 5 * POINT, 200 * POINT, POINT * (1 + 1e-3), POINT]


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


@named([mutant for mutant in WRONG if mutant.part in ("gradient", "update")])
def test_a_wrong_part_is_wrong_and_the_other_parts_are_untouched(mutant, right):
    found = {size: changed(mutant, size, right) & {"loss", "gradient", "update"} for size in mutant.sizes}
    # a size may be less than one rounding, or count more calls than these few
    assert {mutant.part} in found.values()
    assert set.union(*found.values()) == {mutant.part}


@named([mutant for mutant in WRONG if mutant.part == "loss"])
def test_a_wrong_loss_is_reported_and_nothing_is_computed_with_it(mutant, right):
    found = set.union(*(changed(mutant, size, right) for size in mutant.sizes))
    assert found
    # one that is late, or read late, is right where nothing was updated between
    assert found <= {"loss", "training losses", "fused losses"}


@named([mutant for mutant in WRONG if mutant.part == "training"])
def test_a_wrong_training_ends_elsewhere(mutant, right):
    for size in mutant.sizes:
        assert changed(mutant, size, right) & {"training", "fused"}


@named([mutant for mutant in WRONG if mutant.part == "protocol"])
def test_a_breach_of_the_protocol_shows_in_what_can_be_read(mutant, right):
    # some cannot even train: a column for w has the wrong shape in the update too
    try:
        found = changed(mutant, max(mutant.sizes), right)
    except ValueError as error:
        assert "broadcast" in str(error)  # noqa: PT017 - raising is one of two ways to be seen
    else:
        assert found


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
