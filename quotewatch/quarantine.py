"""Messages that are no frames, kept whole with the reason until somebody redrives them.

One object a message, create-only: putting the same message aside twice keeps one copy.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from quotewatch.errors import ObjectError, PreconditionFailedError
from quotewatch.message import Message
from quotewatch.objects.port import ObjectStore

_PREFIX = "quarantine/"


@dataclass(frozen=True, slots=True)
class Aside:
    """One message that was put aside."""

    name: str
    stream: str
    message: Message
    published_ns: int
    reason: str


class _Label(msgspec.Struct):
    """What stands before the message's bytes, as one line of JSON."""

    stream: str
    published_ns: int
    reason: str
    attributes: dict[str, str]


class Quarantine:
    """The messages that were put aside."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def put(self, stream: str, message: Message, published_ns: int, reason: str) -> str:
        """Keep a message; on return it is durable. Returns the object's name."""
        label = _Label(stream, published_ns, reason, dict(message.attributes))
        name = _name(stream, message)
        # The same bytes are there if somebody put them aside and died before the ack.
        with suppress(PreconditionFailedError):
            self._objects.create(name, msgspec.json.encode(label) + b"\n" + message.data)
        return name

    def messages(self) -> Iterator[Aside]:
        """Yield all of them, one at a time in memory."""
        for name in list(self._objects.names(_PREFIX)):
            stored = self._objects.read(name)
            if stored is not None:  # else somebody redrove it meanwhile
                yield _read(name, stored.data)

    def remove(self, aside: Aside) -> None:
        """Let go of a message that is stored now."""
        self._objects.delete(aside.name)


def _name(stream: str, message: Message) -> str:
    digest = hashlib.sha256(_canonical(message.attributes) + message.data).hexdigest()[:24]
    return f"{_PREFIX}{stream}/{digest}"


def _canonical(attributes: Mapping[str, str]) -> bytes:
    return msgspec.json.encode(dict(attributes), order="sorted")


def _read(name: str, data: bytes) -> Aside:
    line, _, body = data.partition(b"\n")
    try:
        label = msgspec.json.decode(line, type=_Label)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ObjectError(
            f"{name}: not a message put aside ({error}); look at it by hand"
        ) from error
    return Aside(
        name, label.stream, Message(body, label.attributes), label.published_ns, label.reason
    )
