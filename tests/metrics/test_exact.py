"""Runs with known input: the exact value of every metric of every process, and nothing beside it.

Which metrics there are says the catalogue, which runs there are their package: no list is kept
here, so one that nothing touches, or that is counted by the batch, fails.
"""

import pkgutil
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import cast

import pytest

from quotewatch.metrics.catalogue import CATALOGUE, OWNERS, metrics_of
from quotewatch.metrics.metric import PRODUCT, Metric
from tests.metrics.exact import runs
from tests.metrics.exact.known import Known, KnownRun
from tests.metrics.exported import Samples, series_of

RUNS = {
    found.name: cast("KnownRun", import_module(f"{runs.__name__}.{found.name}"))
    for found in pkgutil.iter_modules(runs.__path__)
}
RUN_OF = {owner: name for name, run in RUNS.items() for owner in run.OWNERS}
# A process without a run fails by itself, below.
PAIRS = [
    pytest.param(RUN_OF[owner], owner, metric, id=f"{owner}-{metric.name}")
    for owner in OWNERS
    if owner in RUN_OF
    for metric in metrics_of(owner)
]
EACH_RUN = pytest.mark.parametrize("name", RUNS)

Run = Callable[[str], Known]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    done: dict[str, Known | Exception] = {}

    def once(name: str) -> Known:
        if name not in done:
            try:
                done[name] = RUNS[name].known_run(tmp_path_factory.mktemp(name))
            except Exception as error:  # noqa: BLE001 - every test of this run raises it
                done[name] = error
        known = done[name]
        if isinstance(known, Exception):
            raise known
        return known

    return once


@pytest.mark.parametrize(("name", "owner", "metric"), PAIRS)
def test_a_known_run_gives_every_metric_its_exact_value(
    run: Run, name: str, owner: str, metric: Metric
) -> None:
    known = run(name)
    found = known.found[owner].get(metric.name, {})
    assert is_touched(metric, found)
    # Sums of seconds are not exact; a millisecond of 1.8e9 seconds is.
    assert found == pytest.approx(known.wanted[owner][metric.name], rel=1e-12, abs=1e-9)


def test_every_process_of_the_catalogue_has_one_run_and_no_other_has() -> None:
    assert Counter(owner for run in RUNS.values() for owner in run.OWNERS) == Counter(OWNERS)


@EACH_RUN
def test_a_run_wants_and_finds_what_the_catalogue_gives_its_owners(run: Run, name: str) -> None:
    known = run(name)
    assert known.found.keys() == known.wanted.keys() == set(RUNS[name].OWNERS)
    for owner, wanted in known.wanted.items():
        names = {metric.name for metric in metrics_of(owner)}
        assert wanted.keys() == names
        assert known.found[owner].keys() == names


@EACH_RUN
def test_no_label_of_a_run_is_free_text(run: Run, name: str) -> None:
    known = run(name)
    for owner, found in known.found.items():
        for metric, samples in found.items():
            allowed = CATALOGUE[metric].owners[owner]
            for label, value in {each for labels in series_of(samples) for each in labels}:
                assert label == PRODUCT or value in allowed[label], (owner, metric, label)


@EACH_RUN
def test_a_run_makes_labels_say_all_they_can(run: Run, name: str) -> None:
    """But those of which a process says few by its nature: the reasons of what goes wrong."""
    for owner, found in run(name).found.items():
        for metric in metrics_of(owner):
            counted = {key: value for key, value in found[metric.name].items() if value}
            samples = counted if metric.kind == "counter" else found[metric.name]
            said = {each for labels in series_of(samples) for each in labels}
            for label, values in metric.owners[owner].items():
                silent = {value for value in values if (label, value) not in said}
                assert metric.most is not None or not silent, (owner, metric.name, label)


@EACH_RUN
def test_a_metric_has_no_more_series_than_it_is_given(run: Run, name: str) -> None:
    known = run(name)
    for owner, found in known.found.items():
        for metric, samples in found.items():
            most = CATALOGUE[metric].series(owner, known.products)
            assert len(series_of(samples)) <= most, (owner, metric)


def is_touched(metric: Metric, found: Samples) -> bool:
    """Say whether something was counted or set. A counter without labels is there, at 0, anyhow."""
    if metric.kind == "gauge":
        return bool(found)
    suffix = "_count" if metric.kind == "histogram" else ""
    return any(value > 0 for (part, _), value in found.items() if part == suffix)
