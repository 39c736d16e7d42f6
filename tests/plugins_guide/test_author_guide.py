"""The author guide is true: its plugin is built, installed and run; its signatures, commands and messages are real.

The guide's fenced blocks are the only source of the sample distribution: the tests write them to files as a
reader would. A block or a table row that no test knows fails, so that nothing in the guide goes unchecked.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import compare_ag
from compare_ag.check import check_backend
from compare_ag.contract import backend, hookspecs
from compare_ag.host import launch, logs
from compare_ag.host.discovery import NAME, discover
from compare_ag.host.session import graph_nodes
from compare_ag.lab import interview
from compare_ag.problem import problem_by_name
from compare_ag.suite.recorded_graphs import GraphAnswer, choose_place, judge_graphs
from compare_ag.worker import messages
from compare_ag.worker.graph_nodes import graph

GUIDE = (Path(__file__).resolve().parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"(?:^`(?P<file>[\w.-]+)`\n\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
BLOCKS = [match.groupdict() for match in FENCE.finditer(GUIDE)]
FILES = {block["file"]: block["text"] for block in BLOCKS if block["file"]}
SAMPLE = {name: FILES[name] for name in ("compare_ag_longhand.py", "pyproject.toml")}
JAX = {"compare_ag_my_jax.py": FILES["compare_ag_my_jax.py"], "pyproject.toml": FILES["pyproject-jax.toml"]}
PLUGIN = SAMPLE["compare_ag_longhand.py"]
PROJECT = tomllib.loads(SAMPLE["pyproject.toml"])["project"]
LOOP = next(block["text"] for block in BLOCKS if block["text"].startswith("backend = Longhand()"))
PYTHON = [block["text"] for block in BLOCKS if block["language"] == "python" and not block["file"]]
DECORATED = next(text for text in PYTHON if "parametrize_backend_checks" in text)
SHOWN = next(text for text in PYTHON if text.startswith("class LonghandShown("))
ANSWERED = next(text for text in PYTHON if "Answer(" in text)
QUOTES = [text for text in PYTHON if text not in (LOOP, DECORATED, SHOWN, ANSWERED)]
CONSOLES = [block["text"] for block in BLOCKS if block["language"] == "console"]
EXPLAINED = next(text for text in CONSOLES if "explain" in text)
CONSOLE = "".join(text for text in CONSOLES if text != EXPLAINED)
VERBS = [name for name, value in vars(compare_ag.Backend).items() if inspect.isfunction(value)]


# --- what the guide shows -----------------------------------------------------------------------------------


def signature(function) -> str:
    """As it is written in the source: annotations without the quotes that postponed evaluation puts around them."""
    return str(inspect.signature(function)).replace("'", "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_section_and_its_exact_signature(verb):
    assert re.search(rf"^### .*`{verb}`", GUIDE, re.M)
    assert f"def {verb}{signature(getattr(compare_ag.Backend, verb))}\n" in QUOTES


def test_the_hook_has_its_exact_signature():
    hooks = [name for name, value in vars(hookspecs).items() if hasattr(value, "compare_ag_spec")]
    assert hooks == ["compare_ag_backend", "compare_ag_mutants", "compare_ag_answers"]
    for hook in hooks:
        assert f"def {hook}{signature(getattr(hookspecs, hook))}\n" in QUOTES


def test_every_class_attribute_is_shown_with_its_type_and_default():
    attributes = {
        f"{name}: {annotation} = {getattr(compare_ag.Backend, name)!r}".replace("'", '"')
        for name, annotation in inspect.get_annotations(compare_ag.Backend).items()
    }
    assert len(attributes) == 3
    assert attributes in [{line.strip() for line in quote.splitlines()} for quote in QUOTES]


@pytest.mark.parametrize("kind", [compare_ag.Setting, compare_ag.Weights, compare_ag.Batch, compare_ag.Node])
def test_every_field_of_the_named_tuples_is_shown(kind):
    quote = next(quote for quote in QUOTES if f"class {kind.__name__}(NamedTuple)" in quote)
    shown = re.search(rf"class {kind.__name__}\(NamedTuple\):\n((?:    .+\n)+)", quote)[1]
    assert re.findall(r"^    (\w+):", shown, re.M) == list(kind._fields)


def test_every_quotation_of_the_contract_is_literal():
    source = inspect.getsource(backend) + inspect.getsource(hookspecs)
    lines = [line for quote in QUOTES for line in quote.splitlines() if line.strip()]
    assert lines
    assert [line for line in lines if line not in source] == []


def test_the_training_loop_of_the_guide_trains():
    scope: dict[str, object] = {}
    exec(compile(PLUGIN, "compare_ag_longhand.py", "exec"), scope)
    problem = {
        "X": np.array([[1.0, 2.0], [2.0, 0.5], [-1.0, 0.3]]), "y": np.array([1.0, 0.0, 1.0]),
        "w0": np.zeros(2), "b0": np.array(0.0), "steps": 20, "learning_rate": 0.1,
        "setting": compare_ag.Setting(3, 2, "float64"), "Batch": compare_ag.Batch,
    }  # fmt: skip
    with np.errstate():  # the plugin silences numpy for its own process
        exec(LOOP, scope | problem, found := {})
    losses = [float(loss) for loss in found["losses"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(np.log(2))
    assert len(losses) == 21


@pytest.mark.parametrize("loss", ["logits", "probability"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_graph_of_the_guide_is_right(loss, dtype):
    scope: dict[str, object] = {"Node": compare_ag.Node}
    exec(compile(PLUGIN + SHOWN, "compare_ag_longhand.py", "exec"), scope)
    problem = problem_by_name("seed", loss=loss, dtype=dtype, l2=0.25)
    with np.errstate():
        backend = scope["LonghandShown"]()
        backend.prepare(compare_ag.Setting(4, 2, dtype, l2=problem.l2, loss=loss))
        weights = compare_ag.Weights(problem.w0, problem.b0)
        trainee = SimpleNamespace(
            backend=backend, weights=lambda *_: weights, batch=lambda _: compare_ag.Batch(problem.X, problem.y)
        )
        nodes = graph_nodes(*graph(trainee, 0, problem.w0, problem.b0))
    document = judge_graphs(problem, choose_place(problem, 0), {"longhand": GraphAnswer(nodes)})
    assert document.graphs[0].status == "ok", document.graphs[0].message
    assert [document.quantities[node.quantity].symbol for node in document.graphs[0].nodes] == ["w", "b", "z", "ℓ", "f"]


def test_the_limits_of_a_graph_are_those_of_the_code():
    assert f"at most {messages.MOST_NODES} nodes" in GUIDE
    assert f"more than {messages.WHOLE} numbers" in GUIDE


def test_the_sample_is_one_page():
    assert set(FILES) == {*SAMPLE, "compare_ag_my_jax.py", "pyproject-jax.toml"}
    assert len([line for line in JAX["compare_ag_my_jax.py"].splitlines() if line.strip()]) <= 50
    assert len(PLUGIN.splitlines()) <= 60
    assert len(SAMPLE["pyproject.toml"].splitlines()) <= 20


def test_the_saturation_points_are_right():
    for dtype, shown in (("float32", "16.64"), ("float64", "36.74")):
        assert f"z = {shown}" in GUIDE
        one, z = np.dtype(dtype).type(1), np.dtype(dtype).type(shown)
        below = np.dtype(dtype).type(float(shown) - 0.01)
        assert one / (one + np.exp(-z)) == 1
        assert one / (one + np.exp(-below)) < 1


def test_names_variables_and_sizes_are_those_of_the_code(tmp_path):
    given = launch.worker_environment(launch.Launch("x", tmp_path, 7, 0, 1.0), tmp_path, "mark")
    assert f"`{NAME.pattern}`" in GUIDE
    assert set(re.findall(r"`(\w+_THREADS)`", GUIDE)) == {name for name, value in given.items() if value == "7"}
    assert logs.LOG_CAP == 2**20
    assert "one mebibyte" in GUIDE


# --- the sample distribution, built and installed -----------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """A virtual environment that sees this one's packages, and a working folder."""

    python: Path
    folder: Path

    @classmethod
    def make(cls, root: Path, files: dict[str, str] = SAMPLE) -> Environment:
        venv.EnvBuilder(symlinks=True).create(root / "venv")
        (site,) = (root / "venv" / "lib").glob("python*/site-packages")
        parents = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        lines = [f"import site; site.addsitedir({path!r})\n" for path in parents]
        (site / "parent.pth").write_text("".join(lines))
        folder = root / "longhand"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        return cls(root / "venv" / "bin" / "python", folder)

    def run(self, *arguments: str) -> str:
        """stdout of ``python *arguments``, which must exit with 0."""
        hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COLUMNS"}
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        done = subprocess.run(
            [self.python, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def type(self, line: str) -> str:
        """Run a line as the guide shows it: these commands, but of this environment, and pip without a network."""
        program, *arguments = shlex.split(line)
        if program == "compare-ag":
            return self.run("-m", "compare_ag", *arguments)
        assert [program, *arguments[:1]] == ["python", "-m"]
        if arguments[1] == "pytest":
            return self.run(*arguments)
        assert arguments[1:3] == ["pip", "install"]
        return self.run(*arguments, "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the sample built and pip-installed into it, not in place."""
    environment = Environment.make(tmp_path_factory.mktemp("author"))
    environment.type("python -m pip install .")
    for name in SAMPLE:
        (environment.folder / name).unlink()
    return environment


def test_the_installed_sample_is_listed_from_its_metadata(installed):
    offers = json.loads(installed.run("-m", "compare_ag", "list", "--json"))["backends"]
    (row,) = [row for row in offers if row["name"] == "longhand"]
    assert row["status"] == "available", row
    assert (row["distribution"], row["version"]) == (PROJECT["name"], PROJECT["version"])
    assert row["module"] == PROJECT["entry-points"]["compare_ag"]["longhand"]


def test_its_extra_is_what_it_needs(installed):
    (site,) = installed.python.parents[1].glob("lib/python*/site-packages")
    (offer,) = discover([str(site)]).offers
    assert list(offer.requirements) == PROJECT["optional-dependencies"]["longhand"] != []


def test_the_installed_sample_reproduces_the_seed(installed):
    run = json.loads(
        installed.run(
            "-m", "compare_ag", "run", "--backends", "longhand,numpy", "--timing-budget", "2", "--json", "-o", "seed"
        )
    )
    records = compare_ag.load_run(installed.folder / "seed").records
    assert [row["name"] for row in run["records"]] == list(records) == ["longhand", "numpy"]
    for record in records.values():
        assert record.status == "ok", record.reason
        assert all(row.reproduced for row in record.published)
        assert record.cost is not None
    assert records["longhand"].distribution == "compare-ag-longhand"


EVERY_KIND = """
import itertools, compare_ag
for loss, dtype, l2 in itertools.product(("logits", "probability"), ("float32", "float64"), (0.0, 0.1)):
    run = compare_ag.run(["longhand", "numpy"], "synthetic:n=60,d=4", steps=150, loss=loss, dtype=dtype, l2=l2, timing=False)
    print(loss, dtype, l2, run.exit_code, run["longhand"].status, run["numpy"].status)
"""


@pytest.mark.thorough
def test_the_installed_sample_is_certified_for_each_form_precision_and_penalty(installed):
    lines = installed.run("-c", EVERY_KIND).splitlines()
    assert len(lines) == 8
    assert [line for line in lines if not line.endswith(" 0 ok ok")] == []


@pytest.mark.thorough
def test_every_command_of_the_guide_works_and_prints_what_is_shown(tmp_path):
    environment = Environment.make(tmp_path)
    output: list[str] = []
    commands = 0
    for line in CONSOLE.splitlines():
        if line.startswith("$ "):
            output = [" ".join(said.split()) for said in environment.type(line.removeprefix("$ ")).splitlines()]
            commands += 1
        else:
            shown = ".*".join(re.escape(" ".join(part.split())) for part in line.split("…"))
            assert any(re.fullmatch(rf"{shown}\s*", said) for said in output), (line, output)
    assert commands >= 9


@pytest.mark.thorough
def test_the_decorated_test_of_the_guide_passes(installed):
    (installed.folder / "test_longhand.py").write_text(DECORATED, encoding="utf-8")
    assert "39 passed, 4 skipped" in installed.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_longhand.py")


@pytest.mark.thorough
def test_the_jax_plugin_is_certified(tmp_path):
    pytest.importorskip("jax", reason="jax is not installed")
    environment = Environment.make(tmp_path, JAX)
    environment.type("python -m pip install -e .")
    results = json.loads(environment.run("-m", "compare_ag", "check", "my-jax", "--json"))
    assert results["passed"]
    skipped = {check["id"] for check in results["checks"] if check["status"] == "skipped"}
    assert {check["status"] for check in results["checks"]} == {"passed", "skipped"}
    assert (skipped, len(results["checks"])) == ({"graph", "answers"}, 43)
    assert "41 checks pass, the fused step among them, and two are skipped" in GUIDE


# --- answers ------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_the_answers_of_the_guide_are_asked_as_shown(install_plugin):
    install_plugin("longhand", PLUGIN + ANSWERED)
    output: list[str] = []
    for line in EXPLAINED.splitlines():
        if line.startswith("$ "):
            command = [
                sys.executable,
                "-m",
                *shlex.split(line.removeprefix("$ ").replace("compare-ag", "compare_ag", 1)),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            output = [" ".join(said.split()) for said in done.stdout.splitlines()]
        else:
            shown = ".*".join(re.escape(" ".join(part.split())) for part in line.split("…"))
            assert any(re.fullmatch(shown, said) for said in output), (line, output)


ANSWER_MISTAKES = {
    "the question does not exist": ('Answer("backward-twice"', 'Answer("backwards-twice"'),
    "a question is answered twice": ('"zeroing"', '"backward-twice"'),
    "evidence has another name": ('"second": second', '"last": second'),
    "evidence is of another kind": ('"first": first', '"first": "first"'),
    "the code has a slip": ("first = pull(", "first = pul("),
    "the function is a lambda": (", backward_twice)", ", lambda: {})"),
}


def test_each_mistake_in_an_answer_is_met_with_the_words_of_the_guide(install_plugin):
    promised = table("Answers")
    assert list(promised) == list(ANSWER_MISTAKES)
    assert f"has {interview.ANSWER_SECONDS:g} seconds" in " ".join(GUIDE.split())
    for number, (mistake, (old, new)) in enumerate(ANSWER_MISTAKES.items()):
        assert ANSWERED.count(old) == 1, old
        install_plugin(f"mistake-{number}", PLUGIN + ANSWERED.replace(old, new))
        (result,) = check_backend(f"mistake-{number}", ["answers"])
        pattern = ".*".join(re.escape(part) for part in promised[mistake][1].split("…"))
        assert result.status == "failed"
        assert re.fullmatch(pattern, result.message), (mistake, result.message)


# --- what goes wrong, and what is said ----------------------------------------------------------------------


def table(heading: str) -> dict[str, tuple[str, str]]:
    """Mistake → (status, reason) of the table in a section; in reasons, "…" stands for anything."""
    section = GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in section.splitlines() if line.startswith("|")][2:]
    return {mistake: (status, reason.strip("`")) for mistake, status, reason in rows}


HOOK = "@hookimpl\ndef compare_ag_backend():\n    return Longhand\n"
CLASS = "class Longhand(Backend):\n"
AFTER_Z = "        losses, pull_losses = self.losses(z, batch.y)\n"

HANDSHAKE = {
    "the hook's name is misspelt": ("def compare_ag_backend", "def compare_ag_bakend"),
    "`@hookimpl` is forgotten": ("@hookimpl\n", ""),
    "there is no hook": (HOOK, ""),
    "the hook takes an argument": ("compare_ag_backend()", "compare_ag_backend(config)"),
    "the hook returns nothing": ("    return Longhand\n", "    Longhand\n"),
    "the hook returns an object": ("    return Longhand\n", "    return Longhand()\n"),
    "the hook returns some other class": ("    return Longhand\n", "    return dict\n"),
    "the hook raises": ("    return Longhand\n", "    return Longhand.missing\n"),
    "a method is missing": ("def backward(", "def backwards("),
    "a method has a parameter too few": ("weights, gradient, learning_rate)", "weights, gradient)"),
    "a method lacks its keyword": (", *, requires_grad=False)", ")"),
    "a method is asynchronous": ("    def forward(", "    async def forward("),
    "the constructor wants an argument": (CLASS, f"{CLASS}    def __init__(self, config):\n        pass\n\n"),
    "`api_version = 2`": (CLASS, f"{CLASS}    api_version = 2\n\n"),
    '`dtypes = "float32"`': (CLASS, f'{CLASS}    dtypes = "float32"\n\n'),
    '`splits = "no"`': (CLASS, f'{CLASS}    splits = "no"\n\n'),
    '`dtypes = ("float64",)`, run with `--dtype float32`': (CLASS, f'{CLASS}    dtypes = ("float64",)\n\n'),
    "`import numppy as np`": ("import numpy", "import numppy"),
    "a colon is forgotten": ("class Longhand(Backend):", "class Longhand(Backend)"),
    "the module raises while it is imported": (CLASS, f"LEVEL = {{}}['level']\n{CLASS}"),
    "the module exits while it is imported": (CLASS, f"raise SystemExit('no licence')\n{CLASS}"),
    "the entry point names no module of yours": None,
}

RUNNING = {
    "`make_tensor` returns the array itself, and `update` writes into it": (
        "return np.array(array)",
        "return array",
        "return Weights(*(value - learning_rate * slope for value, slope in zip(weights, gradient)))",
        "weights.w[...] -= learning_rate * gradient.w\n        return weights",
    ),
    "`make_tensor` changes values": ("np.array(array)", "np.round(array, 3)"),
    "the loss is a float64": ("return values.sum() / ", "return np.float64(values.sum()) / "),
    "the loss has one element but shape (1,)": ("return loss + penalty, (", "return (loss + penalty).reshape(1), ("),
    "`to_numpy` returns one of numpy's scalars": ("return np.asarray(tensor)", "return tensor"),
    "`forward` forgets the tape": ("return loss + penalty, (weights, pull_affine, pull_losses, pull_mean)", "return loss + penalty"),
    "`update` forgets to return": ("return Weights(*(", "Weights(*("),
    "a method raises": (AFTER_Z, f"{AFTER_Z}        raise ValueError('logits out of range')\n"),
    "`SystemExit` in a method": (AFTER_Z, f"{AFTER_Z}        raise SystemExit(3)\n"),
    "a library aborts or segfaults": (AFTER_Z, f"{AFTER_Z}        __import__('os').abort()\n"),
    "memory runs out": (AFTER_Z, f"{AFTER_Z}        np.empty(10**15)\n"),
    "a method hangs": (AFTER_Z, f"{AFTER_Z}        __import__('time').sleep(60)\n"),
    "the loss becomes NaN": ("np.log1p(e), ", "np.log1p(e) * np.nan, "),
    "the gradient is off by a thousandth": ("dl * sign * sigmoid", "dl * sign * sigmoid * 1.001"),
    "b is penalised too": (", gradient.b)", ", gradient.b + self.l2 * weights.b)"),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("heading", "mistakes"), [("What the handshake says", HANDSHAKE), ("What a run says", RUNNING)], ids=["loading", "running"]
)  # fmt: skip
def test_each_mistake_is_met_with_the_words_of_the_guide(heading, mistakes, install_plugin, tmp_path):
    promised = table(heading)
    assert list(promised) == list(mistakes)
    names = {f"mistake-{number}": mistake for number, mistake in enumerate(mistakes)}
    for name, mistake in names.items():
        module = install_plugin(name, broken(mistakes[mistake]))
        if mistakes[mistake] is None:
            (tmp_path / "site" / f"{module}.py").unlink()
    run = compare_ag.run(
        list(names), "synthetic:n=20,d=3", steps=30, dtype="float32", l2=0.1, timing=False, timeout=4.0, output=tmp_path / "run"
    )  # fmt: skip
    for name, mistake in names.items():
        status, reason = promised[mistake]
        said = run[name].reason.replace(f"site/{name.replace('-', '_')}_plugin", "longhand/compare_ag_longhand")
        said = said.replace(f"{name.replace('-', '_')}_plugin", "compare_ag_longhand")
        assert run[name].status == status, (mistake, said)
        pattern = ".*".join(re.escape(part) for part in reason.split("…"))
        assert re.fullmatch(pattern, said), (mistake, said)


def broken(change: tuple[str, ...] | None) -> str:
    """The guide's plugin with each even text replaced by the odd one after it."""
    source = PLUGIN
    for old, new in zip(change[::2], change[1::2], strict=True) if change else ():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source


def test_the_unbroken_plugin_passes_where_the_broken_ones_fail(install_plugin, tmp_path):
    """Else any reason at all might come from the plugin itself."""
    install_plugin("right", PLUGIN)
    run = compare_ag.run(
        ["right"], "synthetic:n=20,d=3", steps=30, dtype="float32", l2=0.1, timing=False, output=tmp_path / "run"
    )
    assert (run["right"].status, run.exit_code) == ("ok", 0), run["right"].reason
