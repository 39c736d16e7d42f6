"""Records: whole or not at all, read back as written, refused by name when damaged or newer."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import compare_ag
from compare_ag import records


@pytest.fixture(scope="module")
def run(tmp_path_factory, brief):
    return compare_ag.run(["numpy"], steps=30, timing=brief, output=tmp_path_factory.mktemp("records") / "run")


@pytest.mark.thorough
def test_a_run_reads_back_as_it_was_returned(run):
    again = compare_ag.load_run(run.path)
    assert again.manifest == run.manifest
    assert again.records == run.records
    for name, array in run.arrays("numpy").items():
        assert np.array_equal(again.arrays("numpy")[name], array)
    assert set(again.reference) >= {"losses", "loss_tolerance", "weights_tolerance", "final_w", "final_b"}


def test_trajectories_have_the_documented_shapes(run):
    arrays = run.arrays("numpy")
    assert arrays["losses"].shape == (31,)  # T steps give losses 0..T
    assert arrays["losses"].dtype == np.float32
    steps = arrays["weight_steps"].tolist()
    assert steps[0] == 0
    assert steps[-1] == 30
    assert arrays["w"].shape == (len(steps), 2)
    assert np.array_equal(arrays["w"][-1], arrays["final_w"])


def test_every_file_of_a_run_is_plain_json_or_npz(run):
    for path in run.path.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"a record holds {word}"))
    for path in run.path.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as stored:
            assert stored.files


@pytest.mark.parametrize("value", [0.1, -1e300, math.inf, -math.inf, math.nan])
def test_reals_survive_json(value):
    back = float(json.loads(json.dumps(records.real(value), allow_nan=False)))
    assert back == value or (math.isnan(back) and math.isnan(value))


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run.path, tmp_path / "copy")


def change(folder, name, **fields):
    """Change fields of a JSON file, "part.field" by "part__field", and renew all hashes."""
    path = folder / name
    document = json.loads(path.read_text())
    for field, value in fields.items():
        *parts, last = field.split("__")
        place = document
        for part in parts:
            place = place[part]
        place[last] = value
    path.write_text(json.dumps(document))
    records.seal(folder)


@pytest.mark.parametrize("name", ["arrays/numpy.npz", "manifest.json", "records/numpy.json", "arrays/reference.npz"])
def test_a_flipped_bit_in_a_file_is_refused_by_name(copy, name):
    path = copy / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(records.RecordError, match=rf"{Path(name).name} is damaged"):
        compare_ag.load_run(copy)


def test_an_array_file_whose_hash_was_renewed_does_not_have_the_recorded_one(copy):
    arrays = records.read_arrays(copy / "arrays/numpy.npz", None)
    arrays["losses"][3] *= 2
    records.write_arrays(copy, "arrays/numpy.npz", arrays)
    with pytest.raises(records.RecordError, match=r"numpy\.npz is damaged: its sha256 is not the recorded one"):
        compare_ag.load_run(copy).arrays("numpy")


def test_keys_of_an_older_schema_are_read_under_their_present_names(run, copy):
    for name in ("manifest.json", "records/numpy.json"):
        path = copy / name
        document = path.read_text().replace('"further_exit_codes"', '"other_codes"')
        path.write_text(document.replace('"left_out_share"', '"preempted"'))
    change(copy, "manifest.json", schema__minor=7, other_codes=[130], state="partial", exit_code=130)
    again = compare_ag.load_run(copy)
    assert again.manifest.further_exit_codes == [130]
    assert again["numpy"].cost.left_out_share == run["numpy"].cost.left_out_share is not None
    change(copy, "manifest.json", schema__minor=8)
    assert compare_ag.load_run(copy).manifest.further_exit_codes == []  # a key that this schema does not have


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("manifest.json", "{", "manifest.json is damaged"),
        (
            "manifest.json",
            '{"schema":{"name":"compare-ag/run","major":2,"minor":0}}',
            "schema version 2.0; this compare-ag reads 1.x",
        ),
        ("manifest.json", '{"schema":{"name":"recipe","major":1,"minor":0}}', "is a 'recipe' document"),
        ("manifest.json", "[" * 100_000, "manifest.json is damaged"),
        ("records/numpy.json", '{"name": 3}', "numpy.json is damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_by_name(copy, name, text, said):
    (copy / name).write_text(text)
    records.seal(copy)
    with pytest.raises(records.RecordError, match=said):
        compare_ag.load_run(copy)


@pytest.mark.parametrize("name", ["../manifest", "/x", "a/b", "..", "", "a\0b"])
@pytest.mark.parametrize("minor", [7, 8])
def test_a_name_that_is_a_path_leads_nowhere(copy, name, minor):
    change(copy, "manifest.json", backends=[name], baseline=name, speed=None, schema__minor=minor)
    with pytest.raises(records.RecordError, match=r"cannot read .*/records/[^/]*\.json: No such"):
        compare_ag.load_run(copy)


@pytest.mark.parametrize("file", ["../other/arrays/numpy.npz", "/x.npz", "", "a\0b"])
def test_no_file_outside_the_run_is_read(copy, file):
    change(copy, "records/numpy.json", arrays=file, arrays_sha256=None)
    with pytest.raises(records.RecordError, match="which is outside of the run directory"):
        compare_ag.load_run(copy).arrays("numpy")


def test_a_later_minor_version_is_read_and_its_new_fields_ignored(copy):
    change(copy, "manifest.json", schema__minor=99, weather="fine", state="resting")
    assert compare_ag.load_run(copy).manifest.problem.name == "seed"


@pytest.mark.parametrize(
    ("part", "field", "value"), [("problem", "dtype", "x"), ("speed", "steps_per_block", -1), ("speed", "launches", -1)]
)
def test_what_no_number_can_be_read_with_is_refused(copy, part, field, value):
    change(copy, "manifest.json", **{f"{part}__{field}": value})
    with pytest.raises(records.RecordError, match=f"is damaged: .*{field}"):
        compare_ag.load_run(copy)


def test_a_link_stays_a_link_and_a_file_keeps_its_mode(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    target.chmod(0o600)
    (tmp_path / "link").symlink_to(target)
    records.write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("through", ["pipe", "link"])
def test_a_pipe_is_written_to_and_not_replaced(tmp_path, through):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        records.write_bytes(tmp_path / through, b"data")
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_missing_record_of_a_complete_run_is_an_error_and_of_a_running_one_is_not(copy):
    (copy / "records" / "numpy.json").unlink()
    records.seal(copy)
    with pytest.raises(records.RecordError, match=r"cannot read .*numpy\.json"):
        compare_ag.load_run(copy)
    change(copy, "manifest.json", state="running")
    assert compare_ag.load_run(copy)["numpy"].status == "not-run"


def test_a_folder_without_manifest_is_no_run(tmp_path):
    with pytest.raises(records.RecordError, match="is not a run directory"):
        compare_ag.load_run(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    records.write_bytes(path, b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(records.SaveError, match="No space left on device"):
        records.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(("minor", "readable"), [(6, False), (7, True)])
def test_a_run_without_a_common_length_of_blocks_is_read_since_each_backend_has_its_own(copy, minor, readable):
    change(copy, "manifest.json", schema__minor=minor, speed__steps_per_block=0)
    if readable:
        assert compare_ag.load_run(copy).manifest.speed.steps_per_block == 0
    else:
        with pytest.raises(records.RecordError, match="is damaged: steps_per_block"):
            compare_ag.load_run(copy)


@pytest.mark.thorough
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(["manifest.json", "records/numpy.json", "arrays/numpy.npz", "arrays/reference.npz"]),
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=3),
    renewed=st.booleans(),
)
def test_any_changed_byte_is_read_or_refused_by_name(run, copy, file, changes, renewed):
    whole = (run.path / file).read_bytes()
    content = bytearray(whole)
    for place, value in changes:
        content[place % len(content)] = value
    (copy / file).write_bytes(content)
    if renewed:
        records.seal(copy)
    try:
        read = compare_ag.load_run(copy)
        assert read.arrays("numpy") is not None
        assert read.reference is not None
    except records.RecordError as error:
        assert str(error)  # noqa: PT017 - what is no error is right as well
    else:
        assert renewed or bytes(content) == whole  # nothing that is not what was written is read
    finally:
        (copy / file).write_bytes(whole)
        records.seal(copy)
