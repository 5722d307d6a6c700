"""The probe does what a frame does and harms nothing: stored once, answered, and nobody's gap."""

import asyncio
import base64
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import urllib3

from deploy.cloud import Cloud
from deploy.errors import CloudError
from deploy.names import PUSHED, TOPIC, functions
from deploy.probe import PRODUCER, probe
from functions._push import PROBE
from quotewatch.bus.topology import PREDICT, STREAMS, topology
from quotewatch.clock import SystemClock
from quotewatch.frames import FrameId, decode
from quotewatch.message import Message
from quotewatch.resources import Resources
from quotewatch.settings import Settings
from quotewatch.stages import label, maintain, predict, reconcile, train, write
from tests.tables.frames import message, row_of

ROOT = Path(__file__).parents[2]
STAGES: tuple[ModuleType, ...] = (write, label, train, reconcile, maintain)


def test_a_probe_is_a_frame_of_features_without_rows() -> None:
    epoch, made = probe(SystemClock().now_ns())

    frame = decode(made)
    assert frame.id == FrameId("features", epoch, 0)
    assert frame.rows.num_rows == 0
    assert made.attributes["producer"] == PRODUCER == PROBE


def test_two_probes_are_never_the_same() -> None:
    assert probe(1)[0] != probe(1)[0]


def test_the_probe_goes_where_a_push_subscription_waits() -> None:
    [subscription] = [each for each in topology().subscriptions if each.name == PREDICT]

    assert subscription.topic == TOPIC


def test_pushed_are_the_doors_that_take_events() -> None:
    texts = {name: (ROOT / "functions" / f"{name}.py").read_text("utf-8") for name in functions()}

    assert [name for name, text in texts.items() if "@functions_framework.cloud_event" in text] == (
        list(PUSHED)
    )


def test_no_stage_sees_a_gap_a_row_or_a_failure_because_of_a_probe(tmp_path: Path) -> None:
    without = run_stages(tmp_path / "without", probes=0)
    with_probes = run_stages(tmp_path / "with", probes=2)

    assert with_probes["missing"] == without["missing"] == dict.fromkeys(STREAMS, 0)
    assert with_probes["completeness"] == without["completeness"]
    for table in (*STREAMS, "labels", "gaps"):
        assert with_probes[table] == without[table], table


def run_stages(folder: Path, probes: int) -> dict[str, Any]:
    """Store a few frames and answers, and run every stage three times; return what is there."""
    rows = [row_of("features", symbol="BTC-USD", arrival=number) for number in range(3)]
    frames = [message("features", number, [row]) for number, row in enumerate(rows)]
    told = row_of("events", kind="high_water", to_id=2, arrival=3) | {"stream": "features"}
    published = [*frames, *(probe(SystemClock().now_ns())[1] for _ in range(probes))]
    settings = Settings.model_construct(data_dir=folder, settle_s=0.0, ack_deadline_s=10)
    folder.mkdir()
    with closing(Resources(settings)) as resources:
        resources.create_names()
        resources.bus.publish("events", [message("events", 0, [told])])
        for each in [*published, *published]:  # everything comes twice
            resources.bus.publish("features", [each])
            assert not predict.build(resources).handle(each).failed
        for _ in range(3):
            reports = {stage: stage.build(resources).run_once() for stage in STAGES}
            assert [report.plain() for report in reports.values() if report.failed] == []
        last = reports[reconcile].plain()
        assert last["opened"] == last["still_open"] == 0
        stored = {
            table: sorted(map(str, lineage(resources, table)))
            for table in (*STREAMS, "labels", "gaps")
        }
    return {**stored, "missing": last["missing"], "completeness": last["completeness"]}


def lineage(resources: Resources, name: str) -> list[Any]:
    table = resources.tables.find(name)
    rows = table.scan().to_arrow().to_pylist() if table is not None else []
    return [(row.get("epoch"), row.get("seq"), row.get("row")) for row in rows]


# Over REST, to Google's own emulator


@pytest.fixture
def topic(
    pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[dict[str, Any]]]:
    """Make the topic with a subscription; return what takes all messages from it."""
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", f"http://{pubsub_emulator}/")
    base = f"http://{pubsub_emulator}/v1/projects/probe-project"
    subscription = f"{base}/subscriptions/features.write"
    topic = "projects/probe-project/topics/features"
    urllib3.request("PUT", f"{base}/topics/features", json={})
    urllib3.request("PUT", subscription, json={"topic": topic})

    def pull() -> list[dict[str, Any]]:
        answer = urllib3.request("POST", f"{subscription}:pull", json={"maxMessages": 10})
        received: list[dict[str, Any]] = answer.json().get("receivedMessages", [])
        return [each["message"] for each in received]

    return pull


def test_a_probe_reaches_the_bus_as_it_was_made(topic: Callable[[], list[dict[str, Any]]]) -> None:
    epoch, made = probe(SystemClock().now_ns())

    asyncio.run(Cloud("no-token").publish("probe-project", TOPIC, made))

    [arrived] = topic()
    carried = Message(base64.b64decode(arrived["data"]), arrived["attributes"])
    assert carried == made
    assert decode(carried).id.epoch == epoch


@pytest.mark.usefixtures("topic")
def test_a_topic_that_is_not_there_is_named() -> None:
    _, made = probe(SystemClock().now_ns())

    with pytest.raises(CloudError, match="topics/nowhere:publish: 404: "):
        asyncio.run(Cloud("no-token").publish("probe-project", "nowhere", made))
