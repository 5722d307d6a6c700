"""One line now and then about what runs, what is stored, what waits, and who was killed."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from quotewatch.errors import QuoteWatchError
from quotewatch.streams import CAPTURED, TABLES
from quotewatch.tables.catalog import Tables
from tests.cloudlike import gateway
from tests.cloudlike.component import Component
from tests.cloudlike.deployment import Deployment
from tests.cloudlike.killing import Kill
from tests.cloudlike.plan import FUNCTIONS
from tests.cloudlike.settling import done_frames

_PUBLISHED = "gateway_frames_published_total"
_HTTP_SECONDS = 5.0


def line(deployment: Deployment, kills: Sequence[Kill]) -> str:
    """Say how things stand."""
    components = deployment.components
    running = sum(components[name].current is not None for name in FUNCTIONS)
    current = deployment.gateway.current
    stored = sum(stored_rows(deployment.tables).values())
    calls = Counter(call.ok for call in deployment.calls.all())
    life = "no gateway" if current is None else f"gateway {current.number}"
    return (
        f"{life}, {running} of {len(FUNCTIONS)} functions;"
        f" {stored:,} rows stored, {frames_waiting(deployment)} frames waiting;"
        f" {calls[True]:,} calls ok, {calls[False]} failed; {len(kills)} kills"
    )


def stored_rows(tables: Tables) -> dict[str, int]:
    """Count the rows of each table, as its newest snapshot has them."""
    found = {}
    for name in TABLES:
        table = tables.find(name)
        snapshot = None if table is None else table.current_snapshot()
        if snapshot is not None and snapshot.summary is not None:
            found[name] = int(snapshot.summary["total-records"] or 0)
    return found


def frames_waiting(deployment: Deployment) -> str:
    """Count the frames that the gateway has published and no table has."""
    current = deployment.gateway.current
    epoch = None if current is None or not current.port else gateway.epoch_of(current)
    if epoch is None:
        return "?"
    waiting = 0
    with suppress(QuoteWatchError, urllib3.exceptions.HTTPError):
        for stream, published in _published(deployment.gateway).items():
            done = done_frames(deployment.tables, stream, stream).get(epoch)
            waiting += published - (0 if done is None else done.count)
    return f"{max(0, waiting)}"


def _published(component: Component) -> dict[str, int]:
    """Ask the gateway how many frames of each stream the bus has."""
    current = component.current
    if current is None:
        return {}
    url = f"http://127.0.0.1:{current.port}/metrics"
    page = urllib3.request("GET", url, timeout=_HTTP_SECONDS, retries=False).data.decode()
    return {
        sample.labels["stream"]: round(sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.endswith(_PUBLISHED) and sample.labels["stream"] in CAPTURED
    }
