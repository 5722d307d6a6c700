"""docs/metrics.md and the descriptors for Terraform: what the catalogue says.

The same bytes whenever they are made.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]

from quotewatch.metrics.catalogue import CATALOGUE, OWNERS, metrics_of
from quotewatch.metrics.declared.processes import CONSOLE
from quotewatch.metrics.metric import PRODUCT, Metric
from quotewatch.metrics.series import PREFIX, descriptor_of
from quotewatch.observability import billing, dashboards, queries
from quotewatch.observability.alerts import POLICIES, alerts_on
from quotewatch.observability.policy import Policy
from quotewatch.observability.thresholds import THRESHOLDS

PAGE = "docs/metrics.md"
DESCRIPTORS = "terraform/data/metric_descriptors.json"
PRODUCTS = (1, 20, 500)

_MOST_VALUES = 6  # of a label that the page lists

Panels = Mapping[str, Sequence[str]]  # metric -> titles of the panels that show it

_INTRO = f"""\
# Metrics

Made from the catalogue, `quotewatch/metrics/declared/`, by `python -m quotewatch.observability`: not written by hand.

A metric is exported to Cloud Monitoring as `{PREFIX}NAME` on the resource `generic_task`: its label `job` names the
process, `task_id` the instance. In PromQL it is `{queries.promql_name("NAME")}`. Counters and histograms are `CUMULATIVE`, gauges `GAUGE`.
Every metric has the label `environment` as well. `/metrics` of the gateway has them under these names, and so has that of a whole `demo` or `run`,
where the label `process` says whose a series is. Beside the processes below there are `settling`, the end of a run, and `command`: both do the work of stages.

*Forensic* metrics are in no panel and no alert: they are looked at by hand, after something happened.
"""  # noqa: E501 - lines of the page
_ALERTS = """\
## Alerts

Each is one condition in PromQL, looked at every minute; it fires when the condition has held so
long without a break. [runbook.md](runbook.md) says what to do.
"""
_THRESHOLDS = """\
## Thresholds

What alerts compare with. Terraform may set each to another number.
"""
_BILL = f"""\
## Bytes billed

At most: every series the catalogue allows, in every export, one instance of each process. {billing.SCALAR_BYTES} bytes for a number,
{billing.DISTRIBUTION_BYTES} for a histogram, a month of {billing.DAYS} days. {billing.FREE_MIB} MiB a month are free, then ${billing.DOLLARS_A_MIB:.4f} a MiB (first tier, prices of {billing.PRICES_OF},
an assumption).
"""  # noqa: E501 - lines of the page


def files() -> dict[str, str]:
    """Return the text of both files by their path in the repository."""
    descriptors = json.dumps(list(descriptors_plain()), indent=2, ensure_ascii=False)
    return {PAGE: page(panels_by_metric()), DESCRIPTORS: f"{descriptors}\n"}


def descriptors_plain() -> Iterator[dict[str, Any]]:
    """Yield each descriptor as Terraform wants it."""
    for metric in CATALOGUE.values():
        said = MessageToDict(descriptor_of(metric), preserving_proto_field_name=True)
        yield {
            "name": metric.name,
            **{key: said[key] for key in ("type", "metric_kind", "value_type", "unit")},
            "display_name": said["display_name"],
            "description": said["description"],
            # STRING, the first of the enum, is left out of a message.
            "labels": [{"key": each["key"], "value_type": "STRING"} for each in said["labels"]],
        }


def looked_at(panels: Panels, metric: Metric, owner: str) -> str:
    """Say where a metric of a process is looked at: titles of panels, then links to alerts."""
    if metric.forensic:
        return "*forensic*"
    places = [*panels.get(metric.name, ()), *map(_link, alerts_on(metric.name, owner))]
    return ", ".join(places) or "nowhere"


def panels_by_metric() -> dict[str, list[str]]:
    """Return the titles of the panels that ask for each metric, in their order."""
    found: dict[str, list[str]] = {}
    for dashboard in dashboards.built_all().values():
        for panel in dashboard["panels"]:
            for name in sorted({name for each in _targets(panel) for name in each}):
                found.setdefault(name, []).append(panel["title"])
    return found


def page(panels: Panels) -> str:
    """Write the page."""
    parts = [
        _INTRO,
        *(_of_owner(owner, panels) for owner in OWNERS),
        _ALERTS + "\n" + _table(("alert", "severity", "says", "holds", "thresholds"), _alerts()),
        _THRESHOLDS + "\n" + _table(("threshold", "value", "unit", "meaning"), _thresholds()),
        _BILL + "\n" + _table(("process", "exports every", *_headings()), _bills()),
    ]
    return "\n".join(parts)


def _of_owner(owner: str, panels: Panels) -> str:
    told = " It runs on one machine, not in the cloud." if owner == CONSOLE else ""
    head = ("metric", "kind", "unit", "labels", "buckets", "meaning", "looked at in")
    rows = (
        (
            f"`{metric.name}`", metric.kind, metric.unit, _labels(metric, owner), _buckets(metric),
            metric.meaning, looked_at(panels, metric, owner),
        )
        for metric in metrics_of(owner)
    )  # fmt: skip
    return f"## {owner}\n\nWhat `{owner}` records.{told}\n\n" + _table(head, rows)


def _labels(metric: Metric, owner: str) -> str:
    listed = [f"`{label}`: {_values(values)}" for label, values in metric.owners[owner].items()]
    return "; ".join([*listed, *([f"`{PRODUCT}`"] if metric.per_product else [])])


def _values(values: Iterable[str]) -> str:
    ordered = sorted(value for value in values if value)
    shown = ", ".join(ordered[:_MOST_VALUES])
    left = len(ordered) - _MOST_VALUES
    return f"{shown}, {left} more" if left > 0 else shown


def _buckets(metric: Metric) -> str:
    if not metric.buckets:
        return ""
    return f"{len(metric.buckets)}, {metric.buckets[0]:g} to {metric.buckets[-1]:g}"


def _alerts() -> Iterator[Sequence[str]]:
    for each in POLICIES:
        names = ", ".join(f"`{name}`" for name in each.thresholds)
        yield _link(each.slug), each.severity, each.title, _holds(each), names


def _holds(policy: Policy) -> str:
    minutes, seconds = divmod(policy.for_seconds, 60)
    return f"{policy.for_seconds} s" if seconds else f"{minutes} min" if minutes else "at once"


def _thresholds() -> Iterator[Sequence[str]]:
    for each in THRESHOLDS.values():
        yield f"`{each.name}`", f"{each.value:,}".replace(",", " "), each.unit, each.meaning


def _headings() -> list[str]:
    return [f"{count} product{'s' if count > 1 else ''}" for count in PRODUCTS]


def _bills() -> Iterator[Sequence[str]]:
    for owner, seconds in billing.EXPORT_SECONDS.items():
        yield owner, f"{seconds} s", *(_mib(billing.bill_of(owner, each)) for each in PRODUCTS)
    bills = [billing.bill(each) for each in PRODUCTS]
    yield "all", "", *(_mib(each) for each in bills)
    yield "series", "", *(f"{each.series}" for each in bills)
    yield "dollars a month", "", *(f"{each.dollars:.2f}" for each in bills)


def _mib(bill: billing.Bill) -> str:
    return f"{bill.mib:.1f} MiB"


def _link(slug: str) -> str:
    return f"[{slug}](runbook.md#{slug})"


def _targets(panel: Mapping[str, Any]) -> Iterator[set[str]]:
    return (queries.metrics_of(each) for each in panel.get("targets", ()))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
