"""What HIPS autograd does, shown by doing it: answers to the questions of `compare-ag explain`.

Each function is one answer; its body is what people read and what is run. Each question's id is the function's name.
"""

from __future__ import annotations

import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import autograd.numpy as np
import numpy
from autograd import elementwise_grad, grad, make_vjp
from autograd.extend import defvjp, primitive
from autograd.tracer import Node, getval, isbox, trace

from compare_ag import Answer, NotApplicable

Evidence = dict[str, Any]


class NamedNode(Node):
    """A node that remembers the name of its operation; autograd's own ones keep only how to go back."""

    def __init__(self, value, fun, args, kwargs, parent_argnums, parents):
        self.name, self.parents = fun.__name__, parents

    def initialize_root(self, *_):
        self.name, self.parents = "start", ()


def requires_grad() -> Evidence:
    found = {}

    def loss(w):
        x = np.ones(2)
        found.update(weight=isbox(w), data=isbox(x))
        found.update(of_weight=isbox(w * x), of_data=isbox(x * x))
        return np.sum(w * x)

    grad(loss)(np.ones(2))
    return found


def nothing_requires_grad() -> Evidence:
    x = np.ones(2)
    gradient = grad(lambda w: np.sum(x * x))(np.ones(2))
    return {"gradient": gradient}


def unused_weight() -> Evidence:
    gradient = grad(lambda w, unused: np.sum(w * w), argnum=(0, 1))
    used, unused = gradient(np.ones(2), np.ones(2))
    return {"unused": unused, "used": used}


def leaf() -> Evidence:
    found = {}

    def loss(w):
        z = w * 3
        found.update(weight=not w._node.parents, result=not z._node.parents)
        return np.sum(z)

    grad(loss)(np.ones(2))
    return found


def kept_gradient() -> Evidence:
    boxes = []

    def loss(w):
        boxes.extend([w, w * 3])
        return np.sum(boxes[1] * boxes[1])

    grad(loss)(np.ones(2))
    weight, result = (getattr(box, "grad", None) for box in boxes)
    return {"weight": weight, "result": result, "asked": None}


def recorded() -> Evidence:
    def loss(w):
        return -np.mean(np.log(1 / (1 + np.exp(-3 * w))))

    _, node = trace(NamedNode.new_root(), loss, np.ones(2))
    names = []
    while node.parents:
        names.append(node.name)
        node = node.parents[0]
    return {"operations": names, "arrays": None}


def no_grad() -> Evidence:
    def loss(w):
        return np.mean(np.log(1 + np.exp(w * 3)))

    w, record = np.ones(1000), make_vjp(loss)
    seconds, kept = [1.0, 1.0], []
    for turn in range(200):
        for how, forward in enumerate((record, loss)):
            start = time.perf_counter()
            forward(w)
            seconds[how] = min(seconds[how], time.perf_counter() - start)
    for forward in (record, loss):
        tracemalloc.start()
        result = forward(w)
        kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    return {"recorded": isbox(result), "seconds": seconds, "kept_bytes": kept}


def before_backward() -> Evidence:
    w = np.ones(2)
    pull_back, loss = make_vjp(lambda w: np.sum(w * w))(w)
    return {"gradient": w.grad}


def accumulation() -> Evidence:
    gradient = grad(lambda w: np.sum(w * w))
    w = np.ones(2)
    first = gradient(w)
    second = gradient(w)
    return {"first": first, "second": second}


def backward_twice() -> Evidence:
    pull_back, loss = make_vjp(lambda w: np.sum(w * w))(np.ones(2))
    first = pull_back(1.0)
    second = pull_back(1.0)
    return {"first": first, "second": second}


def vector_loss() -> Evidence:
    def losses(w):
        return w * w

    w = np.array([1.0, 2.0, 3.0])
    of_sum = elementwise_grad(losses)(w)
    return {"gradient": grad(losses)(w), "of_sum": of_sum}


def weighted_loss() -> Evidence:
    def losses(w):
        return w * w

    w, weights = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.1])
    pull_back, _ = make_vjp(losses)(w)
    of_sum = grad(lambda w: np.sum(weights * losses(w)))(w)
    return {"weighted": pull_back(weights), "of_sum": of_sum}


def detach() -> Evidence:
    found = {}

    def loss(w):
        z = w * 3
        alias = getval(z)
        alias[0] = 7.0
        found.update(shares=bool(z[0] == 7.0), followed=isbox(alias))
        return np.sum(z)

    grad(loss)(np.ones(2))
    return found


def detach_change() -> Evidence:
    def loss(w):
        z = np.exp(w)
        alias = getval(z)
        alias *= 0.5
        return np.sum(z)

    w = np.array([0.0, 1.0])
    return {"gradient": grad(loss)(w), "right": np.exp(w)}


def data_change() -> Evidence:
    w = np.array([1.0, 2.0])
    pull_back, loss = make_vjp(lambda w: np.sum(w * w))(w)
    right = 2 * w
    w *= 0.5
    return {"gradient": pull_back(1.0), "right": right}


def in_place_recorded() -> Evidence:
    w = np.ones(2)
    before = w.copy()

    def loss(w):
        w -= 0.1
        return np.sum(w * w)

    grad(loss)(w)
    return {"before": before, "after": w}


def in_place_update() -> Evidence:
    w = np.ones(2)
    before, address = w.copy(), w.ctypes.data
    w -= 0.1 * grad(lambda w: np.sum(w * w))(w)
    same = w.ctypes.data == address
    return {"before": before, "after": w, "same_memory": same, "followed": None}


def second_derivative() -> Evidence:
    first = grad(lambda x: x**3)
    second = grad(first)
    return {"first": first(3.0), "second": second(3.0)}


def second_unasked() -> Evidence:
    first = grad(lambda x: x**3)
    return {"second": grad(first)(3.0)}


def branches() -> Evidence:
    slope = grad(lambda x: x**2 if x > 0 else -x)
    return {"positive": slope(3.0), "negative": slope(-3.0)}


def loops() -> Evidence:
    def product(x, n):
        y = 1.0
        for _ in range(n):
            y = y * x
        return y

    def operations(n):
        _, node = trace(NamedNode.new_root(), lambda x: product(x, n), 2.0)
        count = 0
        while node.parents:
            node, count = node.parents[0], count + 1
        return count

    slopes = [grad(product)(2.0, n) for n in (1, 2, 3)]
    return {"slopes": slopes, "operations": [operations(n) for n in (1, 2, 3)]}


def relu_kink() -> Evidence:
    return {"slope": grad(lambda x: np.maximum(x, 0.0))(0.0)}


def abs_kink() -> Evidence:
    return {"slope": grad(np.abs)(0.0)}


def max_tie() -> Evidence:
    return {"gradient": grad(np.max)(np.array([1.0, 1.0]))}


def saturation() -> Evidence:
    def log_of_rest(z):
        return np.log(1 - 1 / (1 + np.exp(-z)))

    return {"value": log_of_rest(40.0), "gradient": grad(log_of_rest)(40.0)}


def integers() -> Evidence:
    w = np.array([1, 2])
    gradient = grad(lambda w: np.sum(w * w))(w)
    return {"gradient": gradient, "dtype": gradient.dtype.name}


def type_promotion() -> Evidence:
    w, x = np.ones(2, "float32"), np.ones(2, "float64")
    pull_back, loss = make_vjp(lambda w: np.sum(w * x))(w)
    return {"loss": loss.dtype.name, "gradient": pull_back(loss / loss).dtype.name}


def item_tolist() -> Evidence:
    w = np.ones(2)
    pull_back, loss = make_vjp(lambda w: np.sum(w * w))(w)
    elements = [type(one).__name__ for one in w.tolist()]
    try:
        vector = type(w.item()).__name__
    except ValueError as error:
        vector = type(error).__name__
        print(error)
    return {"item": type(loss.item()).__name__, "elements": elements, "vector": vector}


def prompt_exit() -> Evidence:
    before = threading.active_count()
    gradient = grad(lambda w: np.sum(w * w))(np.ones(2))
    more = threading.active_count() - before
    return {"gradient": gradient, "threads": more}


def determinism() -> Evidence:
    def train():
        X = numpy.random.default_rng(0).normal(size=(50, 3))
        gradient = grad(lambda w: np.mean(np.logaddexp(0, -np.dot(X, w))))
        w = np.zeros(3)
        for _ in range(20):
            w -= 0.1 * gradient(w)
        return w

    return {"first": train(), "second": train()}


def threads() -> Evidence:
    entered, inside, over = threading.Event(), threading.Event(), threading.Event()

    def first(w):
        entered.set()
        inside.wait(1)
        return np.sum(w * w)

    def second(w):
        inside.set()
        over.wait(1)
        return np.sum(w * grad(lambda v: np.sum(w * v))(np.ones(2)))

    w = np.array([1.0, 2.0])
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(grad(first), w)
        entered.wait(1)
        two = pool.submit(grad(second), w)
        found = [one.result()]
        over.set()
        found.append(two.result())
    return {"calls": 2, "wrong": sum((g != 2 * w).any() for g in found), "failed": 0}


def failed_backward() -> Evidence:
    broken = [True]

    def back(g):
        if broken[0]:
            raise ValueError("halfway")
        return 3 * g

    triple = primitive(lambda w: 3 * w)
    defvjp(triple, lambda ans, w: back)
    w = np.ones(2)
    pull_back, loss = make_vjp(lambda w: np.sum(triple(w) ** 2) + np.sum(w * w))(w)
    try:
        pull_back(1.0)
    except ValueError:
        broken[0] = False
    left = getattr(w, "grad", None)
    return {"left": left, "again": pull_back(1.0), "right": [20.0, 20.0]}


ANSWERS: list[Answer | NotApplicable] = [
    Answer(function.__name__.replace("_", "-"), function)
    for function in (
        requires_grad, nothing_requires_grad, unused_weight, leaf, kept_gradient, recorded, no_grad, before_backward,
        accumulation, backward_twice, vector_loss, weighted_loss, second_derivative, second_unasked, detach,
        detach_change, data_change, in_place_recorded, in_place_update, branches, loops, relu_kink, abs_kink, max_tie,
        saturation, integers, type_promotion, item_tolist, prompt_exit, determinism, threads, failed_backward,
    )
] + [
    NotApplicable("zeroing", "no gradient is kept between calls, so there is nothing to zero"),
    NotApplicable("zero-first", "no gradient is kept between calls, so a loop has nothing to zero first"),
    NotApplicable("retain-graph", "nothing is freed while the pullback lives, so nothing has to be kept on request"),
]  # fmt: skip
