"""What proofs and exports go through, and what alerts say to it."""

from collections.abc import Iterable

from tests.observability.gateway_scenarios import MISSED, NONE, ONE, OPEN
from tests.observability.promtool import Scenario
from tests.observability.timelines import at, flat, gone, rising, then


def calls(begin: int, end: int) -> range:
    """Return the minutes at which reconcile was called."""
    return range(begin, end, 5)


def of(name: str, task: str = "1", table: str = "") -> str:
    inner = f'job="reconcile",task_id="{task}"' + (f',table="{table}"' if table else "")
    return f"{name}{{{inner}}}"


def told(*spans: tuple[Iterable[int], float]) -> str:
    """Say values at the calls of some spans, which do not touch."""
    said = {minute: value for minutes, value in spans for minute in minutes}
    return " ".join(str(said.get(minute, "_")) for minute in range(max(said) + 1))


def succeeded(task: str = "1") -> str:
    return of("stage_last_success_timestamp_seconds", task)


def ratio(task: str = "1", table: str = "raw_trades") -> str:
    return of("data_completeness_ratio", task, table)


def missing(task: str = "1", table: str = "raw_orderbook") -> str:
    return of("data_missing", task, table)


def gap(task: str = "1") -> str:
    return of("reconcile_oldest_gap_timestamp_seconds", task)


def still_open(task: str = "1") -> str:
    return of("reconcile_gaps_open", task)


def exports(result: str, job: str = "label") -> str:
    return f'metrics_exports_total{{job="{job}",result="{result}"}}'


RUNS = 'stage_runs_total{job="write",outcome="ok"}'
OF_TRADES, OF_BOOKS = [{"table": "raw_trades"}], [{"table": "raw_orderbook"}]
OF_LABEL = [{"job": "label"}]

GAPS = [
    Scenario(
        "gaps-not-healed", "found, open for two hours, healed",
        {
            succeeded(): at(calls(0, 200)),
            gap(): told((calls(0, 20), 0), (calls(20, 160), 1_200), (calls(160, 200), 0)),
        },
        {60: NONE, 94: NONE, 97: ONE, 159: ONE, 160: NONE, 195: NONE},
    ),
    Scenario(
        "gaps-not-healed", "found by an instance that another one follows",
        {
            succeeded("1"): at(calls(0, 35)), gap("1"): at(calls(0, 35), 0),
            succeeded("2"): at(calls(35, 120)), gap("2"): at(calls(35, 120), 1_200),
        },
        {60: NONE, 100: ONE},
    ),
    Scenario(
        "gaps-not-healed", "healed by an instance that follows: what the first one said is past",
        {
            succeeded("1"): at(calls(0, 80)), gap("1"): told((calls(20, 80), 1_200)),
            succeeded("2"): at(calls(80, 200)), gap("2"): at(calls(80, 200), 0),
        },
        dict.fromkeys(range(75, 130, 5), NONE),
    ),
    Scenario(
        "gaps-not-healed", "healed within the hour",
        {
            succeeded(): at(calls(0, 200)),
            gap(): told((calls(0, 20), 0), (calls(20, 70), 1_200), (calls(70, 200), 0)),
        },
        {60: NONE, 85: NONE, 150: NONE},
    ),
    Scenario(
        "gaps-not-healed", "one that nobody can heal is known after a day, the next is told",
        {
            succeeded(): at(calls(0, 2_000)),
            gap(): told((calls(0, 20), 0), (calls(20, 2_000), 1_200)),
            still_open(): told((calls(0, 20), 0), (calls(20, 1_700), 1), (calls(1_700, 2_000), 2)),
        },
        {200: ONE, 1_450: ONE, 1_470: NONE, 1_700: NONE, 1_780: ONE, 1_830: NONE},
    ),
    Scenario(
        "gaps-not-healed", "gaps come and are healed, always some",
        {
            succeeded(): at(calls(0, 400)), gap(): at(calls(0, 400), 0),
            still_open(): " ".join(f"{step * 7 % 5} _x4" for step in range(80)),
        },
        dict.fromkeys(range(60, 400, 20), NONE),
    ),
    Scenario(
        "gaps-not-healed", "nobody looks any more: that is another alert",
        {succeeded(): at(calls(0, 60)), gap(): told((calls(20, 60), 1_200))},
        {95: NONE, 120: NONE},
    ),
]  # fmt: skip

INCOMPLETE = [
    Scenario(
        "data-incomplete", "trades are missing, then fetched",
        {
            succeeded(): at(calls(0, 200)),
            ratio(): told((calls(0, 20), 1), (calls(20, 160), 0.95), (calls(160, 200), 1)),
            ratio(table="features"): at(calls(0, 200), 1),
        },
        {34: NONE, 36: OF_TRADES, 159: OF_TRADES, 160: NONE},
    ),
    Scenario(
        "data-incomplete", "the first measurement is bad already",
        {succeeded(): at(calls(0, 60)), ratio(): at(calls(0, 60), 0.9)}, {14: NONE, 16: OF_TRADES},
    ),
    Scenario(
        "data-incomplete", "a permanent loss is known after six hours, the next one is told again",
        {
            succeeded(): at(calls(0, 600)),
            ratio(): told(
                (calls(0, 20), 1), (calls(20, 500), 0.95), (calls(500, 600), 0.94)
            ),
        },
        {100: OF_TRADES, 370: OF_TRADES, 382: NONE, 499: NONE, 516: OF_TRADES},
    ),
    Scenario(
        "data-incomplete", "the loss is known and instances change",
        {
            succeeded("1"): at(calls(0, 500)), ratio("1"): at(calls(0, 500), 0.95),
            succeeded("2"): at(calls(500, 600)), ratio("2"): at(calls(500, 600), 0.95),
        },
        {450: NONE, 505: NONE, 520: NONE, 595: NONE},
    ),
    Scenario(
        "data-incomplete", "a dip of ten minutes",
        {
            succeeded(): at(calls(0, 100)),
            ratio(): told((calls(0, 20), 1), (calls(20, 30), 0.9), (calls(30, 100), 1)),
        },
        {25: NONE, 36: NONE, 60: NONE},
    ),
    Scenario(
        "data-incomplete", "not measured is not incomplete", {succeeded(): at(calls(0, 60))},
        {30: NONE, 59: NONE},
    ),
]  # fmt: skip

GROWING = [
    Scenario(
        "loss-growing", "frames are lost for good: told for an hour",
        {missing(): told((calls(0, 30), 0), (calls(30, 300), 7))},
        {80: NONE, 100: OF_BOOKS, 140: OF_BOOKS, 160: NONE, 290: NONE},
    ),
    Scenario(
        "loss-growing", "much is missing already, and a little more",
        {missing(): told((calls(0, 200), 90_000), (calls(200, 400), 90_001))},
        {150: NONE, 270: OF_BOOKS, 390: NONE},
    ),
    Scenario(
        "loss-growing", "missing for half an hour, then healed",
        {missing(): told((calls(0, 30), 0), (calls(30, 60), 7), (calls(60, 300), 0))},
        dict.fromkeys(range(30, 200, 10), NONE),
    ),
    Scenario(
        "loss-growing", "the next instance tells the same",
        {missing("1"): at(calls(0, 150), 7), missing("2"): at(calls(150, 400), 7)},
        {160: NONE, 220: NONE, 300: NONE, 390: NONE},
    ),
]  # fmt: skip

UNKNOWN = [
    Scenario(
        "completeness-unknown", "reconcile stops and goes on",
        {ratio(): at([*calls(0, 65), *calls(120, 160)], 1)},
        {90: NONE, 95: NONE, 97: MISSED, 119: MISSED, 120: NONE},
    ),
    Scenario("completeness-unknown", "it never measured", {}, {4: NONE, 5: MISSED, 200: MISSED}),
    Scenario(
        "completeness-unknown", "bad is not unknown", {ratio(): at(calls(0, 120), 0.2)},
        {60: NONE, 119: NONE},
    ),
    Scenario(
        "completeness-unknown", "an instance for each call",
        {ratio(str(minute)): at([minute], 1) for minute in calls(0, 120)}, {60: NONE, 119: NONE},
    ),
]  # fmt: skip

METRICS = [
    Scenario(
        "export-failing", "one metric is refused each time, until it is mended",
        {
            exports("ok"): then(rising(0, 1, 21), flat(20, 60), rising(21, 1, 30)),
            exports("partial"): then(gone(20), rising(1, 1, 61), flat(61, 30)),
            exports("ok", "write"): rising(0, 1, 111),
        },
        {45: NONE, 58: NONE, 62: OF_LABEL, 80: OF_LABEL, 82: NONE},
    ),
    Scenario(
        "export-failing", "an outage of ten minutes, told when it is over",
        {
            exports("ok"): then(rising(0, 1, 21), gone(10), rising(21, 1, 60)),
            exports("failed"): then(gone(31), flat(10, 60)),
        },
        {32: NONE, 45: NONE, 90: NONE},
    ),
    Scenario(
        "export-failing", "a process that begins anew",
        {
            exports("ok"): then(rising(500, 1, 31), rising(0, 1, 60)),
            exports("failed"): then(flat(3, 31), flat(0, 60)),
        },
        {31: NONE, 60: NONE, 90: NONE},
    ),
    Scenario(
        "metrics-absent", "nobody may write metrics for a while",
        {
            OPEN: then(flat(2, 21), gone(39), flat(2, 20)),
            RUNS: then(rising(0, 1, 21), gone(39), rising(60, 1, 20)),
        },
        {30: NONE, 35: NONE, 36: MISSED, 59: MISSED, 60: NONE},
    ),
    Scenario("metrics-absent", "nothing ever came", {}, {4: NONE, 5: MISSED, 300: MISSED}),
    Scenario(
        "metrics-absent", "only the gateway is gone", {OPEN: flat(2, 21), RUNS: rising(0, 1, 61)},
        {40: NONE, 60: NONE},
    ),
    Scenario("metrics-absent", "only the gateway is there", {OPEN: flat(2, 61)}, {60: NONE}),
]  # fmt: skip

SCENARIOS = [*GAPS, *INCOMPLETE, *GROWING, *UNKNOWN, *METRICS]
