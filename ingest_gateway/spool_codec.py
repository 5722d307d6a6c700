"""A spooled frame as bytes under a name: what was torn, changed or renamed is noticed. Pure."""

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from quotewatch.errors import SpoolError
from quotewatch.message import Message

EPOCH = re.compile(r"[A-Za-z0-9_-]+")
_LEAF = re.compile(r"(?P<stream>[A-Za-z0-9_@-]+)\.(?P<seq>[0-9]{12,})")
_PREFACE = struct.Struct(">8sII")  # magic, CRC-32 of all that follows, length of the header
_MAGIC = b"QWSPOOL1"


@dataclass(frozen=True, slots=True)
class SpooledFrame:
    """One frame as the spool keeps it: its identity and what goes to the bus."""

    stream: str
    epoch: str
    seq: int
    message: Message


class _Header(msgspec.Struct, frozen=True):
    """What stands before the data. The identity is there so that a renamed file is noticed."""

    stream: str
    epoch: str
    seq: int
    attributes: dict[str, str]


def encode(frame: SpooledFrame) -> bytes:
    """Return the frame with its identity and a checksum over everything."""
    attributes = dict(frame.message.attributes)
    header = msgspec.json.encode(_Header(frame.stream, frame.epoch, frame.seq, attributes))
    checksum = zlib.crc32(frame.message.data, zlib.crc32(header))
    preface = _PREFACE.pack(_MAGIC, checksum, len(header))
    return b"".join((preface, header, frame.message.data))


def decode(stored: bytes, epoch: str, leaf: str) -> SpooledFrame:
    """Return the frame, or raise a SpoolError that says how it is damaged."""
    if len(stored) < _PREFACE.size or not stored.startswith(_MAGIC):
        raise SpoolError(f"{leaf}: {len(stored)} bytes without the head of a spooled frame")
    _, checksum, header_size = _PREFACE.unpack_from(stored)
    header_bytes = stored[_PREFACE.size : _PREFACE.size + header_size]
    data = stored[_PREFACE.size + header_size :]
    if zlib.crc32(data, zlib.crc32(header_bytes)) != checksum:
        raise SpoolError(f"{leaf}: checksum does not match, torn or changed")
    try:
        header = msgspec.json.decode(header_bytes, type=_Header)
    except msgspec.MsgspecError as error:
        raise SpoolError(f"{leaf}: header unreadable: {error}") from error
    if (header.epoch, leaf_of(header.stream, header.seq)) != (epoch, leaf):
        raise SpoolError(f"{leaf}: holds {header.stream} {header.seq} of epoch {header.epoch}")
    return SpooledFrame(header.stream, header.epoch, header.seq, Message(data, header.attributes))


# Names


def leaf_name(frame: SpooledFrame, epoch: str) -> str:
    """Name a frame of that epoch; ValueError for another's: that is a mistake in the program."""
    if frame.epoch != epoch:
        raise ValueError(f"{frame.stream} {frame.seq} is of epoch {frame.epoch}, not {epoch}")
    return leaf_of(frame.stream, frame.seq)


def leaf_of(stream: str, seq: int) -> str:
    """Name a frame within its epoch; ValueError for what cannot be a file name."""
    leaf = f"{stream}.{seq:012d}"
    if not _LEAF.fullmatch(leaf):
        raise ValueError(f"stream {stream!r}, seq {seq}: not an identity of a frame")
    return leaf


def checked_epoch(epoch: str) -> str:
    """Return the epoch; ValueError for what cannot be a folder name."""
    if not EPOCH.fullmatch(epoch):
        raise ValueError(f"epoch {epoch!r}: use letters, digits, - and _ only")
    return epoch


def in_order(leaves: Iterable[str]) -> list[str]:
    """Sort frames by (stream, seq), leaving out what is none. Text order would differ at 10¹²."""
    matches = [match for match in map(_LEAF.fullmatch, leaves) if match]
    return [match[0] for match in sorted(matches, key=lambda match: (match[1], int(match[2])))]
