"""Charts of the computed numbers: the losses over each other, their distance from the reference, the final weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from compare_ag.records import JUDGED, Run
from compare_ag.report import cells
from compare_ag.report.page.packing import Array, Packer, thin_places
from compare_ag.report.page.series import Chart, axis_of, course, thinning_note
from compare_ag.report.units import difference

STRETCHES = 120
"""stretches of a noisy course; each is shown by its largest value"""


def _courses(run: Run) -> Iterator[tuple[str, int, Array]]:
    """(label, look, losses) of each backend that trained; its own fused step is a course of its own."""
    for look, (name, record) in enumerate(run.records.items()):
        arrays = run.arrays(name) if record.status in JUDGED else {}
        for key, how in (("losses", ""), ("fused_losses", ", fused step")):
            if key in arrays and len(arrays[key]):
                yield name + how, look, arrays[key]


def losses_chart(run: Run, packer: Packer) -> Iterator[Chart]:
    """All losses over each other, on the reference with its tolerance."""
    series = [course(packer, name, look, values, thin_places(values)) for name, look, values in _courses(run)]
    if not series:
        return
    ends = ""
    if run.reference:
        values, tolerance = run.reference["losses"], run.reference["loss_tolerance"]
        at = thin_places(values)
        width = np.where(np.isfinite(tolerance[at]), tolerance[at], np.nan)
        with np.errstate(over="ignore", invalid="ignore"):
            low, high = values[at] - width, values[at] + width
        band = {
            "name": "tolerance",
            "look": "band",
            "draw": "band",
            "x": {"array": packer.add(at)},
            "low": {"array": packer.add(low)},
            "high": {"array": packer.add(high)},
        }
        series = [band, course(packer, "reference", "reference", values, at), *series]
        known = np.flatnonzero(np.isfinite(values))
        if len(known):
            ends = (
                f" The reference goes from {float(values[known[0]]):.4g} at step {known[0]} to "
                f"{float(values[known[-1]]):.4g} at step {known[-1]}."
            )
    drawn = len([line for line in series if isinstance(line["look"], int)])
    yield {
        "id": "losses",
        "title": "Loss over steps",
        "alt": f"Line chart of the loss of {_count(drawn)} over {run.manifest.problem.steps} steps.{ends}",
        "x": axis_of("step", toggle=True),
        "y": axis_of("loss", toggle=True),
        "series": series,
        "height": 420,
        "zoom": True,
        "notes": [
            "Courses that agree lie on each other; zoom in to tell them apart. Where the tolerance is finer than a "
            "pixel, the chart below shows it.",
            *thinning_note(series),
        ],
    }


def _peaks(values: Array, at: Array) -> Array:
    """Of the places ``at``, that of the largest value in each of about `STRETCHES` stretches."""
    known = at[np.isfinite(values[at])]
    if len(known) <= STRETCHES:
        return known
    return np.array([part[np.argmax(values[part])] for part in np.array_split(known, STRETCHES)])


def difference_chart(run: Run, packer: Packer) -> Iterator[Chart]:
    """Each backend's distance from the reference, with the bound that rounding allows."""
    if not run.reference:
        return
    reference, tolerance = run.reference["losses"], run.reference["loss_tolerance"]
    series: list[dict[str, Any]] = []
    equal, worst = [], []
    for name, look, losses in _courses(run):
        n = min(len(losses), len(reference))
        with np.errstate(over="ignore", invalid="ignore"):
            off = np.abs(losses[:n].astype(np.float64) - reference[:n])
        off = np.where(off > 0, off, np.nan)  # a logarithmic axis has no 0
        if not np.isfinite(off).any():
            equal.append(name)
            continue
        worst.append(f"{name} at most {difference(float(np.nanmax(np.where(np.isfinite(off), off, np.nan))))}")
        at = thin_places(off)
        cloud = course(packer, name, look, _in_half_the_size(off), at)
        series += [{**cloud, "draw": "cloud"}, course(packer, name, look, off, _peaks(off, at))]
    bound = np.where(np.isfinite(tolerance) & (tolerance > 0), tolerance, np.nan)
    if np.isfinite(bound).any():
        series.insert(0, course(packer, "tolerance", "bound", _in_half_the_size(bound), thin_places(bound)))
    if not series:
        return
    notes = [
        "Under the bound, rounding explains the difference. Strong: the largest difference of each stretch; faint: "
        "every point. A difference of exactly 0 leaves a gap."
    ]
    if equal:
        notes.append(f"No difference at any step: {', '.join(equal)}.")
    yield {
        "id": "difference",
        "title": "|loss − reference| over steps, with the bound of rounding",
        "alt": "Line chart on a logarithmic scale of the distance of each backend's loss from the reference, with the "
        f"bound that rounding allows. {'; '.join(worst)}.",
        "x": axis_of("step", toggle=True),
        "y": axis_of("|loss − reference|", "log", toggle=True),
        "series": series,
        "height": 400,
        "zoom": True,
        "notes": [*notes, *thinning_note(series)],
    }


def weights_charts(run: Run, packer: Packer) -> Iterator[Chart]:
    """The final weights and their distances from the reference, where there are many."""
    features = run.manifest.problem.features
    if features <= cells.WEIGHTS_SHOWN:
        return
    reference = run.reference.get("final_w")
    values: list[dict[str, Any]] = []
    off: list[dict[str, Any]] = []

    def dots(name: str, look: int | str, w: Array, at: Array) -> dict[str, Any]:
        return {**course(packer, name, look, w, at), "draw": "dots"}

    if reference is not None:
        values.append(dots("reference", "reference", reference, thin_places(reference)))
    for look, (name, record) in enumerate(run.records.items()):
        w = run.arrays(name).get("final_w") if record.status in JUDGED else None
        if w is None or w.shape != (features,):
            continue
        values.append(dots(name, look, w, thin_places(w)))
        if reference is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                away = np.abs(w.astype(np.float64) - reference)
            away = np.where(away > 0, away, np.nan)
            if np.isfinite(away).any():
                off.append(dots(name, look, away, thin_places(away)))
    if values:
        yield {
            "id": "weights",
            "title": "Final weights",
            "alt": f"Dot plot of the {features} final weights of each backend over the reference's.",
            "x": axis_of("feature"),
            "y": axis_of("weight"),
            "series": values,
            "height": 340,
            "zoom": True,
            "notes": thinning_note(values),
        }
    if off:
        yield {
            "id": "weights-off",
            "title": "Distance of each final weight from the reference",
            "alt": "Dot plot on a logarithmic scale of the distance of each final weight from the reference's.",
            "x": axis_of("feature"),
            "y": axis_of("|w − reference|", "log", toggle=True),
            "series": off,
            "height": 320,
            "zoom": True,
            "notes": ["Weights that equal the reference's exactly have no dot.", *thinning_note(off)],
        }


def _in_half_the_size(values: Array) -> Array:
    """In single precision, where that can hold all the values."""
    large = np.abs(values) > np.finfo(np.float32).max
    return values if (large & np.isfinite(values)).any() else values.astype(np.float32)


def _count(number: int) -> str:
    return "one backend" if number == 1 else f"{number} backends"
