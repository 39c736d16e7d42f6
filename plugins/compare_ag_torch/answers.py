"""What PyTorch's autograd does, shown by doing it: answers to the questions of `compare-ag explain`.

Each function is one answer; its body is what people read and what is run. Each question's id is the function's name.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from compare_ag import Answer, NotApplicable

Evidence = dict[str, Any]


def requires_grad() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    x = torch.ones(2)
    found = {"weight": w, "data": x, "of_weight": w * x, "of_data": x * x}
    return {name: tensor.requires_grad for name, tensor in found.items()}


def nothing_requires_grad() -> Evidence:
    x = torch.ones(2)
    loss = (x * x).sum()
    loss.backward()
    return {"gradient": x.grad}


def unused_weight() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    (w * w).sum().backward()
    return {"unused": unused.grad, "used": w.grad}


def leaf() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    z = w * 3
    return {"weight": w.is_leaf, "result": z.is_leaf}


def kept_gradient() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    z = w * 3
    asked = z * z
    asked.retain_grad()
    asked.sum().backward()
    return {"weight": w.grad, "result": z.grad, "asked": asked.grad}


def recorded() -> Evidence:
    saved = []
    w = torch.ones(2, requires_grad=True)
    with saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        loss = -torch.log(torch.sigmoid(w * 3)).mean()
    node, names = loss.grad_fn, []
    while node.next_functions:
        names.append(node.name())
        node = node.next_functions[0][0]
    return {"operations": names, "arrays": len({tensor.data_ptr() for tensor in saved})}


def no_grad() -> Evidence:
    w = torch.ones(1000, requires_grad=True)
    seconds, kept = [1.0, 1.0], [0, 0]
    for turn in range(200):
        for how, recording in enumerate((True, False)):
            start = time.perf_counter()
            with torch.set_grad_enabled(recording):
                torch.log(1 + torch.exp(w * 3)).mean()
            seconds[how] = min(seconds[how], time.perf_counter() - start)
    for how, recording in enumerate((True, False)):
        saved = []
        hooks = saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t)
        with torch.set_grad_enabled(recording), hooks:
            loss = torch.log(1 + torch.exp(w * 3)).mean()
        kept[how] = sum(tensor.nbytes for tensor in saved)
    return {"recorded": loss.requires_grad, "seconds": seconds, "kept_bytes": kept}


def before_backward() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    loss = (w * w).sum()
    assert loss.requires_grad
    return {"gradient": w.grad}


def accumulation() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    (w * w).sum().backward()
    first = w.grad.clone()
    (w * w).sum().backward()
    return {"first": first, "second": w.grad}


def zeroing() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w])
    (w * w).sum().backward()
    optimizer.zero_grad()
    usual = w.grad
    (w * w).sum().backward()
    optimizer.zero_grad(set_to_none=False)
    return {"usual": usual, "asked": w.grad}


def zero_first() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    loss = (w * w).sum()
    w.grad.zero_()
    loss.backward()
    return {"gradient": w.grad}


def backward_twice() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    loss = (w * w).sum()
    loss.backward()
    first = w.grad.clone()
    loss.backward()
    return {"first": first, "second": w.grad}


def retain_graph() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    first = w.grad.clone()
    loss.backward()
    return {"first": first, "second": w.grad}


def vector_loss() -> Evidence:
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    losses = w * w
    (of_sum,) = torch.autograd.grad(losses.sum(), w, retain_graph=True)
    losses.backward()
    return {"gradient": w.grad, "of_sum": of_sum}


def weighted_loss() -> Evidence:
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    losses = w * w
    losses.backward(torch.tensor([1.0, 1.0, 0.1]))
    l1, l2, l3 = w * w
    (of_sum,) = torch.autograd.grad(l1 + l2 + 0.1 * l3, w)
    return {"weighted": w.grad, "of_sum": of_sum}


def detach() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    z = w * 3
    alias = z.detach()
    alias[0] = 7.0
    return {"shares": z[0].item() == 7.0, "followed": alias.requires_grad}


def detach_change() -> Evidence:
    w = torch.tensor([0.0, 1.0], requires_grad=True)
    p = torch.sigmoid(w)
    right = (p * (1 - p)).tolist()
    p.detach().mul_(0.5)
    p.sum().backward()
    return {"gradient": w.grad, "right": right}


def data_change() -> Evidence:
    w = torch.tensor([0.0, 1.0], requires_grad=True)
    p = torch.sigmoid(w)
    right = (p * (1 - p)).tolist()
    p.data.mul_(0.5)
    p.sum().backward()
    return {"gradient": w.grad, "right": right}


def in_place_recorded() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    before = w.tolist()
    w -= 0.1
    return {"before": before, "after": w}


def in_place_update() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    (w * w).sum().backward()
    before, address = w.tolist(), w.data_ptr()
    with torch.no_grad():
        w -= 0.1 * w.grad
    same, followed = w.data_ptr() == address, w.is_leaf and w.requires_grad
    return {"before": before, "after": w, "same_memory": same, "followed": followed}


def second_derivative() -> Evidence:
    x = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(x**3, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    return {"first": first, "second": second}


def second_unasked() -> Evidence:
    x = torch.tensor(3.0, requires_grad=True)
    (first,) = torch.autograd.grad(x**3, x)
    (second,) = torch.autograd.grad(first, x)
    return {"second": second}


def branches() -> Evidence:
    def slope(at):
        x = torch.tensor(at, requires_grad=True)
        y = x**2 if x > 0 else -x
        y.backward()
        return x.grad

    return {"positive": slope(3.0), "negative": slope(-3.0)}


def loops() -> Evidence:
    slopes, operations = [], []
    for n in (1, 2, 3):
        x = torch.tensor(2.0, requires_grad=True)
        y = torch.tensor(1.0)
        for _ in range(n):
            y = y * x
        y.backward()
        slopes.append(x.grad)
        node, count = y.grad_fn, 0
        while node is not None and "Mul" in node.name():
            node, count = node.next_functions[0][0], count + 1
        operations.append(count)
    return {"slopes": slopes, "operations": operations}


def relu_kink() -> Evidence:
    x = torch.tensor(0.0, requires_grad=True)
    torch.relu(x).backward()
    return {"slope": x.grad}


def abs_kink() -> Evidence:
    x = torch.tensor(0.0, requires_grad=True)
    torch.abs(x).backward()
    return {"slope": x.grad}


def max_tie() -> Evidence:
    w = torch.tensor([1.0, 1.0], requires_grad=True)
    torch.max(w).backward()
    return {"gradient": w.grad}


def saturation() -> Evidence:
    z = torch.tensor(40.0, dtype=torch.float64, requires_grad=True)
    value = torch.log(1 - torch.sigmoid(z))
    value.backward()
    return {"value": value, "gradient": z.grad}


def integers() -> Evidence:
    w = torch.tensor([1, 2], requires_grad=True)
    (w * w).sum().backward()
    return {"gradient": w.grad, "dtype": str(w.grad.dtype)}


def type_promotion() -> Evidence:
    w = torch.ones(2, dtype=torch.float32, requires_grad=True)
    x = torch.ones(2, dtype=torch.float64)
    loss = (w * x).sum()
    loss.backward()
    name = {torch.float32: "float32", torch.float64: "float64"}
    return {"loss": name[loss.dtype], "gradient": name[w.grad.dtype]}


def item_tolist() -> Evidence:
    w = torch.ones(2, requires_grad=True)
    item = (w * w).sum().item()
    elements = [type(one).__name__ for one in w.tolist()]
    try:
        vector = type(w.item()).__name__
    except RuntimeError as error:
        vector = type(error).__name__
        print(error)
    return {"item": type(item).__name__, "elements": elements, "vector": vector}


def prompt_exit() -> Evidence:
    before = threading.active_count()
    w = torch.ones(2, requires_grad=True)
    (w * w).sum().backward()
    more = threading.active_count() - before
    return {"gradient": w.grad, "threads": more}


def determinism() -> Evidence:
    def train():
        torch.manual_seed(0)
        X, y = torch.randn(50, 3), torch.ones(50)
        w = torch.zeros(3, requires_grad=True)
        for _ in range(20):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(X @ w, y)
            (slope,) = torch.autograd.grad(loss, w)
            with torch.no_grad():
                w -= 0.1 * slope
        return w

    return {"first": train(), "second": train()}


def threads() -> Evidence:
    wrong, failed = [], []

    def work(start):
        for n in range(50):
            w = torch.tensor([start, float(n)], requires_grad=True)
            try:
                (w * w).sum().backward()
                if not torch.equal(w.grad, 2 * w.detach()):
                    wrong.append(w.grad)
            except Exception as error:
                failed.append(error)

    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, (0.0, 1.0, 2.0, 3.0)))
    sys.setswitchinterval(0.005)
    return {"calls": 200, "wrong": len(wrong), "failed": len(failed)}


def failed_backward() -> Evidence:
    def fail(gradient):
        raise ValueError("halfway")

    w, v = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    v.register_hook(fail)
    loss = (v * v).sum() + (w * w).sum()
    try:
        loss.backward()
    except ValueError as error:
        print(error)
    left, w.grad = w.grad, None
    try:
        loss.backward()
    except RuntimeError as error:
        print(error)
    return {"left": left, "again": w.grad, "right": [2.0, 2.0]}


ANSWERS: list[Answer | NotApplicable] = [
    Answer(function.__name__.replace("_", "-"), function)
    for function in (
        requires_grad, nothing_requires_grad, unused_weight, leaf, kept_gradient, recorded, no_grad, before_backward,
        accumulation, zeroing, zero_first, backward_twice, retain_graph, vector_loss, weighted_loss, second_derivative,
        second_unasked, detach, detach_change, data_change, in_place_recorded, in_place_update, branches, loops,
        relu_kink, abs_kink, max_tie, saturation, integers, type_promotion, item_tolist, prompt_exit, determinism,
        threads, failed_backward,
    )
]  # fmt: skip
