"""What each component is told: as a deployment does, and nothing of the shell."""

import pytest

from quotewatch.settings import Settings, load_settings
from tests.cloudlike.cloud import Addresses, Cloud, environment_of
from tests.cloudlike.plan import FUNCTIONS, INTERVALS, MORTALS, PUSHED, Plan
from tests.cloudlike.processes import ROOT

ADDRESSES = Addresses(
    "127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "http://127.0.0.1:4",
    "127.0.0.1:5", "ws://127.0.0.1:6", "http://127.0.0.1:6",
)  # fmt: skip


def settings_of(component: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment_of(component, Cloud(ADDRESSES), Plan()).items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_every_deployed_function_is_run_and_called() -> None:
    doors = {path.stem for path in (ROOT / "functions").glob("[!_]*.py")}
    assert set(FUNCTIONS) == doors
    assert INTERVALS.keys() | set(PUSHED.values()) == doors


@pytest.mark.parametrize("component", MORTALS)
def test_each_is_told_settings_that_it_accepts(
    component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(component, monkeypatch)
    assert (settings.bus, settings.environment) == ("pubsub", "cloudlike")
    assert settings.monitoring_emulator == "127.0.0.1:5"


@pytest.mark.parametrize("component", MORTALS)
def test_nobody_is_told_of_a_disk_or_of_what_the_shell_says(
    component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTEWATCH_DATA_DIR", "/data")
    monkeypatch.setenv("QUOTEWATCH_SPOOL_DIR", "/spool")
    monkeypatch.setenv("VIRTUAL_ENV", "/venv")
    told = environment_of(component, Cloud(ADDRESSES), Plan())
    assert "/data" not in told.values()
    assert "/spool" not in told.values()
    assert not {"QUOTEWATCH_DATA_DIR", "VIRTUAL_ENV"} & told.keys()


def test_somebody_may_stand_before_what_one_component_sees() -> None:
    proxied = Addresses(**{**ADDRESSES.__dict__, "bus": "127.0.0.1:9"})
    cloud = Cloud(ADDRESSES, {"write": proxied})
    told = {name: environment_of(name, cloud, Plan())["PUBSUB_EMULATOR_HOST"] for name in FUNCTIONS}
    assert told.pop("write") == "127.0.0.1:9"
    assert set(told.values()) == {"127.0.0.1:1"}
