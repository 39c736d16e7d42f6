"""What a run says about right and wrong backends: the tests behind the verdict, phase, repetition, consensus."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

import compare_ag
from compare_ag.problem import problem_by_name
from compare_ag.report import tables, terminal
from compare_ag.report.grid import draw_table
from compare_ag.verify import probe_points, reference_trajectory

PROBLEM = "synthetic:n=30,d=3"


def whole(found) -> str:
    """What `show` prints of a run, at any width."""
    console = Console(file=io.StringIO(), width=400, color_system=None)
    console.print(draw_table(tables.verdicts(found)))
    return console.file.getvalue()


def run(tmp_path, names, **options):
    return compare_ag.run(names, PROBLEM, timing=False, output=tmp_path / "run", **{"steps": 60, **options})


def test_a_right_backend_has_four_tests_within_tolerance_and_repeats(tmp_path):
    record = run(tmp_path, ["numpy"])["numpy"]
    assert record.status == "ok"
    tests = {test.test: test for test in record.verdict.tests}
    assert {"gradient", "step", "trajectory", "loss"} <= set(tests)
    assert all(0 < float(test.ratio) <= 1 and test.judged and not test.findings for test in tests.values())
    assert tests["trajectory"].judged == 61
    assert record.repeatable is True
    assert record.probe_seed is not None


def test_the_table_says_how_many_points_and_examples_were_decided(tmp_path):
    found = run(tmp_path, ["numpy"], loss="probability")
    test = {test.test: test for test in found["numpy"].verdict.tests}["gradient"]
    assert test.undecided > 0
    assert test.undecided_examples > 0
    assert test.examples > 30 * 60  # the ladder alone: all thirty at every logit
    text = whole(found)
    assert f"({test.judged} of {test.judged + test.undecided})" in text
    assert f"{test.examples} of {test.examples + test.undecided_examples}" in text


LATE = """
    calls = 0

    def _factor(self, n):
        self.calls += 1
        return 1 + 1e-3 * (self.calls > LIMIT)
"""


def _late(source: str, limit: int) -> str:
    source = source.replace("    def backward(", LATE.replace("LIMIT", str(limit)) + "\n    def backward(")
    return source.replace(
        "        return Weights(gradient,", "        gradient *= self._factor(n)\n        return Weights(gradient,"
    )


def test_a_fault_that_comes_in_the_second_run_alone_is_found(install_plugin, good_plugin, tmp_path):
    problem = problem_by_name(PROBLEM, steps=60)
    routes = probe_points(problem, reference_trajectory(problem), 1).routes
    before = 60 + sum(2 * len(route.names) for route in routes)
    install_plugin("late", _late(good_plugin, before + 10))
    found = run(tmp_path, ["late"])["late"]
    assert found.status == "disagree"
    assert "in the second run" in found.reason
    assert found.repeatable is False
    assert (found.repetition.first, found.repetition.steps) == (11, 61)
    assert float(found.repetition.ratio) > 1
    install_plugin("later", _late(good_plugin, before + 1000))
    assert run(tmp_path / "later", ["later"])["later"].status == "ok"


def test_other_bits_within_the_tolerance_are_counted_and_no_fault(install_plugin, good_plugin, tmp_path):
    source = good_plugin.replace("losses.mean()", "losses[np.random.default_rng().permutation(len(losses))].mean()")
    install_plugin("shuffling", source)
    found = run(tmp_path, ["shuffling"])
    record = found["shuffling"]
    assert record.status == "ok"
    again = record.repetition
    assert 0 < again.differing <= again.steps == 61
    assert 0 < float(again.ratio) < 1
    assert f"other bits: {again.differing} of 61, by" in whole(found)


def test_a_wrong_gradient_has_step_phase_and_coordinate_and_is_in_the_record(install_plugin, good_plugin, tmp_path):
    install_plugin("mine", good_plugin.replace("residual.sum() / n", "residual.sum() / (n + 1)"))
    found = run(tmp_path, ["mine"])
    verdict = found["mine"].verdict
    assert (found["mine"].status, found["mine"].step, found["mine"].phase) == ("disagree", 0, "backward")
    assert (verdict.first_step, verdict.phase, verdict.coordinate) == (0, "backward", "b")
    assert "wrong in backward (b): the gradient of b is off by" in verdict.message
    assert verdict.diagnosis
    assert compare_ag.load_run(found.path)["mine"] == found["mine"]


def test_a_fault_that_training_never_meets_is_found_at_the_hosts_points(install_plugin, good_plugin, tmp_path):
    """A clipped logarithm, as in BCELoss: the losses of a well-behaved training never reach it."""
    install_plugin("clipped", good_plugin.replace("np.log1p(np.exp(-np.abs(s)))", "np.log1p(np.exp(-np.abs(s)))\n"
                   "                losses = np.minimum(losses, 30)"))  # fmt: skip  # one replacement
    record = run(tmp_path, ["clipped"])["clipped"]
    assert record.status == "disagree"
    assert record.phase == "forward"
    assert record.verdict.first_step is None
    assert "at the point '" in record.verdict.message
    assert {test.test for test in record.verdict.tests if test.findings} == {"loss"}


def test_two_that_agree_with_each_other_and_not_with_the_oracle_are_a_wrong_consensus(
    install_plugin, good_plugin, tmp_path
):
    wrong = good_plugin.replace("v - rate * g", "v - rate * g * v.dtype.type(1.0000001)")
    install_plugin("one", wrong)
    install_plugin("two", wrong)
    found = run(tmp_path, ["one", "two"])
    assert found.manifest.consensus_is_wrong
    assert (
        "The consensus is wrong: they agree with each other, but not with the exact result."
        in terminal.answer(found).plain
    )
    assert found.exit_code == 1


@pytest.mark.parametrize("other", ["1.001", "1"])
def test_it_is_no_wrong_consensus_where_they_differ_or_one_is_right(other, install_plugin, good_plugin, tmp_path):
    for name, factor in (("one", "1.0000001"), ("two", other)):
        install_plugin(name, good_plugin.replace("v - rate * g", f"v - rate * g * v.dtype.type({factor})"))
    assert not run(tmp_path, ["one", "two"]).manifest.consensus_is_wrong


def test_a_backend_that_does_not_repeat_its_bits_is_told_so_and_may_still_be_right(
    install_plugin, good_plugin, tmp_path
):
    """Sums in another order each time: as threads do."""
    install_plugin(
        "restless",
        "import random\n"
        + good_plugin.replace(
            "residual @ batch.X / n",
            "(lambda o: (residual[o] @ batch.X[o]))(random.sample(range(len(residual)), len(residual))) / n",
        ),
    )
    record = run(tmp_path, ["restless"], steps=200)["restless"]
    assert record.status == "ok"
    assert record.repeatable is False


def test_an_own_step_is_judged_at_the_points_and_along_its_own_training(install_plugin, good_plugin, tmp_path):
    step = (
        "    def step(self, weights, batch, learning_rate):\n"
        "        loss, tape = self.forward(weights, batch)\n"
        "        return loss, self.update(weights, self.backward(tape), learning_rate * (1 + 1e-6))\n\n"
        "    def to_numpy"
    )
    install_plugin("rash", good_plugin.replace("    def to_numpy", step))
    record = run(tmp_path, ["rash"])["rash"]
    assert record.verdict.status == "agrees"
    assert record.fused_verdict.status == "diverges"
    assert record.reason.startswith("the fused step: wrong in step")
    assert record.fused_verdict.first_step == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("v - rate * g", "v - rate * g * v.dtype.type(1.01)", "the learning rate is 1.01 times"),
        ("np.asarray(residual.sum() / n)", "np.asarray(0 * residual.sum())", "the gradient of b is missing"),
        ("residual @ batch.X / n", "(residual.astype('f4') @ batch.X.astype('f4')).astype('f8') / n", "float32"),
        ("losses.mean()", "losses.sum()", "sum"),
    ],
)
def test_a_known_mistake_is_named_beside_the_verdict(old, new, said, install_plugin, good_plugin, tmp_path):
    install_plugin("mine", good_plugin.replace(old, new))
    found = run(tmp_path, ["mine"])
    assert any(said in sentence for sentence in found["mine"].verdict.diagnosis), found["mine"].verdict.diagnosis


def test_stagnation_is_reported_as_what_it_is_and_is_no_fault(tmp_path):
    """Updates below half an ulp: float32 stands still while the mathematics moves on (numerics: off by 1e-3, and right)."""
    found = compare_ag.run(["numpy"], steps=10_000, learning_rate=1e-8, timing=False, output=tmp_path / "run")
    record = found["numpy"]
    assert record.status == "ok"
    assert record.verdict.remark.startswith("stalls from step 0:")
    assert "below half an ulp of float32" in record.verdict.remark


def test_the_reference_is_described_exact_or_bounded(tmp_path):
    exact = compare_ag.run(["numpy"], steps=20, timing=False, output=tmp_path / "exact").manifest.reference
    assert exact.startswith("the exact trajectory, known to ")
    large = compare_ag.run(["numpy"], "synthetic:n=3000,d=30", steps=300, timing=False, output=tmp_path / "large")
    assert large.manifest.reference.startswith("a float64 trajectory whose own error is bounded")
    assert large.exit_code == 0
