"""What readers see of a timing: how each step was timed, what was judged, who has no rank and why, old records too."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from rich.console import Console

from compare_ag import records
from compare_ag.report import cells, columns
from compare_ag.report.markdown import run_markdown
from compare_ag.report.page import render
from compare_ag.report.spreadsheet import tables
from compare_ag.report.terminal import answer, sections
from compare_ag.report.units import seconds

TIMES = {"numpy": 1e-5, "torch": 5e-5, "mine": 2e-5, "cheat": 4e-6}
CHEATS = "was timed with wrong results: after step 5034 w[3] is off by 0.1, 1e+09 tolerances"
REPAIR = "its plugin must be repaired before its time says anything"
AGAIN = "close what is busy and run again"


@pytest.fixture(scope="module")
def old(make_run):
    return make_run(TIMES)


@pytest.fixture(scope="module")
def noisy(make_run):
    """One backend was disturbed, one has no rank."""
    return make_run(TIMES, disturbed={"torch": 0.63}, unranked={"cheat": CHEATS})


def printed(parts, width=200) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None)
    for part in parts:
        console.print(part)
        console.print()
    return file.getvalue()


def part(text: str, title: str) -> str:
    """The lines of the terminal's report under a title, up to the next empty line."""
    return re.split(r"\n\s*\n", text.split(f"\n{title}", 1)[1])[0]


def row(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ") and "µs" in line]
    return line


def with_cost(run, name, **changes):
    changed = records.replace(run[name], cost=records.replace(run[name].cost, **changes))
    return records.Run(run.path, run.manifest, dict(run.records) | {name: changed}, run._cache)


def words(html: str) -> str:
    """The page's text before the glossary, without tags."""
    body = html[html.index("<main") if "<main" in html else 0 : html.index("The adapter that was trained, by the name")]
    return " ".join(re.sub(r"<[^>]+>", " ", body).replace("&#39;", "'").split())


# --- the table of times -------------------------------------------------------------------------------------


def test_the_row_says_how_a_step_is_timed_and_what_was_judged(noisy):
    table = part(printed(sections(noisy)), "How the step was timed")
    own = "median of 50 steps 0% 48 judged, 2 exactly; 6 not judged 1.001 (0.995 to 1.007)"
    assert " ".join(next(line for line in table.splitlines() if line.startswith("numpy ")).split()).endswith(own)
    page = words(render(noisy))
    assert page.count("48 judged, 2 exactly; 6 not judged") == len(TIMES)
    assert "numpy 50 after 7; torch 50 after 7" in page


@pytest.mark.parametrize(
    ("changes", "cell", "shown"),
    [
        ({"timed_by": "blocks", "steps_per_block": 20}, 0, "blocks of 20 steps"),
        ({"timed_by": "steps", "steps_per_block": 1}, 0, "single steps"),
        ({"steps_per_block": 0}, 0, "n/a"),
        ({"left_out_share": None}, 1, "n/a"),
        ({"left_out_share": 0.634}, 1, "63%"),
        ({"blocks_exact": 0, "blocks_not_judged": 0}, 2, "48 judged"),
        ({"blocks_judged": 0, "blocks_exact": 0}, 2, "0 judged; 6 not judged"),
        ({"blocks_judged": 0, "blocks_exact": 0, "blocks_not_judged": 0}, 2, "n/a"),
        ({"control": None}, 3, "n/a"),
    ],
)
def test_every_cell_says_what_is_known(noisy, changes, cell, shown):
    changed = with_cost(noisy, "numpy", **changes)
    (row,) = [row for row in columns.timed_rows(changed) if row.record.name == "numpy"]
    assert columns.TIMED[cell].cell(row) == shown


def test_a_backend_without_rank_has_a_word_in_place_of_its_ratio_and_says_what_to_do(noisy):
    text = printed(sections(noisy))
    table = part(text, "Speed: a whole step")
    share = f"{100 * noisy['torch'].cost.left_out_share:.0f} %"
    assert "disturbed" in row(table, "torch")
    assert "unranked" in row(table, "cheat")
    assert "1.9" in row(table, "mine") or "2.0" in row(table, "mine")
    disturbed = f"torch was disturbed: something else slowed {share} of its blocks; {AGAIN}"
    unranked = f"cheat {CHEATS}; {REPAIR}"
    for shown in (table, words(render(noisy)), run_markdown(noisy).replace("\\", "")):
        assert disturbed in shown
        assert unranked in shown


def test_the_answer_ranks_those_alone_that_have_a_rank(noisy, make_run):
    said = answer(noisy).plain
    assert "Per step numpy takes 10" in said
    assert "mine takes 2" in said
    assert "torch was disturbed while timed: close what is busy and run again." in said
    assert "cheat is not ranked: the reason stands with the times." in said
    assert "not decided" not in said
    both = make_run(TIMES, disturbed={"torch": 0.9, "numpy": 0.9}, unranked={"cheat": CHEATS, "mine": CHEATS})
    said = answer(both).plain
    assert "Per step" not in said
    assert "numpy and torch were disturbed while timed" in said
    assert "mine and cheat are not ranked" in said


def test_a_disturbed_baseline_is_no_baseline(make_run):
    run = make_run(TIMES, disturbed={"numpy": 0.9})
    table = part(printed(sections(run)), "Speed: a whole step")
    assert "disturbed" in row(table, "numpy")
    assert "baseline" not in table
    assert next(csv.DictReader(io.StringIO(tables(run)["summary.csv"])))["speed verdict"] == "disturbed"


def test_no_interval_is_not_called_one_launch_where_all_were_disturbed(noisy):
    step = records.replace(noisy["torch"].cost.step, low=None, high=None)
    run = with_cost(noisy, "torch", step=step)
    (row,) = [row for row in columns.backends(run) if row.record.name == "torch"]
    assert columns.INTERVAL.cell(row) == "n/a"


def test_markdown_has_the_word_for_the_verdict(noisy):
    verdicts = {line.split(" ")[1]: line for line in run_markdown(noisy).splitlines() if line.startswith("| ")}
    assert "| n/a | disturbed |" in verdicts["torch"]
    assert "| n/a | unranked |" in verdicts["cheat"]
    assert "| slower |" in verdicts["mine"]


def test_tables_tell_which_blocks_count_and_how_a_backend_was_timed(noisy, old):
    made = tables(noisy)
    timed = [row for row in csv.DictReader(io.StringIO(made["timings.csv"])) if row["backend"] == "torch"]
    arrays = noisy.arrays("torch")
    assert [row["counts"] == "1" for row in timed] == arrays["block_clean"].ravel().tolist()
    assert [int(row["steps"]) for row in timed] == arrays["block_steps"].ravel().tolist()
    assert [float(row["step s"]) for row in timed] == (arrays["block_time_ns"] * 1e-9).ravel().tolist()
    summary = {row["backend"]: row for row in csv.DictReader(io.StringIO(made["summary.csv"]))}
    assert summary["cheat"]["no rank because"] == CHEATS
    assert summary["numpy"]["no rank because"] == ""
    assert (summary["numpy"]["timed by"], summary["numpy"]["blocks judged"]) == ("steps", "48")
    assert float(summary["numpy"]["ratio to twin high"]) == 1.007
    made = tables(old)
    assert {(row["steps"], row["counts"]) for row in csv.DictReader(io.StringIO(made["timings.csv"]))} == {("50", "")}
    assert {row["timed by"] for row in csv.DictReader(io.StringIO(made["summary.csv"]))} == {""}


# --- the page -----------------------------------------------------------------------------------------------


def page_data(html: str) -> dict:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[0])


def test_the_chart_of_times_leaves_out_blocks_that_do_not_count(noisy):
    charts = page_data(render(noisy))["charts"]
    left_out = sum(int((~noisy.arrays(name)["block_clean"]).sum()) for name in TIMES)
    assert left_out > 0
    assert (
        f"{left_out} blocks that another program interrupted or slowed do not count and are not drawn."
        in charts["speed"]["notes"]
    )
    labels = {one["name"]: one.get("label", "") for one in charts["speed"]["series"]}
    assert labels["torch"].endswith(" disturbed")
    assert labels["cheat"].endswith(" unranked")
    assert {one["name"] for one in charts["accuracy"]["series"]} == {"numpy", "mine"}


def test_the_page_offers_blocks_with_their_own_steps(noisy, old):
    (new,) = [one for one in page_data(render(noisy))["downloads"] if one["name"] == "timings.csv"]
    assert new["columns"] == ["backend", "launch", "instance", "round", "wall ns", "steps", "step ns", "counts"]
    assert {len(part["arrays"]) for part in new["parts"]} == {7}
    (before,) = [one for one in page_data(render(old))["downloads"] if one["name"] == "timings.csv"]
    assert before["columns"] == ["backend", "launch", "instance", "round", "wall ns"]
    assert "blocks of 50 steps" in before["says"]


# --- records from before ------------------------------------------------------------------------------------


def test_old_records_have_their_old_table_and_sentences(old):
    text = printed(sections(old))
    assert part(text, "Speed: a whole step")
    assert "timed by" not in text
    assert "blocks judged" not in text
    assert "blocks of 50 steps each" in " ".join(text.split())
    assert "numpy against itself is" in text
    assert "twin" not in text
    page = words(render(old))
    assert "blocks of 50 steps each after 20 untimed ones" in page
    assert "numpy against itself is" in page
    assert "twin" not in page


def test_the_noise_floor_says_where_it_comes_from(noisy):
    said = (
        "each backend in turn ran beside a twin that had imported and allocated something else; over all launches, a "
        "backend over its twin is"
    )
    assert f"Noise floor {noisy.manifest.speed.noise_floor:.1%}: {said}" in printed(sections(noisy), 400)
    assert said in words(render(noisy))
    assert "0 steps each" not in printed(sections(noisy)) + words(render(noisy))
    one = records.replace(noisy.manifest.speed, twins=["numpy", "numpy"])
    assert "numpy ran beside a twin" in cells.noise(one)


# --- phases -------------------------------------------------------------------------------------------------


def closure(value: float) -> records.Interval:
    return records.Interval(value=value, low=value - 0.01, high=value + 0.01)


def forward(run) -> str:
    """The cell of a backend's forward phase."""
    return seconds(run["mine"].cost.phases["forward"].value)


@pytest.mark.parametrize(("value", "shown"), [(0.84, False), (0.86, True), (1.14, True), (1.16, False)])
def test_phases_that_do_not_add_up_are_no_facts(old, value, shown):
    run = with_cost(old, "mine", closure=closure(value))
    speed = run.manifest.speed
    pairs = [records.replace(pair, phases=dict.fromkeys(cells.PHASES, closure(1.5))) for pair in speed.pairs]
    run = records.Run(
        run.path, records.replace(run.manifest, speed=records.replace(speed, pairs=pairs)), run.records, run._cache
    )
    text = printed(sections(run))
    phases = part(text, "Phases of a step")
    (line,) = [line for line in phases.splitlines() if line.startswith("mine ") and "%" in line]
    note = f"mine: its phases add up to {value:.2f} of its step: disturbed"
    assert line.split().count("n/a") == (0 if shown else 5)
    page = render(run)
    for place in (phases, words(page)):
        assert (note in place) == (not shown)
    chart = page_data(page)["charts"]["phases"]
    assert ("mine" in chart["y"]["rows"]) == shown
    assert any(note in said for said in chart["notes"]) == (not shown)
    summary = {row["backend"]: row for row in csv.DictReader(io.StringIO(tables(run)["summary.csv"]))}
    assert (summary["mine"]["forward s"] != "") == shown
    (markdown,) = [line for line in run_markdown(run).splitlines() if line.startswith("| mine ")]
    assert (forward(run) in markdown) == shown
    ratios = {line.split("  ")[0]: line for line in part(text, "Who is faster").splitlines()}
    assert ("n/a" in ratios["mine / numpy"]) == (not shown)
    assert "n/a" not in ratios["torch / numpy"]


@pytest.mark.parametrize("how", ["cost", "record"])
def test_a_step_of_its_own_need_not_add_up(old, how):
    run = with_cost(old, "mine", closure=closure(1.9), fused=how == "cost")
    if how == "record":  # as before 1.7
        run.records["mine"] = records.replace(run["mine"], overrides_step=True)
    phases = part(printed(sections(run)), "Phases of a step")
    assert "step is fused" in row(phases, "mine")
    assert forward(run) in row(phases, "mine")
    assert "1.900" not in phases
    assert "disturbed" not in phases
    assert "step is fused" in words(render(run))


# --- figures ------------------------------------------------------------------------------------------------


def test_figures_draw_backends_without_rank(noisy, monkeypatch):
    """Their names have the word below them, and they are no points of accuracy against cost."""
    from matplotlib.legend import Legend

    from compare_ag.report import figures

    monkeypatch.setattr(figures, "_save", lambda *arguments: arguments[0])
    drawn = figures.figures(noisy, "png")
    labels = [label.get_text() for label in drawn["speed.png"].axes[0].get_yticklabels()]
    assert labels == ["numpy", "torch\ndisturbed", "mine", "cheat\nunranked"]
    legend = [text.get_text() for text in drawn["accuracy-cost.png"].findobj(Legend)[0].get_texts()]
    assert legend == ["numpy", "mine"]
