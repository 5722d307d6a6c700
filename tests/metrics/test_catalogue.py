"""The catalogue is complete in itself, and somebody asserts the exact value of each entry."""

import re
from pathlib import Path

import pytest

from quotewatch.metrics.catalogue import CATALOGUE, Metric

ROOT = Path(__file__).parents[2]
# Where a run with known input asserts every metric of an owner.
EXACT = {
    "gateway": "tests/gateway/test_metrics.py",
    "write": "tests/stages/test_write_metrics.py",
    "label": "tests/stages/test_learn_metrics.py",
    "train": "tests/stages/test_learn_metrics.py",
    "predict": "tests/stages/test_learn_metrics.py",
}

METRICS = pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)


@METRICS
def test_a_metric_says_all_about_itself(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.meaning.endswith(".")
    assert metric.unit in {"1", "s", "By", "1/s"}
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


@METRICS
def test_every_label_says_one_of_a_list_or_names_a_product(metric: Metric) -> None:
    assert set(metric.labels) - {"product"} == metric.values.keys()
    assert "environment" not in metric.labels
    for values in metric.values.values():
        assert 0 < len(values) < 60
        assert all(re.fullmatch(r"[a-z0-9_]*", value) for value in values)


@METRICS
def test_the_owner_of_a_metric_has_a_test_of_exact_values(metric: Metric) -> None:
    assert (ROOT / EXACT[metric.owner]).is_file()


def test_no_metric_is_declared_twice() -> None:
    declared = (ROOT / "quotewatch" / "metrics" / "catalogue.py").read_text()
    names = re.findall(r'Metric\("([a-z0-9_]+)"', declared)
    assert sorted(names) == sorted(CATALOGUE)
