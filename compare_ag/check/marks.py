"""The decorator for the test suites of authors. Only this module, `plugin` and `test_backend` import pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

import pytest

from compare_ag.check.ladder import CHECKS
from compare_ag.check.rungs import CheckResult, check_backend
from compare_ag.suite import select

F = TypeVar("F", bound=Callable[..., None])


def parametrize_backend_checks(
    backends: Sequence[str], expected_failed: Mapping[str, str] | None = None
) -> Callable[[F], F]:
    """Run a test once for each backend and check.

    The test takes one argument, ``check``, and calls it::

        @parametrize_backend_checks(["mine"], expected_failed={"seed-problem": "probability form missing, issue 12"})
        def test_backend(check):
            check()

    expected_failed: check id -> reason. Such a check must fail: when it passes, the test fails, so that the entry is
    taken out again. Wrong arguments end pytest's collection of the whole file: ValueError for an unknown id or a reason
    that is empty or missing, TypeError for one name instead of a list and ids without reasons,
    `host.discovery.SelectionError` for a backend that is unknown or cannot be run.
    """
    return pytest.mark.parametrize("check", cases(backends, expected_failed))


def cases(backends: Sequence[str], expected_failed: Mapping[str, str] | None = None) -> list[Any]:
    """A pytest parameter for each backend and check; raises as `parametrize_backend_checks`."""
    if isinstance(backends, str):
        raise TypeError(f"backends: give a list of names, as [{backends!r}]")
    if not isinstance(expected_failed or {}, Mapping):
        raise TypeError("expected_failed: give a reason for each check, as {'check-id': 'reason'}")
    expected = dict(expected_failed or {})
    for name, reason in expected.items():
        if name not in CHECKS:
            raise ValueError(f"expected_failed: there is no check {name!r}; there are {', '.join(CHECKS)}")
        if not str(reason or "").strip():
            raise ValueError(f"expected_failed: {name!r} needs a reason")
    names = list(dict.fromkeys(backends))
    select(names)
    return [
        pytest.param(
            partial(run_check, backend, name, frozenset(expected)),
            id=f"{backend}-{name}",
            marks=_marks(expected.get(name)),
        )
        for backend in names
        for name in CHECKS
    ]


def _marks(reason: str | None) -> list[pytest.MarkDecorator]:
    """A strict mark that expects a failed check: an error of the kit itself is still an error."""
    return [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True, raises=pytest.fail.Exception)]


def run_check(backend: str, name: str, expected: frozenset[str] = frozenset()) -> None:
    """Fail, skip or pass the current test as the check did; ``expected``: ids of checks that are known to fail."""
    results = _results(backend, expected)
    result = results.get(name)
    if result is None:
        last = list(results.values())[-1]
        pytest.fail(f"{name} was not asked, because '{last.id}' failed: {last.message}", pytrace=False)
    if result.status == "skipped":
        pytest.skip(result.message)
    if result.status == "failed":
        pytest.fail(result.explanation, pytrace=False)


@lru_cache
def _results(backend: str, expected: frozenset[str]) -> dict[str, CheckResult]:
    """All checks of one backend, run once: they share workers."""
    return {result.id: result for result in check_backend(backend, expected=expected)}
