"""The charts of a run, for the page, exported pictures and the terminal alike: those of its computed numbers, and all.

The charts of its costs are in `cost_charts`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compare_ag.records import JUDGED, Run
from compare_ag.report import cells, cost_charts
from compare_ag.report.chart import Array, Axis, Chart, ChartSeries
from compare_ag.report.units import difference as shown_difference


def _courses(run: Run) -> Iterator[tuple[str, int, Array]]:
    """(label, look, losses) of each backend that trained; its own fused step is a course of its own."""
    for look, (name, record) in enumerate(run.records.items()):
        arrays = run.arrays(name) if record.status in JUDGED else {}
        for key, how in (("losses", ""), ("fused_losses", ", fused step")):
            if key in arrays and len(arrays[key]):
                yield name + how, look, arrays[key]


def _places(values: Array) -> Array:
    return np.arange(len(values))


def _distance(values: Array, exact: Array) -> Array:
    """|values − exact| in float64; NaN where they are equal, because a logarithmic axis has no 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        away = np.abs(values.astype(np.float64) - exact)
    return np.where(away > 0, away, np.nan)


def _finite_or_nan(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def losses(run: Run) -> Chart | None:
    """All losses over each other, on the reference with its tolerance."""
    series = [ChartSeries(name, look, "line", _places(values), values) for name, look, values in _courses(run)]
    if not series:
        return None
    backends = "one backend" if len(series) == 1 else f"{len(series)} backends"
    alt = f"Line chart of the loss of {backends} over {run.manifest.problem.steps} steps."
    if run.reference:
        exact, width = run.reference["losses"], _finite_or_nan(run.reference["loss_tolerance"])
        with np.errstate(over="ignore", invalid="ignore"):
            low, high = exact - width, exact + width
        series.insert(0, ChartSeries("reference", "reference", "line", _places(exact), exact, low, high, "tolerance"))
        known = np.flatnonzero(np.isfinite(exact))
        if len(known):
            first, last = known[0], known[-1]
            alt += f" The reference goes from {exact[first]:.4g} at step {first} to {exact[last]:.4g} at step {last}."
    return Chart(
        id="losses",
        title="Loss over steps",
        alt=alt,
        x=Axis("step", toggle=True),
        y=Axis("loss of the step's batch" if run.manifest.problem.batch_size else "loss", "either", toggle=True),
        series=series,
        height=420,
        notes=[
            "Courses that agree lie on each other; zoom in to tell them apart. Where the tolerance is finer than a "
            "pixel, the chart below shows it."
        ],
    )


def difference(run: Run) -> Chart | None:
    """Each backend's distance from the reference, with the bound that rounding allows."""
    if not run.reference:
        return None
    exact, tolerance = run.reference["losses"], run.reference["loss_tolerance"]
    series, worst = [], []
    missing: dict[str, list[str]] = {}
    for name, look, values in _courses(run):
        own, other = values[: len(exact)], exact[: len(values)]
        away, absent = _distance(own, other), ""
        finite = away[np.isfinite(away)]
        if finite.size:
            worst.append(f"{name} at most {shown_difference(float(finite.max()))}")
        else:
            absent = "no difference" if np.array_equal(own, other) else "no finite difference"
            missing.setdefault(absent, []).append(name)
        series.append(ChartSeries(name, look, "peaks", _places(away), away, absent=absent))
    if not series:
        return None
    bound = np.where(np.isfinite(tolerance) & (tolerance > 0), tolerance, np.nan)
    if np.isfinite(bound).any():
        series.insert(0, ChartSeries("tolerance", "bound", "line", _places(bound), bound))
    notes = [
        "Under the bound, rounding explains the difference. Strong: the largest difference of each stretch; faint: "
        "every point. A difference of exactly 0 leaves a gap."
    ]
    notes += [f"{absent.capitalize()} at any step: {', '.join(names)}." for absent, names in missing.items()]
    return Chart(
        id="difference",
        title="|loss − reference| over steps, with the bound of rounding",
        alt="Line chart on a logarithmic scale of the distance of each backend's loss from the reference, with the "
        f"bound that rounding allows. {'; '.join(worst)}.",
        x=Axis("step", toggle=True),
        y=Axis("|loss − reference|", "log", toggle=True),
        series=series,
        height=400,
        notes=notes,
    )


def _final_weights(run: Run) -> Iterator[tuple[str, int, Array]]:
    """(name, look, final w) of each backend that trained."""
    for look, (name, record) in enumerate(run.records.items()):
        w = run.arrays(name).get("final_w") if record.status in JUDGED else None
        if w is not None and w.shape == (run.manifest.problem.features,):
            yield name, look, w


def weights(run: Run) -> Chart | None:
    """The final weights, where there are more than the table shows."""
    features, exact = run.manifest.problem.features, run.reference.get("final_w")
    if features <= cells.WEIGHTS_SHOWN:
        return None
    series = [] if exact is None else [ChartSeries("reference", "reference", "dots", _places(exact), exact)]
    series += [ChartSeries(name, look, "dots", _places(w), w) for name, look, w in _final_weights(run)]
    return Chart(
        id="weights",
        title="Final weights",
        alt=f"Dot plot of the {features} final weights of each backend over the reference's.",
        x=Axis("feature"),
        y=Axis("weight"),
        series=series,
        height=340,
    )


def weight_distances(run: Run) -> Chart | None:
    """The distance of each final weight from the reference's, where there are more weights than the table shows."""
    exact = run.reference.get("final_w")
    if run.manifest.problem.features <= cells.WEIGHTS_SHOWN or exact is None:
        return None
    away = [(name, look, _distance(w, exact)) for name, look, w in _final_weights(run)]
    return Chart(
        id="weights-off",
        title="Distance of each final weight from the reference",
        alt="Dot plot on a logarithmic scale of the distance of each final weight from the reference's.",
        x=Axis("feature"),
        y=Axis("|w − reference|", "log", toggle=True),
        series=[
            ChartSeries(name, look, "dots", _places(values), values)
            for name, look, values in away
            if np.isfinite(values).any()
        ],
        height=320,
        notes=["Weights that equal the reference's exactly have no dot."],
    )


EVERY = (
    losses, difference, weights, weight_distances, cost_charts.speed, cost_charts.ratios, cost_charts.phases,
    cost_charts.first_steps, cost_charts.memory, cost_charts.accuracy,
)  # fmt: skip
"""in reading order"""


def charts(run: Run) -> Iterator[Chart]:
    """Every chart of the run, in reading order."""
    for make in EVERY:
        chart = make(run)
        if chart is not None:
            yield chart
