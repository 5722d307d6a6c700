"""The trades of the exchange by id: a range in, pages that cover it exactly out, or an error.

Asks no faster than the exchange allows, and no more and no longer than one run may.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from random import random
from threading import Thread

from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from quotewatch.clock import Clock
from quotewatch.coinbase.rest import Descent, RestTrade, TradePage, plan_descent, read_listing
from quotewatch.errors import (
    FetchBudgetError,
    ProductGoneError,
    TradeSourceError,
    TradeSourceUnavailableError,
    WireError,
)

__all__ = ["RestTrade", "RestTrades", "TradePage"]

_NO_ANSWER = 0
_MOST_BYTES = 4_000_000  # twenty times a full page: more is no answer to us
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.5, 8.0
_SHORTEST_SECONDS = 0.001  # of a timeout: none is allowed to be zero
# Without a User-Agent the exchange refuses to answer.
_HEADERS = {"Accept": "application/json", "User-Agent": "QuoteWatch"}


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    retry_after: str | None = None

    @property
    def may_pass(self) -> bool:
        return self.status == _NO_ANSWER or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    def __str__(self) -> str:
        text = self.body[:200].decode(errors="replace")
        return text if self.status == _NO_ANSWER else f"HTTP {self.status}: {text}"


class RestTrades:
    """Fetches trades within one budget, which counts from here on. For one thread."""

    def __init__(
        self,
        base_url: str,
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        max_requests: int,
        budget_seconds: float,
        requests_per_second: float = 8.0,
        connect_seconds: float = 5.0,
        read_seconds: float = 10.0,
        tries: int = 4,
        jitter: Callable[[], float] = random,
    ) -> None:
        self.requests = 0
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._sleep = sleep
        self._max_requests = max_requests
        self._budget_seconds = budget_seconds
        self._deadline = clock.monotonic() + budget_seconds
        self._pause = 1.0 / requests_per_second
        self._next_at = clock.monotonic()
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._tries = tries
        self._jitter = jitter
        self._pool = PoolManager(headers=_HEADERS)

    def fetch(self, product: str, first: int, last: int) -> Iterator[TradePage]:
        """Yield pages from `last` down to `first`; together they cover the range exactly.

        Ask only for what the exchange has gone past: an id that it has not used yet is one that
        does not exist. What was yielded before an error stays true.
        """
        descent = plan_descent(first, last)
        while not descent.done:
            page, descent = self._step(product, descent)
            if page is not None:
                yield page

    def _step(self, product: str, descent: Descent) -> tuple[TradePage | None, Descent]:
        path = descent.path(product)
        body = self._body(product, path)
        try:
            return descent.take(read_listing(product, body))
        except WireError as error:
            raise TradeSourceError(
                f"{product}: {path} cannot be read: {error}; compare with the exchange's REST page"
            ) from error

    # -- one answer, however many tries it takes ----------------------------------------------

    def _body(self, product: str, path: str) -> bytes:
        failures = refusals = 0
        while (reply := self._ask(path)).status != HTTPStatus.OK:
            if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
                asked = _asked_delay(reply)
                self._wait(self._delay(refusals) if asked is None else asked)
                refusals += 1
                continue
            if not reply.may_pass:
                raise _refusal(product, path, reply)
            failures += 1
            if failures >= self._tries:
                raise TradeSourceUnavailableError(
                    f"{product}: {path} failed {failures} times, at last {reply}; try again later"
                )
            self._wait(self._delay(failures - 1))
        return reply.body

    def _delay(self, failures: int) -> float:
        longest = min(_FIRST_DELAY_SECONDS * 2.0 ** min(failures, 30), _LONGEST_DELAY_SECONDS)
        return longest * (1.0 - self._jitter() / 2.0)

    def _ask(self, path: str) -> _Reply:
        self._take_turn()
        left = max(_SHORTEST_SECONDS, self._deadline - self._clock.monotonic())
        connect, read = min(self._connect_seconds, left), min(self._read_seconds, left)
        url = self._base_url + path
        try:
            return _within(min(connect + read, left), lambda: self._get(url, connect, read))
        except (HTTPError, OSError) as error:
            return _Reply(_NO_ANSWER, f"{type(error).__name__}: {error}".encode())

    def _get(self, url: str, connect: float, read: float) -> _Reply:
        response = self._pool.request(
            "GET",
            url,
            retries=False,
            redirect=False,
            preload_content=False,
            timeout=Timeout(connect=connect, read=read),
        )
        try:
            body = response.read(_MOST_BYTES)
        finally:
            response.close()  # of what was read to its end the connection is in the pool already
        return _Reply(response.status, body, response.headers.get("Retry-After"))

    # -- the budget ---------------------------------------------------------------------------

    def _take_turn(self) -> None:
        if self.requests >= self._max_requests:
            raise FetchBudgetError(
                f"all {self._max_requests} requests are used up; the next run goes on"
            )
        self._wait(self._next_at - self._clock.monotonic())
        self._next_at = self._clock.monotonic() + self._pause
        self.requests += 1

    def _wait(self, seconds: float) -> None:
        left = self._deadline - self._clock.monotonic()
        if left <= max(0.0, seconds):
            raise FetchBudgetError(
                f"{self._budget_seconds:g} s are used up but for {max(0.0, left):.1f} s;"
                " the next run goes on"
            )
        if seconds > 0:
            self._sleep(seconds)


def _asked_delay(reply: _Reply) -> float | None:
    """Return the seconds of a Retry-After, which may be a date; None where none can be read."""
    if reply.retry_after is None:
        return None
    try:
        return Retry().parse_retry_after(reply.retry_after)
    except HTTPError:
        return None


def _refusal(product: str, path: str, reply: _Reply) -> TradeSourceError:
    if reply.status == HTTPStatus.NOT_FOUND:
        return ProductGoneError(f"{product}: {path} is {reply}; nothing can be fetched any more")
    return TradeSourceError(f"{product}: {path} was refused: {reply}; the request has to change")


def _within(seconds: float, call: Callable[[], _Reply]) -> _Reply:
    """Carry out a call, and give it up when the time is over, whatever it waits for."""
    # A name lookup takes no timeout, and who sends a byte now and then never meets that of a read.
    future: Future[_Reply] = Future()

    def carry_out() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)

    Thread(target=carry_out, name="trade source", daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {seconds:.1f} s") from error
