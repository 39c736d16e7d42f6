"""Arrays as one sequence of bytes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from compare_ag.records import RecordError
from compare_ag.records.planes import pack, unpack

ARRAYS = st.dictionaries(
    st.text(max_size=6),
    arrays_of.arrays(
        st.sampled_from(["<f8", "<f4", "<i8", "|u1", "|b1"]),
        arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    max_size=4,
)


@given(ARRAYS)
def test_every_bit_comes_back(arrays):
    again = unpack(pack(arrays))
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        assert (again[name].dtype, again[name].shape, again[name].tobytes()) == (
            array.dtype,
            array.shape,
            array.tobytes(),
        )


def test_near_numbers_compress_better_than_beside_each_other():
    import zlib

    numbers = 1 + np.random.default_rng(0).random(1000) / 100
    assert len(zlib.compress(pack({"x": numbers})["planes"].tobytes())) < len(zlib.compress(numbers.tobytes()))


@pytest.mark.parametrize(
    ("index", "planes"),
    [
        (b"", 0),
        (b"[", 0),
        (b"{}", 0),
        (b'[["x","<f8",[2]]]', 8),
        (b'[["x","<f8",[2]]]', 24),
        (b'[["x","<f8",[-2]]]', 16),
        (b'[["x","<f8",[-1,-2]]]', 16),
        (b'[["x","<f8",[1]],["x","<f8",[1]]]', 16),
        (b'[["x","O",[1]]]', 8),
        (b'[["x","nonsense",[1]]]', 8),
        (b'[["x","<U2",[1]]]', 8),
        (b'[["x","<f8",[99999999999999999999]]]', 8),
        (b'[["\xff","<f8",[1]]]', 8),
    ],
)
def test_what_does_not_fit_is_refused(index, planes):
    with pytest.raises(RecordError):
        unpack({"index": np.frombuffer(index, np.uint8), "planes": np.zeros(planes, np.uint8)})


@pytest.mark.parametrize("name", ["index", "planes"])
def test_a_missing_part_is_refused(name):
    packed = pack({"x": np.arange(3.0)})
    del packed[name]
    with pytest.raises(RecordError):
        unpack(packed)
    packed = pack({"x": np.arange(3.0)}) | {name: np.zeros((2, 2))}
    with pytest.raises(RecordError):
        unpack(packed)
