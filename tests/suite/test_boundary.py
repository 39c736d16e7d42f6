"""Who may say what: a worker reports failures and well-formed numbers; verdicts are the host's alone."""

from __future__ import annotations

import io
import re
import runpy
from pathlib import Path

import pytest
from rich.console import Console

import compare_ag
from compare_ag import records
from compare_ag.exit_codes import ExitCode
from compare_ag.host.replies import Conversation
from compare_ag.report.page import write_report
from compare_ag.report.terminal import print_run
from compare_ag.suite.backend_costs import BackendCosts
from compare_ag.suite.judge import Judge
from compare_ag.suite.make_records import exit_code
from compare_ag.worker import messages

SCRIPTS = Path(__file__).parents[2] / "scripts"
FUZZ = runpy.run_path(str(SCRIPTS / "message_fuzz.py"))
PROBLEM = "synthetic:n=30,d=3"
STEPS = 40
pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture
def run_with(install_plugin, tmp_path, monkeypatch):
    """Run a plugin of this source beside numpy."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def result(source: str, **options) -> compare_ag.Run:
        install_plugin("broken", source)
        options = {"timing": False, "timeout": 30.0, "output": tmp_path / "run", "steps": STEPS} | options
        return compare_ag.run(["broken", "numpy"], PROBLEM, **options)

    return result


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The arrays of numpy without a neighbour."""
    folder = tmp_path_factory.mktemp("alone")
    run = compare_ag.run(["numpy"], PROBLEM, steps=STEPS, timing=False, output=folder / "alone")
    return run.arrays("numpy")


def is_alone_to_blame(run: compare_ag.Run, said: str, status: str = "malformed") -> bool:
    """Whether the broken plugin failed with these words, and numpy did not."""
    broken = run["broken"]
    assert (broken.status, run["numpy"].status, run.exit_code) == (status, "ok", 3), broken.reason
    assert re.search(said, broken.reason), broken.reason
    return True


@pytest.mark.thorough
@pytest.mark.few("ok", "undecidable", "")
@pytest.mark.parametrize("status", ["ok", "imported", "not-run", "cancelled", "undecidable", "nonsense", ""])
def test_a_worker_cannot_report_a_verdict(status, run_with, good_plugin):
    source = "from compare_ag.worker.load import PluginError\n" + good_plugin.replace(
        "        w, b = weights\n        z", f"        raise PluginError({status!r}, 'all is well')\n        z"
    )
    run = run_with(source)
    assert is_alone_to_blame(run, f"its worker reported the status {status!r}")


SENT = """
from compare_ag.worker import frames, messages
import numpy as np

def send(kind, *messages, arrays=None, after=False):
    "From now on a reply of this kind is replaced, or followed, by these messages."
    pack, done = frames.pack, []

    def replaced(message, found, nonce, sequence):
        if type(message).__name__ != kind or done:
            return pack(message, found, nonce, sequence + len(done))
        mine = [*([(message, found)] if after else []), *((one, arrays or {}) for one in messages)]
        buffers = []
        for i, (one, sent) in enumerate(mine):
            buffers += pack(one, sent, nonce, sequence + i)
        done.extend(mine[1:])
        return buffers

    frames.pack = replaced

NONE = np.zeros(0)
EMPTY = {"losses": NONE, "w": np.zeros((0, 3)), "b": NONE, "full_losses": NONE, "gradient_w": np.zeros((0, 3)), "gradient_b": NONE}
LONG = dict(EMPTY, losses=np.zeros(1000))
"""

FRAMES = {
    "a training without weights": ("send('Trained', messages.Trained(0.0, ''))", "sent the array 'w' as nothing"),
    "chunks without end": ("send('Trained', *[messages.Chunk(41 + 1000 * i, [], []) for i in range(99)], arrays=LONG)", "more than the 41 losses"),
    "empty chunks without end": ("send('Trained', *[messages.Chunk(41, [], [])] * 99, arrays=EMPTY)", "a Chunk with nothing in it"),
    "a shape that overflows": ("send('Observed', messages.Hello(1), arrays={'w': np.zeros((1 << 20, 1 << 20, 0))})", "answered Hello where Observed was due"),
    "a second reply": ("send('Observed', messages.Renewed(), after=True)", "(Renewed where Evaluated was due|wrote into the result channel without being asked)"),
    "a verdict": ("send('Trained', messages.Failed('ok', 'all is well', 'forward', 1))", "reported the status 'ok'"),
    "another phase": ("send('Trained', messages.Failed('crashed', 'so it is', 'lunch', 1))", "Failed.phase = 'lunch'"),
    "a step beyond the last": ("send('Trained', messages.Failed('crashed', 'so it is', 'forward', 10**9))", "it was not asked for so many steps"),
    "a million versions": ("send('Loaded', messages.Loaded('x', 1, ['float64'], True, False, {str(i): '1' for i in range(9999)}, 0.0))", "9999 values as Loaded.versions"),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.few(4)
@pytest.mark.parametrize("what", FRAMES)
def test_a_frame_that_cannot_be_costs_its_backend_alone(what, run_with, good_plugin, alone):
    statement, said = FRAMES[what]
    run = run_with(SENT + statement + "\n" + good_plugin)
    assert is_alone_to_blame(run, said)
    assert {name: array.tobytes() for name, array in run.arrays("numpy").items()} == {
        name: array.tobytes() for name, array in alone.items()
    }


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        (
            "MemoryHeld",
            "MemoryHeld.resident = -1",
            "while its memory was measured: its worker sent MemoryHeld.resident = -1",
        ),
        ("FirstSteps", "FirstSteps: array step_ns negative", "while its memory was measured: its worker sent step_ns"),
        ("Timed-whole", "Timed.wall_ns = -1", "while its memory was measured: its worker sent Timed.wall_ns = -1"),
        (
            "Timed-phased",
            "Timed.phases = " + str([0] * 11)[:30],
            "while being timed: its worker sent 5000 values",
        ),
        ("Timed-whole", "Timed.idle_cpu_ns = -1", "while its memory was measured: its worker sent Timed.idle_cpu_ns"),
        ("Timed-whole", "Timed: array step_ns zero", "while its memory was measured: its worker sent step_ns = 0"),
        ("Audited", "Audited.noise_ns = -1", "while being timed: its worker sent Audited.noise_ns = -1"),
        ("Graphed", "Graphed: array totals missing", "its worker sent the array 'totals' of a graph"),
    ],
)
def test_an_impossible_figure_costs_its_backend_alone(kind, label, said, run_with, once):
    run = run_with(FUZZ["PLUGIN"].format(kind=kind, label=label), timing=once)
    assert is_alone_to_blame(run, said)
    assert run["numpy"].cost is not None
    assert run["broken"].cost is None


@pytest.mark.thorough
def test_a_clock_that_runs_fast_is_no_clock(run_with, good_plugin, once):
    source = "import time\nfrom compare_ag.worker import clock\n" + good_plugin
    source += "\n\nreal = clock.perf_counter_ns\nclock.perf_counter_ns = lambda: 10**6 * real()\n"
    assert is_alone_to_blame(run_with(source, timing=once), "step_ns")


def test_steps_that_take_no_time_end_the_calibration(run_with, good_plugin, once):
    source = (
        "from compare_ag.worker import clock, messages\n"
        + good_plugin
        + """

def whole_block(trainee, batches, w, b, steps, lead_in, learning_rate, segment=0):
    timed = messages.Timed(1, 0, 0, 1, 1, 0, 0, 0, 0, [])
    step_ns = np.ones(steps if steps <= messages.MOST_BLOCK_STEPS else 0, np.int64)
    return timed, {"step_ns": step_ns, "probe_ns": np.ones(2, np.int64), "loss": np.zeros(()), "w": w, "b": b}


clock.whole_block = whole_block
"""
    )
    assert is_alone_to_blame(run_with(source, timing=once), "steps in 1 ns")


def test_the_progress_board_is_not_believed_either(run_with, good_plugin):
    source = good_plugin.replace(
        "        w, b = weights\n        z",
        "        import gc, os\n"
        "        from compare_ag.worker.board import Board\n"
        "        (board,) = [one for one in gc.get_objects() if isinstance(one, Board)]\n"
        "        board.cells[0], board.cells[1] = 99, 1 << 60\n"
        "        os._exit(3)\n        z",
    )
    run = run_with(source)
    assert is_alone_to_blame(run, r"exit code 3 \(last seen in finish\)", "crashed")
    assert run["broken"].step is None


@pytest.mark.thorough
@pytest.mark.parametrize(
    "statement", ["os.truncate('board', 0)", "os.unlink('board')", "open('board', 'w').write('x')"]
)
def test_a_plugin_that_writes_over_the_board_ends_no_host(statement, run_with, good_plugin):
    """The file lies in the worker's working directory, so that a plugin can hit it by accident."""
    run = run_with(f"import os\n{good_plugin}\n\nMine.prepare_as_it_is = Mine.prepare\n\n\n"
                   f"def prepare(self, setting):\n    {statement}\n    self.prepare_as_it_is(setting)\n\n\n"
                   "Mine.prepare = prepare\n")  # fmt: skip
    assert run["numpy"].status == "ok"
    assert run["broken"].status in ("ok", "crashed")


# --- a bug of ours ----------------------------------------------------------------------------------------------


def costs_one_backend(run: compare_ag.Run, said: str, bug: str) -> bool:
    """Whether numpy is judged and the other backend has a log that says whose bug it is."""
    assert (run["numpy"].status, run.exit_code) == ("ok", ExitCode.BUG)
    (log,) = run.path.glob("logs/broken*.bug.txt")  # perhaps its twin met it
    assert log.read_text().startswith("compare-ag met a bug of its own here; please report it.")
    assert bug in log.read_text()
    assert said in f"{run['broken'].reason} {run['broken'].memory_note}"
    return True


BUG = "a bug of compare-ag and not of this backend: KeyError: 'ours'; please report it with broken"


def failing(function, mine, value=None):
    """The function, with a bug for some arguments."""

    def with_bug(*arguments, **keywords):
        if mine(*arguments):
            raise KeyError("ours")
        return function(*arguments, **keywords)

    return with_bug


def test_a_bug_in_reading_a_reply_costs_one_backend(run_with, good_plugin, monkeypatch):
    def mine(_, message, *__):
        return isinstance(message, messages.Observed) and message.os_threads == 77

    monkeypatch.setattr(Conversation, "check", failing(Conversation.check, mine))
    source = good_plugin + "\nfrom compare_ag.worker import observe\nobserve.os_threads = lambda: 77\n"
    run = run_with(source)
    assert run["broken"].status == "undecidable"
    assert run["broken"].verdict is None
    assert costs_one_backend(run, BUG, "KeyError: 'ours'")
    assert [log for log in run["broken"].logs if log.endswith(".bug.txt")] == ["logs/broken.train.bug.txt"]
    assert records.load_run(run.path)["broken"].status == "undecidable"


@pytest.mark.thorough
def test_a_bug_in_judging_costs_one_backend(run_with, good_plugin, monkeypatch, once):
    monkeypatch.setattr(
        Judge, "certify_training", failing(Judge.certify_training, lambda _, training: training.offer.name == "broken")
    )
    run = run_with(good_plugin, timing=once)
    assert run["broken"].status == "undecidable"
    assert costs_one_backend(run, BUG, "KeyError: 'ours'")
    assert run["numpy"].cost is not None
    assert run["broken"].cost is None
    print_run(run, Console(file=io.StringIO()))
    assert write_report(run).stat().st_size


def test_a_bug_in_comparing_graphs_costs_one_graph(run_with, monkeypatch):
    from compare_ag.records.graphs import read_graphs
    from compare_ag.suite import run_passes

    judged = failing(
        run_passes.judge_graphs, lambda _, __, answers, ___: answers.get("broken") and answers["broken"].nodes
    )
    monkeypatch.setattr(run_passes, "judge_graphs", judged)
    run = run_with(FUZZ["PLUGIN"].format(kind="", label=""))
    assert run["broken"].status == "ok"
    graphs = {graph.backend: graph for graph in read_graphs(run).graphs}
    assert (graphs["numpy"].status, graphs["broken"].status) == ("ok", "undecidable")
    assert graphs["broken"].message.startswith("a bug of compare-ag")
    assert run.exit_code == ExitCode.BUG


@pytest.mark.thorough
@pytest.mark.few(1)
@pytest.mark.parametrize("what", ["memory", "block", "cost"])
def test_a_bug_in_measuring_costs_one_backend(what, run_with, good_plugin, monkeypatch, once):
    from compare_ag.host.session import Session
    from compare_ag.suite import memory

    if what == "memory":
        monkeypatch.setattr(memory, "_measure", failing(memory._measure, lambda name, *_: name == "broken"))
    elif what == "block":
        monkeypatch.setattr(
            Session, "renew", failing(Session.renew, lambda session, *_: session.offer.name == "broken")
        )
    else:
        monkeypatch.setattr(BackendCosts, "cost", failing(BackendCosts.cost, lambda _, name: name == "broken"))
    run = run_with(good_plugin, timing=once)
    assert costs_one_backend(run, BUG, "KeyError: 'ours'")
    assert run["numpy"].cost is not None


# --- exit codes -------------------------------------------------------------------------------------------------


def test_every_status_has_its_exit_code_and_no_other_word_is_ok():
    assert {status for status in records.STATUSES if ExitCode.of_status(status) is ExitCode.OK} == {"ok", "imported"}
    assert {status for status in records.STATUSES if ExitCode.of_status(status) is ExitCode.BUG} == set()
    assert all(ExitCode.of_status(status) is ExitCode.BACKEND_FAILED for status in records.FAILED)
    assert set(messages.FAILURES) < records.FAILED
    for word in ("", "OK", "fine", "Ok "):
        assert ExitCode.of_status(word) is ExitCode.BUG


def test_a_backend_is_ok_only_with_a_verdict(make_run):
    record = make_run({"numpy": 0.0})["numpy"]
    assert exit_code(record) is ExitCode.OK
    assert exit_code(records.replace(record, verdict=None)) is ExitCode.BUG


# --- arrays -----------------------------------------------------------------------------------------------------

STRICT = """
import numpy as np
from compare_ag import hookimpl
from compare_ag_numpy import NumpyBackend


class Strict(NumpyBackend):
    def make_tensor(self, array, *, requires_grad=False):
        if type(array) is not np.ndarray or array.dtype != self.dtype or not array.dtype.isnative:
            raise TypeError(f"{type(array).__name__} is no array of {self.dtype}")
        return super().make_tensor(array, requires_grad=requires_grad)

    def prepare(self, setting):
        super().prepare(setting)
        self.dtype = np.dtype(setting.dtype)

    def step(self, weights, batch, learning_rate):
        return super().step(weights, batch, learning_rate)


@hookimpl
def compare_ag_backend():
    return Strict
"""


@pytest.mark.thorough
@pytest.mark.few("None-float32", "7-float64")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_make_tensor_gets_arrays_everywhere(dtype, batch_size, run_with, once):
    run = run_with(STRICT, dtype=dtype, batch_size=batch_size, timing=once)
    assert run["broken"].status == "ok", run["broken"].reason
    assert run["broken"].cost is not None
    assert run["broken"].memory is not None
    assert run["broken"].memory.tape_bytes is not None
    assert not [warning for warning in run["broken"].warnings if "graph" in warning]


@pytest.mark.thorough
def test_make_tensor_gets_arrays_when_a_step_is_taken_apart(install_plugin):
    from compare_ag.bisect.transplant import transplant
    from compare_ag.lab.trace_step import trace_step
    from compare_ag.problem import problem_by_name
    from compare_ag.suite import select

    install_plugin("strict", STRICT)
    problem = problem_by_name(PROBLEM, steps=5)
    offers = select(["strict", "numpy"])
    assert [step.status for step in trace_step(offers, problem, 2).steps] == ["ok", "ok"]
    assert all(combination.right for combination in transplant(offers, problem).combinations)


# --- wide data --------------------------------------------------------------------------------------------------


def test_points_travel_in_parts(tmp_path, monkeypatch):
    """The host asks for as many points as a part holds, here two, and puts the parts together."""
    monkeypatch.setattr(messages, "points_at_a_time", lambda *_: 2)
    asked = []
    ask = Conversation.ask

    def noted(conversation, request, arrays):
        if isinstance(request, messages.Evaluate):
            asked.append((request.first, len(arrays["b"])))
        ask(conversation, request, arrays)

    monkeypatch.setattr(Conversation, "ask", noted)
    run = compare_ag.run(["numpy"], PROBLEM, steps=9, timing=False, output=tmp_path / "run")
    assert run["numpy"].status == "ok", run["numpy"].reason
    firsts = [first for first, _ in asked]
    assert firsts[:4] == [0, 2, 4, 6]
    assert {count for _, count in asked} == {1, 2}


def test_a_failure_in_a_later_part_names_the_point_of_the_route(run_with, good_plugin, monkeypatch):
    monkeypatch.setattr(messages, "points_at_a_time", lambda *_: 2)
    trained = STEPS + 1
    source = good_plugin.replace(
        "        w, b = weights\n        z",
        "        self.calls = getattr(self, 'calls', -1) + 1\n"
        f"        if self.calls == {trained + 2 * 5}:\n            raise ValueError('there')\n"
        "        w, b = weights\n        z",
    )
    run = run_with(source)
    assert (run["broken"].status, run["broken"].phase, run["broken"].step) == ("crashed", "forward", 5)
