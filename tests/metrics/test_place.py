"""Each process has a place that no other has; in the cloud it is the instance's."""

import os
from collections.abc import Iterator

import pytest

from quotewatch.metrics.place import find_place
from tests.emulator import free_port
from tests.servers.metadata import metadata_server


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with metadata_server() as server:
        monkeypatch.setenv("GCE_METADATA_HOST", server.address)
        yield


@pytest.mark.usefixtures("metadata")
def test_in_the_cloud_it_is_the_instance_in_its_region() -> None:
    place = find_place("p", "write", in_cloud=True)
    assert place.resource == {
        "project_id": "p", "location": "europe-west1", "namespace": "quotewatch",
        "job": "write", "task_id": "00bf4bf02d1f",
    }  # fmt: skip


@pytest.mark.usefixtures("metadata")
def test_a_forked_process_of_an_instance_has_another_name() -> None:
    assert find_place("p", "write", in_cloud=True, suffix="-7").task == "00bf4bf02d1f-7"


def test_where_nobody_answers_a_name_is_made_that_nobody_else_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{free_port()}")
    places = [find_place("p", "write", in_cloud=in_cloud) for in_cloud in (True, False, False)]
    assert len({place.task for place in places}) == 3
    assert all(place.location == "global" for place in places)


@pytest.mark.usefixtures("metadata")
def test_of_several_workers_of_an_instance_each_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKERS", "2")
    assert find_place("p", "write", in_cloud=True).task == f"00bf4bf02d1f-{os.getpid()}"
