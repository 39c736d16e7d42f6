"""What no number can be: each is refused by the file and the field, with all hashes renewed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from compare_ag import records


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole.path, tmp_path / "copy")


def change(folder, name, where, value):
    path = folder / name
    document = json.loads(path.read_text())
    *parts, last = where.split(".")
    place = document
    for part in parts:
        place = place[int(part) if isinstance(place, list) else part]
    place[last] = value
    path.write_text(json.dumps(document))
    records.seal(folder)


def everything(folder):
    run = records.load_run(folder)
    return run, [run.arrays(name) for name in run.records], run.reference, run.control


FIELDS = [
    ("manifest.json", "problem.features", 4, "final_w has the shape"),
    ("manifest.json", "problem.steps", 0, "problem.steps 0 is less than 1"),
    ("manifest.json", "problem.steps", 10**30, "problem.steps"),
    ("manifest.json", "problem.learning_rate", -1.0, "problem.learning_rate"),
    ("manifest.json", "problem.parameters", {"n": "banana"}, "problem.parameters"),
    ("manifest.json", "problem.batch_size", 10**6, "problem.batch_size"),
    ("manifest.json", "max_pair_difference", "banana", "max_pair_difference 'banana'"),
    ("manifest.json", "max_pair_difference", "-inf", "max_pair_difference '-inf'"),
    ("manifest.json", "state", "resting", "state 'resting' is not one of"),
    ("manifest.json", "exit_code", 77, "exit_code 77"),
    ("manifest.json", "baseline", "nobody", "baseline 'nobody'"),
    ("manifest.json", "backends", ["numpy", "numpy"], "names a backend twice"),
    ("manifest.json", "speed.level", 1.0, "speed.level"),
    ("manifest.json", "speed.checkpoint", "banana", "speed.checkpoint 'banana'"),
    ("manifest.json", "speed.checkpoint_step", 31, "speed.checkpoint_step 31"),
    ("manifest.json", "speed.twins", ["numpy"] * 100, "speed.twins names 100"),
    ("manifest.json", "graph", "../x", "graph names the file"),
    ("manifest.json", "options.deep", json.loads("[" * 500 + "]" * 500), "nested more than 20 levels"),
    ("records/numpy.json", "cost.step.value", 0, "cost.step.value 0"),
    ("records/numpy.json", "cost.step", {"value": 1, "low": 2, "high": 3}, "cost.step.value 1.0 is outside"),
    ("records/numpy.json", "cost.step", {"value": 1, "low": 0.5, "high": None}, "one end of an interval"),
    ("records/numpy.json", "cost.phases", {"sideways": {"value": 1, "low": None, "high": None}}, "cost.phases"),
    ("records/numpy.json", "verdict.worst_ratio", "banana", "verdict.worst_ratio 'banana'"),
    ("records/numpy.json", "verdict.worst_ratio", -1.0, "verdict.worst_ratio -1.0"),
    ("records/numpy.json", "verdict.status", "fine", "verdict.status 'fine'"),
    ("records/numpy.json", "verdict.first_step", 31, "first_step 31"),
    ("records/numpy.json", "verdict", None, "there is no verdict"),
    ("records/numpy.json", "status", "fine", "status 'fine'"),
    ("records/numpy.json", "status", "crashed", "there is no reason"),
    ("records/numpy.json", "hash_seed", 1 << 32, "hash_seed"),
    ("records/numpy.json", "logs", ["/etc/passwd"], "logs"),
    ("records/numpy.json", "arrays", "arrays/reference.npz", "numpy|reference"),
    ("records/numpy.json", "arrays", "x" * 5000, "File name too long"),
    ("records/numpy.json", "timing_arrays_sha256", None, "timing_arrays_sha256 is missing"),
]


@pytest.mark.parametrize(("name", "where", "value", "said"), FIELDS)
def test_a_field_out_of_range_is_refused(copy, name, where, value, said):
    change(copy, name, where, value)
    with pytest.raises(records.RecordError, match=said):
        everything(copy)


ARRAYS = [
    ("arrays/numpy.npz", "losses", None, "the array losses is missing"),
    ("arrays/numpy.npz", "losses", lambda a: a.astype(complex), "losses is not an array of real numbers"),
    ("arrays/numpy.npz", "losses", lambda a: a[:5], "losses contains 5 losses"),
    ("arrays/numpy.npz", "losses", lambda a: np.append(a, a), "losses"),
    ("arrays/numpy.npz", "losses", lambda a: a.astype(float), "losses contains float64"),
    ("arrays/numpy.npz", "w", lambda a: a[:, :1], "w does not have the shape"),
    ("arrays/numpy.npz", "weight_steps", lambda a: -a, "weight_steps"),
    ("arrays/numpy.npz", "final_b", None, "the array final_b is missing"),
    ("arrays/reference.npz", "losses", lambda a: a[:5], "losses does not have the shape"),
    ("arrays/reference.npz", "loss_tolerance", lambda a: -a, "loss_tolerance contains a tolerance that is negative"),
    ("arrays/numpy.timing.npz", "block_wall_ns", np.ravel, "block_wall_ns has the shape"),
    (
        "arrays/numpy.timing.npz",
        "block_wall_ns",
        lambda a: 0 * a,
        "block_wall_ns contains a number that is not more than 0",
    ),
    ("arrays/numpy.timing.npz", "block_clean", lambda a: a[:, :, :1], "differ in shape"),
    ("arrays/numpy.timing.npz", "block_steps", lambda a: a * 1.5, "block_steps"),
    (
        "arrays/numpy.timing.npz",
        "block_wall_ns",
        lambda a: a * np.nan,
        "block_wall_ns contains a number that is not finite",
    ),
    (
        "arrays/numpy.timing.npz",
        "first_step_ns",
        lambda a: a * np.inf,
        "first_step_ns contains a number that is not finite",
    ),
    ("arrays/numpy.timing.npz", "phase_ns", lambda a: a[..., 0], "phase_ns"),
    ("arrays/control.timing.npz", "block_time_ns", lambda a: a[:0], "block_time_ns has the shape"),
]


@pytest.mark.parametrize(("file", "name", "change_of", "said"), ARRAYS)
def test_an_array_that_cannot_be_is_refused(copy, file, name, change_of, said):
    arrays = records.read_arrays(copy / file, None)
    if change_of is None:
        del arrays[name]
    else:
        arrays[name] = change_of(arrays[name])
    sha256 = records.write_arrays(copy, file, arrays)
    owner, field = {
        "arrays/numpy.npz": ("records/numpy.json", "arrays_sha256"),
        "arrays/numpy.timing.npz": ("records/numpy.json", "timing_arrays_sha256"),
        "arrays/reference.npz": ("manifest.json", "reference_sha256"),
        "arrays/control.timing.npz": ("manifest.json", "speed.control_arrays_sha256"),
    }[file]
    change(copy, owner, field, sha256)
    with pytest.raises(records.RecordError, match=said):
        everything(copy)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    if data.startswith(b"PK\x05"):
        assert records.read_arrays(tmp_path / "x.npz", None) == {}  # an archive of nothing
        return
    with pytest.raises(records.RecordError, match=r"x\.npz is not an array file"):
        records.read_arrays(tmp_path / "x.npz", None)


def test_times_that_would_cover_the_training_are_refused(copy):
    sha256 = records.write_arrays(copy, "arrays/numpy.timing.npz", records.read_arrays(copy / "arrays/numpy.npz", None))
    change(copy, "records/numpy.json", "timing_arrays_sha256", sha256)
    with pytest.raises(records.RecordError, match="belongs to the training, not to the times"):
        everything(copy)


def test_a_pickle_is_not_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(records.RecordError, match=r"x\.npz is not an array file"):
        records.read_arrays(tmp_path / "x.npz", None)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    import compare_ag

    return compare_ag.run(["autograd"], steps=5, timing=False, output=tmp_path_factory.mktemp("graphs") / "run")


GRAPHS = [
    ("graphs.0.nodes.0.value_ratio", "disagree", "node 0 of 'autograd' has a ratio"),
    ("graphs.0.nodes.0.gradient_ratio", -1, "node 0 of 'autograd' has a ratio"),
    ("graphs.0.nodes.3.inputs", [99], "node 3 of 'autograd' has an input that is not a node before it"),
    ("graphs.0.nodes.3.quantity", 99, "matches the quantity 99"),
    ("graphs.0.nodes.3.value.norm", "banana", "contains a text that is not a number"),
    ("graphs.0.nodes.3.value.shape", [-1], "the shape"),
    ("graphs.0.origins", [99], "origins of 'autograd'"),
    ("quantities.0.value.values", ["x"], "quantities.0"),
]


@pytest.mark.parametrize(("where", "value", "said"), GRAPHS)
def test_a_graph_that_cannot_be_is_refused(recorded, tmp_path, where, value, said):
    from compare_ag.records.graphs import read_graphs

    folder = shutil.copytree(recorded.path, tmp_path / "copy")
    assert read_graphs(records.load_run(folder)) is not None
    change(folder, "graph.json", where, value)
    with pytest.raises(records.RecordError, match=said):
        read_graphs(records.load_run(folder))
