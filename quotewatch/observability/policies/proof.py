"""Alerts on what is proven about completeness, and on being able to tell anything at all."""

from quotewatch.observability.conditions import (
    MEMORY_MINUTES,
    absent,
    grown_without,
    newest,
    series,
)
from quotewatch.observability.policy import Policy

_SUCCESS = series("stage_last_success_timestamp_seconds", owner="reconcile")
_GAP = series("reconcile_oldest_gap_timestamp_seconds")
_OPEN = series("reconcile_gaps_open")
_RATIO = series("data_completeness_ratio")
_MISSING = series("data_missing")
_CONNECTIONS = series("gateway_connections_open")
_RUNS = series("stage_runs_total")
_EXPORTS = "metrics_exports_total"

_GAP_AGE = f"max(time() - ({newest(_GAP, _SUCCESS, 30)} > 0))"
# What cannot be healed, bytes nobody can read, stays open for ever; it must not cover the next gap.
_MORE_OPEN = f"min(min_over_time({_OPEN.over(60)})) > min(min_over_time({_OPEN.over(60, 60)}))"
_RATIO_NOW = f"min by (table) ({newest(_RATIO, _SUCCESS, 30)})"
# A permanent loss is known after some hours and stands in `gaps`; it must not cover the next one.
_NO_WORSE = (
    f"({_RATIO_NOW} >= max by (table) (max_over_time({_RATIO.over(MEMORY_MINUTES)}))"
    f" and on (table) max by (table) (max_over_time({_RATIO.over(30, MEMORY_MINUTES)})))"
)
_MISSING_NOW = f"min by (table) (min_over_time({_MISSING.over(60)}))"
_MISSING_BEFORE = f"min by (table) (min_over_time({_MISSING.over(60, 60)}))"

PROOF = (
    Policy(
        "gaps-not-healed", "a gap stays open", "ERROR",
        "The oldest open gap was found more than ${gap_open_seconds} s ago, or more gaps are open"
        " than an hour ago. One that is open since ${gap_known_seconds} s is known by then.",
        f"({_GAP_AGE} > ${{gap_open_seconds}} and {_GAP_AGE} < ${{gap_known_seconds}})"
        f" or on () ({_MORE_OPEN})",
        for_seconds=900,
    ),
    Policy(
        "data-incomplete", "a table has less than it should", "ERROR",
        "Of what should be durable a table has less than ${completeness_least}, by rows and"
        " ledgers, and it had more within the last six hours or was not measured before.",
        f"{_RATIO_NOW} < ${{completeness_least}} unless on (table) {_NO_WORSE}",
        for_seconds=900,
    ),
    Policy(
        "loss-growing", "more is missing than an hour ago", "WARNING",
        "What is missing of a table has become more and was not healed within an hour. However"
        " much there is already, this tells of a new loss.",
        f"{_MISSING_NOW} > {_MISSING_BEFORE}",
        for_seconds=300,
    ),
    Policy(
        "completeness-unknown", "completeness is not measured", "ERROR",
        "No completeness was told for half an hour, or ever: `reconcile` has not done its work,"
        " or there are no tables. Nothing is said about what is missing.",
        absent(_RATIO, 30),
        for_seconds=300,
    ),
    Policy(
        "export-failing", "metrics of a process arrive incomplete", "WARNING",
        "For half an hour no export of a process was taken whole. What alerts and panels say"
        " about it may be wrong.",
        grown_without(
            series(_EXPORTS, result=("partial", "failed")), series(_EXPORTS, result="ok"), 30,
            ["job"],
        ),
        for_seconds=600,
    ),
    Policy(
        "metrics-absent", "no metrics of any process arrive", "CRITICAL",
        "Neither the gateway nor a stage was heard of for a quarter of an hour. Nothing can be"
        " said about anything; other alerts for want of news follow from it.",
        f"{absent(_CONNECTIONS, 10)} and on () {absent(_RUNS, 10)}",
        for_seconds=300,
    ),
)  # fmt: skip
