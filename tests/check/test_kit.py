"""The kit: right backends pass every check, wrong ones fail at the right rung, in all three front ends."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from compare_ag.check import check_backend, parametrize_backend_checks
from compare_ag.check.ladder import CHECKS
from compare_ag.suite import select

BUNDLED = ["numpy", "autograd", "torch"]


@pytest.mark.few("numpy")
@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_backends_pass_every_check(name):
    results = check_backend(name)
    assert [result.id for result in results] == list(CHECKS)
    assert [(result.id, result.message) for result in results if result.status == "failed"] == []
    assert {result.id for result in results if result.status == "skipped"} == {"fused-step", "fused-trajectory"}


def test_the_ladder_has_ids_meanings_and_advice_of_one_line():
    assert len(CHECKS) >= 25
    for check in CHECKS.values():
        assert check.id == check.id.lower().replace(" ", "-").replace("_", "-")
        assert "\n" not in check.meaning + check.advice
        assert check.advice.endswith(".")


MISTAKES = {
    "a wrong sign": ("residual @ batch.X / n", "-residual @ batch.X / n", "gradient-at-zero"),
    "no gradient of b": ("np.asarray(residual.sum() / n)", "np.asarray(0 * residual.sum())", "gradient-at-zero"),
    "no penalty in the gradient": ("+ residual.dtype.type(self.l2) * w", "+ 0 * w", "l2"),
    "no penalty in the loss": ("z.dtype.type(self.l2 / 2) * (w @ w)", "z.dtype.type(0) * (w @ w)", "l2"),
    "another rate": ("v - rate * g", "v - rate * g * v.dtype.type(1.0001)", "update"),
    "a float32 exponential": (
        "np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))",
        "np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s).astype('float32')).astype(z.dtype))",
        "loss-at-points",
    ),
    "the loss after the sum": ("losses.mean()", "losses.sum()", "loss-at-zero"),
    "float64 for float32": ("return np.asarray(loss, dtype=z.dtype)", "return np.asarray(loss, dtype='f8')", "float32"),
    "writes into the weights": ("        z = batch.X @ w + b", "        w *= 0.5\n        z = batch.X @ w + b", "loss-at-points"),
    "an exception": ("w, batch, residual = tape", "raise ValueError('not yet')", "loss-at-zero"),
}  # fmt: skip


@pytest.mark.few("a wrong sign", "no penalty in the loss", "another rate", "writes into the weights")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_fails_first_at_its_own_rung(mistake, install_plugin, good_plugin):
    old, new, rung = MISTAKES[mistake]
    assert old in good_plugin
    install_plugin("broken", good_plugin.replace(old, new))
    below = list(CHECKS)[: list(CHECKS).index(rung) + 1]
    failed = [result for result in check_backend("broken", below) if result.status == "failed"]
    assert failed[0].id == rung, failed[0].message
    assert failed[0].command == f"compare-ag check broken --only {rung}"


GRADIENT = "gradient = residual @ batch.X / n + residual.dtype.type(self.l2) * w"
STABLE = "losses = np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s)))"
LITERAL = "p = one / (one + np.exp(-z))"
CAUSES = {
    "a product with X, not its transpose": "the gradient of w comes from X where its transpose belongs",
    "blocks of 128 examples": "the last 7 of 1031 examples are left out of the gradient of w",
    "blocks of 256 features": "the last 7 of 1031 features are without a gradient",
    "a clip at 1e-15": "at least 1.0e-15",
    "logarithms clamped at -100": "logarithms of at least -100",
}
CONDITIONS = {
    "softplus with a threshold": (STABLE, "losses = np.where(s > 20, s, np.log1p(np.exp(np.minimum(s, 20))))", "logits"),
    "NaN from a dead branch": (
        "return np.asarray(loss, dtype=z.dtype), (w, batch, p - batch.y)",
        "return np.asarray(loss, dtype=z.dtype), (w, batch, p - batch.y + 0 * np.exp(z))",
        "logits",
    ),
    "a clip at 1e-15": (LITERAL, LITERAL + "\n            p = np.clip(p, z.dtype.type(1e-15), one)", "probability-logits"),
    "a clip of 1 - p at 1e-12": (LITERAL, LITERAL + "\n            p = np.minimum(p, one - 1e-12)", "probability-logits"),
    "a sigmoid by tanh": (LITERAL, "p = (one + np.tanh(z / 2)) / 2", "probability-logits"),
    "logarithms clamped at -100": ("np.log(p)", "np.maximum(np.log(p), -100)", "probability-logits"),
    "a clip in float32": (
        LITERAL,
        LITERAL + "\n            p = np.maximum(p, 1e-15).astype(p.dtype) if p.dtype == 'float32' else p",
        "float32-logits",
    ),
    "a product with X, not its transpose": (
        GRADIENT, GRADIENT.replace("residual @ batch.X", "(batch.X @ residual if len(set(batch.X.shape)) == 1 else residual @ batch.X)"), "square",
    ),
    "blocks of 128 examples": (GRADIENT, "m = len(residual) - (len(residual) % 128 if len(residual) > 128 else 0)\n        " + GRADIENT.replace("residual @ batch.X", "residual[:m] @ batch.X[:m]"), "many-examples"),
    "blocks of 256 features": (GRADIENT, GRADIENT + "\n        gradient[gradient.size - gradient.size % 256 :] *= gradient.size < 256", "many-features"),
    "one example": (GRADIENT, GRADIENT + "\n        gradient *= 1 + (n == 1)", "batch-sizes"),
    "two threads": (GRADIENT, GRADIENT + "\n        gradient *= self.threads", "two-threads"),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.few("softplus with a threshold", "a clip at 1e-15", "a product with X, not its transpose", "two threads")
@pytest.mark.parametrize("mistake", CONDITIONS)
def test_a_mistake_that_acts_under_a_condition_is_seen_by_the_rung_for_it(mistake, install_plugin, good_plugin):
    old, new, rung = CONDITIONS[mistake]
    assert good_plugin.count(old) == 1
    source = good_plugin.replace(old, new).replace(
        "self.l2, self.loss =", "self.threads = setting.threads; self.l2, self.loss ="
    )
    install_plugin("broken", source)
    (result,) = check_backend("broken", [rung])
    assert result.status == "failed", result.message
    assert not result.worker_failed
    assert CAUSES.get(mistake, "") in result.cause


@pytest.mark.thorough
def test_a_right_third_party_backend_passes(install_plugin, good_plugin):
    install_plugin("mine", good_plugin)
    assert [(r.id, r.message) for r in check_backend("mine") if r.status == "failed"] == []


def test_a_float64_whose_exponential_is_float32_is_told_so(install_plugin, good_plugin):
    """As mlx's is: the dtype is float64, the digits are not."""
    source = good_plugin.replace("np.exp(", "rough_exp(").replace(
        "class Mine", "def rough_exp(z):\n    return np.exp(z.astype('float32')).astype(z.dtype)\n\n\nclass Mine"
    )
    install_plugin("rough", source)
    (result,) = check_backend("rough", ["float64-honest"])
    assert result.status == "failed"
    assert "good to float32 only" in result.cause
    (honest,) = check_backend("rough", ["float32"])
    assert honest.status == "passed"


def test_a_dtype_that_is_not_declared_is_skipped_with_its_reason(install_plugin, good_plugin):
    install_plugin(
        "single", good_plugin.replace("class Mine(Backend):", 'class Mine(Backend):\n    dtypes = ("float32",)')
    )
    asked = ["float64", "float64-honest", "gradient-at-points"]
    results = {result.id: result for result in check_backend("single", asked)}
    assert results["float64"].status == results["float64-honest"].status == "skipped"
    assert results["float64"].message == "it does not declare float64"
    assert results["gradient-at-points"].status == "passed"


def test_an_own_step_is_checked(install_plugin, good_plugin):
    fused = """
    def step(self, weights, batch, learning_rate):
        loss, tape = self.forward(weights, batch)
        return loss, self.update(weights, self.backward(tape), learning_rate * FACTOR)
"""
    for name, factor, status in (("exact", "1", "passed"), ("rash", "(1 + 1e-6)", "failed")):
        install_plugin(
            name, good_plugin.replace("    def to_numpy", fused.replace("FACTOR", factor) + "\n    def to_numpy")
        )
        results = {result.id: result for result in check_backend(name, ["step", "fused-step", "fused-trajectory"])}
        assert results["fused-step"].status == results["fused-trajectory"].status == status
        assert results["step"].status == "passed"


def test_a_plugin_that_cannot_be_loaded_ends_the_ladder_at_its_foot(install_plugin):
    install_plugin("nothing", "import compare_ag\n")
    (result,) = check_backend("nothing")
    assert (result.id, result.status, result.worker_failed) == ("loads", "failed", True)
    assert "implements no hook" in result.message


# --- the command


def command(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "compare_ag", "check", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.mark.thorough
def test_the_command_says_what_is_next_and_repeats_just_it(install_plugin, good_plugin, tmp_path):
    install_plugin("broken", good_plugin.replace("v - rate * g", "v + rate * g"))
    done = command("broken", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "Next: update: update returns weights - learning_rate x gradient" in done.stdout
    assert "  do:    Plain gradient descent" in done.stdout
    assert "  again: compare-ag check broken --only update" in done.stdout
    again = command("broken", "--only", "update", "--json", cwd=tmp_path)
    assert again.returncode == 1
    document = json.loads(again.stdout)
    assert [(row["id"], row["status"]) for row in document["checks"]] == [("update", "failed")]
    assert document["passed"] is False
    assert command("broken", "--only", "gradient-at-zero,l2").returncode == 0


def test_a_crash_is_exit_code_3(install_plugin, good_plugin):
    install_plugin("broken", good_plugin.replace("w, batch, residual = tape", "raise ValueError('not yet')"))
    done = command("broken", "--only", "gradient-at-zero")
    assert done.returncode == 3
    assert "crashed: ValueError: not yet" in done.stdout


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["numpy", "--only", "gradent-at-zero"], "did you mean 'gradient-at-zero'?"),
        (["nunpy"], "numpy"),
        ([], "name one backend to check"),
        (["numpy,torch"], "name one backend to check"),
    ],
)
def test_unusable_input_is_one_message_and_exit_2(arguments, said):
    done = command(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_list_shows_every_check_without_running_any():
    done = command("--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(CHECKS)


# --- the decorator and the plugin


def pytest_in(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfExXs", *arguments],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip


@pytest.mark.thorough
def test_the_decorator_runs_every_check_and_expected_failures_are_strict(install_plugin, good_plugin, tmp_path):
    install_plugin("broken", good_plugin.replace("v - rate * g", "v + rate * g"))
    expected = dict.fromkeys(("update", "step", "l2"), "ascends, on purpose")
    (tmp_path / "test_mine.py").write_text(
        "from compare_ag.check import parametrize_backend_checks\n\n"
        f"@parametrize_backend_checks(['broken'], expected_failed={expected!r})\n"
        "def test_backend(check):\n    check()\n"
    )
    done = pytest_in(tmp_path)
    assert "XFAIL test_mine.py::test_backend[broken-update] - ascends, on purpose" in done.stdout
    assert "FAILED test_mine.py::test_backend[broken-l2]" in done.stdout
    assert "[XPASS(strict)] ascends, on purpose" in done.stdout
    assert "FAILED test_mine.py::test_backend[broken-trajectory]" in done.stdout
    assert "again: compare-ag check broken --only trajectory" in done.stdout


@pytest.mark.parametrize(
    ("expected", "said"), [({"updat": "why"}, "there is no check 'updat'"), ({"update": " "}, "needs a reason")]
)
def test_expected_failures_need_a_known_id_and_a_reason(expected, said):
    with pytest.raises(ValueError, match=said):
        parametrize_backend_checks(["numpy"], expected)


PLUGIN = ("-p", "compare_ag.check.plugin", "--pyargs", "compare_ag.check")


@pytest.mark.thorough
def test_the_pytest_plugin_checks_a_named_backend_from_an_empty_directory(tmp_path):
    done = pytest_in(tmp_path, *PLUGIN, "--backend", "numpy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CHECKS) - 2} passed, 2 skipped" in done.stdout


def test_the_pytest_plugin_asks_for_the_backend_that_it_was_not_told(tmp_path):
    none = pytest_in(tmp_path, *PLUGIN)
    assert none.returncode != 0
    assert "name the backend to check: --backend NAME" in none.stdout + none.stderr


def test_importing_the_kit_imports_neither_numpy_nor_pytest():
    code = "import sys, compare_ag.check; print(sorted({'numpy', 'pytest'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_mutation_can_be_climbed_too():
    from compare_ag.check.rungs import climb
    from compare_ag.worker.messages import Mutation

    (offer,) = select(["numpy"]).values()
    mutation = Mutation("compare_ag_mutants", "bias-gradient-missing", 1.0)
    below = list(CHECKS)[: list(CHECKS).index("gradient-at-zero") + 1]
    assert next(r for r in climb(offer, below, mutation=mutation) if r.status == "failed").id == "gradient-at-zero"


CAUSES = {
    "components of the gradient below some 1e-08 are flushed to 0": (
        "        return Weights(gradient, np.asarray(residual.sum() / n))",
        "        slopes = (gradient, np.asarray(residual.sum() / n))\n"
        "        return Weights(*(np.where(np.abs(g) < 1e-8, 0, g).astype(g.dtype) for g in slopes))",
        "float64-honest",
    ),
    "the gradient of b, and nothing else, is in float32": (
        "np.asarray(residual.sum() / n)",
        "np.asarray(residual.astype('f4').sum() / np.float32(n), dtype=n.dtype)",
        "gradient-at-zero",
    ),
    "the gradient of b is missing": ("np.asarray(residual.sum() / n)", "np.asarray(0 * n)", "gradient-at-points"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_wrong_numbers_come_with_their_cause(cause, install_plugin, good_plugin):
    old, new, rung = CAUSES[cause]
    assert good_plugin.count(old) == 1
    install_plugin("broken", good_plugin.replace(old, new))
    (result,) = check_backend("broken", [rung])
    assert (result.status, result.cause) == ("failed", cause)
    assert f"  cause: {cause}\n" in result.explanation
