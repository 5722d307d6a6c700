"""The exchange's REST trades on a real socket, as good or bad as a test wants them."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

MakerTrade = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """An answer that has nothing to do with the trades; one that hangs never comes."""

    status: int = 200
    body: bytes = b'{"message":"so be it"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    drips: bool = False  # a byte now and then, without an end
    missing: int = 0  # bytes that are promised and never sent


HANG = Reply(hangs=True)
DRIP = Reply(drips=True)


def listed(trade_id: int, **fields: object) -> MakerTrade:
    """Return a trade as the exchange lists it; other fields spoil it."""
    trade = {
        "trade_id": trade_id,
        "side": "buy" if trade_id % 2 else "sell",
        "size": f"0.{trade_id:08d}1",
        "price": f"{trade_id + 1}.10",
        "time": f"2026-08-09T05:23:42.{trade_id % 1_000_000:06d}Z",
    }
    return trade | fields


def newest_first(
    trades: Sequence[MakerTrade], ids: Sequence[int], after: int, most: int, *, inclusive: bool
) -> list[MakerTrade]:
    """Return the page below a cursor; `ids` are those of the trades, ascending."""
    below = [trade for trade, number in zip(trades, ids, strict=True) if number < after + inclusive]
    return below[: -most - 1 : -1]


@dataclass
class TradesOverRest:
    """What one product's history is, how the cursor is meant, and what goes wrong first."""

    ids: Sequence[int] = ()
    spoilt: Mapping[int, Mapping[str, object]] = field(default_factory=dict)
    page_size: int = 1000
    inclusive: bool = False
    product: str = "BTC-USD"
    first_replies: deque[Reply] = field(default_factory=deque)
    paths: list[str] = field(default_factory=list)
    url: str = ""
    released: Event = field(default_factory=Event)

    def answer(self, path: str) -> Reply:
        """Answer one GET."""
        self.paths.append(path)
        if self.first_replies:
            return self.first_replies.popleft()
        parts = urlsplit(path)
        if parts.path != f"/products/{self.product}/trades":
            return Reply(404, b'{"message":"NotFound"}')
        query = {name: int(values[-1]) for name, values in parse_qs(parts.query).items()}
        assert 1 <= query["limit"] <= 1000
        most = min(query["limit"], self.page_size)
        trades = [listed(number, **self.spoilt.get(number, {})) for number in self.ids]
        page = newest_first(trades, self.ids, query["after"], most, inclusive=self.inclusive)
        return Reply(200, json.dumps(page).encode())


@contextmanager
def trades_over_rest(served: TradesOverRest) -> Iterator[TradesOverRest]:
    """Serve it on a free port. Leaving lets go of whoever hangs."""

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            reply = served.answer(self.path)
            self.close_connection = reply.hangs or reply.drips or bool(reply.missing)
            try:
                if reply.hangs:
                    served.released.wait()
                elif reply.drips:
                    self._drip()
                else:
                    self._send(reply)
            except OSError:
                self.close_connection = True  # whoever listened has had enough

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.missing))
            self.end_headers()
            self.wfile.write(reply.body)

        def _drip(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not served.released.wait(0.02):
                self.wfile.write(b"y")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        served.released.set()
        server.shutdown()
        serving.join()
        server.server_close()
