"""The decorator for other people's test suites. The only module of the kit, beside its plugin, that knows pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TypeVar

import pytest

from compare_ag.conformance.ladder import CHECKS
from compare_ag.conformance.run import CheckResult, check_backend

F = TypeVar("F", bound=Callable[..., None])


def parametrize_backend_checks(
    backends: Sequence[str], expected_failed: Mapping[str, str] | None = None
) -> Callable[[F], F]:
    """Run a test once for each backend and check.

    The test takes one argument, ``check``, and calls it::

        @parametrize_backend_checks(["mine"], expected_failed={"taylor": "no second derivative yet, issue 12"})
        def test_backend(check):
            check()

    expected_failed: check id -> reason. Such a check must fail: when it passes, the test fails, so that the entry is
    taken out again. Raises ValueError for an unknown id or an empty reason.
    """
    expected = dict(expected_failed or {})
    for name, reason in expected.items():
        if name not in CHECKS:
            raise ValueError(f"expected_failed: there is no check {name!r}; there are {', '.join(CHECKS)}")
        if not reason.strip():
            raise ValueError(f"expected_failed: {name!r} needs a reason")
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                partial(run_check, backend, name),
                id=f"{backend}-{name}",
                marks=[pytest.mark.xfail(reason=expected[name], strict=True)] if name in expected else [],
            )
            for backend in backends
            for name in CHECKS
        ],
    )


def run_check(backend: str, name: str) -> None:
    """Fail, skip or pass the current test as the check does."""
    result = _results(backend).get(name)
    if result is None:
        pytest.fail(f"{name} was not reached: the plugin cannot be loaded", pytrace=False)
    if result.status == "skipped":
        pytest.skip(result.message)
    if result.status == "failed":
        pytest.fail(result.explanation, pytrace=False)


@lru_cache
def _results(backend: str) -> dict[str, CheckResult]:
    """All checks of one backend, run once: they share workers."""
    return {result.id: result for result in check_backend(backend)}
