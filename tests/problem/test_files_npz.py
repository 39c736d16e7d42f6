"""NumPy archives: shapes, kinds, and hostile ones."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from compare_ag.problem import ProblemError, load_file

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
Y = np.array([1, 0, 1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.npz"


def refusal(path, **options):
    with pytest.raises(ProblemError) as caught:
        load_file(path, **options)
    message = str(caught.value)
    assert message.startswith("data.npz")
    assert message.isprintable()
    return message


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), **options)
    return buffer.getvalue()


def header(shape, descr="<f8"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saves_is_loaded(path, save):
    save(path, X=X, y=Y, other=np.arange(5))
    data = load_file(path)
    assert np.array_equal(data.X, X)
    assert data.y.tolist() == [1, 0, 1]
    assert data.name == "data.npz"
    assert data.feature_names == ()
    assert data.description == "3 examples × 2 features from data.npz (arrays X and y)"


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_the_header(path, version):
    archive(path, X=npy(X, version=version), y=npy(Y))
    assert np.array_equal(load_file(path).X, X)


def test_an_archive_of_python_2(path):
    # there, the numbers of a shape could be long: (3L, 2L)
    archive(path, X=npy(X).replace(b"(3, 2), }  ", b"(3L, 2L), }"), y=npy(Y))
    assert np.array_equal(load_file(path).X, X)


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i1", "u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_features_of_any_real_kind(path, dtype, order):
    features = np.array(X % 2, dtype=dtype, order=order)
    np.savez(path, X=features, y=Y)
    data = load_file(path)
    assert data.X.dtype == np.float64
    assert data.X.flags.c_contiguous
    assert np.array_equal(data.X, features.astype(float))


@pytest.mark.parametrize(
    ("labels", "y", "names"),
    [
        (np.array([[1], [0], [1]]), [1, 0, 1], ("0", "1")),
        (np.array([10, 9, 10]), [1, 0, 1], ("9", "10")),
        (np.array([-1.0, 1.0, 1.0]), [0, 1, 1], ("-1", "1")),
        (np.array([0.5, 0.25, 0.5]), [1, 0, 1], ("0.25", "0.5")),
        (np.array([True, False, True]), [1, 0, 1], ("False", "True")),
        (np.array(["cat", "dog", "cat"]), [0, 1, 0], ("cat", "dog")),
        (np.array([b"yes", b"no", b"no"]), [1, 0, 0], ("no", "yes")),
    ],
)
def test_any_two_labels(path, labels, y, names):
    np.savez(path, X=X, y=labels)
    data = load_file(path)
    assert data.y.tolist() == y
    assert data.y.dtype == np.float64
    assert data.label_names == names


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        (X, np.zeros(3), ", y: every label is '0': training needs two classes"),
        (
            X,
            np.arange(3),
            ", y: more than two classes: '0', '1', '2' ('2' first in data.npz, y, row 2 (counted from 0))",
        ),
        (np.eye(9), np.arange(9), "'0', '1', '2', '3', '4', …"),
        (X, np.arange(2), "y has shape (2,); with X of shape (3, 2) it must be (3,) or (3, 1)"),
        (X, np.eye(3), "y has shape (3, 3)"),
        (X[:, 0], Y, "X has shape (3,); (examples, features) is needed"),
        (X[:, :0], Y, "X has shape (3, 0)"),
        (X[:0], Y[:0], "X has no rows"),
        (X + 1j, Y, "array X has dtype complex128; real numbers are needed"),
        (np.array([["a"], ["b"], ["c"]]), Y, "array X has dtype <U1; real numbers are needed"),
        (X, np.array([1, np.nan, 0]), "y: row 1 (counted from 0) is nan"),
        (np.where(X == 4, np.nan, X), Y, "row 1, column 1 (counted from 0) of X is nan"),
        (np.where(X == 5, -np.inf, X), Y, "row 2, column 0 (counted from 0) of X is -inf"),
    ],
)
def test_unusable_arrays(path, features, labels, said):
    np.savez(path, X=features, y=labels)
    assert said in refusal(path)


def test_missing_arrays(path):
    np.savez(path, x=X, y=Y)
    message = refusal(path)
    assert "no array 'X'; is it 'x'? numpy.savez(file, X=old['x'], y=old['y'])" in message
    np.savez(path, X=X)
    assert "no array 'y'" in refusal(path)
    archive(path)
    assert "The archive holds nothing" in refusal(path)


def test_a_target_is_not_needed(path):
    np.savez(path, X=X, y=Y)
    assert "leave out --target: the labels of an .npz file are its array y" in refusal(path, target="y")


# --- hostile or damaged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["X", "y"])
def test_object_arrays_are_not_unpickled(path, name):
    np.savez(path, **{"X": X, "y": Y, name: np.array([{"run": "me"}, 1, 2], dtype=object)})
    assert f"array {name} holds Python objects, which are not loaded" in refusal(path)


def test_a_lying_header_is_found_before_anything_is_allocated(path):
    archive(path, X=header((10**12, 1)) + bytes(1000), y=npy(Y))
    message = refusal(path)
    assert "announces 8,000,000,000,000 bytes" in message
    assert "holds 1,000" in message
    archive(path, X=header((3, 1)) + bytes(1000), y=npy(Y))
    assert "announces 24 bytes" in refusal(path)


def test_a_negative_shape_is_a_lie_as_well(path):
    archive(path, X=header((-3, -1)) + bytes(24), y=npy(Y))
    assert "X has shape (-3, -1)" in refusal(path)


def test_a_bomb_is_refused_by_its_unpacked_size(path):
    archive(path, X=header((500_000, 4)) + bytes(500_000 * 32), y=npy(np.arange(500_000) % 2))
    assert path.stat().st_size < 1_000_000
    message = refusal(path, available=lambda: 50_000_000)
    assert "too large for memory: about 2,500,000 cells" in message


def test_long_texts_as_labels_count_too(path):
    archive(path, X=npy(np.zeros((1000, 1))), y=header((1000,), "<U10000") + bytes(40_000_000))
    assert "too large for memory" in refusal(path, available=lambda: 100_000_000)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(10)], ids=["empty", "text", "torn"])
def test_what_is_no_archive(path, content):
    path.write_bytes(content)
    message = refusal(path)
    assert "not an .npz archive" in message
    assert "numpy.savez" in message


NESTED = b"\x93NUMPY\x01\x00\x00\x20" + b"[" * 8192


@pytest.mark.parametrize(
    "member",
    [b"", b"junk", b"\x93NUMPY\x09\x00", header((3, 2))[:-30], b"\x93NUMPY\x01\x00\x10\x00{'descr': exit()", NESTED],
    ids=["empty", "junk", "version", "torn", "code", "nested"],
)
def test_broken_members(path, member):
    archive(path, X=member, y=npy(Y))
    assert "array X cannot be read" in refusal(path)


def test_flipped_bytes_are_noticed(path):
    np.savez(path, X=np.arange(600.0).reshape(300, 2), y=np.arange(300) % 2)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert "array X cannot be read" in refusal(path)


def test_an_encrypted_member_is_refused(path):
    np.savez(path, X=X, y=Y)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    assert "array X cannot be read" in refusal(path)


def test_a_header_that_is_a_bomb_is_not_unpacked(path):
    archive(path, X=b"\x93NUMPY\x02\x00" + (1 << 26).to_bytes(4, "little") + b" " * (1 << 26), y=npy(Y))
    assert path.stat().st_size < 200_000
    message = refusal(path)
    assert "array X cannot be read" in message
    assert "got 65524" in message  # no more than the first 64 KiB were unpacked


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4), end=st.integers(0, 10_000))
@example(changes=[(353, 1)], end=358)  # a directory that points before the file
def test_any_changed_byte_is_read_or_refused(path, changes, end):
    archive(path, X=npy(X), y=npy(Y))
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content[: end if end < len(content) else None])
    try:
        data = load_file(path)
    except ProblemError as error:
        assert str(error).startswith("data.npz")  # noqa: PT017 - what is no error is right as well
    else:
        assert data.X.ndim == 2
        assert set(data.y.tolist()) == {0.0, 1.0}
