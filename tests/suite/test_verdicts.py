"""What a run says about right and wrong backends: the tests behind the verdict, phase, repetition, consensus."""

from __future__ import annotations

import pytest

import compare_ag
from compare_ag.report.terminal import answer

PROBLEM = "synthetic:n=30,d=3"


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
    assert "The consensus is wrong: they agree with each other, but not with the exact result." in answer(found).plain
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
