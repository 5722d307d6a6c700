import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from quotewatch.bus.opening import open_bus
from quotewatch.bus.pubsub import PubSubBus
from quotewatch.bus.sqlite import SqliteBus
from quotewatch.errors import BusError


def test_each_kind_opens_its_bus(tmp_path: Path) -> None:
    with closing(open_bus("sqlite", path=tmp_path / "bus.db")) as bus:
        assert isinstance(bus, SqliteBus)
    with closing(open_bus("pubsub", project="some-project")) as bus:
        assert isinstance(bus, PubSubBus)


def test_what_a_kind_needs_is_named() -> None:
    with pytest.raises(BusError, match="QUOTEWATCH_DATA_DIR"):
        open_bus("sqlite")
    with pytest.raises(BusError, match="QUOTEWATCH_PROJECT"):
        open_bus("pubsub")


def test_the_laptop_does_not_import_google() -> None:
    script = """
import sys
from pathlib import Path
from quotewatch.bus.opening import open_bus
open_bus("sqlite", path=Path("unused.db")).close()
# Bare `google` and `google.cloud` may be there: packages that share these names announce them.
sys.exit(any(name in sys.modules for name in ("google.pubsub_v1", "google.api_core", "grpc")))
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
