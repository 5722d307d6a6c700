"""A process that forks after import counts for itself, under a name of its own."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.fakes.monitoring import Distribution, MonitoringFake

ROOT = Path(__file__).parents[2]
FORKING = """
    import os, sys
    from quotewatch.metrics.cloud_monitoring import Exporter
    from quotewatch.metrics.recorder import Recorder

    recorder = Recorder("test", ("write",))
    exporter = Exporter(recorder, "write", project="test", emulator=sys.argv[1])
    recorder.inc("processor_acks_total", 5)
    recorder.observe("processor_row_write_duration_seconds", 0.2)
    children = []
    for number in (1, 2):
        child = os.fork()
        if not child:
            recorder.inc("processor_acks_total", number)
            exporter.close(3)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    exporter.close(3)
"""


def test_what_was_counted_before_a_fork_is_the_parents_alone() -> None:
    with MonitoringFake() as fake:
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKING), fake.address],
            cwd=ROOT, check=True, timeout=60,
        )  # fmt: skip
        found = fake.series("processor_acks_total")
        durations = fake.series("processor_row_write_duration_seconds")
        assert {each.newest.value for each in found} == {1, 2, 5}
        assert len({each.resource_labels["task_id"] for each in found}) == 3
        counted = [each.newest.value for each in durations]
        assert [each.count for each in counted if isinstance(each, Distribution)].count(1) == 1
        assert fake.refusals == []


def test_nothing_of_google_is_loaded_before_the_first_export() -> None:
    code = (
        "import sys, quotewatch.metrics.cloud_monitoring, quotewatch.metrics.recorder, json;"
        "print(json.dumps([name for name in sys.modules if name in ('grpc', 'google.protobuf')]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=60
    ).stdout
    assert json.loads(said) == []
