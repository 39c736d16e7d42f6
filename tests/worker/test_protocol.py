"""Frames: what is packed comes back, and nothing else is taken for a frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from compare_ag.worker import frames, messages

NONCE = 0x0123456789ABCDEF


def join(buffers) -> bytes:
    return b"".join(bytes(buffer) for buffer in buffers)


def read(frame: bytes, *, nonce: int = NONCE, sequence: int = 0, limit: int = 1 << 20, reply: bool = True):
    header, payload = frames.unpack_prefix(frame[: frames.PREFIX.size], nonce, sequence, limit)
    body = frame[frames.PREFIX.size :]
    return frames.unpack(body[:header], body[header : header + payload], reply=reply)


@settings(deadline=None)
@given(
    npst.arrays(
        dtype=st.sampled_from(["<f4", "<f8", "<u4", "<i8"]), shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0)
    )
)
def test_arrays_come_back_bit_for_bit(array):
    message, arrays = read(join(frames.pack(messages.Chunk(3, [1, 2], [1]), {"losses": array}, NONCE, 0)))
    assert message == messages.Chunk(3, [1, 2], [1])
    assert arrays["losses"].dtype == array.dtype
    assert arrays["losses"].shape == array.shape
    assert arrays["losses"].tobytes() == array.tobytes()


def test_a_strided_array_is_sent_in_its_logical_order():
    array = np.arange(12.0).reshape(3, 4).T[::2]
    _, arrays = read(join(frames.pack(messages.Chunk(0, [], []), {"w": array}, NONCE, 0)))
    assert np.array_equal(arrays["w"], array)


@settings(deadline=None)
@given(st.binary(min_size=frames.PREFIX.size, max_size=200))
def test_junk_is_never_a_frame(junk):
    with pytest.raises(frames.ProtocolError):
        read(junk)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nonce": NONCE + 1}, "does not begin like a frame"),
        ({"sequence": 1}, "frame 0 arrived where frame 1 was due"),
        ({"limit": 7}, "too large"),
        ({"reply": False}, "no message of this protocol"),
    ],
)
def test_a_frame_out_of_place_is_refused_by_name(change, said):
    frame = join(frames.pack(messages.Hello(1), {"w": np.ones(1)}, NONCE, 0))
    with pytest.raises(frames.ProtocolError, match=said):
        read(frame, **change)


def test_objects_cannot_cross():
    with pytest.raises(frames.ProtocolError, match="dtype object cannot cross"):
        frames.pack(messages.Hello(1), {"w": np.array([print])}, NONCE, 0)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b'{"message":{"type":"Hello","pid":1},"arrays":[{"name":"w","dtype":"<f8","shape":[9]}]}', "longer than"),
        (b'{"message":{"type":"Hello","pid":1},"arrays":[{"name":"w","dtype":"|O","shape":[1]}]}', "cannot cross"),
        (b'{"message":{"type":"Hello","pid":1},"arrays":[{"name":"w","dtype":"<f8","shape":[-1]}]}', "cannot cross"),
        (
            b'{"message":{"type":"Hello","pid":1},"arrays":[{"name":"w","dtype":"<f8","shape":[4294967296,4294967296,0]}]}',
            "cannot cross",
        ),
        (
            b'{"message":{"type":"Hello","pid":1},"arrays":[{"name":"w","dtype":"<f8","shape":[0,99999999999999999999999]}]}',
            "cannot cross",
        ),
        (
            b'{"message":{"type":"Hello","pid":1},"arrays":[{"name":"w","dtype":"<f8","shape":['
            + b"1," * 32
            + b"1]}]}",
            "cannot cross",
        ),
        (
            b'{"message":{"type":"Hello","pid":1},"arrays":['
            + b",".join([b'{"name":"w","dtype":"<f4","shape":[1]}'] * 2)
            + b"]}",
            "cannot cross",
        ),
        (b'{"message":{"type":"Hello","pid":1},"arrays":[]}', "8 bytes more"),
        (b'{"message":{"type":"Hello","pid":1,"extra":2},"arrays":[]}', "no message"),
        (b'{"message":{"type":"Nonsense"},"arrays":[]}', "no message"),
        (b'{"message":' + b"[" * 5000 + b"]" * 5000 + b"}", "no message"),
        (b"\xff\xfe", "no message"),
    ],
)
def test_a_lying_header_is_refused(header, said):
    with pytest.raises(frames.ProtocolError, match=said):
        frames.unpack(header, bytes(8), reply=True)


def test_a_header_can_ask_for_no_more_memory_than_its_frame_holds():
    header = b'{"message":{"type":"Hello","pid":1},"arrays":[{"name":"w","dtype":"<f8","shape":[1000,1000,1000]}]}'
    with pytest.raises(frames.ProtocolError, match="longer than its frame"):
        frames.unpack(header, bytes(8), reply=True)
