"""Each rule of each operation broken once: do the tests of the rules find it?

    python scripts/broken_rules.py [--only exp]

Broken are what an operation computes (`value`, by a millionth), its bound (nothing; without what the operation itself
loses; without what its arguments' errors do; half of a single rounding; without the size of what is added up), its
balls (`exact`, by a millionth), and the adjoint of each argument (by a thousandth, and with the other sign). Each in a
process of its own, which runs the tests of that operation and, if they find nothing, all. Printed is which test
failed first; the exit code is 1 if a broken rule passed.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb

from compare_ag.model import formula, rules
from compare_ag.model.arithmetic import Arithmetic, Known
from compare_ag.model.formula import PULLS, Expr, constant
from compare_ag.model.rules import RULES, Bounded, Reduction, Site

ALL = "all operations"
TESTS = Path(__file__).resolve().parents[1] / "tests" / "model"
Break = Callable[[], None]

UNROUNDED = {
    "negative", "absolute", "relu", "sign", "step", "each", "pick", "unpick", "exactly", "either", "known_as", "mean",
    "sum_of_examples", "over_examples",
}  # fmt: skip  # a table
"""which lose nothing themselves; sums over the examples lose what `Arithmetic.long_sum` and `route` say"""
ROUNDED_ONCE = {"add", "multiply", "reciprocal", "weigh"}
"""whose bound has no reserve"""
ERRORS_OF_NOTHING = {"exactly"}
"""which carry no error on"""
SIZED = {
    "add",
    "multiply",
    "negative",
    "exp",
    "log",
    "reciprocal",
    "softplus",
    "affine",
    "dot",
    "mean",
    "sum_of_examples",
}
"""whose size a sum's rounding, or overflow, depends on by themselves"""


def changed(op: str, **fields: Any) -> Break:
    """The rule with other functions."""

    def breaks() -> None:
        RULES[op] = RULES[op]._replace(**fields)

    return breaks


def scaled(function: Callable[..., Any], factor: float) -> Callable[..., Any]:
    return lambda *args: np.asarray(function(*args)) * factor


def bound_breaks(op: str) -> Iterator[tuple[str, Break]]:
    rule = RULES[op]
    field, bound = ("part", rule.part) if isinstance(rule, Reduction) else ("bound", rule.bound)

    def nothing(*args: Any) -> Bounded:
        found: Bounded = bound(*args)
        return found._replace(error=0.0)

    def without_rounding(site: Site, *args: Bounded) -> Bounded:
        found: Bounded = bound(replace(site, arithmetic=replace(site.arithmetic, u=0.0)), *args)
        return found

    def half_rounded(site: Site, *args: Bounded) -> Bounded:
        found: Bounded = bound(replace(site, arithmetic=replace(site.arithmetic, u=site.arithmetic.u / 2)), *args)
        return found

    def without_arguments(site: Site, *args: Bounded) -> Bounded:
        found: Bounded = bound(site, *(one._replace(error=0.0) for one in args))
        return found

    def without_size(*args: Any) -> Bounded:
        found: Bounded = bound(*args)
        return found._replace(size=0.0)

    if op not in ERRORS_OF_NOTHING:
        yield "bound: nothing", changed(op, **{field: nothing})
        yield "bound: without the arguments' errors", changed(op, **{field: without_arguments})
    else:

        def carried(_: Site, a: Bounded) -> Bounded:
            return a

        yield "bound: the argument's error", changed(op, **{field: carried})
    if op not in UNROUNDED:
        yield "bound: without its rounding", changed(op, **{field: without_rounding})
    if op in ROUNDED_ONCE:
        yield "bound: half of its rounding", changed(op, **{field: half_rounded})
    if op in SIZED:
        yield "bound: without its size", changed(op, **{field: without_size})


def exact_break(op: str) -> Break:
    exact = RULES[op].exact

    def off(*args: Any) -> list[Any]:
        return [one * (1 + arb(10) ** -6) for one in exact(*args)]

    return changed(op, exact=off)


def pull_breaks(op: str) -> Iterator[tuple[str, Break]]:
    pull = PULLS[op]

    def of_argument(place: int, factor: float) -> Break:
        def pulled(*args: Expr) -> Iterator[Expr]:
            for i, one in enumerate(pull(*args)):
                yield constant(factor) * one if i == place else one

        def breaks() -> None:
            PULLS[op] = pulled

        return breaks

    for place in range({"affine": 3, "multiply": 2, "add": 2, "dot": 2, "either": 2}.get(op, 1)):
        yield f"adjoint of argument {place + 1}: 1.001 of it", of_argument(place, 1.001)
        yield f"adjoint of argument {place + 1}: its sign", of_argument(place, -1.0)


def arithmetic_breaks() -> Iterator[tuple[str, str, Break]]:
    """What operations lose that `arithmetic` and `products` say."""

    def method(kind: type[Arithmetic], name: str, function: Callable[..., Any]) -> Break:
        return lambda: setattr(kind, name, function)

    for kind, names in ((Arithmetic, ("softplus", "sigmoid")), (Known, ("softplus", "sigmoid"))):
        for name in names:
            yield name, f"{kind.__name__}: loses nothing", method(kind, name, lambda _, value, *__: 0.0 * value)
    for op in ("mean", "sum_of_examples", "over_examples"):
        lost = method(Arithmetic, "long_sum", lambda _, __, size: 0.0 * size)
        yield op, "Arithmetic: a long sum loses nothing", lost
    for name in ("affine", "over_examples"):

        def nothing(_: Arithmetic, a: Any, b: Any, __: Any) -> tuple[Any, float, float]:
            return a @ b, 0.0, 0.0

        yield name, "Known: products lose nothing", method(Known, "product", nothing)


def all_breaks() -> Iterator[tuple[str, str, Break]]:
    for op in sorted(RULES):
        yield op, "value", changed(op, value=scaled(RULES[op].value, 1.0 + 1e-6))
        for name, breaks in bound_breaks(op):
            yield op, name, breaks
        yield op, "exact", exact_break(op)
        if op in PULLS:
            for name, breaks in pull_breaks(op):
                yield op, name, breaks
    yield from arithmetic_breaks()


class Rounds:
    """A pytest plugin: the tests are collected once; each round breaks a rule and runs some of them in a fork."""

    def __init__(self, only: str | None) -> None:
        self.only, self.missed, self.count = only, 0, 0
        self.found = ""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of all tests in a row."""
        clean = self._in_a_fork(session, self.only or ALL, lambda: None)
        if clean:
            raise SystemExit(f"{clean} fails with nothing broken")
        for op, rule, breaks in all_breaks():
            if self.only in (None, op):
                found = self._in_a_fork(session, op, breaks) or self._in_a_fork(session, ALL, breaks)
                self.count, self.missed = self.count + 1, self.missed + (not found)
                print(f"{op:16} {rule:40} {found or 'NOT FOUND'}", file=sys.__stdout__, flush=True)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.found:
            self.found = report.nodeid.rpartition("::")[2]

    def _in_a_fork(self, session: pytest.Session, op: str, breaks: Break) -> str:
        """The first test of an operation that fails, or nothing; what was broken or cached ends with the fork."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                breaks()
                os.write(
                    writing, self._first_failure([item for item in session.items if op in (ALL, _of(item))]).encode()
                )
            except BaseException:  # noqa: BLE001 - a child ends here, whatever happened
                traceback.print_exc(file=sys.__stderr__)
                os._exit(1)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            found = pipe.read()
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"{op}: its tests could not be run")
        return found

    def _first_failure(self, items: list[pytest.Item]) -> str:
        if not items:
            raise ValueError("no test")
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.found:
                break
        return self.found


def _of(item: pytest.Item) -> str:
    """The operation that a test is about."""
    call = getattr(item, "callspec", None)
    return str(call.params.get("op", "")) if call else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="break the rules of this operation alone")
    options = parser.parse_args()
    assert formula.PULLS is PULLS
    assert rules.RULES is RULES
    started, rounds = time.perf_counter(), Rounds(options.only)
    # a fixture's own output and a failure's traceback are nobody's business here
    flags = ["-q", "--no-header", "--no-summary", "--assert=plain", "--capture=no", "-p", "no:cacheprovider"]
    with redirect_stdout(io.StringIO()):
        code = pytest.main([str(TESTS), *flags], plugins=[rounds])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        print(f"pytest ended with {code!r}")
        return 2
    print(f"{rounds.count} broken rules, {rounds.missed} not found, {time.perf_counter() - started:.0f} s")
    return 1 if rounds.missed or not rounds.count else 0


if __name__ == "__main__":
    sys.exit(main())
