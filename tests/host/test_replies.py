"""No reply passes that cannot answer what was asked: each field of each message, altered, is found."""

from __future__ import annotations

import copy
import os
import runpy
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from compare_ag.host import replies
from compare_ag.host.discovery import discover
from compare_ag.host.failures import WorkerFailure
from compare_ag.host.launch import Launch
from compare_ag.host.process import WorkerProcess
from compare_ag.host.replies import Conversation, ImpossibleReplyError
from compare_ag.host.session import Recording, Session
from compare_ag.problem import problem_by_name
from compare_ag.worker import frames, messages

SCRIPTS = Path(__file__).parents[2] / "scripts"
FUZZ = runpy.run_path(str(SCRIPTS / "message_fuzz.py"))
NANOSECONDS = 1_000_000_000
"""since the request"""


class Reply(NamedTuple):
    """A reply as it came, and the conversation before it."""

    conversation: Conversation
    message: Any
    arrays: dict[str, Any]


def read(sent: list[Reply], fields: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Read the first of these replies with other fields and arrays; of a training also those that followed.

    Raises what the host takes for a malformed worker.
    """
    data = b"".join(map(bytes, FUZZ["frame"](fields, arrays, 0, 0)))
    conversation = copy.deepcopy(sent[0].conversation)
    header, payload = frames.unpack_prefix(data[: frames.PREFIX.size], 0, 0, conversation.limit)
    body = data[frames.PREFIX.size :]
    conversation.check(*frames.unpack(body[:header], body[header : header + payload], reply=True), NANOSECONDS)
    for before, reply in pairwise(sent):
        if not isinstance(before.message, messages.Chunk):
            break
        conversation.check(reply.message, reply.arrays, NANOSECONDS)


def converse(problem: Any, launch: Launch, *, mutants: bool = True) -> None:
    """Ask one worker for everything."""
    (offer,) = discover().select(["hostile"])
    with WorkerProcess(launch) as process:
        session = Session(offer, process)
        session.hold(clear=True)
        if mutants:
            process.ask(messages.ListMutants(offer.module), messages.MutantList)
            process.ask(messages.ListAnswers(offer.module), messages.AnswerList)
            process.ask(messages.Ask("accumulation"), messages.Answered)
        session.load(problem.dtype)
        session.prepare(problem)
        session.train(problem, [0, 3], Recording())
        session.observe()
        session.train(problem, [0, 3], Recording(), fused=True)
        points = np.zeros((3, problem.features), problem.dtype), np.zeros(3, problem.dtype)
        session.evaluate(problem, *points)
        session.evaluate(problem, *points, (problem.X[:5], problem.y[:5]), fused=True)
        w, b = problem.w0, problem.b0
        session.exchange(problem, "loss", 0, w=w, b=b)
        session.exchange(problem, "gradient", 0, w=w, b=b)
        session.exchange(problem, "update", 0, w=w, b=b, gw=w, gb=b)
        session.graph(problem, 0, w, b)
        session.tape_size(w, b)
        session.pin(sorted(os.sched_getaffinity(0)))
        session.cold(problem, 10, 1_000_000)
        session.renew([])
        for phased in (False, True):
            session.block(problem, w, b, 3, 1, phased=phased)
        session.audit(problem, w, b, 3, 1)
        for phase in messages.ROUND_PHASES:
            session.rounds(problem, phase, 4)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> list[Reply]:
    """A reply of each kind, of full-batch and mini-batch trainings."""
    site = tmp_path_factory.mktemp("site")
    (site / "failing").mkdir()
    FUZZ["install"](site, "hostile", "", "")
    FUZZ["install"](site / "failing", "hostile", "Failed", "")
    found: list[Reply] = []
    check = Conversation.check

    def keep(conversation: Conversation, message: Any, arrays: Any, nanoseconds: int) -> None:
        found.append(Reply(copy.deepcopy(conversation), message, dict(arrays)))
        check(conversation, message, arrays, nanoseconds)

    launch = Launch("hostile", site, 1, 0, 60.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Conversation, "check", keep)
        patch.syspath_prepend(str(SCRIPTS))
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(SCRIPTS)]))
        converse(problem_by_name("synthetic:n=20,d=3", steps=8), launch)
        converse(problem_by_name("synthetic:n=20,d=3", steps=8, batch_size=7, dtype="float32"), launch, mutants=False)
        patch.syspath_prepend(str(site / "failing"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site / "failing"), str(SCRIPTS)]))
        with pytest.raises(WorkerFailure, match="on purpose"):
            converse(problem_by_name("synthetic:n=20,d=3", steps=8), launch, mutants=False)
    return found


def test_there_is_a_reply_of_each_kind_and_each_passes_as_it_is(recorded):
    assert {type(reply.message) for reply in recorded} == set(messages.Reply.__args__)
    for i, reply in enumerate(recorded):
        read(recorded[i:], msgspec.to_builtins(reply.message), reply.arrays)


def test_each_field_and_each_array_altered_is_found(recorded):
    believed, messages = [], []
    for i, reply in enumerate(recorded):
        for what, fields, arrays in FUZZ["alterations"](reply.message, reply.arrays):
            try:
                read(recorded[i:], fields, arrays)
            except (frames.ProtocolError, ImpossibleReplyError) as error:
                messages.append(str(error))
            else:
                believed.append(f"{type(reply.conversation.request).__name__}: {what}")
    assert believed == []
    assert len(messages) > 1000
    assert max(map(len, messages)) <= frames.MOST_QUOTED


IMPOSSIBLE: dict[str, list[tuple[dict[str, Any], str]]] = {
    "Failed": [
        *(({"status": status}, "it may report import-error, malformed, unsupported, crashed, oom only")
          for status in ("ok", "imported", "not-run", "timeout", "cancelled", "disagree", "undecidable", "fine", "")),
        ({"phase": "elsewhere"}, "Failed.phase = 'elsewhere'"),
        ({"step": 9}, "Failed.step = 9: it was not asked for so many steps"),
        ({"step": -1}, "Failed.step = -1"),
        ({"reason": "x" * 2001}, "Failed.reason of 2001 characters"),
    ],
    "Loaded": [
        ({"api_version": 2}, "Loaded.api_version = 2"),
        ({"dtypes": ["float16"]}, "the dtype asked for"),
        ({"import_seconds": 2.0}, "Loaded.import_seconds = 2.0"),
        ({"versions": {str(i): "1" for i in range(65)}}, "65 values as Loaded.versions"),
        ({"versions": {"numpy": "1" * 101}}, "Loaded.versions of 101 characters"),
    ],
    "Chunk": [
        ({"first_loss": 1}, "Chunk.first_loss = 1 after 0 losses"),
        ({"weight_steps": [0, 1, 2, 3]}, "Chunk.weight_steps"),
        ({"gradient_steps": [1, 3]}, "Chunk.gradient_steps"),
    ],
    "Trained": [({"seconds": 2.0}, "Trained.seconds = 2.0; possible are 0 to 1.2"), ({"seconds": -1.0}, "Trained.seconds")],
    "Timed-whole": [
        ({"wall_ns": 0}, "Timed.wall_ns = 0; possible are 1 to 1.2e\\+09"),
        ({"span_ns": 0}, "Timed.span_ns = 0"),
        *(({name: 2 * NANOSECONDS}, f"Timed.{name} = 2000000000; possible are [01] to 1.2e\\+09")
          for name in ("wall_ns", "lead_ns", "make_ns", "span_ns", "inside_ns")),
        *(({name: wrong}, f"Timed.{name} = {wrong}") for wrong in (-1, 1 << 62)
          for name in ("wall_ns", "lead_ns", "make_ns", "span_ns", "cpu_ns", "switches", "waits", "idle_cpu_ns")),
        ({"phases": [1, 1, 1]}, "3 values as Timed.phases"),
    ],
    "Audited": [
        ({"wall_ns": 0}, "Audited.wall_ns = 0"),
        *(({name: wrong}, f"Audited.{name} = {wrong}") for wrong in (-1, 2 * NANOSECONDS)
          for name in ("wall_ns", "pending_ns", "noise_ns", "interface_ns")),
    ],
    "Timed-phased": [
        ({"phases": [1] * 7}, "7 values as Timed.phases"),
        ({"phases": [1, 1]}, "2 values as Timed.phases"),
        ({"phases": [NANOSECONDS] * 3}, "the sum of Timed.phases"),
    ],
    "Pinned": [({"cpus": [1 << 20]}, "Pinned.cpus"), ({"cpus": [0, 0]}, "Pinned.cpus")],
    "Observed": [({"os_threads": 1 << 40}, "os_threads"), ({"pools": [{"num_threads": True}]}, "num_threads = True")],
    "MemoryHeld": [({"resident": 1 << 60}, "MemoryHeld.resident"), ({"source": "a guess"}, "MemoryHeld.source = 'a guess'")],
    "TapeSize": [({"tape_bytes": None}, "TapeSize.source"), ({"tape_bytes": 1 << 60}, "TapeSize.tape_bytes")],
    "AnswerList": [({"answers": [messages.AnswerFacts("x", None)] * 2}, "one value stands twice")],
    "MutantList": [
        ({"mutants": [messages.MutantFacts("x", "loss", "", [1.0], False)] * 2}, "one value stands twice"),
        ({"mutants": [messages.MutantFacts("x", "loss", "", [], False)]}, "0 values as MutantFacts.sizes"),
    ],
    "Answered": [
        ({"printed": "x" * 5000}, "Answered.printed of 5000 characters"),
        ({"warned": ["x"] * 6}, "6 values as Answered.warned"),
        ({"code": "x" * 15_000, "helpers": "x" * 15_000}, "code and helpers of 30000 characters"),
        ({"raised": messages.RaisedError("x" * 101, "")}, "Raised.kind of 101 characters"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changes", "said"), [(kind, *case) for kind, cases in IMPOSSIBLE.items() for case in cases]
)
def test_a_value_that_cannot_be_is_named(kind, changes, said, recorded):
    i = next(i for i, reply in enumerate(recorded) if FUZZ["variant"](reply.message) == kind)
    fields = msgspec.to_builtins(recorded[i].message) | msgspec.to_builtins(changes)
    with pytest.raises(ImpossibleReplyError, match=said):
        read(recorded[i:], fields, recorded[i].arrays)


def test_rounds_took_no_longer_than_there_was(recorded):
    reply = next(reply for reply in recorded if isinstance(reply.message, messages.Rounds))
    for wrong in ([-1, 1, 1, 1], [NANOSECONDS // 2] * 4):
        with pytest.raises(ImpossibleReplyError, match="wall_ns"):
            reply.conversation.check(reply.message, {**reply.arrays, "wall_ns": np.array(wrong)}, NANOSECONDS)


STEP_NS: dict[str, tuple[Any, str]] = {
    "a step of no time": (np.array([5, 0, 5]), "step_ns = 0"),
    "a step of less than none": (np.array([5, -7, 5]), "step_ns = -7"),
    "more than there was": (np.array([5, 5, 2 * NANOSECONDS]), "the sum of step_ns"),
    "each possible and not all of them": (np.full(3, NANOSECONDS), "the sum of step_ns = 3000000000"),
    "a step too few": (np.array([5, 5]), r"int64 array 'step_ns' of shape \(2,\)|step_ns"),
    "no steps": (np.zeros(0, np.int64), "step_ns"),
    "steps as floats": (np.full(3, 5.0), "step_ns"),
    "none": (None, "step_ns"),
}


@pytest.mark.parametrize("what", STEP_NS)
def test_the_steps_of_a_block_are_as_many_as_asked_and_took_no_longer_than_there_was(what, recorded):
    i = next(i for i, reply in enumerate(recorded) if FUZZ["variant"](reply.message) == "Timed-whole")
    wrong, said = STEP_NS[what]
    arrays = {**recorded[i].arrays, "step_ns": wrong}
    if wrong is None:
        del arrays["step_ns"]
    with pytest.raises(ImpossibleReplyError, match=said):
        recorded[i].conversation.check(recorded[i].message, arrays, NANOSECONDS)


def test_a_block_of_very_many_steps_has_no_times_of_them(recorded, monkeypatch):
    i = next(i for i, reply in enumerate(recorded) if FUZZ["variant"](reply.message) == "Timed-whole")
    conversation, message, arrays = recorded[i]
    monkeypatch.setattr(messages, "MOST_BLOCK_STEPS", 2)
    with pytest.raises(ImpossibleReplyError, match="step_ns"):
        conversation.check(message, arrays, NANOSECONDS)
    conversation.check(message, {**arrays, "step_ns": np.zeros(0, np.int64)}, NANOSECONDS)


LOSS = messages.NodeFacts("mean", "loss", [0], 0, [], [])
NODE = messages.NodeFacts("affine", "operation", [], None, [4], None)
GRAPH = {"value0": np.ones(4), "value1": np.ones(1), "gradient1": np.ones(1), "totals": np.zeros((2, 4))}
changed = msgspec.structs.replace
NO_GRAPHS: dict[str, tuple[list[messages.NodeFacts], dict[str, Any]]] = {
    "an input that comes later": ([changed(NODE, inputs=[1]), LOSS], {}),
    "an input that is none": ([NODE, changed(LOSS, inputs=[-1])], {}),
    "an input twice": ([NODE, changed(LOSS, inputs=[0, 0])], {}),
    "an array too few": ([NODE, LOSS], {"value0": None}),
    "an array too many": ([NODE, LOSS], {"gradient0": np.ones(4)}),
    "an array of another size": ([NODE, LOSS], {"value0": np.ones(3)}),
    "an array of integers": ([NODE, LOSS], {"value0": np.ones(4, np.int64)}),
    "an array that is not announced": ([changed(NODE, value=None), LOSS], {}),
    "no totals": ([NODE, LOSS], {"totals": None}),
    "totals of another shape": ([NODE, LOSS], {"totals": np.zeros((2, 3))}),
    "too many nodes": ([LOSS, *[changed(NODE, value=None)] * 500], {}),
    "no loss": ([NODE, changed(LOSS, role="operation")], {}),
    "a role that is none": ([changed(NODE, role="queen"), LOSS], {}),
    "a name too long": ([changed(NODE, operation="x" * 101), LOSS], {}),
    "a shape beyond all memory": ([changed(NODE, value=[1 << 40, 1 << 40]), LOSS], {"value0": np.ones(8)}),
    "a negative shape": ([changed(NODE, value=[-2, -2]), LOSS], {}),
    "a gradient of another shape": ([changed(NODE, gradient=[2, 2]), LOSS], {"gradient0": np.ones(4)}),
}


def test_a_graph_that_fits_passes():
    replies.check_graph(messages.Graphed(True, [NODE, LOSS]), GRAPH)
    replies.check_graph(messages.Graphed(False, []), {})


@pytest.mark.parametrize("what", NO_GRAPHS)
def test_what_is_no_graph_is_found(what):
    facts, changes = NO_GRAPHS[what]
    arrays = {name: array for name, array in (GRAPH | changes).items() if array is not None}
    with pytest.raises(ImpossibleReplyError):
        replies.check_graph(messages.Graphed(True, facts), arrays)


def chunk(first: int, losses: int, steps: list[int] = []) -> tuple[messages.Chunk, dict[str, Any]]:  # noqa: B006 - only read
    """A chunk of a fused training with these losses and the weights of these steps."""
    rows, none = len(steps), np.zeros(0)
    weights = {"w": np.zeros((rows, 3)), "b": np.zeros(rows)}
    return messages.Chunk(first, steps, []), weights | {
        "losses": np.zeros(losses), "full_losses": none, "gradient_w": np.zeros((0, 3)), "gradient_b": none,
    }  # fmt: skip


def training(record: list[int], steps: int) -> Conversation:
    conversation = Conversation()
    conversation.ask(messages.Prepare({"dtype": "float64", "features": 3}, None), {})
    conversation.ask(messages.Train(steps, 0.1, record, fused=True), {})
    return conversation


def test_a_training_ends_at_the_steps_that_were_asked_for():
    conversation = training([0, 4], 5)
    conversation.check(*chunk(0, 3, [0, 1]), NANOSECONDS)
    conversation.check(*chunk(3, 3, [4, 5]), NANOSECONDS)
    with pytest.raises(ImpossibleReplyError, match="more than the 6 losses of 5 steps"):
        copy.deepcopy(conversation).check(*chunk(6, 1), NANOSECONDS)
    with pytest.raises(ImpossibleReplyError, match="sent a Chunk with nothing in it"):
        copy.deepcopy(conversation).check(*chunk(6, 0), NANOSECONDS)
    with pytest.raises(ImpossibleReplyError, match="weight_steps"):
        copy.deepcopy(conversation).check(*chunk(6, 0, [5]), NANOSECONDS)
    conversation.check(messages.Trained(0.1, ""), {"w": np.zeros(3), "b": np.zeros(())}, NANOSECONDS)


def test_a_training_that_ends_early_is_no_training():
    conversation = training([0, 4], 5)
    conversation.check(*chunk(0, 6, [0, 1, 4]), NANOSECONDS)
    with pytest.raises(ImpossibleReplyError, match="ended its training after 3 of 4 weights"):
        conversation.check(messages.Trained(0.1, ""), {"w": np.zeros(3), "b": np.zeros(())}, NANOSECONDS)


def test_the_bytes_of_a_reply_are_those_of_what_was_asked():
    conversation = training([], 5)
    conversation.ask(messages.Evaluate(0.1), {"b": np.zeros(7)})
    assert conversation.limit == 8 * 7 * (2 + (2 + 1 + 1) * (3 + 1))
    conversation.ask(messages.Pin([0]), {})
    assert conversation.limit == 0
    for d in (1, 1000, 10**6, 10**8):
        assert messages.points_at_a_time(d, 8) * 8 * (4 * (d + 1) + 2) <= max(
            messages.PART_BYTES, 8 * (4 * (d + 1) + 2)
        )
        assert messages.rows_at_a_time(d, 8) * 16 * (d + 1) <= max(messages.PART_BYTES, 16 * (d + 1))


def test_where_a_worker_says_that_it_is_lies_within_what_it_was_asked_for():
    conversation = training([], 5)
    assert [conversation.possible_step(step) for step in (None, -1, 0, 5, 6, 1 << 63)] == [None, None, 0, 5, None, None]
