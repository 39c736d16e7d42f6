"""jax-jit: the formulas of the backend `jax`, compiled whole.

What it shows: `jax.jit` traces a function once for each shape and lets XLA fuse what it traced into one program. The
pullback leaves forward's program as a list of arrays, with a copy of X among them, and enters backward's; the fused
`step` stores none of that, because XLA sees loss, gradient and update together. A first call compiles its program.
"""

from __future__ import annotations

import jax

from compare_ag import Backend, Batch, Weights, hookimpl
from compare_ag_jax import JaxBackend, Program


class JaxJitBackend(JaxBackend):
    """The same functions as programs of XLA."""

    @staticmethod
    def program(function: Program) -> Program:
        """How a function is run: compiled at its first call, and again for another shape."""
        return jax.jit(function)

    def step(self, weights: Weights, batch: Batch, learning_rate: float) -> tuple[jax.Array, Weights]:
        """Loss, gradient and update in one program, which computes the loss whether or not it is read."""
        loss, following = self._step(weights, batch, learning_rate)
        return loss, Weights(*following)


@hookimpl
def compare_ag_backend() -> type[Backend]:
    """The backend that the entry point `jax-jit` names."""
    return JaxJitBackend
