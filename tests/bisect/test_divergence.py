"""Bisect and transplant find what mutants did, and every written script shows it again without the host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from compare_ag.bisect import bisect, transplant
from compare_ag.bisect.reproducer import MOST_LINES
from compare_ag.problem import problem_by_name
from compare_ag.selftest import specimens
from compare_ag.suite import select

LARGEST = {specimen.facts.name: specimen for specimen in reversed(specimens()) if not specimen.facts.legitimate}
"""each mutant in its largest size"""
INVISIBLE = {"nan-late", "step-skipped", "step-twice"}
"""need a certain number of steps, which their smaller sizes set"""
LATE = {
    specimen.facts.name: specimen for specimen in specimens() if specimen.facts.name in INVISIBLE and specimen.size <= 3
}
MUTANTS = {name: specimen for name, specimen in (LARGEST | LATE).items() if name != "rare"}
PHASES = {"loss": {"forward"}, "gradient": {"backward"}, "update": {"update"}}
BOTH = {"form-clipped", "form-clamped", "softplus-threshold"}
"""change loss and gradient alike, as what clips a probability before its logarithm does"""
PLACES = {
    "anywhere": {},
    "probability": {"loss": "probability"},
    "large": {"name": "synthetic:n=67,d=67"},
    "threads": {"threads": 2},
}


def one_of_each_kind(names, kind_of):
    """These names as parameters: the first of each kind runs always, the others where all is looked at."""
    seen, parameters = set(), []
    for name in sorted(names):
        kind = kind_of(name)
        parameters.append(pytest.param(name, marks=[pytest.mark.thorough] if kind in seen else []))
        seen.add(kind)
    return parameters


@pytest.fixture(scope="module")
def numpy_offer():
    return select(["numpy"])["numpy"]


def problem(**changes):
    facts = {"name": "synthetic:n=40,d=4", "l2": 0.05, "steps": 40, "learning_rate": 0.05} | changes
    return problem_by_name(facts.pop("name"), **facts)


@pytest.mark.parametrize(
    "name", one_of_each_kind(MUTANTS, lambda name: (MUTANTS[name].facts.part, MUTANTS[name].facts.shows_in))
)
def test_bisect_names_step_and_phase_of_every_mutant_and_its_script_reproduces(name, numpy_offer, tmp_path):
    specimen = MUTANTS[name]
    offers = {"right": numpy_offer, "wrong": numpy_offer}
    steps = 420 if name == "trajectory-cached" else 40  # it remembers four hundred
    place = problem(steps=steps, **PLACES[specimen.facts.shows_in])
    found = bisect(offers, place, folder=tmp_path, mutations={"wrong": specimen.mutation})
    assert list(found.faults) == ["wrong"], found.message
    fault, script = found.faults["wrong"], found.reproducers["wrong"]
    part = specimen.facts.part
    if part in PHASES and fault.phase != "step":  # "step": a fused step has no phases
        assert fault.phase in PHASES[part]
        assert (fault.coordinate is None) is (part == "loss")
    assert fault.ratio > 1
    assert script.reproduces, script.output
    assert not script.looks_random
    text = script.path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    for module in ("host", "suite", "verify", "worker", "bisect"):
        assert f"compare_ag.{module}" not in text


@pytest.mark.thorough
def test_a_fault_in_few_of_the_calls_is_said_to_look_random_and_repeated(numpy_offer, tmp_path):
    rare = replace(LARGEST["rare"], size=0.005)  # of 2,300 calls that are looked at none is wrong in 1 of 100,000 runs
    offers = {"right": numpy_offer, "wrong": numpy_offer}
    found = bisect(offers, problem(steps=1500), folder=tmp_path, mutations={"wrong": rare.mutation})
    script = found.reproducers["wrong"]
    assert script.looks_random
    _, wrong, calls = re.fullmatch(
        r"(.*) in (\d+) of (\d+) equal calls: the fault looks random", script.output
    ).groups()
    assert 0.0005 < int(wrong) / int(calls) < 0.05


def test_a_fault_with_two_threads_is_reproduced_with_two_threads(install_plugin, good_plugin, tmp_path):
    source = good_plugin.replace(
        "w, batch, residual = tape", "w, batch, residual = tape\n        residual = residual * SCALE"
    )
    source += "\nimport os\n\nSCALE = 1 + (os.environ.get('OMP_NUM_THREADS') == '2')\n"
    install_plugin("pooled", source)
    offers = select(["pooled"])
    assert bisect(offers, problem(threads=1)).faults == {}
    script = bisect(offers, problem(threads=2), folder=tmp_path).reproducers["pooled"]
    assert script.reproduces, script.output
    assert "threads=2" in script.path.read_text()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name",
    one_of_each_kind(
        (name for name, one in MUTANTS.items() if one.facts.part in ("loss", "gradient", "update")),
        lambda name: (MUTANTS[name].facts.part, name in BOTH),
    ),
)
def test_transplant_names_the_guilty_part(name, numpy_offer):
    _guilty(MUTANTS[name], numpy_offer)


def _guilty(specimen, offer):
    place = problem(**PLACES[specimen.facts.shows_in])
    found = transplant({"right": offer, "wrong": offer}, place, steps=4, mutations={"wrong": specimen.mutation})
    parts = ("loss", "gradient") if specimen.facts.name in BOTH else (specimen.facts.part,)
    assert found.guilty == tuple(("wrong", part) for part in parts), found.message
    assert all(f"the {part} of wrong is wrong" in found.message for part in parts)
    assert len(found.combinations) == 8


def test_two_right_backends_agree_and_the_first_different_bit_is_told(tmp_path):
    offers = select(["numpy", "autograd"])
    found = bisect(offers, problem(steps=50), folder=tmp_path)
    assert found.faults == {}
    assert "both are right" in found.message
    assert "first differ at step" in found.message or "agree in every bit" in found.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.few(1)
@pytest.mark.parametrize("changes", [{"batch_size": 9}, {"dtype": "float32"}, {"loss": "probability"}])
def test_a_stateful_fault_in_the_middle_is_found_at_its_step(changes, numpy_offer, tmp_path):
    specimen = next(s for s in specimens("step-skipped") if s.size == 3.0)
    offers = {"right": numpy_offer, "wrong": numpy_offer}
    found = bisect(offers, problem(**changes, steps=60), folder=tmp_path, mutations={"wrong": specimen.mutation})
    fault = found.faults["wrong"]
    assert (fault.step, fault.phase) == (2, "update")
    assert found.reproducers["wrong"].reproduces
    assert "for k in range(3)" in found.reproducers["wrong"].path.read_text()


def test_larger_data_go_into_a_file_beside_the_script_and_nothing_is_written_over(numpy_offer, tmp_path):
    specimen = LARGEST["gradient-sign"]
    offers = {"wrong": numpy_offer}
    paths = []
    for _ in range(2):
        found = bisect(offers, problem(steps=5), folder=tmp_path, mutations={"wrong": specimen.mutation})
        paths.append(found.reproducers["wrong"].path)
    assert [path.name for path in paths] == ["reproduce_wrong_backward_step0.py", "reproduce_wrong_backward_step0-2.py"]
    assert all(path.with_suffix(".npz").exists() for path in paths)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (paths[0], paths[0].with_suffix(".npz")):
        path.rename(moved / path.name)
    done = subprocess.run([sys.executable, paths[0].name], cwd=moved, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "REPRODUCED: out of tolerance"


@pytest.mark.thorough
def test_three_backends_exchange_single_parts(numpy_offer):
    offers = dict.fromkeys(("a", "b", "wrong"), numpy_offer)
    specimen = LARGEST["rate-scaled"]
    found = transplant(offers, problem(), steps=3, mutations={"wrong": specimen.mutation})
    assert found.guilty == (("wrong", "update"),)
    assert len(found.combinations) == len(set(found.combinations)) == 21


# --- the commands


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "compare_ag", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.mark.thorough
def test_the_commands_on_a_wrong_plugin(install_plugin, good_plugin, tmp_path):
    install_plugin("mine", good_plugin.replace("residual.sum() / n", "residual.sum() / (n + 1)"))
    options = ("--problem", "synthetic:n=20,d=2", "--steps", "30")
    done = command("bisect", "numpy", "mine", *options, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "mine is wrong: step 0, backward, b" in done.stdout
    assert "reproduce_mine_backward_step0.py reproduces it" in done.stdout
    assert (tmp_path / "reproduce_mine_backward_step0.py").exists()
    as_json = command("bisect", "numpy", "mine", *options, "--json", "-o", "scripts", cwd=tmp_path)
    fault = json.loads(as_json.stdout)["faults"]["mine"]
    assert (fault["step"], fault["phase"], fault["coordinate"], fault["reproduces"]) == (0, "backward", "b", True)
    done = command("transplant", "--backends", "numpy,mine", *options, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "the gradient of mine is wrong: every combination with it is wrong, and none without it" in done.stdout
    as_json = command("transplant", "--backends", "numpy,mine", *options, "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout)["guilty"] == [{"backend": "mine", "part": "gradient"}]


@pytest.mark.thorough
def test_a_backend_that_crashes_is_a_fault_with_its_reason(install_plugin, good_plugin, tmp_path):
    install_plugin("mine", good_plugin.replace("w, batch, residual = tape", "raise ValueError('not yet')"))
    options = ("--problem", "synthetic:n=20,d=2", "--steps", "10")
    done = command("bisect", "numpy", "mine", *options, cwd=tmp_path)
    assert done.returncode == 3
    assert "crashed: ValueError: not yet" in done.stdout
    done = command("transplant", "--backends", "numpy,mine", *options, cwd=tmp_path)
    assert done.returncode == 3
    assert "ValueError: not yet" in done.stdout


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bisect", "numpy", "numpy"], "name two different backends"),
        (["bisect", "numpy"], "Missing argument"),
        (["bisect", "numpy", "autograd", "--problem", "nonesuch"], "nonesuch"),
        (["bisect", "numpy", "autograd", "--problem", "synthetic:n=20,d=200", "--steps", "1000000"], "use --steps"),
        (["transplant", "--backends", "numpy"], "two or more"),
        (["transplant"], "--backends"),
    ],
)
def test_unusable_input_is_one_message_and_exit_2(arguments, said, tmp_path):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
