"""Fetch missing trades over REST and store them: holes of a product in, rows of raw_trades out."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from quotewatch.clock import Clock
from quotewatch.coinbase.rest import RestTrade
from quotewatch.errors import (
    FetchBudgetError,
    ProductGoneError,
    TradeSourceError,
    TradeSourceUnavailableError,
)
from quotewatch.intervals import Intervals
from quotewatch.streams import RAW_TRADES, REST_EPOCH, TABLES
from quotewatch.tables.commit import Committer
from quotewatch.tables.intake import Intake, now_seq
from quotewatch.trade_source import RestTrades

GONE = "the exchange does not know the product any more"
ABSENT = "the exchange does not have these trades"
_STORED_AT_ONCE = 20_000


class Healing:
    """One run's fetching. What was fetched before an error is stored."""

    def __init__(self, committer: Committer, clock: Clock, source: RestTrades) -> None:
        self._intake = Intake(committer, RAW_TRADES.name)
        self._clock = clock
        self._source = source
        self._waiting: list[RestTrade] = []
        self.stored = 0  # trades
        self.waits: dict[str, str] = {}  # product -> why some of it could not be fetched now
        self.spent = False  # nothing more can be had in this run

    @property
    def requests(self) -> int:
        """How often the exchange was asked."""
        return self._source.requests

    def heal(self, symbol: str, holes: Intervals) -> str | None:
        """Fetch and store the trades of some holes; return why some will never come, if so."""
        verdict = None
        try:
            # Only when all was asked for: what an error cut short may well be there.
            verdict = self._fetch(symbol, holes)
        except ProductGoneError as error:
            self.waits[symbol] = str(error)
            verdict = GONE
        except (FetchBudgetError, TradeSourceError) as error:
            self.waits[symbol] = str(error)
            # One product's refusal need not be the next one's; no answer at all is everybody's.
            self.spent = isinstance(error, FetchBudgetError | TradeSourceUnavailableError)
        finally:
            self._store()
        return verdict

    def _fetch(self, symbol: str, holes: Intervals) -> str | None:
        absent = refused = 0
        for first, last in holes:
            for page in self._source.fetch(symbol, first, last):
                self._waiting += page.trades
                absent += page.to_id - page.from_id + 1 - len(page.trades) - page.refused
                refused += page.refused
                if page.reasons:
                    reasons = ", ".join(page.reasons)
                    self.waits[symbol] = f"the exchange's answer was refused: {reasons}"
                if len(self._waiting) >= _STORED_AT_ONCE:
                    self._store()
        return ABSENT if absent > 0 and not refused else None

    def _store(self) -> None:
        trades, self._waiting = self._waiting, []
        if trades:
            now_ns = self._clock.now_ns()
            rows = _rows(trades, now_ns)
            self.stored += self._intake.store_trades(rows, seq=now_seq(now_ns)).inserted


def _rows(trades: Sequence[RestTrade], now_ns: int) -> pa.Table:
    count = len(trades)
    known: dict[str, list[Any]] = {
        "symbol": [each.symbol for each in trades],
        "trade_id": [each.trade_id for each in trades],
        "price": [Decimal(each.price) for each in trades],
        "size": [Decimal(each.size) for each in trades],
        "taker_side": [each.taker_side for each in trades],
        "exchange_time": [each.exchange_us for each in trades],
        "received_at": [now_ns // 1_000] * count,
        "source": ["rest"] * count,
        "live": [False] * count,
        "epoch": [REST_EPOCH] * count,
        "seq": [now_seq(now_ns)] * count,
        "row": list(range(count)),
    }
    schema = TABLES[RAW_TRADES.name].schema
    nothing = [None] * count
    columns = [pa.array(known.get(field.name, nothing), field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)
