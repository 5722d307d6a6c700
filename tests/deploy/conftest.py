"""What the tests of deploying share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.apis import Apis, serving
from tests.deploy.clouds import FakeCloud
from tests.deploy.fake_gcloud import Gcloud, World
from tests.deploy.gcloud_process import installed


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloud]:
    """Yield a cloud in which nothing stands in the way."""
    world = World()
    gcloud = Gcloud(world)
    with serving(Apis(world)) as apis, installed(gcloud, tmp_path / "bin"):
        made = FakeCloud(tmp_path, world, apis, gcloud)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made
