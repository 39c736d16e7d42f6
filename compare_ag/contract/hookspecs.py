"""The hooks of the pluggy project ``compare_ag``.

A plugin is a module that an entry point of the group ``compare_ag`` names. It implements `compare_ag_backend`, and
optionally `compare_ag_answers`. A module that an entry point of the group ``compare_ag_mutants`` names implements
`compare_ag_mutants`. Only this module and the worker import pluggy; plugins use the marker ``compare_ag.hookimpl``.
"""

from __future__ import annotations

import pluggy

from compare_ag.contract.answer import Answer, NotApplicable
from compare_ag.contract.backend import Backend
from compare_ag.contract.mutant import Mutant

PROJECT = "compare_ag"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def compare_ag_backend() -> type[Backend]:  # type: ignore[empty-body]  # a hook specification has no body
    """Return the backend *class*: it is inspected before it is built.

    A complete plugin for a model of one weight on paper would be longer than this; a complete *hook* is

    >>> import compare_ag
    >>> class Mine(compare_ag.Backend):
    ...     pass  # prepare, make_tensor, forward, backward, update, to_numpy
    >>> @compare_ag.hookimpl
    ... def compare_ag_backend():
    ...     return Mine

    and the three bundled plugins are each a page long. Returns: a subclass of `compare_ag.Backend`.
    """


@hookspec(firstresult=True)
def compare_ag_mutants() -> list[Mutant]:  # type: ignore[empty-body]  # a hook specification has no body
    """Return mistakes that can be made to any backend, and legitimate ways to compute differently.

    `compare-ag selftest` lets each of them train as a backend and counts which ones are caught.
    """


@hookspec(firstresult=True)
def compare_ag_answers() -> list[Answer | NotApplicable]:  # type: ignore[empty-body]  # a hook specification has no body
    """Return answers to questions of `compare-ag explain`: functions that show what the framework does, by doing it.

    Optional. Import the answers inside the hook, so that a worker that trains does not pay for them:

    >>> import compare_ag
    >>> def accumulation():
    ...     return {"first": [2.0], "second": [4.0]}
    >>> @compare_ag.hookimpl
    ... def compare_ag_answers():
    ...     return [compare_ag.Answer("accumulation", accumulation)]

    Returns: `compare_ag.Answer` and `compare_ag.NotApplicable`, each question at most once.
    """
