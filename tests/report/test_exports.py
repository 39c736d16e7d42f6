"""Other forms of a run: they hold its numbers exactly, come out the same each time, and work for every kind of run."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys

import matplotlib
import msgspec
import numpy as np
import pytest
from markdown_it import MarkdownIt

from compare_ag import records
from compare_ag.report.figures import FIGURES, figures
from compare_ag.report.kept import digits_kept
from compare_ag.report.markdown import run_markdown
from compare_ag.report.spreadsheet import tables
from compare_ag.report.whole import run_json

TIMES = {"numpy": 10e-6, "torch": 50e-6, "off": 20e-6, "dead": 0.0}
STATUSES = {"off": "disagree", "dead": "crashed"}


@pytest.fixture(scope="module")
def run(make_run):
    return make_run(TIMES, statuses=STATUSES)


@pytest.fixture(scope="module")
def odd(make_run):
    """Float32, one launch, a trajectory that ends early in NaN."""
    made = make_run({"numpy": 10e-6, "burst": 0.0}, dtype="float32", launches=1, statuses={"burst": "non-finite"})
    losses = made._cache["burst"]["losses"]
    losses[5:] = [math.nan, math.inf, -math.inf, *[math.nan] * (len(losses) - 8)]
    return made


@pytest.fixture(scope="module")
def failed(make_run):
    """Nobody got anywhere, and the run did not finish."""
    made = make_run({"one": 0.0, "two": 0.0}, statuses={"one": "crashed", "two": "import-error"})
    made.__dict__["reference"] = {}
    return records.Run(made.path, records.replace(made.manifest, state="partial"), made.records, made._cache)


@pytest.fixture(scope="module")
def imported(make_run):
    """As `import-benchmark` writes it: seconds of rounds, no trajectory, no launches."""
    made = make_run({"numpy": 10e-6, "torch": 50e-6}, launches=1, statuses={})
    backends = {
        name: records.replace(record, status="imported", verdict=None, memory=None, convergence=None)
        for name, record in made.records.items()
    }
    cache = {name: {"step_seconds": np.array([1e-5, 1.1e-5])} for name in backends}
    speed = records.replace(made.manifest.speed, mode="pytest-benchmark", noise_floor=None, margin=0.0)
    new = records.Run(made.path, records.replace(made.manifest, speed=speed), backends, cache)
    new.__dict__["reference"] = {}
    return new


EVERY = pytest.mark.parametrize("kind", ["run", "odd", "failed", "imported"])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- JSON ---------------------------------------------------------------------------------------------------


def parsed(run) -> dict:
    return json.loads(run_json(run), parse_constant=lambda word: pytest.fail(f"JSON holds {word}"))


def back(array: dict) -> np.ndarray:
    """An array as a reader of the documented shape makes it again."""
    values = np.array(array["values"], dtype=object)
    return np.vectorize(float, otypes=[array["dtype"]])(values) if values.size else values.astype(array["dtype"])


@EVERY
def test_json_reads_back_as_the_same_records_and_numbers(kind, request):
    run = request.getfixturevalue(kind)
    document = parsed(run)
    assert document["schema"] == {"name": "compare-ag/export", "major": 1, "minor": 0}
    assert msgspec.convert(document["manifest"], records.Manifest) == run.manifest
    for record, kept, one in zip(run.records.values(), document["records"], document["arrays"], strict=True):
        assert msgspec.convert(kept, records.BackendRecord) == record
        assert one["backend"] == record.name
        arrays = run.arrays(record.name)
        assert one["arrays"].keys() == arrays.keys()
        for key, array in arrays.items():
            again = back(one["arrays"][key])
            assert (one["arrays"][key]["shape"], again.dtype) == (list(array.shape), array.dtype)
            assert np.array_equal(again.reshape(array.shape), array, equal_nan=array.dtype.kind == "f")
    assert np.array_equal(back(document["reference"]["losses"]), run.reference["losses"]) if run.reference else True


# --- CSV ----------------------------------------------------------------------------------------------------


def test_tables_hold_every_number_exactly(run):
    made = tables(run)
    assert list(made) == ["summary.csv", "losses.csv", "weights.csv", "timings.csv", "phases.csv"]
    losses = rows(made["losses.csv"])
    for head, wanted in (("reference", run.reference["losses"]), ("torch", run.arrays("torch")["losses"])):
        assert [float(row[head]) for row in losses] == wanted.tolist()
    assert [int(row["step"]) for row in losses] == list(range(201))
    weights = [row for row in rows(made["weights.csv"]) if row["backend"] == "numpy"]
    assert [[float(row[f"w[{i}]"]) for i in range(3)] for row in weights] == run.arrays("numpy")["w"].tolist()
    timed = [row for row in rows(made["timings.csv"]) if row["backend"] == "torch"]
    assert [int(row["wall ns"]) for row in timed] == run.arrays("torch")["block_wall_ns"].ravel().tolist()
    assert {(row["launch"], row["instance"], row["round"]) for row in timed} >= {("7", "1", "4")}


def test_the_summary_has_a_row_for_each_backend_also_for_those_that_failed(run):
    summary = {row["backend"]: row for row in rows(tables(run)["summary.csv"])}
    assert list(summary) == list(TIMES)
    assert float(summary["torch"]["step s"]) == run["torch"].cost.step.value
    assert float(summary["torch"]["ratio to baseline high"]) == run.manifest.speed.pair("torch", "numpy").ratio.high
    assert (summary["numpy"]["speed verdict"], summary["torch"]["speed verdict"]) == ("baseline", "slower")
    assert (summary["dead"]["status"], summary["dead"]["found"]) == ("crashed", "crashed for a reason")
    assert summary["dead"]["step s"] == ""


def test_what_is_not_finite_stays_a_word_and_float32_keeps_its_value(odd):
    losses = rows(tables(odd)["losses.csv"])
    assert [row["burst"] for row in losses[5:8]] == ["nan", "inf", "-inf"]
    assert [np.float32(row["numpy"]) for row in losses] == odd.arrays("numpy")["losses"].tolist()


def test_an_imported_run_has_its_rounds(imported):
    timed = rows(tables(imported)["timings.csv"])
    assert [(row["backend"], row["phase"], float(row["s"])) for row in timed[:2]] == [
        ("numpy", "step", 1e-5),
        ("numpy", "step", 1.1e-5),
    ]


# --- Markdown -----------------------------------------------------------------------------------------------


def rendered(text: str):
    """The tokens that a renderer of GitHub's tables sees."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables, as text."""
    found: list[list[str]] = []
    inside = False
    for token in rendered(text):
        if token.type == "tr_open":
            found.append([])
        inside = token.type in ("td_open", "th_open") or (inside and token.type == "inline")
        if inside and token.type == "inline":
            found[-1].append("".join(child.content for child in token.children))
    return found


def test_markdown_is_a_table_with_its_environment(run):
    text = run_markdown(run)
    table = cells(text)
    assert [row[:2] for row in table[1:]] == [
        ["numpy (numpy 1.0)", "ok"],
        ["torch (torch 1.0)", "ok"],
        ["off (off 1.0)", "disagree"],
        ["dead (dead 1.0)", "crashed"],
    ]
    assert len({len(row) for row in table}) == 1
    assert text.startswith(
        "**numpy and torch agree with the reference. off disagrees with the reference. dead: crashed."
    )
    assert "- dead: crashed, crashed for a reason" in text
    assert (
        "Environment: Made CPU, 2 CPUs, Linux 6.1, CPython 3.11.2; compare-ag 0.1.0, numpy 2.1.0; 2026-01-31." in text
    )


@EVERY
def test_markdown_of_any_run_has_all_backends(kind, request):
    run = request.getfixturevalue(kind)
    names = [row[0].split(" ")[0] for row in cells(run_markdown(run))[1:]]
    assert names == list(run.records)
    assert ("did not finish" in run_markdown(run)) == (kind == "failed")


# --- figures ------------------------------------------------------------------------------------------------


def test_figures_come_out_byte_for_byte_the_same_whatever_the_users_matplotlibrc(run):
    made = figures(run, "svg")
    assert list(made) == [f"{stem}.svg" for stem in FIGURES]
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": True}):
        again = figures(run, "svg")
    assert made == again
    for data in made.values():
        assert b"<dc:date>" not in data
        assert b"2026" not in data


@pytest.mark.parametrize(
    ("kind", "stems"),
    [
        ("odd", ["losses", "difference", "speed", "accuracy-cost"]),
        ("failed", []),
        ("imported", ["speed"]),
    ],
)
def test_a_figure_is_drawn_for_whatever_there_is(kind, stems, request):
    made = figures(request.getfixturevalue(kind), "png")
    assert [name.removesuffix(".png") for name in made] == stems
    if kind == "imported":
        assert figures(request.getfixturevalue(kind), "png") == made


def test_backends_that_agree_to_the_last_bit_are_still_drawn(make_run):
    exact = make_run({"numpy": 1e-5})
    exact._cache["numpy"]["losses"] = exact.reference["losses"].copy()
    assert "difference.png" in figures(exact, "png")


def test_matplotlib_is_imported_for_figures_alone():
    code = (
        "import sys\n"
        "import compare_ag.cli.export, compare_ag.report.markdown, compare_ag.report.spreadsheet\n"
        "import compare_ag.report.whole, compare_ag.report.terminal, compare_ag.report.comparison\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import compare_ag.report.figures\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- digits -------------------------------------------------------------------------------------------------


def test_digits_are_relative_and_end_where_the_format_does(run, make_run):
    norm = math.sqrt(2 + 0.25**2)  # w = (-1, 0, 1), b = 0.25
    assert digits_kept(run, "off") == pytest.approx(-math.log10(1e-3 / norm))
    assert digits_kept(run, "numpy") == pytest.approx(-math.log10(2.5e-16 / norm))
    assert digits_kept(run, "dead") is None
    assert digits_kept(make_run({"numpy": 1e-5}, dtype="float32"), "numpy") == pytest.approx(-math.log10(2.0**-24))


def test_digits_of_weights_whose_squares_overflow_are_told_without_a_warning(make_run):
    run = make_run({"numpy": 1e-5})
    run.reference["final_w"] = np.array([3.0, 4.0, 0.0]) * 1e170
    assert digits_kept(run, "numpy") == pytest.approx(-math.log10(2.0**-53))
