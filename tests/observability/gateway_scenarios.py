"""What a gateway goes through, and what alerts say to it."""

from tests.observability.promtool import ENVIRONMENT, Scenario
from tests.observability.timelines import flat, gone, rising, stamps, then

HEARD, OPEN = "last_update_timestamp_seconds", "gateway_connections_open"
BOOKS, CAPACITY = "gateway_books_valid", "trade_buffer_capacity"
FAILURES, SPOOL = "gateway_publish_failures_total", "gateway_spool_frames"
QUEUE, REFUSED = "gateway_queue_bytes", "gateway_spool_failures_total"
PUBLISHED = 'gateway_bytes_published_total{stream="raw_trades"}'
DROPS = 'gateway_events_total{kind="drop",reason="queue_full"}'
DUPLICATES = 'gateway_events_total{kind="drop",reason="duplicate"}'
ONE: list[dict[str, str]] = [{}]
NONE: list[dict[str, str]] = []
MISSED = [{"environment": ENVIRONMENT, "monitored_resource": "generic_task"}]


def of(key: str, task: str) -> str:
    """Name the series of another instance."""
    name, brace, labels = key.partition("{")
    return f'{name}{{task_id="{task}"{"," + labels if brace else "}"}'


SILENT = [
    Scenario(
        "gateway-silent", "the feed falls silent and speaks again",
        {OPEN: flat(2, 61), HEARD: then(stamps(0, 21), flat(1_200, 20), stamps(41, 20))},
        {24: NONE, 26: NONE, 27: ONE, 40: ONE, 41: NONE},
    ),
    Scenario(
        "gateway-silent", "a gateway begins and never hears anything",
        {OPEN: flat(0, 31)}, {4: NONE, 7: ONE, 30: ONE},
    ),
    Scenario(
        "gateway-silent", "silent for longer than anybody looks back",
        {OPEN: flat(2, 121), HEARD: then(stamps(0, 21), gone(100))}, {120: ONE},
    ),
    Scenario(
        "gateway-silent", "the gateway is killed: what is not there is not silent",
        {OPEN: flat(2, 21), HEARD: stamps(0, 21)}, {23: NONE, 25: NONE, 26: NONE, 40: NONE},
    ),
    Scenario(
        "gateway-silent", "another gateway takes over",
        {
            OPEN: flat(2, 21), HEARD: stamps(0, 21),
            of(OPEN, "2"): then(gone(20), flat(2, 41)),
            of(HEARD, "2"): then(gone(20), stamps(20, 41)),
        },
        {25: NONE, 30: NONE, 60: NONE},
    ),
    Scenario(
        "gateway-silent", "exports fail for three minutes",
        {
            OPEN: then(flat(2, 20), gone(3), flat(2, 20)),
            HEARD: then(stamps(0, 20), gone(3), stamps(23, 20)),
        },
        {22: NONE, 23: NONE, 40: NONE},
    ),
]  # fmt: skip

GONE = [
    Scenario(
        "gateway-gone", "killed, and started again much later",
        {OPEN: then(flat(2, 21), gone(19), flat(2, 20))},
        {25: NONE, 30: NONE, 31: MISSED, 39: MISSED, 40: NONE},
    ),
    Scenario("gateway-gone", "there never was one", {}, {4: NONE, 5: MISSED, 60: MISSED}),
    Scenario(
        "gateway-gone", "one runs elsewhere", {f'{OPEN}{{environment="local"}}': flat(2, 31)},
        {10: MISSED, 30: MISSED},
    ),
    Scenario(
        "gateway-gone", "replaced, with three minutes between",
        {OPEN: flat(2, 21), of(OPEN, "2"): then(gone(24), flat(2, 20))}, {24: NONE, 40: NONE},
    ),
    Scenario(
        "gateway-gone", "it runs, without a connection", {OPEN: flat(0, 61)}, {30: NONE, 60: NONE},
    ),
]  # fmt: skip

NO_BOOK = [
    Scenario(
        "no-book-valid", "all books are lost and come back",
        {BOOKS: then(flat(3, 21), flat(0, 20), flat(3, 20))},
        {25: NONE, 30: NONE, 31: ONE, 40: ONE, 41: NONE},
    ),
    Scenario("no-book-valid", "none from the beginning", {BOOKS: flat(0, 11)}, {4: NONE, 5: ONE}),
    Scenario("no-book-valid", "one is left", {BOOKS: flat(1, 61)}, {60: NONE}),
    Scenario(
        "no-book-valid", "books come and go",
        {BOOKS: " ".join(["3 0 0 0"] * 15)}, {30: NONE, 59: NONE},
    ),
    Scenario(
        "no-book-valid", "killed while it had none: that is not known any more",
        {BOOKS: flat(0, 4)}, {9: NONE, 20: NONE},
    ),
    Scenario(
        "no-book-valid", "a new gateway has books, the old one none",
        {BOOKS: flat(0, 61), of(BOOKS, "2"): flat(3, 61)}, {60: NONE},
    ),
]  # fmt: skip

SOME_BOOKS = [
    Scenario(
        "books-missing", "one of three is lost and comes back",
        {CAPACITY: flat(30_000, 141), BOOKS: then(flat(3, 21), flat(2, 90), flat(3, 30))},
        {50: NONE, 80: NONE, 81: ONE, 110: ONE, 111: NONE},
    ),
    Scenario(
        "books-missing", "a product that never gets a book",
        {CAPACITY: flat(30_000, 61), BOOKS: flat(2, 61)}, {29: NONE, 30: ONE, 60: ONE},
    ),
    Scenario(
        "books-missing", "each in its turn for a while",
        {CAPACITY: flat(30_000, 121), BOOKS: " ".join(["3", flat(2, 19)] * 6)}, {119: NONE},
    ),
    Scenario(
        "books-missing", "a gateway for fewer products follows",
        {
            CAPACITY: flat(30_000, 21), BOOKS: flat(3, 21),
            of(CAPACITY, "2"): then(gone(20), flat(10_000, 80)),
            of(BOOKS, "2"): then(gone(20), flat(1, 80)),
        },
        {40: NONE, 51: NONE, 90: NONE},
    ),
]  # fmt: skip

PUBLISH = [
    Scenario(
        "publish-failing", "the bus is away and comes back",
        {
            FAILURES: then(flat(0, 21), rising(1, 1, 30), flat(30, 20)),
            PUBLISHED: then(rising(0, 900, 21), flat(18_000, 30), rising(18_900, 900, 20)),
        },
        {29: NONE, 34: NONE, 35: ONE, 50: ONE, 51: NONE},
    ),
    Scenario(
        "publish-failing", "it never could", {FAILURES: rising(0, 1, 31)}, {5: NONE, 10: ONE},
    ),
    Scenario(
        "publish-failing", "killed and started anew while the bus is away",
        {
            FAILURES: then(flat(0, 21), rising(1, 1, 15), rising(0, 1, 25)),
            PUBLISHED: then(rising(0, 900, 21), flat(18_000, 15)),
        },
        {34: NONE, 35: ONE, 60: ONE},
    ),
    Scenario(
        "publish-failing", "counters begin anew, and it publishes",
        {
            FAILURES: then(flat(7, 21), flat(0, 40)),
            PUBLISHED: then(rising(90_000, 900, 21), rising(0, 900, 40)),
        },
        {21: NONE, 25: NONE, 40: NONE},
    ),
    Scenario(
        "publish-failing", "one call in two fails",
        {FAILURES: rising(0, 1, 61), PUBLISHED: rising(0, 900, 61)}, {30: NONE, 60: NONE},
    ),
    Scenario(
        "publish-failing", "a dead feed: there is nothing to publish",
        {FAILURES: flat(3, 61), PUBLISHED: flat(90_000, 61)}, {30: NONE, 60: NONE},
    ),
]  # fmt: skip

WAITING = [
    Scenario(
        "frames-waiting", "one stream cannot be published, then it can",
        {SPOOL: then(flat(2, 21), rising(50, 50, 60), rising(2_000, -500, 5), flat(1, 20))},
        {30: NONE, 50: ONE, 80: ONE, 84: NONE, 100: NONE},
    ),
    Scenario(
        "frames-waiting", "the spool is full and stays so", {SPOOL: flat(90_000, 61)}, {60: ONE},
    ),
    Scenario(
        "frames-waiting", "without a spool what waits is in memory",
        {SPOOL: flat(0, 101), QUEUE: then(flat(4_096, 21), rising(0, 1_048_576, 80))},
        {40: NONE, 60: ONE, 100: ONE},
    ),
    Scenario(
        "frames-waiting", "a night's spool becomes less, slowly",
        {SPOOL: rising(90_000, -20, 121), QUEUE: flat(67_108_864, 20)}, {60: NONE, 120: NONE},
    ),
    Scenario(
        "frames-waiting", "a few on their way, always",
        {SPOOL: flat(60, 121), QUEUE: flat(900_000, 121)}, {60: NONE, 120: NONE},
    ),
]  # fmt: skip

SPOOL_FAILS = [
    Scenario(
        "spool-failing", "the disk is full for an hour",
        {REFUSED: then(flat(0, 21), rising(1, 9, 60), flat(532, 40))},
        {30: NONE, 45: ONE, 80: ONE, 97: NONE, 110: NONE},
    ),
    Scenario(
        "spool-failing", "a single frame did not fit",
        {REFUSED: then(flat(0, 21), flat(1, 60))}, {25: NONE, 36: NONE, 45: NONE, 60: NONE},
    ),
    Scenario(
        "spool-failing", "the gateway begins anew", {REFUSED: then(flat(500, 21), flat(0, 40))},
        {21: NONE, 30: NONE, 60: NONE},
    ),
]  # fmt: skip

DROPPED = [
    Scenario(
        "rows-dropped", "nothing can take them: the series begins with the first of them",
        {DROPS: then(gone(20), flat(400, 121)), DUPLICATES: rising(0, 5, 141)},
        {19: NONE, 20: [{"reason": "queue_full"}], 79: [{"reason": "queue_full"}], 81: NONE},
    ),
    Scenario(
        "rows-dropped", "more of them hours later",
        {DROPS: then(flat(400, 200), flat(900, 100))},
        {150: NONE, 200: [{"reason": "queue_full"}], 290: NONE},
    ),
    Scenario(
        "rows-dropped", "trades that were there already", {DUPLICATES: rising(0, 5, 61)},
        {30: NONE, 60: NONE},
    ),
    Scenario(
        "rows-dropped", "an old loss, and nobody heard of for two hours",
        {DROPS: then(flat(400, 120), gone(120), flat(400, 60))}, {110: NONE, 241: NONE, 299: NONE},
    ),
]  # fmt: skip

SCENARIOS = [
    *SILENT, *GONE, *NO_BOOK, *SOME_BOOKS, *PUBLISH, *WAITING, *SPOOL_FAILS, *DROPPED,
]  # fmt: skip
