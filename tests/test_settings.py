"""Settings: unset is the default, malformed refuses and names every bad variable."""

import pytest

from quotewatch.errors import SettingsError
from quotewatch.settings import load_settings, unknown_variables


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENVIRONMENT", "QUOTEWATCH_CAPTURES"):
        monkeypatch.delenv(name, raising=False)


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    return str(error.value)


def test_nothing_set_is_a_laptop() -> None:
    settings = load_settings()
    assert (settings.bus, settings.environment, settings.feed_dialect) == (
        "sqlite", "local", "exchange",
    )  # fmt: skip
    assert settings.effective_feed_url == "wss://ws-feed.exchange.coinbase.com"
    assert settings.effective_spool == "data/spool"


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:99999", "ws://host:abc", "wss://", "host:80", "ws://[::1", "ws://h:0"]
)
def test_a_feed_url_that_cannot_be_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    assert "QUOTEWATCH_FEED_URL" in refused(monkeypatch, QUOTEWATCH_FEED_URL=url)


def test_empty_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTEWATCH_FRAME_MS_RAW", "")
    assert load_settings().frame_ms_raw == 2_000


def test_products_are_a_list_without_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTEWATCH_PRODUCTS", "BTC-USD, ETH-USD,BTC-USD,")
    assert load_settings().products == ("BTC-USD", "ETH-USD")


def test_horizons_are_whole_milliseconds_in_order_without_repeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().horizon_ms == (500,)
    monkeypatch.setenv("QUOTEWATCH_HORIZON_MS", "5000, 500,5000")
    assert load_settings().horizon_ms == (500, 5_000)


@pytest.mark.parametrize("given", ["0", "soon", "0.5", "600001", ",", "500,-1"])
def test_a_horizon_that_cannot_be_one_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUOTEWATCH_HORIZON_MS", given)
    with pytest.raises(SettingsError, match="QUOTEWATCH_HORIZON_MS"):
        load_settings()


def test_every_bad_variable_is_named_with_what_it_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refused(
        monkeypatch,
        QUOTEWATCH_BUS="kafka",
        QUOTEWATCH_FRAME_MS_RAW="soon",
        QUOTEWATCH_ACK_DEADLINE_S="5",
        QUOTEWATCH_FEED_URL="https://example.com",
        QUOTEWATCH_HTTP_PORT="70000",
        ENVIRONMENT="my env",
    )
    for expected in (
        "QUOTEWATCH_BUS='kafka': input should be 'sqlite' or 'pubsub'",
        "QUOTEWATCH_FRAME_MS_RAW='soon'",
        "QUOTEWATCH_ACK_DEADLINE_S='5'",
        "QUOTEWATCH_FEED_URL='https://example.com': expected a URL like wss://",
        "QUOTEWATCH_HTTP_PORT='70000'",
        "ENVIRONMENT='my env'",
    ):
        assert expected in text


def test_settings_that_do_not_go_together_are_named_beside_malformed_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = refused(
        monkeypatch,
        QUOTEWATCH_BUS="pubsub",
        QUOTEWATCH_FEED_DIALECT="advanced",
        QUOTEWATCH_PRODUCTS="BTC-USDC,eth",
    )
    assert "QUOTEWATCH_PROJECT: needed" in text
    assert "BTC-USDC: Advanced Trade answers -USDC products with -USD data" in text
    assert "eth: a product is spelled like BTC-USD" in text


def test_usdc_products_are_refused_on_advanced_trade_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTEWATCH_PRODUCTS", "BTC-USDC")
    assert load_settings().products == ("BTC-USDC",)
    assert "-USD data" in refused(monkeypatch, QUOTEWATCH_FEED_DIALECT="advanced")


def test_a_variable_that_nobody_reads_is_told_with_the_one_meant() -> None:
    assert unknown_variables(
        {"QUOTEWATCH_PRODUCT": "x", "QUOTEWATCH_BUS": "sqlite", "HOME": "/"}
    ) == {"QUOTEWATCH_PRODUCT": "QUOTEWATCH_PRODUCTS"}


def test_secrets_in_urls_are_not_shown() -> None:
    shown = load_settings(feed_url="wss://user:secret@feed.example/path?key=secret").shown()
    assert shown["feed_url"] == "wss://feed.example/path"
