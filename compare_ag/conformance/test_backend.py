"""What ``--pyargs compare_ag.conformance`` collects; the plugin fills it."""

from __future__ import annotations

from collections.abc import Callable


def test_backend(check: Callable[[], None]) -> None:
    """One check of one backend."""
    check()
