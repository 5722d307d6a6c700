"""Each process has a place that no other has; in the cloud it is the instance's."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from quotewatch.metrics.place import find_place
from tests.emulator import free_port

ANSWERS = {
    "/computeMetadata/v1/instance/id": "00bf4bf02d1f",
    "/computeMetadata/v1/instance/region": "projects/123/regions/europe-west1",
}


class Metadata(BaseHTTPRequestHandler):
    """As the cloud's own server: it wants to be asked by those who mean it."""

    def do_GET(self) -> None:
        known = self.headers["Metadata-Flavor"] == "Google" and self.path in ANSWERS
        self.send_response(200 if known else 403)
        self.end_headers()
        self.wfile.write(ANSWERS.get(self.path, "").encode() if known else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), Metadata)
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


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
