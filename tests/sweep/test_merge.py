"""The folders of shards become one: a union that checks everything first."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from compare_ag.records import RecordError
from compare_ag.records.sums import seal
from compare_ag.records.sweeps import Machine
from compare_ag.sweep.engines import attempt
from compare_ag.sweep.grid import installed_versions, make_grid, plan
from compare_ag.sweep.ledger import Ledger, keep_record
from compare_ag.sweep.merge import merge


def times(n, d):
    return {"numpy": 1e-5 + 1e-9 * n * d, "torch": 2e-5}


def other_times(_n, _d):
    return {"numpy": 2e-5, "torch": 2e-5}


def shards(made_sweep, count=2):
    """The cells of one grid dealt out to folders, as --shard does."""
    parts = []
    for number in range(count):
        ledger = made_sweep(times, folder=f"part-{number}")
        for place, key in enumerate(one.key for one in plan(ledger.grid, ledger.record(ledger.names()[0]).versions)):
            if place % count != number:
                for file in sorted(ledger.place(key).iterdir()):
                    file.unlink()
                ledger.place(key).rmdir()
        parts.append(ledger)
    return parts


@pytest.fixture(autouse=True)
def invented_cells_have_no_run(monkeypatch):
    """Cells of invented numbers have no run beside their record; `test_a_row_that_is_not_its_runs` has a real one."""
    from compare_ag.sweep import merge as module

    real = module._require_rows
    monkeypatch.setattr(
        module,
        "_require_rows",
        lambda place, record: real(place, record) if (place / "manifest.json").exists() else None,
    )


def files_of(folder: Path) -> dict[str, str]:
    cells = folder / "cells"
    return {
        path.relative_to(cells).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in cells.rglob("*")
        if path.is_file()
    }


def test_two_shards_merged_equal_the_whole(made_sweep, tmp_path):
    whole = made_sweep(times, folder="whole")
    parts = shards(made_sweep)
    assert [len(part.names()) for part in parts] == [2, 2]
    merged = merge(tmp_path / "merged", [part.folder for part in parts])
    assert (merged.added, merged.known, merged.warnings) == (4, 0, [])
    assert files_of(merged.ledger.folder) == files_of(whole.folder)
    again = merge(tmp_path / "merged", [whole.folder])
    assert (again.added, again.known) == (0, 4)


def test_an_edited_number_is_refused_and_nothing_is_copied(made_sweep, tmp_path):
    parts = shards(made_sweep)
    file = parts[1].place(parts[1].names()[0]) / "cell.json"
    file.write_text(file.read_text().replace('"seconds": 2.0', '"seconds": 1.0'))
    with pytest.raises(RecordError, match=r"cell\.json is damaged: its sha256 is not the one in SHA256SUMS"):
        merge(tmp_path / "merged", [part.folder for part in parts])
    assert not (tmp_path / "merged").exists()


def test_a_cell_under_another_key_is_refused(made_sweep, tmp_path):
    ledger = made_sweep(times)
    place = ledger.place(ledger.names()[0])
    record = ledger.record(place.name)
    keep_record(place, msgspec.structs.replace(record, versions=record.versions | {"numpy": "9"}))
    with pytest.raises(RecordError, match="its key is not that of its cell and versions"):
        merge(tmp_path / "merged", [ledger.folder])


def test_another_grid_is_refused_by_name(made_sweep, tmp_path):
    first, second = made_sweep(times, folder="a"), made_sweep(times, folder="b", n=[10, 2000])
    with pytest.raises(RecordError, match=r"holds another grid than .*: n is 10, 1000 there and 10, 2000 in this one"):
        merge(tmp_path / "merged", [first.folder, second.folder])


def test_machines_stay_apart(made_sweep, tmp_path):
    other = Machine(id="ffffffff", cpu="Other CPU", system="Linux x86_64", logical_cpus=8, memory_bytes=1)
    first, second = made_sweep(times, folder="a"), made_sweep(other_times, folder="b", machine=other)
    merged = merge(tmp_path / "merged", [first.folder, second.folder])
    assert merged.added == 8
    records = list(merged.ledger.records())
    assert {record.machine.id for record in records} == {"0a1b2c3d", "ffffffff"}
    assert merge(tmp_path / "merged", [second.folder, first.folder]).added == 0


def test_a_cell_that_one_machine_measured_twice_is_refused_unless_one_try_failed(made_sweep, record, tmp_path):
    first = made_sweep(times, folder="a")
    second = made_sweep(other_times, folder="b")
    with pytest.raises(RecordError, match="measured twice on one machine with different results"):
        merge(tmp_path / "merged", [first.folder, second.folder])
    for name in second.names():
        second.write(record(second.record(name).cell, {}, status="failed", reason="x"))
    merged = merge(tmp_path / "second", [second.folder, first.folder])
    assert {one.status for one in merged.ledger.records()} == {"ok"}
    merge(tmp_path / "second", [second.folder])
    assert {one.status for one in merged.ledger.records()} == {"ok"}


def test_versions_that_differ_are_told(made_sweep, tmp_path):
    versions = {"compare-ag": "0.2.0", "numpy": "2.5.0", "python": "3.11.7"}
    folders = [made_sweep(times, folder="a").folder, made_sweep(times, folder="b", versions=versions).folder]
    assert merge(tmp_path / "m", folders).warnings == ["numpy is not the same in all cells: 2.4.0, 2.5.0"]


def test_a_row_that_is_not_its_runs_is_refused_even_with_right_sums(tmp_path):
    grid = make_grid(backends=["numpy"], n=[4], d=[2], steps=3, timing=False)
    ledger = Ledger.create(grid, tmp_path / "a")
    (planned,) = plan(grid, installed_versions(["numpy"]))
    with ledger.claim(planned.key):
        attempt(planned, scratch := ledger.scratch(planned.key), lambda _stage: None)
        ledger.accept(scratch, planned.key)
    assert merge(tmp_path / "good", [ledger.folder]).added == 1
    file = ledger.place(planned.key) / "cell.json"
    file.write_text(file.read_text().replace('"status": "ok",\n   "reason"', '"status": "disagree",\n   "reason"'))
    seal(ledger.place(planned.key))
    with pytest.raises(RecordError, match="what it says of numpy is not what its run says"):
        merge(tmp_path / "bad", [ledger.folder])
