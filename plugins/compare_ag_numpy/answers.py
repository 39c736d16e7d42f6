"""What a derivative on paper does, shown by running this plugin's own: answers for `compare-ag explain`.

Each function is one answer; its body is what people read and what is run. Each question's id is the function's name.
Where the question is about a framework's machinery, the answer shows what takes its place here, or that nothing does.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from compare_ag import Answer, Batch, NotApplicable, Setting, Weights
from compare_ag_numpy import NumpyBackend, logits_form, probability_form

Evidence = dict[str, Any]


def four_examples() -> tuple[NumpyBackend, Weights, Batch]:
    backend = NumpyBackend()
    backend.prepare(Setting(4, 2, "float64"))
    X = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    y = np.array([0.0, 1.0, 0.0, 1.0])
    return backend, Weights(np.array([0.5, -1.0]), np.array(0.0)), Batch(X, y)


def requires_grad() -> Evidence:
    w, x = np.ones(2), np.ones(2)
    arrays = {"weight": w, "data": x, "of_weight": w * x, "of_data": x * x}
    return {name: hasattr(array, "requires_grad") for name, array in arrays.items()}


def nothing_requires_grad() -> Evidence:
    backend, weights, (X, y) = four_examples()
    _, tape = backend.forward(weights, Batch(0 * X, y))
    return {"gradient": backend.backward(tape).w}


def unused_weight() -> Evidence:
    backend, weights, (X, y) = four_examples()
    X[:, 1] = 0
    _, tape = backend.forward(weights, Batch(X, y))
    used, unused = backend.backward(tape).w
    return {"used": used, "unused": unused}


def kept_gradient() -> Evidence:
    backend, weights, batch = four_examples()
    _, tape = backend.forward(weights, batch)
    X, w, r = tape
    backend.backward(tape)
    weight, result = (getattr(array, "grad", None) for array in (w, r))
    return {"weight": weight, "result": result, "asked": None}


def recorded() -> Evidence:
    backend, weights, batch = four_examples()
    _, tape = backend.forward(weights, batch)
    operations = [array.grad_fn for array in tape if hasattr(array, "grad_fn")]
    return {"operations": operations, "arrays": len(tape)}


def before_backward() -> Evidence:
    backend, weights, batch = four_examples()
    backend.forward(weights, batch)
    return {"gradient": weights.w.grad}


def accumulation() -> Evidence:
    backend, weights, batch = four_examples()
    _, tape = backend.forward(weights, batch)
    first = backend.backward(tape).w
    _, tape = backend.forward(weights, batch)
    second = backend.backward(tape).w
    return {"first": first, "second": second}


def backward_twice() -> Evidence:
    backend, weights, batch = four_examples()
    _, tape = backend.forward(weights, batch)
    first = backend.backward(tape).w
    second = backend.backward(tape).w
    return {"first": first, "second": second}


def vector_loss() -> Evidence:
    _, (w, b), (X, y) = four_examples()
    _, r = logits_form(X @ w + b, y)
    return {"gradient": r[:, None] * X, "of_sum": r @ X}


def weighted_loss() -> Evidence:
    _, (w, b), (X, y) = four_examples()
    _, r = logits_form(X @ w + b, y)
    l1, l2, l3, _ = r[:, None] * X
    weights = np.array([1.0, 1.0, 0.1, 0.0])
    return {"weighted": (weights * r) @ X, "of_sum": l1 + l2 + 0.1 * l3}


def second_derivative() -> Evidence:
    def first(x):
        return 3 * x**2

    h = 1e-5
    return {"first": first(3.0), "second": (first(3 + h) - first(3 - h)) / (2 * h)}


def detach() -> Evidence:
    z = np.ones(2) * 3
    alias = z[:]
    alias[0] = 7.0
    return {"shares": z[0] == 7.0, "followed": hasattr(alias, "grad_fn")}


def detach_change() -> Evidence:
    backend, weights, batch = four_examples()
    _, tape = backend.forward(weights, batch)
    right = backend.backward(tape).w
    _, tape = backend.forward(weights, batch)
    alias = tape[2][:]
    alias *= 0.5
    return {"gradient": backend.backward(tape).w, "right": right}


def data_change() -> Evidence:
    backend, weights, (X, y) = four_examples()
    _, tape = backend.forward(weights, Batch(X, y))
    right = backend.backward(tape).w
    _, tape = backend.forward(weights, Batch(X, y))
    X *= 0.5
    return {"gradient": backend.backward(tape).w, "right": right}


def in_place_recorded() -> Evidence:
    backend, weights, batch = four_examples()
    w, before = weights.w, weights.w.copy()
    _, tape = backend.forward(weights, batch)
    w -= 0.1
    backend.backward(tape)
    return {"before": before, "after": w}


def in_place_update() -> Evidence:
    backend, weights, batch = four_examples()
    before, address = weights.w.copy(), weights.w.ctypes.data
    _, tape = backend.forward(weights, batch)
    after = backend.update(weights, backend.backward(tape), 0.1).w
    same = after.ctypes.data == address
    return {"before": before, "after": after, "same_memory": same, "followed": None}


def branches() -> Evidence:
    def slope(x):
        return 2 * x if x > 0 else -1.0

    return {"positive": slope(3.0), "negative": slope(-3.0)}


def loops() -> Evidence:
    slopes = []
    for n in (1, 2, 3):
        y, slope = 1.0, 0.0
        for _ in range(n):
            y, slope = y * 2.0, slope * 2.0 + y
        slopes.append(slope)
    return {"slopes": slopes, "operations": None}


def saturation() -> Evidence:
    z, y = np.array([40.0]), np.array([0.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        loss, r = probability_form(z, y)
    return {"value": -loss, "gradient": -r}


def integers() -> Evidence:
    w = np.array([1, 2])
    gradient = 2 * w
    return {"gradient": gradient, "dtype": gradient.dtype.name}


def type_promotion() -> Evidence:
    backend, (w, b), batch = four_examples()
    loss, tape = backend.forward(Weights(w.astype("float32"), b.astype("float32")), batch)
    return {"loss": loss.dtype.name, "gradient": backend.backward(tape).w.dtype.name}


def item_tolist() -> Evidence:
    backend, weights, batch = four_examples()
    loss, _ = backend.forward(weights, batch)
    elements = [type(number).__name__ for number in weights.w.tolist()]
    try:
        vector = type(weights.w.item()).__name__
    except ValueError as error:
        vector = type(error).__name__
        print(error)
    return {"item": type(loss.item()).__name__, "elements": elements, "vector": vector}


def prompt_exit() -> Evidence:
    before = threading.active_count()
    backend, weights, batch = four_examples()
    _, tape = backend.forward(weights, batch)
    gradient, new_threads = backend.backward(tape).w, threading.active_count() - before
    return {"gradient": gradient, "threads": new_threads}


def determinism() -> Evidence:
    def train():
        backend, weights, batch = four_examples()
        for _ in range(20):
            _, tape = backend.forward(weights, batch)
            weights = backend.update(weights, backend.backward(tape), 0.1)
        return weights.w

    return {"first": train(), "second": train()}


def threads() -> Evidence:
    wrong, failed = [], []

    def work(start):
        backend, _, (X, y) = four_examples()
        for n in range(50):
            w = np.array([start, n / 50])
            right = (1 / (1 + np.exp(-X @ w)) - y) @ X / 4
            try:
                _, tape = backend.forward(Weights(w, np.array(0.0)), Batch(X, y))
                if not np.allclose(gradient := backend.backward(tape).w, right):
                    wrong.append(gradient)
            except Exception as error:
                failed.append(error)

    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, (0.0, 1.0, 2.0, 3.0)))
    sys.setswitchinterval(0.005)
    return {"calls": 200, "wrong": len(wrong), "failed": len(failed)}


def failed_backward() -> Evidence:
    backend, weights, batch = four_examples()
    _, tape = backend.forward(weights, batch)
    right = backend.backward(tape).w
    _, (X, w, r) = backend.forward(weights, batch)
    try:
        backend.backward((X[:3], w, r))
    except ValueError as error:
        print(error)
    left = getattr(w, "grad", None)
    return {"left": left, "again": backend.backward((X, w, r)).w, "right": right}


ANSWERS: list[Answer | NotApplicable] = [
    Answer(function.__name__.replace("_", "-"), function)
    for function in (
        requires_grad, nothing_requires_grad, unused_weight, kept_gradient, recorded, before_backward, accumulation,
        backward_twice, vector_loss, weighted_loss, second_derivative, detach, detach_change, data_change,
        in_place_recorded, in_place_update, branches, loops, saturation, integers, type_promotion, item_tolist,
        prompt_exit, determinism, threads, failed_backward,
    )
] + [
    NotApplicable("leaf", "no operation is recorded, so there is no graph that could have leaves"),
    NotApplicable("no-grad", "nothing is recorded that could be switched off: forward computes what backward needs"),
    NotApplicable("zeroing", "no gradient is kept between calls, so there is nothing to zero"),
    NotApplicable("zero-first", "no gradient is kept between calls, so a loop has nothing to zero first"),
    NotApplicable("retain-graph", "there is no graph to keep; what becomes of the tape is shown by backward-twice"),
    NotApplicable("second-unasked", "a second derivative has to be derived by hand as well, or taken by differences"),
    NotApplicable("relu-kink", "numpy has no derivative of max(x, 0): whoever derives by hand chooses one"),
    NotApplicable("abs-kink", "numpy has no derivative of |x|: whoever derives by hand chooses one"),
    NotApplicable("max-tie", "numpy has no derivative of max(a, b): whoever derives by hand chooses one"),
]  # fmt: skip
