"""Frames: how one message and its arrays cross the pipe between host and worker.

A frame is

    magic "CAG1" | nonce u64 | sequence u32 | header length u32 | payload length u64      (28 bytes, little-endian)
    header:  JSON of a `Message` and the names, dtypes and shapes of the arrays that follow
    payload: the arrays' bytes, C order, one after the other

The nonce is drawn for each worker and the sequence number counts frames in one direction, so that bytes that a plugin
writes into the pipe by accident are recognised at the first byte. No pickle: a frame can only become one of the types
in `worker.messages` and arrays of plain numbers. Sizes are checked before memory is allocated.

This module handles neither processes nor deadlines; its callers move the bytes (`host.process`, `worker.__main__`).
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec
import numpy as np

from compare_ag.text import escape_surrogates, everywhere, shortened
from compare_ag.worker.messages import Array, Message, Reply, Request

PREFIX = struct.Struct("<4sQIIQ")
MAGIC = b"CAG1"
MAX_HEADER = 1 << 20
"""most bytes of JSON in a reply; the longest header contains the code and the evidence of an answer"""
MAX_REQUEST = 1 << 40
"""most bytes of header or arrays in a request, which may hold the data set; the host has checked that it fits"""
MAX_DIMENSIONS = 32
PLAIN_DTYPES = frozenset({"<f4", "<f8", "<u4", "<i8"})
MOST_QUOTED = 300
"""most characters of an error that quotes a frame"""


class ProtocolError(Exception):
    """The other side sent bytes that are no frame of this conversation; quotations of them are cut."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message, MOST_QUOTED))


class _ArrayHead(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    dtype: str
    shape: list[int]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * int(self.dtype[-1])

    def is_plain(self) -> bool:
        """Whether numpy can make an array of it; the extents of empty arrays are bounded too."""
        if self.dtype not in PLAIN_DTYPES or len(self.shape) > MAX_DIMENSIONS or min(self.shape, default=0) < 0:
            return False
        return math.prod(max(1, extent) for extent in self.shape) <= MAX_REQUEST


class _RequestHeader(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    message: Request
    arrays: list[_ArrayHead]


class _ReplyHeader(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    message: Reply
    arrays: list[_ArrayHead]


_decode_request = msgspec.json.Decoder(_RequestHeader).decode
_decode_reply = msgspec.json.Decoder(_ReplyHeader).decode


def pack(message: Message, arrays: dict[str, Array], nonce: int, sequence: int) -> list[bytes | memoryview]:
    """Return one frame as buffers to be written in turn; contiguous arrays are not copied."""
    heads: list[_ArrayHead] = []
    bodies: list[bytes | memoryview] = []
    for name, value in arrays.items():
        # ascontiguousarray would turn shape () into (1,)
        array = np.asarray(value, order="C")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if little.dtype.str not in PLAIN_DTYPES:
            raise ProtocolError(f"array {name!r} of dtype {array.dtype} cannot cross")
        heads.append(_ArrayHead(name, little.dtype.str, list(little.shape)))
        if little.nbytes:
            bodies.append(little.reshape(-1).view(np.uint8).data)
    parts = {"message": message, "arrays": heads}
    try:
        header = msgspec.json.encode(parts)
    except UnicodeEncodeError:  # a lone surrogate, which Python's texts may contain but JSON's may not
        header = msgspec.json.encode(everywhere(msgspec.to_builtins(parts), escape_surrogates))
    size = sum(head.nbytes for head in heads)
    return [PREFIX.pack(MAGIC, nonce, sequence, len(header), size), header, *bodies]


def unpack_prefix(
    prefix: bytes, nonce: int, sequence: int, limit: int, header_limit: int = MAX_HEADER
) -> tuple[int, int]:
    """Check a frame's first bytes; return the lengths of header and payload. Raises `ProtocolError`.

    limit, header_limit: most bytes of payload and header.
    """
    magic, got_nonce, got_sequence, header, payload = PREFIX.unpack(prefix)
    if magic != MAGIC or got_nonce != nonce:
        raise ProtocolError(f"frame {sequence} does not begin like a frame: something else wrote into the channel")
    if got_sequence != sequence:
        raise ProtocolError(f"frame {got_sequence} arrived where frame {sequence} was due")
    if header > header_limit or payload > limit:
        raise ProtocolError(
            f"frame {sequence} is too large ({header} + {payload} bytes; at most {header_limit} + {limit})"
        )
    return header, payload


def unpack(header: bytes, payload: bytes | bytearray, *, reply: bool) -> tuple[Any, dict[str, Array]]:
    """Decode a frame's header and payload into a message and its arrays (views of the payload).

    Raises `ProtocolError` where the header is no known message or does not fit the payload.
    """
    try:
        decoded: _ReplyHeader | _RequestHeader = _decode_reply(header) if reply else _decode_request(header)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a frame's header is no message of this protocol: {error}") from None
    arrays: dict[str, Array] = {}
    offset = 0
    for head in decoded.arrays:
        if head.name in arrays or not head.is_plain():
            raise ProtocolError(f"array {head.name!r} of dtype {head.dtype!r}, shape {head.shape} cannot cross")
        if offset + head.nbytes > len(payload):
            raise ProtocolError(f"array {head.name!r} is longer than its frame")
        flat = np.frombuffer(payload, dtype=head.dtype, count=math.prod(head.shape), offset=offset)
        arrays[head.name] = flat.reshape(head.shape)
        offset += head.nbytes
    if offset != len(payload):
        raise ProtocolError(f"a frame holds {len(payload) - offset} bytes more than its arrays")
    return decoded.message, arrays
