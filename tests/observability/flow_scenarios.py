"""What rows, frames and labels go through, and what alerts say to it."""

from tests.observability.gateway_scenarios import NONE, ONE
from tests.observability.promtool import Scenario
from tests.observability.timelines import at, flat, gone, rising, then


def rows(table: str, status: str, task: str = "1") -> str:
    return f'processor_row_writes_total{{table="{table}",status="{status}",task_id="{task}"}}'


def runs(outcome: str) -> str:
    return f'stage_runs_total{{job="write",outcome="{outcome}"}}'


def oldest(subscription: str) -> str:
    return f'oldest_unacked_message_age{{subscription_id="{subscription}"}}'


def undelivered(subscription: str) -> str:
    return f'num_undelivered_messages{{subscription_id="{subscription}"}}'


def stored(job: str, table: str, task: str = "1") -> str:
    return f'iceberg_rows_written_total{{job="{job}",table="{table}",task_id="{task}"}}'


def labelled(task: str = "1") -> str:
    return f'ml_samples_total{{label="0",task_id="{task}"}}'


def learnt(task: str = "1") -> str:
    return f'ml_train_duration_seconds_count{{task_id="{task}"}}'


def lag(task: str) -> str:
    return f'processor_consumer_lag{{stream="features",task_id="{task}"}}'


LAG = 'processor_consumer_lag{stream="features"}'
QUARANTINED = "processor_decode_errors_total"
FEATURES, LABELS = stored("write", "features"), stored("label", "labels")
OF_FEATURES = [{"table": "features"}]

WRITE = [
    Scenario(
        "write-failing", "one table cannot be committed, the others can",
        {
            rows("features", "failed"): then(gone(20), rising(50, 50, 31), flat(1_550, 30)),
            rows("features", "inserted"): then(
                rising(0, 50, 21), flat(1_000, 30), rising(1_050, 50, 30)
            ),
            rows("raw_trades", "inserted"): rising(0, 9, 81),
            runs("failed"): then(gone(20), rising(1, 1, 31), flat(31, 30)),
            runs("ok"): then(rising(1, 1, 20), flat(20, 31), rising(21, 1, 30)),
        },
        {34: NONE, 40: OF_FEATURES, 50: OF_FEATURES, 52: NONE, 80: NONE},
    ),
    Scenario(
        "write-failing", "no table answers, so nothing is even pulled",
        {
            runs("failed"): then(gone(20), rising(1, 1, 41)),
            runs("ok"): then(rising(1, 1, 20), flat(20, 41)),
            rows("features", "inserted"): then(rising(0, 50, 21), flat(1_000, 40)),
        },
        {30: NONE, 41: ONE, 60: ONE},
    ),
    Scenario(
        "write-failing", "an instance for each call, and each dies of it",
        {rows("features", "failed", str(call)): at([call], 50) for call in range(40)},
        {4: NONE, 6: OF_FEATURES, 39: OF_FEATURES},
    ),
    Scenario(
        "write-failing", "it fails and succeeds with the next try",
        {
            rows("features", "failed"): rising(0, 50, 61),
            rows("features", "inserted"): rising(0, 50, 61),
            runs("failed"): rising(0, 1, 61), runs("ok"): rising(0, 1, 61),
        },
        {30: NONE, 60: NONE},
    ),
    Scenario(
        "write-failing", "an old failure, a new process, a quiet market",
        {
            rows("features", "failed"): then(flat(50, 31), flat(0, 30)),
            rows("features", "inserted"): then(flat(900, 31), flat(0, 30)),
            runs("ok"): then(rising(500, 1, 31), rising(0, 1, 30)),
            runs("failed"): then(flat(4, 31), flat(0, 30)),
        },
        {30: NONE, 40: NONE, 60: NONE},
    ),
]  # fmt: skip

BACKLOG = [
    Scenario(
        "write-backlog", "frames come faster than they are written, then not",
        {LAG: then(flat(0, 21), rising(60, 60, 60), rising(3_480, -120, 30), flat(0, 20))},
        {45: NONE, 52: [{"stream": "features"}], 80: [{"stream": "features"}], 95: NONE, 130: NONE},
    ),
    Scenario(
        "write-backlog", "as old as ever",
        {LAG: flat(900, 61)}, {14: NONE, 15: [{"stream": "features"}]},
    ),
    Scenario(
        "write-backlog", "a day's backlog is worked off, not always the oldest first",
        {LAG: " ".join(f"{86_000 - 300 * step} {80_000 - 300 * step}" for step in range(60))},
        dict.fromkeys(range(20, 120, 5), NONE),
    ),
    Scenario(
        "write-backlog", "an hour's outage is over",
        {LAG: then(flat(0, 21), rising(3_600, -90, 41), flat(0, 20))},
        dict.fromkeys(range(20, 80, 4), NONE),
    ),
    Scenario(
        "write-backlog", "an instance for each call, two of which were late",
        {
            lag(f"call-{minute}"): at([minute], {60: 450.0, 69: 460.0}.get(minute, 0.0))
            for minute in range(100)
        },
        dict.fromkeys(range(60, 100), NONE),
    ),
    Scenario(
        "write-backlog", "an instance for each call, and every one is late",
        {lag(f"call-{minute}"): at([minute], 400.0 + minute) for minute in range(60)},
        {50: [{"stream": "features"}]},
    ),
    Scenario(
        "write-backlog", "late now and then", {LAG: " ".join(["0 900 900 900"] * 20)},
        {40: NONE, 79: NONE},
    ),
]  # fmt: skip

STUCK = [
    Scenario(
        "frame-stuck", "a frame of a newer schema, until the new program comes",
        {oldest("features.write"): then(flat(0, 10), rising(0, 60, 120), flat(0, 20))},
        {
            80: NONE, 88: NONE, 92: [{"subscription_id": "features.write"}],
            129: [{"subscription_id": "features.write"}], 130: NONE,
        },
    ),
    Scenario(
        "frame-stuck", "dead letters wait for somebody: that is another alert",
        {oldest("features-dead.redrive"): rising(0, 60, 200)}, {199: NONE},
    ),
    Scenario(
        "frame-stuck", "what an outage left is worked off",
        {oldest("raw_orderbook.write"): rising(20_000, -60, 120)}, {80: NONE, 119: NONE},
    ),
    Scenario(
        "frame-stuck", "minutes behind, always",
        {oldest("features.predict"): flat(600, 120)}, {119: NONE},
    ),
    Scenario(
        "frame-stuck", "away for hours, and what came meanwhile is worked off at once",
        {oldest("features.write"): then(flat(0, 21), rising(9_000, -300, 31), flat(0, 60))},
        dict.fromkeys(range(20, 110, 5), NONE),
    ),
]  # fmt: skip

NOT_LABELLED = [
    Scenario(
        "labels-not-made", "labelling stops and goes on",
        {
            FEATURES: rising(0, 900, 181),
            labelled(): then(rising(0, 900, 61), flat(54_000, 80), rising(54_900, 900, 40)),
        },
        {104: NONE, 119: NONE, 121: ONE, 140: ONE, 142: NONE},
    ),
    Scenario(
        "labels-not-made", "label never made one", {FEATURES: rising(0, 900, 121)},
        {15: NONE, 40: ONE, 120: ONE},
    ),
    Scenario(
        "labels-not-made", "killed for good",
        {FEATURES: rising(0, 900, 181), labelled(): rising(0, 900, 61)}, {100: NONE, 125: ONE},
    ),
    Scenario(
        "labels-not-made", "the market is closed: nothing is stored either",
        {
            FEATURES: then(rising(0, 900, 61), flat(54_000, 240)),
            labelled(): then(rising(0, 900, 64), flat(56_700, 237)),
        },
        {80: NONE, 110: NONE, 125: NONE, 300: NONE},
    ),
    Scenario(
        "labels-not-made", "one burst of a book that closed at once",
        {FEATURES: then(flat(0, 60), flat(40, 120)), labelled(): flat(0, 180)},
        dict.fromkeys(range(60, 120, 5), NONE),
    ),
    Scenario(
        "labels-not-made", "features again after a night, labels minutes later",
        {
            FEATURES: then(flat(0, 300), rising(900, 900, 60)),
            labelled(): then(flat(0, 312), rising(900, 900, 48)),
        },
        {305: NONE, 311: NONE, 316: NONE, 331: NONE, 359: NONE},
    ),
    Scenario(
        "labels-not-made", "an instance for each call",
        {
            FEATURES: rising(0, 900, 181),
            **{labelled(str(call)): at([call * 5], 4_500) for call in range(36)},
        },
        {60: NONE, 120: NONE, 180: NONE},
    ),
    Scenario(
        "labels-not-made", "label is restarted and counts anew",
        {
            FEATURES: rising(0, 900, 181),
            labelled(): then(rising(0, 900, 61), rising(10, 10, 120)),
        },
        {100: NONE, 125: NONE, 180: NONE},
    ),
]  # fmt: skip

NOT_LEARNT = [
    Scenario(
        "labels-not-learnt", "training stops and goes on",
        {
            LABELS: rising(0, 900, 201),
            learnt(): then(rising(0, 1, 61), flat(60, 100), rising(61, 1, 40)),
        },
        {119: NONE, 134: NONE, 137: ONE, 160: ONE, 162: NONE},
    ),
    Scenario(
        "labels-not-learnt", "train was never deployed", {LABELS: rising(0, 900, 121)},
        {29: NONE, 60: ONE},
    ),
    Scenario(
        "labels-not-learnt", "nothing to learn",
        {LABELS: then(rising(0, 900, 61), flat(54_000, 240)), learnt(): rising(0, 1, 62)},
        {100: NONE, 130: NONE, 200: NONE},
    ),
    Scenario(
        "labels-not-learnt", "an instance for each call",
        {
            LABELS: rising(0, 900, 181),
            **{learnt(str(call)): at([call * 5], 3) for call in range(36)},
        },
        {90: NONE, 180: NONE},
    ),
]  # fmt: skip

ASIDE = [
    Scenario(
        "dead-letters", "three frames die and are redriven",
        {undelivered("features-dead.redrive"): then(flat(0, 20), flat(3, 40), flat(0, 30))},
        {
            19: NONE, 24: NONE, 25: [{"subscription_id": "features-dead.redrive"}],
            60: [{"subscription_id": "features-dead.redrive"}], 71: NONE,
        },
    ),
    Scenario(
        "dead-letters", "a backlog is no dead letter",
        {
            undelivered("features.write"): flat(5_000, 61),
            undelivered("events-dead.redrive"): flat(0, 61),
        },
        {60: NONE},
    ),
    Scenario(
        "quarantine", "two messages that are no frames",
        {QUARANTINED: then(flat(0, 20), flat(2, 121))}, {19: NONE, 20: ONE, 79: ONE, 81: NONE},
    ),
    Scenario(
        "quarantine", "by an instance that lived for one call",
        {f'{QUARANTINED}{{task_id="9"}}': at([30], 2)}, {29: NONE, 30: ONE, 89: ONE, 91: NONE},
    ),
    Scenario(
        "quarantine", "counted long ago, told again after an outage of exports, then restarted",
        {QUARANTINED: then(flat(2, 100), gone(120), flat(2, 60), flat(0, 60))},
        {90: NONE, 221: NONE, 282: NONE, 339: NONE},
    ),
]  # fmt: skip

SCENARIOS = [*WRITE, *BACKLOG, *STUCK, *NOT_LABELLED, *NOT_LEARNT, *ASIDE]
