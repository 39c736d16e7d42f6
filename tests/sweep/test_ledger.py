"""The folder of a sweep: what counts as done, and that no cell is half there or run twice."""

from __future__ import annotations

import subprocess
import sys

import pytest

from compare_ag.records import RecordError
from compare_ag.sweep.engines import Done
from compare_ag.sweep.flow import left, run_cells
from compare_ag.sweep.grid import make_grid, plan
from compare_ag.sweep.ledger import Ledger, check_cell

VERSIONS = {"compare-ag": "0.2.0", "numpy": "2.4.0", "python": "3.11.7"}


def fast(_n, _d):
    return {"numpy": 1e-5, "torch": 2e-5}


def test_the_same_grid_finds_its_folder_again_and_another_one_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = make_grid(backends=["numpy"], n=[4, 1000])
    folder = Ledger.create(grid).folder
    assert Ledger.create(grid).folder == folder
    assert Ledger.create(make_grid(backends=["numpy"], n=[4, 100])).folder != folder
    with pytest.raises(RecordError, match=r"n is 4, 1000 there and 4, 100 in this one; name a new folder with -o"):
        Ledger.create(make_grid(backends=["numpy"], n=[4, 100]), folder)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(RecordError, match="is not empty and holds no sweep"):
        Ledger.create(make_grid(), tmp_path)
    with pytest.raises(RecordError, match=r"is no sweep: it holds no sweep\.json"):
        Ledger.open(tmp_path)


def test_a_newer_schema_is_refused_by_name(tmp_path):
    ledger = Ledger.create(make_grid(), tmp_path / "s")
    file = ledger.folder / "sweep.json"
    file.write_text(file.read_text().replace('"major": 1', '"major": 2'))
    with pytest.raises(RecordError, match=r"is compare-ag/sweep 2\.0; this compare-ag reads compare-ag/sweep 1\.x"):
        Ledger.open(ledger.folder)


def test_only_ok_cells_are_done_and_the_others_say_why(made_sweep, record, cell):
    ledger = made_sweep(fast)
    planned = plan(ledger.grid, VERSIONS)
    a, b, c, _d = planned
    ledger.write(record(a.cell, {}, status="failed", reason="numpy: crashed"))
    ledger.write(record(b.cell, {}, status="disturbed", reason="other programs"))
    (ledger.place(c.key) / "cell.json").write_text("{")
    states = ledger.states(planned)
    assert [(one.state, one.reason) for one in states] == [
        ("failed", "numpy: crashed"), ("disturbed", "other programs"), ("missing", "not measured yet"), ("ok", ""),
    ]  # fmt: skip
    assert left(states) == [a, b, c]
    assert left(states, frozenset({"disturbed", "missing"})) == [b, c]


def test_a_cell_of_other_versions_is_stale_and_says_what_has_changed(made_sweep):
    ledger = made_sweep(fast)
    states = ledger.states(plan(ledger.grid, VERSIONS | {"numpy": "2.5.0", "torch": "2.9"}))
    assert {one.state for one in states} == {"stale"}
    assert states[0].reason.endswith("with numpy 2.4.0, now 2.5.0; torch absent, now 2.9")


def test_the_sums_are_those_of_sha256sum(made_sweep):
    ledger = made_sweep(fast)
    for name in ledger.names():
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=ledger.place(name), check=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda place: (place / "cell.json").write_text((place / "cell.json").read_text().replace("2.0", "1.0")), "is damaged: its sha256 is not"),
        (lambda place: (place / "graph.json").write_text("{}"), "is not listed in SHA256SUMS"),
        (lambda place: (place / "cell.json").unlink(), "is missing, although SHA256SUMS lists it"),
        (lambda place: (place / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
        (lambda place: (place / "SHA256SUMS").write_text("abc\n"), "line 1 is not a sha256"),
    ],
)  # fmt: skip
def test_a_cell_that_was_touched_is_refused_with_the_file(made_sweep, damage, message):
    ledger = made_sweep(fast)
    place = ledger.place(ledger.names()[0])
    check_cell(place)
    damage(place)
    with pytest.raises(RecordError, match=message):
        check_cell(place)


def test_a_second_try_takes_the_place_of_the_first(made_sweep, record):
    ledger = made_sweep(fast)
    (first, *_) = plan(ledger.grid, VERSIONS)
    ledger.write(record(first.cell, {}, status="failed", reason="x"))
    ledger.write(record(first.cell, {"numpy": 3e-5}))
    assert ledger.record(first.key).rows[0].step.value == 3e-5
    assert [path.name for path in ledger.cells.iterdir() if path.name.startswith(".")] == []


def test_what_an_ended_process_left_beside_a_cell_is_removed_and_is_no_cell(made_sweep):
    ledger = made_sweep(fast)
    key = ledger.names()[0]
    left_over = ledger.cells / f".{key}.0badf00d"
    left_over.mkdir()
    (left_over / "cell.json").write_text("{}")
    assert len(ledger.names()) == 4
    ledger.scratch(key)
    assert not left_over.exists()


def test_leftovers_of_other_cells_are_removed_unless_a_process_works_at_them(made_sweep):
    ledger = made_sweep(fast)
    for key in ("aaaa", "bbbb"):
        (ledger.cells / f".{key}.0badf00d").mkdir()
    command = [sys.executable, "-c", CLAIM, str(ledger.folder), "aaaa"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        run_cells(ledger, [], lambda *_: iter(()), lambda _words: None)
        holder.kill()
    assert [path.name for path in ledger.cells.iterdir() if path.name.startswith(".")] == [".aaaa.0badf00d"]


CLAIM = """
import sys
from pathlib import Path
from compare_ag.sweep.ledger import Ledger
with Ledger.open(Path(sys.argv[1])).claim(sys.argv[2]) as ours:
    print(ours, flush=True)
    sys.stdin.readline()
"""


def test_a_cell_is_claimed_by_one_process_until_it_ends_in_any_way(made_sweep):
    ledger = made_sweep(fast)
    command = [sys.executable, "-c", CLAIM, str(ledger.folder), "abc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        with ledger.claim("abc") as ours, ledger.claim("other") as free:
            assert (ours, free) == (False, True)
        holder.kill()
        holder.wait()
    with ledger.claim("abc") as ours:
        assert ours


def test_an_interrupt_keeps_what_has_finished_and_the_next_start_does_the_rest(made_sweep, record):
    ledger = made_sweep(fast, n=[10, 1000])
    planned = plan(ledger.grid, VERSIONS | {"numpy": "9"})

    def engine(ledger, cells, tell):
        for number, one in enumerate(cells):
            if number == stop:
                raise KeyboardInterrupt
            ran.append(one.key)
            tell(one, "stage")
            scratch = ledger.scratch(one.key)
            from compare_ag.sweep.ledger import keep_record

            keep_record(scratch, record(one.cell, {"numpy": 1e-5}, versions=one.versions))
            yield Done(one, scratch)

    ran: list[str] = []
    told: list[str] = []
    stop = 2
    first = run_cells(ledger, left(ledger.states(planned)), engine, told.append)
    assert isinstance(first.interrupt, KeyboardInterrupt)
    assert first.counts == {"ok": 2}
    stop = -1
    second = run_cells(ledger, left(ledger.states(planned)), engine, told.append)
    assert (second.interrupt, second.counts) == (None, {"ok": 2})
    assert sorted(ran) == sorted(one.key for one in planned)  # none twice, none lost
    assert told[0].startswith("cell 1/4 (n=10 d=2 float64 1 thread logits), about ")
    assert told[-1].startswith("cell 2/2 (")
