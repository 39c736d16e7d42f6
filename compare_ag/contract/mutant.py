"""A mutant: a backend made wrong on purpose, to prove that a verdict can fail.

`compare-ag selftest` runs each mutant as an ordinary backend in an ordinary worker. A mutant is a function from a
correct backend class to a wrong one, so that the same mistake can be made to any backend. A *legitimate* mutant only
computes differently (another order of summation, another formula for the same number) and must pass.

This file must not import a framework, numpy or pluggy, like the contract, because plugins build on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

    from compare_ag.contract.backend import Backend

Part: TypeAlias = Literal["loss", "gradient", "update", "training", "protocol"]
Place: TypeAlias = Literal["anywhere", "probability", "large", "threads"]
PLACES: tuple[Place, ...] = get_args(Place)


class Mutant(NamedTuple):
    """One kind of mistake in several sizes, or one legitimate way to compute differently.

    A plugin offers mutants through an entry point of the group ``compare_ag_mutants`` whose module has the hook
    ``compare_ag_mutants()``; it returns a list of these.
    """

    name: str
    """kebab-case, unique within its plugin: "gradient-scaled" """
    part: Part
    """what is wrong: the loss, the gradient, the update; "training": only visible over several steps (a skipped step,
    momentum, wrong initial weights); "protocol": the contract itself (shape, dtype, inputs written to, replays).
    For a legitimate one: the part that is computed differently."""
    meaning: str
    """one line for people: "the gradient is too large by the factor 1 + size" """
    sizes: tuple[float, ...]
    """sizes of the error to try, largest first; (1.0,) where there is only one"""
    make: Callable[[type[Backend], float], type[Backend]]
    """(correct backend class, size) -> wrong backend class"""
    legitimate: bool = False
    """True: it must pass every test"""
    shows_in: Place = "anywhere"
    """where the mistake acts: on any problem; in the probability form of the loss; on a large problem (more than 64
    examples, more than 16 features, as many examples as features); with two threads"""
