"""What all file formats share: the path, standardising, warnings."""

from __future__ import annotations

import os
import types

import numpy as np
import pytest

from compare_ag.problem import ProblemError, load_file, make_problem
from compare_ag.problem import estimate as memory
from compare_ag.problem import files as files_module
from compare_ag.problem.estimate import available_memory, require_memory, size


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("age,height,kind,label\n1,10,7,a\n2,30,7,b\n6,20,7,a\n")
    return path


def refusal(path, *arguments):
    with pytest.raises(ProblemError) as caught:
        load_file(path, *arguments)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_features_stay_as_they_are_unless_asked(table):
    data = load_file(table, "label")
    assert data.X.tolist() == [[1, 10, 7], [2, 30, 7], [6, 20, 7]]
    assert "standardised" not in data.description
    assert data.warnings[0].startswith("1 of 3 features is constant ('kind'): no more than a second bias")


def test_standardising_is_said_and_warns_of_constant_columns(table):
    data = load_file(str(table), "label", standardize=True)
    assert np.abs(data.X.mean(axis=0)).max() < 1e-15
    assert data.X.std(axis=0) == pytest.approx([1, 1, 0])
    assert data.description.endswith("; standardised (mean 0, standard deviation 1)")
    assert data.warnings[0].startswith("1 of 3 features is constant ('kind'): only centred")


def test_the_name_is_without_its_folder(table):
    data = load_file(table, "label")
    assert data.name == "people.csv"
    assert str(table.parent) not in data.description


def test_warnings_and_names_reach_the_problem(table):
    table.write_text("a,big,label\n1,2,x\n2,1e300,y\n3,4,x\n")
    data = load_file(table, "label")
    assert make_problem(load_file(table, "label", standardize=True)).data.warnings == data.warnings == ()
    with pytest.raises(ProblemError, match=r"people\.csv: column 'big', row 1 of the data .*: 1e\+300 is too large"):
        make_problem(data, dtype="float32")


def test_a_missing_file(tmp_path):
    assert refusal(tmp_path / "none.csv", 0) == f"{tmp_path / 'none.csv'}: no such file"


def test_a_directory(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert "folder.csv: is a directory" in refusal(tmp_path / "folder.csv", 0)


def test_a_file_in_place_of_a_folder(table):
    assert "cannot be read" in refusal(table / "inner.csv", 0)


def test_a_nul_in_the_name():
    assert "\\x00.csv: cannot be read" in refusal("a\0.csv", 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "pipe.csv: is not a regular file" in refusal(tmp_path / "pipe.csv", 0)


@pytest.mark.parametrize("name", ["data.csv", "data.npz", "data.svm"])
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch, name):
    # root may read everything, so the refusal is played rather than set by mode bits
    path = tmp_path / name
    path.write_text("x,label\n")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    for reader in ("read_csv", "read_npz", "read_libsvm"):
        monkeypatch.setattr(files_module, reader, refuse)
    assert refusal(path, *([0] if name == "data.csv" else [])) == f"{path}: cannot be read: Permission denied"


def test_control_characters_in_the_name_are_escaped(tmp_path):
    path = tmp_path / "\x1b[2J.csv"
    path.write_text("1,a\n2,b\n")
    assert load_file(path, 1).name == "\\x1b[2J.csv"
    path.write_text("1,a\n2,\n")
    assert "\\x1b[2J.csv, line 2" in refusal(path, 1)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 4 KiB of memory available by its kernel, without a container's limit; its folder."""
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   4 kB\n")
    monkeypatch.setattr(memory, "MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    return tmp_path


def test_the_available_memory_is_that_of_the_machine(machine):
    assert available_memory() == 4096
    require_memory("data", 17)
    with pytest.raises(ProblemError) as caught:
        require_memory("data", 18)
    assert str(caught.value) == (
        "data: too large for memory: about 18 cells need 4.2 KiB to be read and judged (240 bytes each), "
        "and 4.0 KiB are available; take fewer examples or features"
    )


@pytest.mark.parametrize(
    ("limit", "used", "available"),
    [("3000", "1000", 2000), ("9000", "1000", 4096), ("1000", "1001", 0), ("max", "1000", 4096)],
)
def test_a_container_may_have_less(machine, limit, used, available):
    (machine / "memory.max").write_text(f"{limit}\n")
    (machine / "memory.current").write_text(f"{used}\n")
    assert available_memory() == available


@pytest.mark.parametrize("text", [None, "MemTotal: 9 kB\n", "MemAvailable: much\n"])
def test_where_the_kernel_does_not_say_psutil_does(machine, monkeypatch, text):
    import psutil

    (machine / "meminfo").unlink() if text is None else (machine / "meminfo").write_text(text)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=3200))
    assert available_memory() == 3200


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (2**60, "1,048,576.0 TiB")],
)
def test_sizes_as_people_read_them(count, text):
    assert size(count) == text
