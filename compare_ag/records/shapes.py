"""The arrays that a run directory may hold: their shapes and dtypes, and the values that are possible.

Everything that reads a run relies on these and checks none of them again. Each function gives a sentence for each
fault, with the array as its subject. T steps, d features; L launches, M instances, R rounds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from compare_ag.records.documents import BackendRecord, ProblemRecord
from compare_ag.records.files import Array
from compare_ag.records.ranges import PHASES

TRAJECTORY = {
    "losses", "weight_steps", "w", "b", "full_losses", "final_w", "final_b", "fused_losses",
    "fused_final_w", "fused_final_b",
}  # fmt: skip
"""arrays of a training, which may not be in a file of times"""


def array_faults(arrays: Mapping[str, Array], problem: ProblemRecord, *, needs: tuple[str, ...] = ()) -> Iterator[str]:
    """Faults of the arrays of a trajectory, a backend's or the reference's; needs: arrays that must be there."""
    steps, d, dtype = problem.steps, problem.features, problem.dtype
    for missing in (name for name in needs if name not in arrays):
        yield f"the array {missing} is missing"
    for name in arrays.keys() & {"losses", "fused_losses", "w", "b", "final_w", "final_b", "full_losses"}:
        if arrays[name].dtype.kind != "f":
            yield f"{name} contains {arrays[name].dtype}, not {dtype}"
    shapes: dict[str, tuple[int | None, ...]] = {
        "losses": (None,), "fused_losses": (None,), "full_losses": (None,), "final_w": (d,), "final_b": (),
        "fused_final_w": (d,), "fused_final_b": (), "weight_steps": (None,),
    }  # fmt: skip
    for name, shape in shapes.items():
        if name in arrays and not _fits(arrays[name].shape, shape):
            yield f"{name} has the shape {arrays[name].shape}"
    for name in ("losses", "fused_losses"):
        if name in arrays and len(np.atleast_1d(arrays[name])) > steps + 1:
            yield f"{name} contains {len(arrays[name])} losses of {steps} steps"
    if "weight_steps" in arrays:
        recorded = arrays["weight_steps"]
        if recorded.dtype.kind not in "iu" or (recorded.size and not (recorded.min() >= 0 and recorded.max() <= steps)):
            yield "weight_steps contains a number that is not a step of the training"
        for name, shape in (("w", (recorded.size, d)), ("b", (recorded.size,))):
            if name not in arrays or arrays[name].shape != shape:
                yield f"{name} does not have the shape {shape}"


def trajectory_faults(arrays: Mapping[str, Array], problem: ProblemRecord, record: BackendRecord) -> Iterator[str]:
    """Faults of the trajectory of a backend, given its record."""
    finals = ("final_w", "final_b") if record.verdict is not None else ()
    fused = ("fused_losses", "fused_final_w", "fused_final_b") if record.fused_verdict is not None else ()
    yield from array_faults(arrays, problem, needs=("losses", "weight_steps", *finals, *fused))
    for name in ("losses", "fused_losses") if record.verdict is not None else ():
        if name in arrays and len(np.atleast_1d(arrays[name])) != problem.steps + 1:
            yield f"{name} contains {len(np.atleast_1d(arrays[name]))} losses of a training of {problem.steps} steps"
    if ("final_w" in arrays) != ("final_b" in arrays):
        yield "one of final_w and final_b is missing"
    for name in arrays.keys() & {"losses", "w", "b", "final_w", "final_b"}:
        if arrays[name].dtype != problem.dtype:
            yield f"{name} contains {arrays[name].dtype}, not {problem.dtype}"


def reference_faults(arrays: Mapping[str, Array], problem: ProblemRecord) -> Iterator[str]:
    """Faults of the arrays of the reference."""
    yield from array_faults(
        arrays, problem, needs=("losses", "loss_tolerance", "weights_tolerance", "final_w", "final_b")
    )
    for name in ("losses", "loss_tolerance", "weights_tolerance"):
        if name in arrays and (arrays[name].shape != (problem.steps + 1,) or arrays[name].dtype.kind != "f"):
            yield f"{name} does not have the shape {(problem.steps + 1,)}"
    for name in ("loss_tolerance", "weights_tolerance"):
        if name in arrays and arrays[name].dtype.kind == "f" and not (arrays[name] >= 0).all():
            yield f"{name} contains a tolerance that is negative or NaN"


def timing_faults(arrays: Mapping[str, Array]) -> Iterator[str]:
    """Faults of timing arrays: blocks (L, M, R) each, none of them empty; phases (L, M, R', 3)."""
    for name in arrays.keys() & TRAJECTORY:
        yield f"{name} belongs to the training, not to the times"
    blocks = {name: array for name, array in arrays.items() if name.startswith("block_")}
    for name, array in blocks.items():
        if array.ndim != 3 or not array.size:
            yield f"{name} has the shape {array.shape}, not launches x instances x rounds"
    for (first, first_array), (second, second_array) in itertools.pairwise(blocks.items()):
        if first_array.shape != second_array.shape:
            yield f"{first} and {second} differ in shape"
    # in block_time_ns the median of no step is NaN
    finite = {*blocks, "phase_ns", "phase_clean", "first_step_ns"} - {"block_time_ns"}
    for name in arrays.keys() & finite:
        if not np.isfinite(arrays[name]).all():
            yield f"{name} contains a number that is not finite"
    for name in blocks.keys() & {"block_wall_ns", "block_time_ns", "block_steps"}:
        if not (blocks[name] > 0).all() and not np.isnan(blocks[name]).any():
            yield f"{name} contains a number that is not more than 0"
    if "block_steps" in blocks and blocks["block_steps"].dtype.kind not in "iu":
        yield "block_steps contains numbers that are not integers"
    for name in arrays.keys() & {"phase_ns", "phase_clean"}:
        dimensions = 4 if name == "phase_ns" else 3
        if arrays[name].ndim != dimensions or (name == "phase_ns" and arrays[name].shape[-1] != len(PHASES)):
            yield f"{name} has the shape {arrays[name].shape}"
    if "first_step_ns" in arrays and arrays["first_step_ns"].ndim != 2:
        yield f"first_step_ns has the shape {arrays['first_step_ns'].shape}"
    for name in arrays:
        if name.endswith("_seconds") and (arrays[name].ndim != 1 or not (arrays[name] >= 0).all()):
            yield f"{name} is not a list of durations"


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape has these dimensions and sizes; None: any size."""
    sizes = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(size in (None, actual) for actual, size in sizes)
