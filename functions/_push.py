"""What doors that are pushed to share: an event or a request in, the Pub/Sub message in it out."""

import json
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import msgspec
from cloudevents.http import CloudEvent
from flask import Request, Response, abort

from ._door import Opening, as_json

# isort: split
from quotewatch.errors import FrameError, QuoteWatchError
from quotewatch.logs import get_logger
from quotewatch.message import Message
from quotewatch.stages.port import PushedStage

PROBE = "probe"  # the producer of a frame that who deploys published: its answer is logged


class _Carried(msgspec.Struct):
    """A message as JSON has it; its data is base64 there."""

    data: bytes = b""
    attributes: dict[str, str] | None = None


class _Envelope(msgspec.Struct):
    """What Pub/Sub pushes, and what an event about a message holds."""

    message: _Carried


class _Body(msgspec.Struct):
    """A request's body: the envelope, or a structured event with the envelope inside."""

    message: _Carried | None = None
    data: _Envelope | None = None


PushedT = TypeVar("PushedT", bound=PushedStage)


class PushDoor(Opening[PushedT], Generic[PushedT]):
    """One function that Pub/Sub pushes messages to."""

    def take(self, event: CloudEvent) -> None:
        """Hand the message to the stage; what fails is a 500, and Pub/Sub sends it again."""
        try:
            message = message_of(event)
            report = self.call(lambda stage: stage.handle(message), pushed=True)
        except QuoteWatchError as error:
            get_logger(self.name).error("call_failed", error=str(error))
            abort(500, str(error))  # raised as it is, it would be logged again with its whole stack
        if message.attributes.get("producer") == PROBE:
            epoch = message.attributes.get("epoch")
            get_logger(self.name).info("probed", epoch=epoch, report=report.plain())
        if report.failed:
            abort(500, json.dumps(report.plain()))


def message_of(event: CloudEvent) -> Message:
    """Return the message that an event is about; FrameError where it is about something else."""
    try:
        carried = msgspec.convert(event.data, _Envelope).message
    except msgspec.ValidationError as error:
        raise FrameError(
            f"event {event['id']} of type {event['type']} holds no Pub/Sub message: {error};"
            " point a push subscription here"
        ) from error
    return Message(carried.data, carried.attributes or {})


def is_about(request: Request, tables: Sequence[str]) -> bool:
    """Say whether a call is about one of these tables; one that names none is about all."""
    table = _attributes(request).get("table")
    return table is None or table in tables


def not_concerned(tables: Sequence[str]) -> Response:
    """Answer that there was nothing to do: 200, so that the message does not come again."""
    return as_json({"looked": False, "reason": f"not about {' or '.join(tables)}"}, 200)


def _attributes(request: Request) -> Mapping[str, str]:
    """Return the attributes of the message in a request, raw or as an event; none if unreadable."""
    try:
        body = msgspec.json.decode(request.get_data(), type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    carried = body.message or (body.data and body.data.message)
    return (carried and carried.attributes) or {}
