"""What differs between the two feeds when one talks to them: reader, channels, requests. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ingest_gateway.advanced_reader import AdvancedReader
from ingest_gateway.exchange_reader import ExchangeReader
from ingest_gateway.reader import Reader
from quotewatch.coinbase import advanced, exchange

Requests = Callable[[Sequence[str], Sequence[str]], list[bytes]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to read one feed and how to ask it for things."""

    reader: type[Reader]
    subscribe: Requests
    unsubscribe: Requests
    channels: tuple[str, ...]
    book_channels: tuple[str, ...]  # asked again for a fresh snapshot
    product_channels: tuple[str, ...]  # those that an acknowledgement lists products for
    heartbeats_by_product: bool
    requests_per_second: float  # of one address, all its connections together


DIALECTS: Mapping[str, Dialect] = {
    "exchange": Dialect(
        reader=ExchangeReader,
        subscribe=exchange.subscribe,
        unsubscribe=exchange.unsubscribe,
        channels=exchange.CHANNELS,
        book_channels=(exchange.LEVEL2,),
        product_channels=(exchange.LEVEL2, exchange.MATCHES),
        heartbeats_by_product=True,
        requests_per_second=50.0,  # takes 100
    ),
    "advanced": Dialect(
        reader=AdvancedReader,
        subscribe=advanced.subscribe,
        unsubscribe=advanced.unsubscribe,
        channels=advanced.CHANNELS,
        book_channels=(advanced.LEVEL2,),
        product_channels=(advanced.LEVEL2, advanced.TRADES),
        heartbeats_by_product=False,
        requests_per_second=7.0,  # takes 8
    ),
}
