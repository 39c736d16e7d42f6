"""Two runs, or one run's backends: what counts as worse, what is not compared, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compare_ag import records
from compare_ag.compare import ComparisonError, compare_runs, compare_within
from compare_ag.compare.changes import BECAME, SPEED_VERDICTS

TIMES = {"numpy": 10e-6, "torch": 50e-6, "mine": 20e-6}


@pytest.fixture(scope="module")
def before(make_run):
    return make_run(TIMES)


def changed(comparison, name):
    (found,) = [one for one in comparison.backends if one.name == name]
    return found


def verdicts(comparison) -> dict[str, str]:
    return {one.name: one.speed.verdict for one in comparison.backends}


def test_a_run_compared_with_itself_shows_no_change(before):
    found = compare_runs(before, before)
    assert (found.exit_code, found.regressions) == (0, [])
    assert {one.became for one in found.backends} == {"same"}
    assert verdicts(found) == {"numpy": "yardstick", "torch": "equivalent", "mine": "equivalent"}
    assert {one.loss_difference for one in found.backends} == {0.0}
    assert found.environment == found.times_differ == []


# --- speed --------------------------------------------------------------------------------------------------


def test_a_slowdown_beyond_the_threshold_is_told_with_its_interval(before, make_run):
    found = compare_runs(before, make_run(TIMES | {"mine": 22e-6}, seed=1))
    assert found.exit_code == 1
    (sentence,) = found.regressions
    assert sentence.startswith("mine takes 1.1")
    assert sentence.endswith("slower by more than 5 %")
    ratio = changed(found, "mine").speed.ratio
    assert ratio.low < 1.1 < ratio.high
    assert ratio.low > 1.05


@pytest.mark.parametrize(("threshold", "verdict"), [(0.05, "slower"), (0.2, "equivalent")])
def test_the_threshold_decides_what_passes(before, make_run, threshold, verdict):
    found = compare_runs(before, make_run(TIMES | {"mine": 22e-6}, seed=1), threshold=threshold)
    assert verdicts(found)["mine"] == verdict
    assert found.exit_code == (verdict == "slower")


def test_faster_is_no_regression(before, make_run):
    found = compare_runs(before, make_run(TIMES | {"mine": 15e-6}, seed=1))
    assert verdicts(found)["mine"] == "faster"
    assert found.exit_code == 0


def test_the_mood_of_the_machine_is_taken_out_by_the_baseline(before, make_run):
    moody = make_run(TIMES, seed=1, mood=1.3)
    found = compare_runs(before, moody)
    assert (found.yardstick, found.exit_code) == ("numpy", 0)
    own = changed(found, "numpy").speed.ratio.value
    assert own == pytest.approx(1.3, rel=0.01)
    assert any(f"{own:.3f}" in note and "common factor" in note for note in found.notes)
    plain = compare_runs(before, moody, yardstick="none")
    assert (plain.yardstick, plain.exit_code) == (None, 1)
    assert set(verdicts(plain).values()) == {"slower"}
    assert any("is not known" in note for note in plain.notes)
    assert plain.alike.startswith("ALL BECAME SLOWER ALIKE, by a factor of 1.")
    assert found.alike == ""
    one_alone = compare_runs(before, make_run(TIMES | {"mine": 26e-6}, seed=1), yardstick="none")
    differently = compare_runs(before, make_run(TIMES | {"mine": 26e-6}, seed=1, mood=1.3), yardstick="none")
    assert one_alone.alike == differently.alike == ""


def test_the_backend_under_test_cannot_hide_behind_itself(make_run):
    """A pull request to a plugin seldom changes its version, and the plugin may be the baseline."""
    times = {"mine": 20e-6, "torch": 50e-6}
    before, after = make_run(times), make_run(times | {"mine": 40e-6}, seed=1)
    assert before.manifest.baseline == after.manifest.baseline == "mine"
    found = compare_runs(before, after)
    assert (found.yardstick, found.exit_code) == (None, 1)
    assert verdicts(found) == {"mine": "slower", "torch": "equivalent"}
    assert compare_runs(before, after, yardstick="torch").exit_code == 1


def test_what_comes_with_compare_ag_is_the_yardstick_unless_that_has_changed(before, make_run):
    moody = make_run(TIMES, seed=1, mood=1.3)

    def variant(run, **changes):
        return records.Run(run.path, records.replace(run.manifest, **changes), run.records, run._cache)

    other = [variant(run, baseline="mine") for run in (before, moody)]
    assert compare_runs(*other).yardstick == "numpy"
    assert compare_runs(before, variant(moody, tool_version="0.2.0")).yardstick is None


def test_a_yardstick_is_one_that_has_not_changed_and_is_not_all_there_is(before, make_run):
    assert compare_runs(before, make_run(TIMES, versions={"numpy": "2.0"})).yardstick is None
    assert compare_runs(before, make_run(TIMES, machine={"python": "3.12.0"})).yardstick is None
    assert compare_runs(before, make_run(TIMES, versions={"numpy": "2.0"}), yardstick="torch").yardstick == "torch"
    alone, slower = make_run({"mine": 20e-6}), make_run({"mine": 24e-6})
    found = compare_runs(alone, slower)
    assert (found.yardstick, found.exit_code) == (None, 1)
    with pytest.raises(ComparisonError, match="'none such' was not timed in both runs; those that were: mine"):
        compare_runs(alone, slower, yardstick="none such")


def test_no_verdict_is_stronger_than_the_noise_floors_of_both_runs(before, make_run):
    slower = make_run(TIMES | {"mine": 22e-6}, seed=1)
    speed = records.replace(slower.manifest.speed, noise_floor=0.2)
    noisy = records.Run(slower.path, records.replace(slower.manifest, speed=speed), slower.records, slower._cache)
    found = changed(compare_runs(before, noisy), "mine").speed
    assert found.verdict == "inconclusive"
    assert found.floor == pytest.approx(1.2 * (1 + before.manifest.speed.noise_floor) - 1)
    assert "noise floors" in found.note
    assert found.ratio.high / found.ratio.value >= 1 + found.floor  # nor is an interval narrower
    unknown = records.replace(slower.manifest.speed, noise_floor=None)
    untold = records.Run(slower.path, records.replace(slower.manifest, speed=unknown), slower.records, slower._cache)
    found = changed(compare_runs(before, untold), "mine").speed
    assert (found.verdict, found.ratio.low, found.ratio.high) == ("inconclusive", None, None)


def test_one_launch_decides_nothing(before, make_run):
    found = compare_runs(before, make_run(TIMES | {"mine": 40e-6}, launches=1))
    assert verdicts(found) == {"numpy": "yardstick", "torch": "inconclusive", "mine": "inconclusive"}
    assert found.exit_code == 0


def test_runs_without_launches_show_ratios_and_judge_none(make_run):
    imported = make_run(TIMES)
    for name in TIMES:
        imported._cache[name].pop("block_wall_ns")
    found = changed(compare_runs(imported, imported), "mine").speed
    assert (found.ratio.value, found.ratio.low, found.verdict) == (1.0, None, "inconclusive")
    assert "no launches" in found.note


# --- what was disturbed, and what has no rank ---------------------------------------------------------------

CHEATS = "was timed with wrong results: after step 5034 w[3] is off by 0.1, 1e+09 tolerances"


def placed(run, name, cost=None, **changes):
    """The run under another name, with another cost of one backend."""
    records_of = dict(run.records)
    if cost is not None:
        records_of[cost] = records.replace(run[cost], cost=records.replace(run[cost].cost, **changes))
    return records.Run(run.path.with_name(name), run.manifest, records_of, run._cache)


@pytest.fixture(scope="module")
def judged(make_run):
    return placed(make_run(TIMES, judged=True), "A")


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_disturbed_side_is_never_slower_or_faster(judged, make_run, factor, turned):
    noisy = placed(make_run(TIMES | {"mine": factor * 20e-6}, seed=1, disturbed={"mine": 0.63}), "B")
    sides = (noisy, judged) if turned else (judged, noisy)
    found = compare_runs(*sides)
    speed = changed(found, "mine").speed
    assert (speed.verdict, speed.ratio) == ("not decided", None)
    share = 100 * noisy["mine"].cost.left_out_share
    assert speed.note == f"mine was disturbed in B ({share:.0f} % of blocks disturbed)"
    assert (found.exit_code, found.regressions, found.yardstick) == (0, [], "numpy")
    assert verdicts(found)["torch"] == "equivalent"
    strict = compare_runs(*sides, strict=True)
    assert (strict.exit_code, strict.strict) == (1, True)
    assert strict.regressions == [f"mine: its speed is not decided, which --strict does not let pass: {speed.note}"]


def test_strict_lets_pass_what_was_not_disturbed(judged, make_run):
    assert compare_runs(judged, judged, strict=True).exit_code == 0
    one = make_run(TIMES, launches=1, judged=True)
    assert compare_runs(one, one, strict=True).exit_code == 0  # inconclusive is no disturbance


def test_both_sides_may_be_disturbed(make_run):
    noisy = make_run(TIMES, disturbed={"mine": 0.63})
    note = changed(compare_runs(placed(noisy, "A"), placed(noisy, "B")), "mine").speed.note
    assert "disturbed in A" in note
    assert "disturbed in B" in note
    same_name = changed(compare_runs(noisy, noisy), "mine").speed.note
    assert "disturbed in the run before" in same_name
    assert "disturbed in the run after" in same_name


def test_a_disturbed_yardstick_cannot_serve(judged, make_run):
    noisy = placed(make_run(TIMES | {"mine": 40e-6}, seed=1, disturbed={"numpy": 0.63}), "B")
    for wanted in (None, "numpy"):
        found = compare_runs(judged, noisy, yardstick=wanted)
        assert (found.yardstick, found.exit_code) == (None, 0)
        assert set(verdicts(found).values()) == {"not decided"}
        assert changed(found, "mine").speed.note.startswith("its yardstick cannot serve: numpy was disturbed in B")
        assert compare_runs(judged, noisy, yardstick=wanted, strict=True).exit_code == 1
    for other in ("torch", "none"):
        found = compare_runs(judged, noisy, yardstick=other)
        assert verdicts(found)["mine"] == "slower"
        assert verdicts(found)["numpy"] == "not decided"
        assert found.exit_code == 1


def test_a_side_without_rank_is_not_compared_and_says_why(judged, make_run):
    cheat = placed(make_run(TIMES | {"mine": 1e-6}, seed=1, unranked={"mine": CHEATS}), "B")
    found = compare_runs(judged, cheat, strict=True)
    speed = changed(found, "mine").speed
    assert (speed.verdict, speed.ratio, found.exit_code) == ("not compared", None, 0)
    assert speed.note == f"mine {CHEATS} (in B)"
    with pytest.raises(ComparisonError, match=r"the yardstick 'mine' cannot serve: mine was timed with wrong results"):
        compare_runs(judged, cheat, yardstick="mine")
    numpy_cheats = make_run(TIMES, seed=1, unranked={"numpy": CHEATS})
    assert compare_runs(judged, numpy_cheats).yardstick is None


def test_two_ways_of_timing_a_step_are_not_compared(judged):
    blockwise = placed(judged, "B", "mine", timed_by="blocks")
    speed = changed(compare_runs(judged, blockwise), "mine").speed
    assert speed.verdict == "not compared"
    assert "the median of its steps in A and whole blocks in B" in speed.note


def test_launches_without_a_number_are_left_out_and_the_others_count(make_run):
    """Half of the launches of one backend are interrupted throughout, and took ten times as long."""
    judged, slower = (make_run(TIMES | {"mine": t}, seed=seed, judged=True) for seed, t in ((0, 20e-6), (1, 24e-6)))
    for name, launches in (("mine", [0, 1]), ("numpy", [1, 2])):
        arrays = slower._cache[name]
        arrays["block_time_ns"][launches] *= 10
        arrays["block_clean"][launches] = False
    found = compare_runs(judged, slower)
    assert verdicts(found) == {"numpy": "yardstick", "torch": "equivalent", "mine": "slower"}
    assert changed(found, "mine").speed.ratio.value == pytest.approx(1.2, rel=0.02)
    assert changed(found, "numpy").speed.ratio.value == pytest.approx(1.0, rel=0.02)
    slower._cache["mine"]["block_clean"][...] = False
    speed = changed(compare_runs(judged, slower), "mine").speed
    assert speed.verdict == "not decided"
    assert "no undisturbed launch" in speed.note


def test_runs_from_before_are_compared_with_runs_from_now(before, make_run):
    new = make_run(TIMES | {"mine": 22e-6}, seed=1, judged=True)
    for name in TIMES:
        new = placed(new, "B", name, timed_by="blocks")
    assert verdicts(compare_runs(before, new)) == {"numpy": "yardstick", "torch": "equivalent", "mine": "slower"}


@pytest.mark.parametrize(("name", "baseline"), [("mine", "numpy"), ("numpy", "mine")])
def test_within_a_run_a_disturbed_side_is_not_decided(make_run, name, baseline):
    run = placed(make_run(TIMES, disturbed={"mine": 0.63}), "A")
    found = compare_within(run, baseline, threshold=10.0)
    speed = changed(found, name).speed
    assert (speed.verdict, speed.ratio, found.exit_code) == ("not decided", None, 0)
    assert speed.note.startswith("mine was disturbed in A (")
    assert compare_within(run, baseline, threshold=10.0, strict=True).exit_code == 1
    cheat = make_run(TIMES, unranked={"mine": CHEATS})
    speed = changed(compare_within(cheat, baseline, threshold=10.0, strict=True), name).speed
    assert speed.verdict == "not compared"
    assert CHEATS in speed.note


# --- what is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted({*records.STATUSES} - {"ok", "imported"}))
def test_whatever_was_ok_and_is_not_any_more_became_wrong(before, make_run, status):
    found = compare_runs(before, make_run(TIMES, statuses={"mine": status}))
    assert changed(found, "mine").became == "wrong"
    assert found.exit_code == 1
    assert found.regressions[0].startswith(f"mine: {status}")
    assert found.regressions[0].endswith("; before: ok")


@pytest.mark.parametrize(
    ("old", "new", "became", "code"),
    [
        ("crashed", "ok", "cured", 0),
        ("crashed", "disagree", "wrong", 1),  # before, nothing was known
        ("undecidable", "disagree", "wrong", 1),
        ("not-run", "non-finite", "wrong", 1),
        ("cancelled", "disagree", "wrong", 1),
        ("unsupported", "disagree", "wrong", 1),
        ("import-error", "disagree", "wrong", 1),
        ("disagree", "crashed", "still wrong", 0),
        ("crashed", "timeout", "still wrong", 0),
        ("disagree", "non-finite", "still wrong", 0),
        (None, "ok", "new", 0),
        (None, "disagree", "wrong", 1),
        ("ok", None, "gone", 0),
        ("imported", "ok", "same", 0),
    ],
)
def test_what_becomes_of_a_verdict(make_run, old, new, became, code):
    def run(status):
        names = {"numpy": 1e-5} | ({} if status is None else {"mine": 0.0})
        return make_run(names, statuses={} if status in (None, "ok") else {"mine": status})

    found = compare_runs(run(old), run(new))
    assert changed(found, "mine").became == became
    assert became in BECAME
    assert found.exit_code == code


def test_a_published_table_that_is_no_longer_reproduced_is_wrong(before):
    def with_table(run, reproduced):
        row = records.PublishedRow(step=1, published=0.5, observed=0.5, difference=0.0, reproduced=reproduced)
        changed = dict(run.records) | {"mine": records.replace(run["mine"], published=[row])}
        return records.Run(run.path, run.manifest, changed, run._cache)

    found = compare_runs(with_table(before, True), with_table(before, False))
    assert found.exit_code == 1
    assert "the published losses are not reproduced" in found.regressions[0]


def test_the_difference_of_the_losses_is_the_largest_and_knows_nan(before, make_run):
    other = make_run(TIMES)
    losses = other._cache["mine"]["losses"]
    losses[7] += 0.25
    assert changed(compare_runs(before, other), "mine").loss_difference == pytest.approx(0.25)
    losses[8] = math.nan
    assert changed(compare_runs(before, other), "mine").loss_difference == "nan"
    same = make_run(TIMES)
    same._cache["mine"]["losses"] = losses.copy()
    assert changed(compare_runs(other, same), "mine").loss_difference == 0.0
    same._cache["mine"]["losses"] = np.append(losses, 1.0)
    assert changed(compare_runs(other, same), "mine").loss_difference is None


# --- what does not belong together --------------------------------------------------------------------------

MACHINES = {
    "cpu": "Other CPU",
    "logical_cpus": 64,
    "usable_cpus": [0],
    "system": "Linux 7.0",
    "machine": "aarch64",
    "memory_bytes": 16_000_000_000,
    "settings": {"frequency governor": "powersave"},
}


@pytest.mark.parametrize("field", MACHINES)
def test_times_of_different_machines_are_not_compared(before, make_run, field):
    found = compare_runs(before, make_run(TIMES | {"mine": 99e-6}, machine={field: MACHINES[field]}))
    assert found.times_differ
    assert set(verdicts(found).values()) == {"not compared"}
    assert all(one.speed.ratio is None for one in found.backends)
    assert found.exit_code == 0


def test_a_little_less_memory_is_the_same_machine(before, make_run):
    assert not compare_runs(before, make_run(TIMES, machine={"memory_bytes": 7_990_000_000})).times_differ


def test_wrong_numbers_are_wrong_on_any_machine(before, make_run):
    found = compare_runs(before, make_run(TIMES, statuses={"mine": "disagree"}, machine={"cpu": "Other CPU"}))
    assert found.exit_code == 1


def test_other_threads_are_another_machine_and_other_versions_are_not(before, make_run):
    threads = compare_runs(before, make_run(TIMES, problem={"threads": 2}))
    assert [(fact.what, fact.before, fact.after) for fact in threads.times_differ] == [("threads", "1", "2")]
    newer = compare_runs(before, make_run(TIMES, machine={"libraries": {"numpy": "2.2.0", "compare-ag": "0.1.0"}}))
    assert newer.times_differ == []
    assert [(fact.what, fact.before, fact.after) for fact in newer.environment] == [("numpy", "2.1.0", "2.2.0")]


def test_different_problems_are_refused_with_what_differs(before, make_run):
    with pytest.raises(ComparisonError, match=r"different problems.*steps 200 and 100; learning rate 0\.5 and 0\.25"):
        compare_runs(before, make_run(TIMES, steps=100, problem={"digest": "d2", "learning_rate": 0.25}))
    with pytest.raises(ComparisonError, match="data or start differ"):
        compare_runs(before, make_run(TIMES, problem={"digest": "d2"}))


# --- within one run -----------------------------------------------------------------------------------------


def test_backends_of_one_run_are_compared_with_the_baseline(make_run):
    run = make_run({"numpy": 20e-6, "mine": 20.1e-6, "torch": 50e-6, "off": 9e-6}, statuses={"off": "disagree"})
    found = compare_within(run, "numpy")
    assert [one.name for one in found.backends] == ["mine", "torch", "off"]
    assert verdicts(found) == {"mine": "equivalent", "torch": "slower", "off": "not compared"}
    assert len(found.regressions) == 2
    assert found.regressions[0].startswith("torch takes 2.49")
    assert found.regressions[1].endswith("; numpy: ok")
    assert found.exit_code == 1
    assert compare_within(make_run({"numpy": 20e-6, "mine": 20.1e-6}), "numpy").exit_code == 0


def test_a_baseline_that_is_wrong_excuses_nobody(make_run):
    found = compare_within(make_run({"numpy": 2e-5, "mine": 2e-5}, statuses=dict.fromkeys(TIMES, "disagree")), "numpy")
    assert (changed(found, "mine").became, found.exit_code) == ("wrong", 1)
    assert found.regressions == ["mine: disagree (diverges at step 100); numpy: disagree"]


def test_any_backend_may_be_the_baseline(make_run):
    found = compare_within(make_run(TIMES), "torch")
    assert verdicts(found) == {"numpy": "faster", "mine": "faster"}
    assert changed(found, "numpy").speed.ratio.value == pytest.approx(0.2, rel=0.02)


def test_a_baseline_that_is_not_there_is_refused(make_run):
    with pytest.raises(ComparisonError, match="'nmpy' is not in this run; its backends: numpy, torch, mine"):
        compare_within(make_run(TIMES), "nmpy")
    with pytest.raises(ComparisonError, match="nothing to compare"):
        compare_within(make_run({"numpy": 1e-5}), "numpy")


def test_every_word_for_speed_is_documented(before, make_run):
    noisy = make_run(TIMES, disturbed={"mine": 0.63}, unranked={"torch": CHEATS})
    for run in (before, noisy):
        assert set(verdicts(compare_runs(run, run)).values()) <= set(SPEED_VERDICTS)
