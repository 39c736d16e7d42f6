"""Each warning appears where it should, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from compare_ag.speed.stability import Observation, Surroundings, notes

GENERATOR = np.random.default_rng(1)
CALM = Observation(
    name="mine",
    left_out_share=0.02,
    disturbed=False,
    cpu_per_wall=1.0,
    pending_shares=[0.0] * 30,
    pending_noise=[0.001] * 30,
    steady=True,
    closure=1.0,
    pinned=True,
    log_times=list(GENERATOR.normal(-11, 0.01, 30)),
    log_ratios=list(GENERATOR.normal(0.5, 0.01, 30)),
)
CONTROL = list(GENERATOR.normal(0, 0.01, 30))


QUIET = Surroundings(0.1, 0.001, "performance", on_battery=False, speeds={0: 0.97, 1: 1.0}, timed=[1])


def found(seen=CALM, control=CONTROL, surroundings=QUIET):
    return [note.id for note in notes([seen], control, 1, surroundings)]


def test_a_calm_measurement_has_no_warning():
    assert found() == []
    assert found(CALM._replace(closure=None, log_ratios=[]), control=[], surroundings=Surroundings()) == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("preempted", {"left_out_share": 0.3}),
        ("waiting", {"cpu_per_wall": 0.8}),
        ("threads", {"cpu_per_wall": 1.9}),
        ("disturbed", {"disturbed": True, "left_out_share": 0.7}),
        ("lazy", {"pending_shares": list(GENERATOR.normal(0.4, 0.02, 30))}),
        ("not-steady", {"steady": False}),
        ("closure", {"closure": 1.05}),
        ("closure", {"closure": 0.9}),
        ("not-pinned", {"pinned": False}),
        ("drift", {"log_times": list(np.linspace(-11, -10.9, 30))}),
        ("launch-spread", {"log_ratios": list(np.tile([0.45, 0.55], 15))}),
        ("outlying-launch", {"log_ratios": [0.5, 0.5001] * 20 + [0.503] + [0.501, 0.5011] * 20}),
        ("correlated", {"log_ratios": list(0.5 + 0.01 * np.sin(np.arange(40) / 6))}),
    ],
)
def test_each_disturbance_is_named_with_what_to_do(name, changes):
    if name == "outlying-launch":
        changes = {"log_ratios": [0.5] * 60 + [0.9] * 12}
    noted = {note.id: note for note in notes([CALM._replace(**changes)], CONTROL, 1, QUIET)}
    assert name in noted
    assert "mine" in noted[name].message or name == "not-pinned"
    assert noted[name].advice


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("load", {"load_per_cpu": 0.9}, "load 0.9 per CPU"),
        ("steal", {"steal": 0.02}, "2.0%"),
        ("governor", {"governor": "powersave"}, "'powersave'"),
        ("governor", {"governor": "performance, schedutil"}, "schedutil"),
        ("battery", {"on_battery": True}, "battery"),
        ("unequal-cpus", {"speeds": {0: 0.6, 1: 1.0}}, "CPU 0 does 60% of what the fastest does: times hold for CPU 1"),
    ],
)
def test_what_the_machine_tells_about_itself_is_told(name, changes, told):
    (note,) = notes([CALM], CONTROL, 1, QUIET._replace(**changes))
    assert note.id == name
    assert told in note.message
    assert note.advice


def test_a_biased_control_is_told():
    assert found(control=[0.03 + c for c in CONTROL]) == ["control"]


@pytest.mark.parametrize(
    ("shares", "noise"),
    [
        ([0.004] * 30, [0.002] * 30),  # less than three times what reading varies by
        ([0.004] * 30, [0.0] * 30),  # and by less than nothing it never varies
        ([0.2, 0.0, 0.2, 0.0, 0.2], [0.001] * 5),  # chance, as far as so few launches tell
        ([], []),
    ],
)
def test_what_reading_alone_explains_is_no_work_put_off(shares, noise):
    assert found(CALM._replace(pending_shares=shares, pending_noise=noise)) == []


def test_little_work_put_off_in_every_launch_is_told_where_reading_is_steady():
    seen = CALM._replace(pending_shares=list(GENERATOR.normal(0.02, 0.001, 30)), pending_noise=[0.001] * 30)
    (note,) = notes([seen], CONTROL, 1, QUIET)
    assert (note.id, "left 2% of a block's work undone" in note.message) == ("lazy", True)
