"""The REST interface on the port of the feed: what is no WebSocket handshake is answered here."""

import asyncio
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from quotewatch.clock import Clock
from quotewatch.local.exchange.config import ExchangeReport
from quotewatch.local.exchange.rest import Answer, RestInterface, unavailable


class RestDoor:
    """Answers plain GETs. While it is down, every second one hangs until it is up again."""

    def __init__(self, rest: RestInterface, clock: Clock, report: ExchangeReport) -> None:
        self._rest = rest
        self._clock = clock
        self._report = report
        self._up = asyncio.Event()
        self._up.set()
        self._feed_open = True

    def close_feed(self) -> None:
        """Refuse WebSocket handshakes from now on."""
        self._feed_open = False

    def set_down(self, down: bool) -> None:
        """Take the interface down, or up."""
        if down:
            self._up.clear()
        else:
            self._up.set()

    async def answer(self, _: ServerConnection, request: Request) -> Response | None:
        """Answer a GET; None lets a WebSocket handshake go on."""
        if "Upgrade" in request.headers:
            return None if self._feed_open else _response(unavailable())
        if self._up.is_set():
            return _response(self._rest.answer(request.path, self._clock.monotonic()))
        self._report.faults["rest_down"] += 1
        if self._report.faults["rest_down"] % 2 == 0:
            await self._up.wait()
        return _response(unavailable())


def _response(answer: Answer) -> Response:
    headers = Headers(answer.headers)
    headers["Content-Type"] = "application/json; charset=utf-8"
    headers["Content-Length"] = str(len(answer.body))
    headers["Connection"] = "close"
    return Response(answer.status, HTTPStatus(answer.status).phrase, headers, answer.body)
