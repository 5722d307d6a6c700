"""Topics and subscriptions of the cloud are those of one machine, and nothing in them is lost."""

from collections.abc import Mapping
from typing import Any

from quotewatch.bus.rules import check_topology
from quotewatch.bus.topology import LABEL, PREDICT, STREAMS, topology
from tests.terraform.planning import Plan

SEVEN_DAYS = "604800s"
PREFIX = "projects/quotewatch-test/topics/"


def _subscriptions(plan: Plan) -> dict[str, Mapping[str, Any]]:
    return {each.values["name"]: each.values for each in plan.of("google_pubsub_subscription")}


def _topic(full: str) -> str:
    assert full.startswith(PREFIX)
    return full.removeprefix(PREFIX)


def test_topics_are_those_the_code_uses(plan: Plan) -> None:
    made = sorted(each.values["name"] for each in plan.of("google_pubsub_topic"))
    assert made == sorted(topology().topics)


def test_subscriptions_read_the_same_topics_with_the_same_dead_letters(plan: Plan) -> None:
    wanted = {each.name: each for each in topology().subscriptions}
    made = _subscriptions(plan)
    assert made.keys() == wanted.keys()
    for name, values in made.items():
        assert _topic(values["topic"]) == wanted[name].topic
        dead = [
            (_topic(each["dead_letter_topic"]), each["max_delivery_attempts"])
            for each in values["dead_letter_policy"]
        ]
        expected = wanted[name].dead_letter
        assert dead == ([] if expected is None else [(expected.topic, expected.max_attempts)])
    check_topology(topology().topics, topology().subscriptions)


def test_no_subscription_ends_by_itself_and_each_says_how_long_it_keeps(plan: Plan) -> None:
    for name, values in _subscriptions(plan).items():
        assert values["expiration_policy"] == [{"ttl": ""}], name
        assert values["message_retention_duration"] == ("3600s" if name == LABEL else SEVEN_DAYS)
        assert 10 <= values["ack_deadline_seconds"] <= 600


def test_every_dead_letter_topic_has_a_subscription(plan: Plan) -> None:
    read = {_topic(values["topic"]) for values in _subscriptions(plan).values()}
    assert {f"{stream}-dead" for stream in STREAMS} <= read


def test_two_subscriptions_are_pushed_and_sign_what_they_push(plan: Plan) -> None:
    pushed = {name: each for name, each in _subscriptions(plan).items() if each["push_config"]}
    assert pushed.keys() == {PREDICT, LABEL}
    for values in pushed.values():
        (push,) = values["push_config"]
        (token,) = push["oidc_token"]
        account = "quotewatch-push@quotewatch-test.iam.gserviceaccount.com"
        assert token["service_account_email"] == account
        # Cloud Run wants the address without the query; a token for another is refused.
        assert push["push_endpoint"].partition("?")[0] == token["audience"]
        assert values["retry_policy"][0].keys() == {"minimum_backoff", "maximum_backoff"}


def test_predict_is_pushed_events_and_label_plain_requests(plan: Plan) -> None:
    made = _subscriptions(plan)
    mode = "?__GCP_CloudEventsMode=CUSTOM_PUBSUB_projects%2Fquotewatch-test%2Ftopics%2Ffeatures"
    assert made[PREDICT]["push_config"][0]["push_endpoint"].endswith(mode)
    assert "?" not in made[LABEL]["push_config"][0]["push_endpoint"]


def test_the_deadline_of_a_push_is_the_time_its_function_has(plan: Plan) -> None:
    for name, function in ((PREDICT, "predict"), (LABEL, "label")):
        values = plan.values("google_cloudfunctions2_function", "function", function)
        timeout = values["service_config"][0]["timeout_seconds"]
        assert _subscriptions(plan)[name]["ack_deadline_seconds"] == timeout


def test_messages_stay_in_the_region(plan: Plan) -> None:
    for each in plan.of("google_pubsub_topic"):
        (policy,) = each.values["message_storage_policy"]
        assert policy["allowed_persistence_regions"] == ["us-east4"]
