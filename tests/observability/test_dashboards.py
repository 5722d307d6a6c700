import copy
import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from quotewatch.metrics.catalogue import CATALOGUE
from quotewatch.metrics.series import PREFIX
from quotewatch.observability import dashboards
from quotewatch.observability.__main__ import GENERATORS, ROOT, main
from quotewatch.observability.layout import WIDTH
from quotewatch.observability.queries import RESOURCE_LABELS, promql_name
from tests.observability.grafana import UNITS, lost_in_dashboard, lost_in_target, refusals
from tests.servers.prometheus import find_program

NAMES = ("data-pipeline-health", "system-performance")
# What each must show, and in how many rows: both are given.
GIVEN = {
    "data-pipeline-health": (4, [
        "Message Rate", "Write Rate", "Data Completeness", "Sequence Gaps", "Messages vs Writes",
        "Flush Latency", "Flush Batch Size", "Buffer Utilisation",
    ]),
    "system-performance": (5, [
        "Pipeline Latency", "Stage Breakdown", "ML Inference", "ML Training",
        "Dashboard Staleness", "Render Time", "Message Rate vs Latency",
    ]),
}  # fmt: skip
COLOURS = re.compile(r"green|\bred\b")
VARIABLES = {"datasource", "project", "environment", "product", "__interval"}

Json = dict[str, Any]

each_dashboard = pytest.mark.parametrize("name", NAMES)


def read(name: str) -> Json:
    loaded: Json = json.loads((ROOT / "dashboards" / f"{name}.json").read_text())
    return loaded


def panels_of(dashboard: Json) -> list[Json]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def panel_called(dashboard: Json, title: str) -> Json:
    return next(panel for panel in panels_of(dashboard) if panel["title"] == title)


def strings_in(given: Any) -> Iterator[str]:
    match given:
        case str():
            yield given
        case dict():
            for each in given.values():
                yield from strings_in(each)
        case list():
            for each in given:
                yield from strings_in(each)


def test_files_are_what_the_code_makes() -> None:
    assert main(["--check"]) == 0
    assert {f"dashboards/{name}.json" for name in NAMES} == set(dashboards.files())


def test_check_names_the_files_that_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    (tmp_path / "dashboards/system-performance.json").write_text("{}\n")
    capsys.readouterr()

    assert main(["--check"], tmp_path) == 1

    assert capsys.readouterr().err == "differs: dashboards/system-performance.json\n"


def test_no_two_generators_write_the_same_file() -> None:
    paths = [path for generate in GENERATORS for path in generate()]
    assert len(paths) == len(set(paths))


@each_dashboard
def test_shows_what_was_asked_for_in_as_many_rows(name: str) -> None:
    dashboard = read(name)
    rows, titles = GIVEN[name]
    assert sum(panel["type"] == "row" for panel in dashboard["panels"]) == rows
    assert set(titles) <= {panel["title"] for panel in panels_of(dashboard)}


@each_dashboard
def test_agrees_with_grafanas_types(name: str) -> None:
    assert refusals(read(name)) == []


@each_dashboard
def test_comes_back_whole_from_grafanas_models(name: str) -> None:
    dashboard = read(name)
    assert lost_in_dashboard(dashboard) == []
    for target in dashboards.targets_in(dashboard):
        assert lost_in_target(target) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("options", "legend", "displayMode"), "grid", "'grid' is not one of"),
        (("options", "tooltip", "mode"), "all", "'all' is not one of"),
        (("fieldConfig", "defaults", "custom", "drawStyle"), "curve", "'curve' is not one of"),
        (("fieldConfig", "defaults", "color", "mode"), "rainbow", "'rainbow' is not one of"),
        (("fieldConfig", "defaults", "units"), "s", "'units' was unexpected"),
        (("options", "legnd"), {}, "'legnd' was unexpected"),
        (("targets", 0, "alias"), "x", "'alias' was unexpected"),
        (("targets", 0, "timeSeriesList", "aligner"), "x", "'aligner' was unexpected"),
        (("targets", 0, "timeSeriesList", "perSeriesAligner"), "ALIGN_P99", "is not one of"),
        (("targets", 0, "timeSeriesList", "crossSeriesReducer"), None, "is a required property"),
        (("targets", 0, "timeSeriesList", "projectName"), None, "is a required property"),
        (("options", "legend"), None, "'legend' is a required property"),
        (("gridPos", "h"), None, "'h' is a required property"),
        (("title",), None, "'title' is a required property"),
    ],
)
def test_a_mistake_in_a_panel_is_found(path: tuple[str | int, ...], value: Any, said: str) -> None:
    dashboard = read("data-pipeline-health")
    place: Any = panel_called(dashboard, "Message Rate")
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value

    found = refusals(dashboard)

    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("key", "value"), [("schemaVersion", None), ("refreshes", "1m"), ("graphTooltip", 7)]
)
def test_a_mistake_in_a_dashboard_is_found(key: str, value: Any) -> None:
    dashboard = read("system-performance")
    dashboard.pop(key, None)
    if value is not None:
        dashboard[key] = value
    assert len(refusals(dashboard)) == 1


def test_a_key_that_grafanas_models_do_not_know_is_found() -> None:
    dashboard = read("system-performance")
    target = copy.deepcopy(next(dashboards.targets_in(dashboard)))
    panel_called(dashboard, "ML Inference")["options"]["legend"]["colour"] = "blue"
    target["timeSeriesList"]["aligner"] = "ALIGN_RATE"

    [lost] = lost_in_dashboard(dashboard)

    assert lost.endswith("/options/legend/colour is gone")
    assert lost_in_target(target) == ["/timeSeriesList/aligner is gone"]


@each_dashboard
def test_units_are_grafanas(name: str) -> None:
    def of(panel: Json) -> Iterator[str]:
        yield from [panel["fieldConfig"]["defaults"].get("unit", "short")]
        yield from [panel["options"].get("yAxis", {}).get("unit", "short")]
        for override in panel["fieldConfig"]["overrides"]:
            yield from (each["value"] for each in override["properties"] if each["id"] == "unit")

    assert {unit for panel in panels_of(read(name)) for unit in of(panel)} <= UNITS


@each_dashboard
def test_panels_fill_the_width_and_do_not_overlap(name: str) -> None:
    placed = [(panel["title"], panel["gridPos"]) for panel in read(name)["panels"]]
    for _, place in placed:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= WIDTH
    for (title, one), (other, two) in combinations(placed, 2):
        apart = (
            one["x"] + one["w"] <= two["x"]
            or two["x"] + two["w"] <= one["x"]
            or one["y"] + one["h"] <= two["y"]
            or two["y"] + two["h"] <= one["y"]
        )
        assert apart, f"{title} and {other} overlap"
    area = sum(place["w"] * place["h"] for _, place in placed)
    assert area == WIDTH * max(place["y"] + place["h"] for _, place in placed)


@each_dashboard
def test_every_panel_has_its_own_number_and_title(name: str) -> None:
    panels = read(name)["panels"]
    for key in ("id", "title"):
        values = [panel[key] for panel in panels]
        assert len(values) == len(set(values))


@each_dashboard
def test_every_panel_says_what_to_do_and_what_it_means_to_be_empty(name: str) -> None:
    for panel in panels_of(read(name)):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].count(".") >= 2, panel["title"]
        assert len(defaults["noValue"]) > 10, panel["title"]
        steps = defaults.get("thresholds", {"steps": []})["steps"]
        if len(steps) > 1:
            assert "Limits: look" in panel["description"], panel["title"]
        colours = [step["color"].replace("dark-red", "") for step in steps]
        assert not any(COLOURS.search(colour) for colour in colours), panel["title"]


@each_dashboard
def test_every_line_has_a_name(name: str) -> None:
    for panel in panels_of(read(name)):
        named = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            if any(each["id"] == "displayName" for each in override["properties"])
        }
        for target in panel["targets"]:
            assert target.get("aliasBy") or target["refId"] in named, panel["title"]


@each_dashboard
def test_only_cloud_monitoring_is_asked(name: str) -> None:
    dashboard = read(name)
    for panel in panels_of(dashboard):
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(each == {"type": "stackdriver", "uid": "${datasource}"} for each in sources)


@each_dashboard
def test_every_variable_in_use_is_declared_and_the_other_way_round(name: str) -> None:
    dashboard = read(name)
    used = set(re.findall(r"\$\{?(\w+)", " ".join(strings_in(dashboard["panels"]))))
    declared = {each["name"] for each in dashboard["templating"]["list"]}
    assert used - {"__interval", "__field"} == declared
    assert declared <= VARIABLES


def test_every_metric_asked_for_is_exported_and_no_forensic_one_is() -> None:
    used = dashboards.used_metrics()
    assert used <= CATALOGUE.keys()
    assert not [name for name in used if CATALOGUE[name].forensic]


def test_every_metric_that_is_not_forensic_is_shown() -> None:
    shown = dashboards.used_metrics()
    assert [each for each in CATALOGUE if not CATALOGUE[each].forensic and each not in shown] == []


@each_dashboard
def test_a_list_asks_for_labels_that_are_exported(name: str) -> None:
    for target in dashboards.targets_in(read(name)):
        if target["queryType"] != "timeSeriesList":
            continue
        query = target["timeSeriesList"]
        filters = query["filters"]
        assert set(filters[3::4]) <= {"AND"}
        assert len(filters) % 4 == 3
        assert filters[:3] == ["metric.type", "=", filters[2]]
        labels = {"environment", *CATALOGUE[filters[2].removeprefix(PREFIX)].labels}
        known = {f"metric.label.{label}" for label in labels}
        known |= {f"resource.label.{label}" for label in RESOURCE_LABELS}
        assert set(filters[8::4]) | set(query["groupBys"]) <= known
        assert {"resource.type", "metric.label.environment"} <= set(filters[0::4])
        assert set(re.findall(r"\{\{([\w.]+)\}\}", target["aliasBy"])) <= {*known, "bucket"}


@each_dashboard
def test_promql_asks_for_labels_that_are_exported(name: str) -> None:
    for target in dashboards.targets_in(read(name)):
        if target["queryType"] != "promQL":
            continue
        expression = target["promQLQuery"]["expr"]
        [*metrics] = dashboards.metrics_in({"panels": [{"targets": [target]}]})
        labels = {label for metric in metrics for label in CATALOGUE[metric].labels}
        known = {*labels, *RESOURCE_LABELS, "environment", "monitored_resource"}
        selected = re.findall(r"(\w+)=~?\"", expression)
        grouped = re.findall(r"by \(([\w, ]+)\)", expression)
        assert {*selected, *(each for group in grouped for each in group.split(", "))} <= known
        assert expression.count(promql_name("")) == expression.count('environment=~"$environment"')


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    expressions = [
        target["promQLQuery"]["expr"]
        for name in NAMES
        for target in dashboards.targets_in(read(name))
        if target["queryType"] == "promQL"
    ]
    rules = [{"record": f"panel:{at}", "expr": each} for at, each in enumerate(expressions)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML

    done = subprocess.run(
        [find_program("promtool"), "check", "rules", str(path)],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip

    assert len(expressions) >= 8
    assert done.returncode == 0, done.stderr.decode()


@each_dashboard
def test_a_public_copy_has_no_variables(name: str, tmp_path: Path) -> None:
    arguments = ["--project", "quotes-1", "--environment", "staging", "--source", "monitoring"]

    assert main(["--public", str(tmp_path), *arguments]) == 0

    made = json.loads((tmp_path / f"{name}.json").read_text())
    left = set(re.findall(r"\$\{?(\w+)", " ".join(strings_in(made))))
    assert left <= {"__field"}  # Grafana fills in labels where it draws
    assert made["templating"]["list"] == []
    assert made["uid"] != read(name)["uid"]
    assert refusals(made) == []
    assert dashboards.metrics_in(made) == dashboards.metrics_in(read(name))
    target = next(dashboards.targets_in(made))
    assert target["datasource"]["uid"] == "monitoring"
    assert target["timeSeriesList"]["projectName"] == "quotes-1"
    assert "staging" in target["timeSeriesList"]["filters"]


def test_the_provisioned_source_and_folder_are_what_the_dashboards_expect() -> None:
    folder = ROOT / "dashboards/provisioning"
    sources = yaml.safe_load((folder / "datasources/quotewatch.yaml").read_text())
    providers = yaml.safe_load((folder / "dashboards/quotewatch.yaml").read_text())
    [source] = sources["datasources"]
    [provider] = providers["providers"]
    assert (source["type"], source["uid"]) == ("stackdriver", "quotewatch")
    assert {"authenticationType", "defaultProject"} <= source["jsonData"].keys()
    assert (provider["type"], provider["options"]["path"]) == (
        "file",
        "/var/lib/grafana/dashboards",
    )
