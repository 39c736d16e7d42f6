"""jax: JAX as it runs without `jit`, one operation of XLA at a time.

What it shows: the objective is a plain function of (weights, batch). `jax.vjp` runs it once on tracers and returns
its value with the *pullback*, the linear map from a factor c to c ∂f/∂weights; with the arrays that it holds, the
pullback is the tape. Each operation is a compiled program of its own, so that a step on four examples costs as much
as one on thousands: `jax-jit` (compare_ag_jax.jit) compiles the same formulas whole.

Operations return before their results exist. `synchronize` waits for them, or a clock would time promises.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from compare_ag import Backend, Batch, Setting, Weights, hookimpl

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]  # or float64 becomes float32 silently
jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]  # where there is a GPU, jax would prefer it

Program = Callable[..., Any]


def logits_losses(z: jax.Array, y: jax.Array) -> jax.Array:
    """Softplus(s) with s = (1 - 2y) z. jax.nn.softplus is logaddexp(s, 0), which shifts: nothing overflows."""
    return jax.nn.softplus((1 - 2 * y) * z)


def probability_losses(z: jax.Array, y: jax.Array) -> jax.Array:
    """-(y log p + (1 - y) log(1 - p)) with p = 1 / (1 + exp(-z)), to the letter."""
    p = 1 / (1 + jnp.exp(-z))
    return -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))


class JaxBackend(Backend):
    """Functions of (weights, batch), differentiated by `jax.vjp` and run operation by operation."""

    @staticmethod
    def program(function: Program) -> Program:
        """How a function is run: as it is."""
        return function

    def prepare(self, setting: Setting) -> None:
        """Choose the form of the loss; set the threads that share one operation.

        XLA makes its pool of threads when the first array is made, of as many as NPROC says, else of one for each CPU.
        """
        if (setting.model, setting.device) != ("logistic", "cpu"):
            raise NotImplementedError(f"only the logistic model on the cpu, not {setting.model} on {setting.device}")
        os.environ["NPROC"] = str(setting.threads)
        losses = logits_losses if setting.loss == "logits" else probability_losses
        half_l2 = setting.l2 / 2

        def objective(weights: Weights, batch: Batch) -> jax.Array:
            loss = losses(batch.X @ weights.w + weights.b, batch.y).mean()
            return loss + half_l2 * (weights.w @ weights.w) if half_l2 else loss

        def record(weights: Weights, batch: Batch) -> tuple[jax.Array, Program]:
            loss, pullback = jax.vjp(lambda variables: objective(variables, batch), weights)
            return loss, pullback

        def descend(weights: Weights, gradient: Weights, learning_rate: float) -> Any:
            return jax.tree.map(lambda value, slope: value - learning_rate * slope, weights, gradient)

        def step(weights: Weights, batch: Batch, learning_rate: float) -> tuple[jax.Array, Any]:
            loss, gradient = jax.value_and_grad(objective)(weights, batch)
            return loss, descend(weights, gradient, learning_rate)

        self._record = self.program(record)
        self._pull = self.program(lambda pullback: pullback(np.ones((), setting.dtype))[0])  # ∂f/∂f = 1
        self._descend = self.program(descend)
        self._step = self.program(step)

    def make_tensor(self, array: np.ndarray[Any, Any], *, requires_grad: bool = False) -> jax.Array:  # noqa: ARG002 - vjp differentiates its first argument
        """Copy: without being told so JAX may share the array's memory."""
        return jnp.array(array, copy=True)

    def forward(self, weights: Weights, batch: Batch) -> tuple[jax.Array, Any]:
        """The loss, and the pullback as its tape."""
        loss, pullback = self._record(weights, batch)
        return loss, pullback

    def backward(self, tape: Any) -> Weights:
        """Pull 1 back to (∂f/∂w, ∂f/∂b)."""
        return Weights(*self._pull(tape))

    def update(self, weights: Weights, gradient: Weights, learning_rate: float) -> Weights:
        """New weights: JAX's arrays cannot be changed."""
        return Weights(*self._descend(weights, gradient, learning_rate))

    def tape_bytes(self, weights: Weights, batch: Batch) -> int:
        """The arrays that the pullback holds, each once, but for the weights' and the batch's own."""
        given = {tensor.unsafe_buffer_pointer() for tensor in (*weights, *batch)}
        _, tape = self.forward(weights, batch)
        held = {array.unsafe_buffer_pointer(): array.nbytes for array in jax.tree.leaves(tape)}
        return sum(size for address, size in held.items() if address not in given)

    def to_numpy(self, tensor: jax.Array) -> np.ndarray[Any, Any]:
        """A view that cannot be written to."""
        return np.asarray(tensor)

    def synchronize(self, *tensors: Any) -> None:
        """Wait until every one of them has been computed."""
        jax.block_until_ready(tensors)  # type: ignore[no-untyped-call]  # jax leaves it without types


@hookimpl
def compare_ag_backend() -> type[Backend]:
    """The backend that the entry point `jax` names."""
    return JaxBackend
