"""What stages go through, and what alerts say to it."""

from tests.observability.gateway_scenarios import NONE, ONE
from tests.observability.promtool import Scenario
from tests.observability.timelines import at, flat, gone, rising, stamps, then

SUCCESS = "stage_last_success_timestamp_seconds"
MINUTES = {"write": 1, "label": 5, "train": 5, "reconcile": 5, "maintain": 10}
# From the last success to the alert: its threshold and as long as it must hold.
LATEST = {"write": 6, "label": 20, "train": 20, "reconcile": 20, "maintain": 40}
FEATURES_OUT = 'gateway_bytes_published_total{stream="features"}'
ANSWERED = f'{SUCCESS}{{job="predict"}}'


def stalled(stage: str) -> list[Scenario]:
    """Let a stage stop in every way there is."""
    every, latest, policy = MINUTES[stage], LATEST[stage], f"{stage}-stalled"
    success = f'{SUCCESS}{{job="{stage}"}}'
    again = 60 + latest + 30
    until, after = range(0, 61, every), range(again, again + 31, every)
    return [
        Scenario(
            policy, "the schedule is paused, and goes on",
            {success: at([*until, *after])},
            {60: NONE, 60 + latest - 1: NONE, 60 + latest + 1: ONE, again - 1: ONE, again: NONE},
        ),
        Scenario(
            policy, "never called", {}, {latest - 1: NONE, latest + 1: ONE, 500: ONE},
        ),
        Scenario(
            policy, "it runs and fails each time",
            {success: then(stamps(0, 61), flat(3_600, 60))}, {60: NONE, 60 + latest + 1: ONE},
        ),
        Scenario(
            policy, "forgotten for a day", {success: at(until)}, {460: ONE, 1_500: ONE},
        ),
        Scenario(
            policy, "only another environment's goes well",
            {f'{success[:-1]},environment="local"}}': stamps(0, 121)}, {120: ONE},
        ),
        Scenario(
            policy, "killed and replaced at each call",
            {
                f'{success[:-1]},task_id="{call}"}}': at([call * every]) for call in range(20)
            },
            {every: NONE, 10 * every: NONE, 19 * every: NONE},
        ),
        Scenario(
            policy, "one call fails and the next goes well",
            {success: at([minute for minute in range(0, 121, every) if minute != 6 * every])},
            dict.fromkeys(range(5 * every, 9 * every), NONE),
        ),
    ]  # fmt: skip


PREDICT = [
    Scenario(
        "predict-stalled", "it dies and comes back",
        {
            FEATURES_OUT: rising(0, 9_000, 131),
            ANSWERED: then(stamps(0, 61), gone(39), stamps(100, 31)),
        },
        {70: NONE, 75: NONE, 77: ONE, 99: ONE, 100: NONE},
    ),
    Scenario(
        "predict-stalled", "it was never deployed", {FEATURES_OUT: rising(0, 9_000, 61)},
        {10: NONE, 30: ONE, 60: ONE},
    ),
    Scenario(
        "predict-stalled", "every frame fails: its process lives and exports",
        {FEATURES_OUT: rising(0, 9_000, 121), ANSWERED: then(stamps(0, 61), flat(3_600, 60))},
        {60: NONE, 80: ONE},
    ),
    Scenario(
        "predict-stalled", "no features: nothing is asked of it",
        {FEATURES_OUT: then(rising(0, 9_000, 61), flat(540_000, 120)), ANSWERED: stamps(0, 61)},
        {65: NONE, 75: NONE, 120: NONE, 180: NONE},
    ),
    Scenario(
        "predict-stalled", "features after a long night",
        {
            FEATURES_OUT: then(
                rising(0, 9_000, 61), flat(540_000, 139), rising(549_000, 9_000, 40)
            ),
            ANSWERED: then(stamps(0, 61), gone(140), stamps(201, 39)),
        },
        {200: NONE, 201: NONE, 210: NONE, 239: NONE},
    ),
    Scenario(
        "predict-stalled", "an instance for each call",
        {
            FEATURES_OUT: rising(0, 9_000, 61),
            **{f'{ANSWERED[:-1]},task_id="{call}"}}': at([call * 2]) for call in range(30)},
        },
        {30: NONE, 60: NONE},
    ),
]  # fmt: skip

SCENARIOS = [*(each for stage in MINUTES for each in stalled(stage)), *PREDICT]
