"""The proof that verdicts can fail, run in full; and that the proof itself can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from compare_ag.cli.selftest_verdicts import _in_float32
from compare_ag.host.failures import WorkerFailure
from compare_ag.selftest import Specimen, selftest, specimens
from compare_ag.selftest.peers import with_differences
from compare_ag.selftest.verdicts import EFFECT
from compare_ag.suite import select
from compare_ag.worker.messages import MutantFacts


@pytest.fixture(scope="module")
def numpy_offer():
    return select(["numpy"])["numpy"]


@pytest.fixture(scope="module")
def result(numpy_offer):
    """All bundled mutants in all sizes: about a minute."""
    return selftest(numpy_offer, specimens())


FEW = {"form-clipped", "one-component", "loss-scaled", "rate-scaled", "momentum", "writes-into-weights"}
"""of each part one, and one that shows in the probability form alone"""
RIGHT = {"sum-reversed", "weights-kept-wider"}
"""a plain one, and one that is easily taken for wrong"""


def test_a_few_mutants_are_caught_and_nobody_is_accused(numpy_offer):
    chosen = {s.facts.name: s for s in reversed(specimens()) if s.facts.name in FEW | RIGHT}  # in their largest size
    few = selftest(numpy_offer, list(chosen.values()))
    assert {outcome.specimen.facts.name for outcome in few.mutants} == FEW
    assert {outcome.specimen.facts.name for outcome in few.legitimate} == RIGHT
    assert few.survivors == []
    assert [(o.specimen.label, o.subject, o.message) for o in few.missed] == []
    assert [(o.specimen.label, o.subject, o.message) for o in few.false_alarms] == []
    assert few.passed


@pytest.mark.thorough
def test_every_mutant_that_matters_is_caught_and_nobody_is_accused(result):
    assert len({outcome.specimen.facts.name for outcome in result.mutants}) >= 30
    assert len({outcome.specimen.facts.name for outcome in result.legitimate}) >= 20
    assert result.survivors == []
    assert [(o.specimen.label, o.subject, o.message) for o in result.missed] == []
    assert [(o.specimen.label, o.subject, o.message) for o in result.false_alarms] == []
    assert result.passed


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["gradient-scaled", "one-component"])
def test_a_relative_gradient_error_of_1e_11_is_caught(result, name):
    mine = [o for o in result.mutants if o.specimen.facts.name == name and o.subject.dtype == "float64"]
    seen = [o for o in mine if o.specimen.size >= 1e-11]
    assert len(seen) >= 4
    for outcome in seen:
        assert outcome.caught
        assert outcome.caught_middle
        # near the optimum there is little gradient to be wrong: there, what amounts to ten tolerances
        assert outcome.caught_end or outcome.effect_end < EFFECT
    assert sum(outcome.caught_end for outcome in seen) >= 3
    # and the table has a lower end: what rounding itself may do is not called a fault
    smallest = min(mine, key=lambda o: o.specimen.size)
    assert smallest.effect < EFFECT


@pytest.mark.thorough
def test_published_rules_miss_what_is_caught_here(result):
    small = [o for o in result.mutants if o.subject.dtype == "float64" and o.caught]
    assert sum(not o.allclose for o in small) > len(small) / 2
    assert sum(not o.gradcheck for o in small) > len(small) / 2
    large = [o for o in small if o.specimen.facts.name == "gradient-sign"]
    assert all(o.allclose and o.gradcheck for o in large)


CONDITIONS = {
    "form-clipped": "probability",
    "form-clipped-in-the-loss": "probability",
    "form-clamped": "probability",
    "sigmoid-by-tanh": "probability",
    "softplus-threshold": "anywhere",
    "dead-branch": "anywhere",
    "examples-beyond-a-block": "large",
    "features-beyond-a-block": "large",
    "square-transposed": "large",
    "second-thread": "threads",
    "rare": "anywhere",
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CONDITIONS)
def test_what_acts_under_a_condition_is_tried_where_it_acts_and_caught(result, name):
    mine = [o for o in result.mutants if o.specimen.facts.name == name]
    assert {o.specimen.facts.shows_in for o in mine} == {CONDITIONS[name]}
    sizes = {o.specimen.size for o in mine if o.subject.dtype == "float64"}
    caught = {o.specimen.size for o in mine if o.caught and o.subject.dtype == "float64"}
    assert caught == (sizes if name != "rare" else caught)
    assert max(sizes) in caught


@pytest.mark.thorough
def test_what_float32_cannot_decide_is_said(result):
    single = [o for o in result.mutants if o.subject.dtype == "float32" and o.specimen.label == "form-clamped@1"]
    assert [(o.caught, o.effect < EFFECT) for o in single] == [(False, True)]
    assert _in_float32(single) == "undecidable: 1"
    clips = [o for o in result.mutants if o.subject.dtype == "float32" and o.specimen.facts.name == "form-clipped"]
    assert len(clips) == 4
    assert _in_float32(clips) == "yes"


@pytest.mark.thorough
def test_the_scan_that_measures_effects_is_hidden_from_the_verdict(numpy_offer, monkeypatch):
    """A mistake at one logit that no ladder has must count as missed: else the promise would be about our own points."""
    monkeypatch.setattr("compare_ag.selftest.verdicts._Trials._probes", _without_ladders)
    (clipped,) = (s for s in specimens("form-clipped-in-the-loss") if s.size == 1e-15)
    result = selftest(numpy_offer, [clipped])
    (single,) = (o for o in result.outcomes if o.subject.dtype == "float32")
    assert not single.caught
    assert single.effect >= EFFECT
    assert single in result.missed
    assert not result.passed


def _without_ladders(bench, _):
    probes = with_differences(bench.judge.probes(20))
    return replace(probes, routes=(probes.main, bench.scan))


def specimen(name, size=1.0, *, legitimate=False, part="gradient"):
    return Specimen("mine_mutants", MutantFacts(name, part, "made here", [size], legitimate), size)


MINE = """
import compare_ag
from compare_ag import Mutant, Weights

def right(base, size):
    class Right(base):
        pass
    return Right

def scaled(base, size):
    class Scaled(base):
        def backward(self, tape):
            w, b = super().backward(tape)
            return Weights(w * (1 + size), b)
    return Scaled

@compare_ag.hookimpl
def compare_ag_mutants():
    return [
        Mutant("harmless", "gradient", "does nothing", (1.0,), right),
        Mutant("harmful", "gradient", "is wrong", (1e-3,), scaled, legitimate=True),
    ]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A third party's plugin of mutants, found by its entry point."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "mine_mutants.py").write_text(MINE)
    info = site / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[compare_ag_mutants]\nmine = mine_mutants\n")
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.mark.thorough
def test_a_third_partys_mutants_are_found_and_the_selftest_itself_can_fail(mine, numpy_offer):
    found = [s for s in specimens() if s.module == "mine_mutants"]
    assert [(s.facts.name, s.size) for s in found] == [("harmless", 1.0), ("harmful", 1e-3)]
    result = selftest(numpy_offer, found)
    assert result.survivors == ["harmless"]
    assert {o.specimen.facts.name for o in result.false_alarms} == {"harmful"}
    assert not result.passed


@pytest.mark.thorough
def test_the_command_prints_rates_and_exits_1_when_something_survives(mine, tmp_path):
    command = [sys.executable, "-m", "compare_ag", "selftest", "--only", "harm"]
    environment = {"PYTHONPATH": str(mine), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1, done.stderr
    assert "Never caught: harmless" in " ".join(done.stdout.split())
    assert "accused wrongly: harmful" in done.stdout
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, env=environment)
    document = json.loads(done.stdout)
    assert document["survivors"] == ["harmless"]
    assert {row["mutant"] for row in document["outcomes"]} == {"harmless", "harmful"}
    assert np.isfinite(document["outcomes"][0]["effect"])


def test_a_name_that_no_mutant_has_is_said(tmp_path):
    command = [sys.executable, "-m", "compare_ag", "selftest", "--only", "nonesuch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no mutant's name contains 'nonesuch'" in " ".join(done.stderr.split())


def test_a_mutant_that_shows_nowhere_is_refused_by_name(mine):
    """It would be tried on no problem, and its plugin would seem to be proven."""
    source = MINE.replace('"does nothing", (1.0,), right)', '"does nothing", (1.0,), right, False, "probabillity")')
    assert source != MINE
    (mine / "mine_mutants.py").write_text(source)
    with pytest.raises(
        WorkerFailure, match="the mutant 'harmless' shows in 'probabillity'; shows_in is one of 'anywhere'"
    ):
        specimens("harm")
