"""The dashboards as files: one JSON each, the same bytes whenever they are made."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from quotewatch.metrics.metric import PRODUCT
from quotewatch.metrics.series import PREFIX, type_of
from quotewatch.observability import pipeline_health, system_performance
from quotewatch.observability.layout import Row, laid_out
from quotewatch.observability.panels import SOURCE, Json
from quotewatch.observability.queries import ENVIRONMENT, metrics_of

SCHEMA_VERSION = 41  # Grafana 11.6; newer ones migrate it when they load it
TAG = "quotewatch"
ALL = ".+"  # the variables hold regular expressions

# What all exporters tell, and what tells of products.
_ASKED_FOR = {ENVIRONMENT: "metrics_exports_total", PRODUCT: "coinbase_last_trade_id"}


def files() -> dict[str, str]:
    """Return the text of every dashboard file by its path in the repository."""
    return {f"dashboards/{name}.json": text_of(built) for name, built in built_all().items()}


def built_all() -> dict[str, Json]:
    """Return every dashboard by the name of its file."""
    return {
        "data-pipeline-health": _dashboard(
            pipeline_health.TITLE, pipeline_health.UID,
            pipeline_health.DESCRIPTION, pipeline_health.ROWS,
        ),
        "system-performance": _dashboard(
            system_performance.TITLE, system_performance.UID,
            system_performance.DESCRIPTION, system_performance.ROWS,
        ),
    }  # fmt: skip


def text_of(built: Mapping[str, Any]) -> str:
    """Write JSON so that a change shows as the lines that changed."""
    return json.dumps(built, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def used_metrics() -> set[str]:
    """Return the metrics that some panel asks for."""
    return set().union(*map(metrics_in, built_all().values()))


def metrics_in(dashboard: Mapping[str, Any]) -> set[str]:
    """Read from a dashboard which metrics it asks for."""
    return set().union(*map(metrics_of, targets_in(dashboard)))


def targets_in(dashboard: Mapping[str, Any]) -> Iterator[Json]:
    """Yield every question of a dashboard."""
    for panel in dashboard["panels"]:
        yield from panel.get("targets", [])


def fixed(dashboard: Json, *, source: str, project: str, environment: str) -> Json:
    """Put values where variables are: for dashboards shared publicly, which know no variables."""
    values = {
        "datasource": source, "project": project, ENVIRONMENT: environment, PRODUCT: ALL,
        "__interval": "60s",
    }  # fmt: skip
    bare: Json = _without_variables(dashboard, values)
    return {
        **bare,
        "links": [],  # to dashboards that are not public
        "templating": {"list": []},
        "title": f"{dashboard['title']} ({environment})",
        "uid": f"{dashboard['uid']}-public",
    }


def _without_variables(given: Any, values: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    match given:
        case str():
            for name, value in values.items():
                given = given.replace(f"${{{name}}}", value).replace(f"${name}", value)
            return given
        case dict():
            return {key: _without_variables(each, values) for key, each in given.items()}
        case list():
            return [_without_variables(each, values) for each in given]
    return given


def _dashboard(title: str, uid: str, description: str, rows: tuple[Row, ...]) -> Json:
    panels = laid_out(rows)
    return {
        "annotations": {"list": []},
        "description": description,
        "editable": True,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "links": [_link()],
        "panels": panels,
        "refresh": "1m",
        "schemaVersion": SCHEMA_VERSION,
        "tags": [TAG],
        "templating": {"list": list(_variables(f"${PRODUCT}" in json.dumps(panels)))},
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "timezone": "utc",
        "title": title,
        "uid": uid,
    }


def _variables(by_product: bool) -> Iterator[Json]:
    yield {
        "description": "A data source of the type Google Cloud Monitoring.",
        "hide": 0,
        "includeAll": False,
        "label": "Data source",
        "multi": False,
        "name": "datasource",
        "query": SOURCE["type"],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
        "type": "datasource",
    }
    yield {
        "current": {"selected": True, "text": "", "value": ""},
        "description": "The Google Cloud project. Empty: the data source's own.",
        "hide": 0,
        "label": "Project",
        "name": "project",
        "query": "",
        "skipUrlSync": False,
        "type": "textbox",
    }
    yield _label_values(ENVIRONMENT, "Environment", "local|production")
    if by_product:
        yield _label_values(PRODUCT, "Product", "BTC-USD|ETH-USD")


def _label_values(label: str, title: str, example: str) -> Json:
    """Let one value be chosen, or all; a regular expression can be typed in."""
    return {
        "allValue": ALL,
        "allowCustomValue": True,
        "current": {"selected": True, "text": "All", "value": "$__all"},
        "datasource": dict(SOURCE),
        "description": f"One, all, or a regular expression such as {example}.",
        "hide": 0,
        "includeAll": True,
        "label": title,
        "multi": False,
        "name": label,
        "query": {
            "labelKey": f"metric.label.{label}",
            "projectName": "$project",
            "refId": "CloudMonitoringVariableQueryEditor-VariableQuery",
            "selectedMetricType": type_of(_ASKED_FOR[label]),
            "selectedQueryType": "labelValues",
            "selectedService": PREFIX.partition("/")[0],
        },
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
        "type": "query",
    }


def _link() -> Json:
    return {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "tags": [TAG],
        "targetBlank": False,
        "title": "QuoteWatch",
        "tooltip": "",
        "type": "dashboards",
        "url": "",
    }
