"""`compare-ag graph`, `compare-ag trace`, and the graphs of a run: with workers, failures and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import psutil
import pytest

import compare_ag
from compare_ag import load_run
from compare_ag.check import check_backend
from compare_ag.lab.trace_step import trace_step
from compare_ag.problem import problem_by_name
from compare_ag.records.graphs import read_graphs
from compare_ag.report.graph.svg import graph_svg
from compare_ag.suite import select
from compare_ag.suite.recorded_graphs import record_graphs

GRAPH = """
    def graph(self, weights, batch):
        {before}
        from compare_ag import Node
        loss, tape = self.forward(weights, batch)
        gradient = self.backward(tape)
        return [
            Node("w", "w", [], np.array(weights.w), {slope}, "parameter"),
            Node("b", "b", [], np.array(weights.b), gradient.b, "parameter"),
            Node("f", "f", ["w", "b"], loss, np.ones_like(loss), "loss"),
        ]

    def to_numpy"""


def with_graph(source, before="pass", slope="gradient.w"):
    return source.replace("\n    def to_numpy", GRAPH.format(before=before, slope=slope))


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "compare_ag", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
        **options,
    )


OVERFLOWS = (
    *("--problem", "synthetic:n=4,d=2", "--steps", "400", "--step", "300", "--lr", "1000", "--loss", "logits"),
    *("--l2", "1", "--backends", "numpy"),
)


@pytest.fixture
def three(install_plugin, good_plugin):
    """One that offers no graph, one whose graph raises, one whose process dies of it."""
    install_plugin("plain", good_plugin)
    install_plugin("raises", with_graph(good_plugin, "raise ValueError('no \\x1b[2J graph')"))
    install_plugin("dies", with_graph(good_plugin, "import os; os._exit(9)"))
    return "plain,raises,dies,numpy"


# --- graph --------------------------------------------------------------------------------------------------


def test_the_graph_command_goes_on_where_backends_fail(three, tmp_path):
    done = command("graph", "--backends", three, "-o", str(tmp_path / "g.html"), "--json")
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == {"name": "compare-ag/graph", "major": 1, "minor": 0}
    found = {graph["backend"]: (graph["status"], graph["message"]) for graph in document["graphs"]}
    assert found["plain"] == ("not-offered", "it offers no graph")
    assert found["raises"][0] == "crashed"
    assert found["raises"][1].startswith("ValueError: no")
    assert found["dies"][0] == "crashed"
    assert "exit code 9 (last seen in graph, step 0)" in found["dies"][1]
    assert found["numpy"][0] == "ok"
    assert "\x1b" not in done.stderr
    assert "add.reduce" in done.stderr
    page = (tmp_path / "g.html").read_text()
    assert "add.reduce" in page
    assert "\x1b" not in page


def test_the_graph_command_draws_and_prints(tmp_path):
    done = command("graph", "--backends", "numpy", "--loss", "logits", "--step", "3", "-o", str(tmp_path / "g.svg"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "log1p (4)  log(1+exp(−|s|))" in done.stdout
    assert ET.parse(tmp_path / "g.svg").getroot().tag.endswith("svg")


def test_where_nobody_offers_a_graph_nothing_is_drawn_and_nobody_has_failed(install_plugin, good_plugin, tmp_path):
    install_plugin("plain", good_plugin)
    done = command("graph", "--backends", "plain", "-o", "g.svg", cwd=tmp_path)
    assert done.returncode == 0
    assert "plain  not-offered  it offers no graph" in done.stdout
    assert "Nothing to draw: g.svg was not written" in done.stdout
    assert not (tmp_path / "g.svg").exists()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("graph", "--backends", "nunpy"), 2, "nunpy"),
        (("graph", "--backends", "numpy", "--steps", "10", "--step", "11"), 2, "this training has the steps 0 to 10"),
        (("graph", "--backends", "numpy", "--step", "-1"), 2, "this training has the steps 0 to 10001"),
        (("graph", "--backends", "numpy", "-o", "g.png"), 2, "must end in .svg or .html"),
        (("trace", "--backends", "numpy", "--steps", "10", "--step", "10"), 2, "this training has the steps 0 to 9"),
        (("trace", "--backends", "numpy"), 2, "--step"),
        (("graph", *OVERFLOWS), 2, "are not finite in float64 after 300 updates: choose a smaller --step"),
        (("trace", *OVERFLOWS), 2, "are not finite in float64 after 300 updates: choose a smaller --step"),
        (("trace", "--backends", "numpy", "--step", "0", "--timeout", "0"), 2, "must be more than 0 seconds"),
    ],
)
def test_unusable_input_is_one_message(arguments, code, said, tmp_path):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.thorough
def test_a_graph_that_hangs_is_a_row_that_names_the_option(install_plugin, good_plugin):
    install_plugin("hangs", with_graph(good_plugin, "import time; time.sleep(1e6)"))
    done = command("graph", "--backends", "hangs,numpy", "--timeout", "4")
    assert done.returncode == 3
    assert "hangs  timeout  no result within 4 s (last seen in graph, step 0); raise --timeout" in done.stdout


@pytest.mark.thorough
def test_ctrl_c_ends_the_command_and_its_workers(install_plugin, good_plugin, tmp_path):
    """The worker says who it is, then hangs for good."""
    said = tmp_path / "worker"
    hang = f"import os, time; open({str(said)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(1e6)"
    install_plugin("hangs", with_graph(good_plugin, hang))
    with subprocess.Popen(
        [sys.executable, "-m", "compare_ag", "graph", "--backends", "hangs"], stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (said.exists() and said.read_text().endswith(" ")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    worker = int(said.read_text())
    assert not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE


def test_a_drawing_that_cannot_be_saved_is_exit_code_6(tmp_path):
    (tmp_path / "file").write_text("")
    done = command("graph", "--backends", "numpy", "-o", str(tmp_path / "file" / "g.svg"))
    assert done.returncode == 6
    assert "could not save" in done.stderr


def test_a_wrong_gradient_in_the_graph_disagrees(install_plugin, good_plugin):
    install_plugin("wrong", with_graph(good_plugin, slope="gradient.w * 1.001"))
    document = record_graphs(select(["wrong"]), problem_by_name("seed"))
    assert (document.graphs[0].status, document.graphs[0].origins) == ("disagree", [0])
    done = command("graph", "--backends", "wrong")
    assert done.returncode == 1
    assert "✗ gradient off: " in done.stdout


@pytest.mark.thorough
def test_the_host_imports_no_framework():
    source = (
        "import sys\n"
        "from compare_ag.problem import problem_by_name\n"
        "from compare_ag.suite import select\n"
        "from compare_ag.lab.trace_step import trace_step\n"
        "from compare_ag.report.graph.trace import slow_motion\n"
        "document = trace_step(select(['torch', 'autograd', 'numpy']), problem_by_name('seed'), 0)\n"
        "slow_motion(document)\n"
        "print([one.status for one in document.steps], [one.status for one in document.graph.graphs])\n"
        "print(sorted({'torch', 'autograd', 'compare_ag_torch', 'compare_ag_numpy', 'pluggy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["['ok', 'ok', 'ok'] ['ok', 'ok', 'ok']", "[]"], done.stderr


# --- trace --------------------------------------------------------------------------------------------------


def test_a_planted_digit_is_marked_and_a_wrong_one_doubly(install_plugin, good_plugin):
    """One unit in the last place of the loss is rounding; a thousandth of the gradient is not."""
    install_plugin(
        "last",
        good_plugin.replace(
            "return np.asarray(loss, dtype=z.dtype)",
            "return np.asarray(np.nextafter(loss, 9), dtype=z.dtype)",
        ),
    )
    install_plugin(
        "wrong",
        good_plugin.replace("return Weights(gradient, ", "return Weights(gradient * gradient.dtype.type(1.001), "),
    )
    done = command("trace", "--step", "4", "--backends", "last,wrong,numpy", "--dtype", "float64")
    assert done.returncode == 1
    loss = done.stdout[done.stdout.index("\nloss") :].splitlines()[2]
    label, exact, last, wrong, _ = loss.split()
    assert label == "f"
    assert last.replace("[", "").replace("]", "") != exact
    assert last.endswith("]")
    assert "✗" not in loss
    assert "[" not in wrong
    gradient = next(line for line in done.stdout.splitlines() if line.startswith("∂f/∂w[1]"))
    assert gradient.count("] ✗") == 1
    assert "wrong  disagree  the gradient of w[" in done.stdout
    update = done.stdout[done.stdout.index("\nupdate") :]
    assert "✗" not in update.split("Digits in")[0]


def test_trace_goes_on_where_a_graph_fails_and_keeps_what_came_before(three):
    document = trace_step(select(three.split(",")), problem_by_name("seed", steps=5), 4)
    assert {one.backend: one.status for one in document.steps} == {
        "plain": "ok", "raises": "crashed", "dies": "crashed", "numpy": "ok",
    }  # fmt: skip
    assert all(one.after is not None for one in document.steps)
    assert all(float(one.update_ratio) <= 1 for one in document.steps)
    assert [graph.status for graph in document.graph.graphs] == ["not-offered", "crashed", "crashed", "ok"]


def test_trace_walks_the_batch_of_its_step_and_shows_norms_of_what_is_large():
    done = command(
        "trace",
        "--step",
        "2",
        "--backends",
        "numpy",
        "--problem",
        "synthetic:n=40,d=12",
        "--batch-size",
        "15",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert "10 examples, 12 features" in done.stderr  # of 15, 15 and 10
    document = json.loads(done.stdout)
    assert document["schema"]["name"] == "compare-ag/trace"
    assert document["steps"][0]["update_ratio"] <= 1
    assert "‖z‖" in done.stderr
    assert "z[0]" not in done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("dtype", "lr", "steps", "step", "problem"),
    [("float64", 50.0, 10, 5, "breast-cancer"), ("float32", 1e5, 3, 2, "seed")],
)
def test_a_loss_that_cannot_be_decided_is_not_certified_by_the_update(dtype, lr, steps, step, problem):
    trained = problem_by_name(problem, loss="probability", dtype=dtype, learning_rate=lr, steps=steps)
    (numpy,) = trace_step(select(["numpy"]), trained, step).steps
    assert numpy.loss.values == ["nan"]
    assert (numpy.loss_ratio, numpy.gradient_ratio) == (None, None)
    assert float(numpy.update_ratio) <= 1
    assert (numpy.status, numpy.message) == (
        "undecidable",
        "only the update can be decided here: the probability form saturates",
    )


# --- runs ---------------------------------------------------------------------------------------------------


def test_a_run_keeps_the_graphs_and_a_failing_one_is_a_warning(three, tmp_path):
    run = compare_ag.run(three.split(","), "seed", steps=20, timing=False, output=tmp_path / "run")
    assert run.exit_code == 0
    assert {name: record.status for name, record in run.records.items()} == dict.fromkeys(three.split(","), "ok")
    assert run["plain"].warnings == run["numpy"].warnings == []
    assert "its graph could not be recorded: ValueError" in run["raises"].warnings[0]
    assert "its graph could not be recorded: exit code 9" in run["dies"].warnings[0]
    document = read_graphs(load_run(tmp_path / "run"))
    assert [graph.backend for graph in document.graphs if graph.nodes] == ["numpy"]
    ET.fromstring(graph_svg(load_run(tmp_path / "run")))


def test_a_run_without_graphs_has_none_to_draw(install_plugin, good_plugin, tmp_path):
    install_plugin("plain", good_plugin)
    run = compare_ag.run(["plain"], "seed", steps=5, timing=False, output=tmp_path / "run")
    assert (run.manifest.graph, graph_svg(run), (tmp_path / "run" / "graph.json").exists()) == (None, None, False)


# --- the kit ------------------------------------------------------------------------------------------------


def test_the_kit_checks_a_graph(install_plugin, good_plugin):
    def check(name, source):
        install_plugin(name, source)
        (result,) = check_backend(name, ["graph"])
        return result.status, result.message

    assert check("right", with_graph(good_plugin))[0] == "passed"
    assert check("plain", good_plugin) == ("skipped", "it offers no graph")
    status, message = check("wrong", with_graph(good_plugin, slope="gradient.w * 1.001"))
    assert status == "failed"
    assert message.startswith("the gradient that arrives at w is ")
    status, message = check("half", with_graph(good_plugin, slope="None"))
    assert (status, message) == ("failed", "1 nodes are the parameter w; one must be, with its gradient")
    status, message = check("cyclic", with_graph(good_plugin).replace('"f", ["w", "b"]', '"f", ["w", "f"]'))
    assert status == "failed"
    assert "graph: node 'f' (f) is computed from itself" in message
