"""Every setting, read once from the environment: unset is the default, malformed refuses."""

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from quotewatch.errors import SettingsError

Dialect = Literal["exchange", "advanced"]

FEED_URLS: Mapping[str, str] = {
    "exchange": "wss://ws-feed.exchange.coinbase.com",
    "advanced": "wss://advanced-trade-ws.coinbase.com",
}
_PREFIX = "QUOTEWATCH_"
LONGEST_HORIZON_MS = 600_000  # what lies within a horizon is looked at together, in memory
_PRODUCT = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{1,20}")
# Set for the tests and the benchmarks, not for the product.
_FOREIGN = frozenset({"QUOTEWATCH_CAPTURES", "QUOTEWATCH_NODE_CACHE"})


class Settings(BaseSettings):
    """What can be set; QUOTEWATCH_ + the name in capitals, ENVIRONMENT without the prefix."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    environment: str = Field("local", validation_alias="ENVIRONMENT", pattern=r"^[a-z0-9_-]{1,40}$")
    bus: Literal["sqlite", "pubsub"] = "sqlite"
    project: str | None = None
    products: Annotated[tuple[str, ...], NoDecode] = ("BTC-USD", "ETH-USD")
    feed_dialect: Dialect = "exchange"
    feed_url: str = ""
    rest_url: str = "https://api.exchange.coinbase.com"
    data_dir: Path = Path("data")
    spool_dir: str = ""
    catalog: str = ""
    warehouse: str = ""
    objects: str = ""
    frame_ms_features: int = Field(250, ge=10, le=60_000)
    frame_ms_raw: int = Field(2_000, ge=10, le=60_000)
    ack_deadline_s: int = Field(60, ge=10, le=600)
    horizon_ms: Annotated[tuple[int, ...], NoDecode] = (500,)
    write_budget_s: float = Field(45.0, ge=0.1, le=3_600)
    label_budget_s: float = Field(45.0, ge=0.1, le=3_600)
    train_budget_s: float = Field(45.0, ge=0.1, le=3_600)
    reconcile_budget_s: float = Field(60.0, ge=0.1, le=3_600)
    reconcile_requests: int = Field(300, ge=1, le=100_000)
    settle_s: float = Field(60.0, ge=0, le=86_400)
    orphan_hours: float = Field(24.0, ge=1, le=8_760)
    monitoring: str = Field("auto", pattern=r"^(auto|off|cloud|grpc://[^/:\s]+:\d{1,5})$")
    metrics_file: str = ""
    metrics_export_seconds: float = Field(60.0, ge=10, le=3_600)
    http_port: int = Field(9090, ge=0, le=65_535)
    watchdog_s: float = Field(20.0, ge=0.1, le=600)
    products_per_connection: int = Field(50, ge=1, le=1_000)
    max_message_mb: int = Field(64, ge=1, le=1_024)
    queue_mb: int = Field(256, ge=1, le=65_536)

    @field_validator("products", mode="before")
    @classmethod
    def _split_products(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))

    @field_validator("products")
    @classmethod
    def _check_products(cls, products: tuple[str, ...]) -> tuple[str, ...]:
        if not products:
            raise ValueError("names no product; give a list like BTC-USD,ETH-USD")
        bad = [name for name in products if not _PRODUCT.fullmatch(name)]
        if bad:
            raise ValueError(f"{', '.join(bad)}: a product is spelled like BTC-USD")
        return products

    @field_validator("horizon_ms", mode="before")
    @classmethod
    def _split_horizons(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(dict.fromkeys(each.strip() for each in value.split(",") if each.strip()))
        return (value,) if isinstance(value, int) else value

    @field_validator("horizon_ms")
    @classmethod
    def _check_horizons(cls, horizons: tuple[int, ...]) -> tuple[int, ...]:
        bad = [str(each) for each in horizons if not 1 <= each <= LONGEST_HORIZON_MS]
        if bad or not horizons:
            raise ValueError(
                f"{', '.join(bad) or 'nothing'}: give milliseconds from 1 to {LONGEST_HORIZON_MS},"
                " several with commas, like 500,5000"
            )
        return tuple(sorted(set(horizons)))

    @field_validator("feed_url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        expected = "expected a URL like wss://ws-feed.exchange.coinbase.com"
        try:
            parts = urlsplit(url)
            known = parts.scheme in {"ws", "wss"} and parts.hostname and parts.port != 0
        except ValueError as error:  # a port that is no number, or too large
            raise ValueError(f"{expected}: {error}") from error
        if url and not known:
            raise ValueError(expected)
        return url

    @field_validator("rest_url")
    @classmethod
    def _check_rest_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected a URL like https://api.exchange.coinbase.com")
        return url.rstrip("/")

    @field_validator("catalog")
    @classmethod
    def _check_catalog(cls, catalog: str) -> str:
        if not catalog.lstrip().startswith("{"):
            if catalog and not urlsplit(catalog).scheme:
                raise ValueError("expected a URI like postgresql+psycopg2://user@host/db, or JSON")
            return catalog
        try:
            properties = json.loads(catalog)
        except ValueError as error:
            raise ValueError(f"not the JSON of pyiceberg's catalog properties: {error}") from error
        if not all(_is_property(name, value) for name, value in properties.items()):
            raise ValueError(
                "expected one JSON object of pyiceberg's catalog properties, flat but for `auth`"
            )
        return catalog

    @field_validator("objects")
    @classmethod
    def _check_objects(cls, url: str) -> str:
        if "://" in url and not url.startswith(("file:///", "gs://")):
            raise ValueError("expected file:///directory, gs://bucket/prefix or a plain path")
        return url

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        problems = _joint_problems(
            self.bus, self.project, self.feed_dialect, self.products, self.monitoring
        )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def effective_feed_url(self) -> str:
        """The feed to connect to: the one named, or the dialect's own."""
        return self.feed_url or FEED_URLS[self.feed_dialect]

    @property
    def effective_spool(self) -> str:
        """The spool named, or a folder beside the data."""
        return self.spool_dir or str(self.data_dir / "spool")

    @property
    def effective_objects(self) -> str:
        """The object store named, or a folder beside the data."""
        return self.objects or str(self.data_dir / "objects")

    @property
    def exports_metrics(self) -> bool:
        """Whether metrics go to Cloud Monitoring, or to a stand-in that `monitoring` names."""
        if self.monitoring == "auto":
            return self.bus == "pubsub" and not os.environ.get("PUBSUB_EMULATOR_HOST")
        return self.monitoring != "off"

    @property
    def monitoring_emulator(self) -> str:
        """Where a stand-in for Cloud Monitoring listens; nothing where there is none."""
        return self.monitoring.partition("grpc://")[2]

    @property
    def bus_path(self) -> Path:
        """Where the SQLite bus lives."""
        return self.data_dir / "bus.db"

    def shown(self) -> dict[str, Any]:
        """Return the effective values for the log; passwords within URLs are left out."""
        values = self.model_dump(mode="json")
        values["feed_url"] = _without_secret(self.effective_feed_url)
        values["spool_dir"] = self.effective_spool
        values["objects"] = self.effective_objects
        values["rest_url"] = _without_secret(self.rest_url)
        values["catalog"] = _catalog_shown(self.catalog)
        return values


def load_settings(**overrides: object) -> Settings:
    """Read the environment; SettingsError names every bad variable and what it expects."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        lines = sorted({*_explain(error), *_joint_problems_of(os.environ)})
        raise SettingsError("\n".join(["settings refused:", *lines])) from None


def fixed_settings(values: Mapping[str, object]) -> Settings:
    """Return the defaults with these values instead; the environment is not asked."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(["settings refused:", *sorted(_explain(error))])) from None


def _is_property(name: str, value: object) -> bool:
    """Say whether pyiceberg takes this: words and numbers, and how to authenticate as an object."""
    if name == "auth":
        return isinstance(value, dict) and isinstance(value.get("type"), str)
    return isinstance(value, str | int | bool)


def _joint_problems(
    bus: str, project: str | None, dialect: str, products: Sequence[str], monitoring: str
) -> list[str]:
    """Return what is wrong with settings that are each well-formed."""
    problems = []
    if bus == "pubsub" and not project:
        problems.append(f"  {_PREFIX}PROJECT: needed with {_PREFIX}BUS=pubsub")
    if monitoring == "cloud" and not project:
        problems.append(f"  {_PREFIX}PROJECT: needed with {_PREFIX}MONITORING=cloud")
    mirrored = [name for name in products if name.endswith("-USDC")]
    if dialect == "advanced" and mirrored:
        problems.append(
            f"  {_PREFIX}PRODUCTS: {', '.join(mirrored)}: Advanced Trade answers -USDC products"
            f" with -USD data; name the -USD product or set {_PREFIX}FEED_DIALECT=exchange"
        )
    return problems


def _joint_problems_of(environment: Mapping[str, str]) -> list[str]:
    """Look at the raw variables: pydantic stops before this when a single one is malformed."""
    return _joint_problems(
        environment.get(f"{_PREFIX}BUS", ""),
        environment.get(f"{_PREFIX}PROJECT"),
        environment.get(f"{_PREFIX}FEED_DIALECT", ""),
        environment.get(f"{_PREFIX}PRODUCTS", "").replace(" ", "").split(","),
        environment.get(f"{_PREFIX}MONITORING", ""),
    )


def unknown_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """Return QUOTEWATCH_ variables that no setting reads, each with the likeliest meant one."""
    known = {_variable(name) for name in Settings.model_fields} | _FOREIGN
    unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)
    return {name: next(iter(difflib.get_close_matches(name, known, 1)), None) for name in unknown}


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            yield from message.splitlines()
            continue
        name = str(problem["loc"][0])
        yield f"  {_variable(name)}={problem['input']!r}: {message[:1].lower()}{message[1:]}"


def _variable(name: str) -> str:
    return (
        name
        if name.isupper()
        else "ENVIRONMENT"
        if name == "environment"
        else _PREFIX + name.upper()
    )


def _catalog_shown(catalog: str) -> str:
    """Name the catalog: its URI without the password; of properties only what is no secret."""
    if not catalog.lstrip().startswith("{"):
        return _without_secret(catalog)
    properties = json.loads(catalog)
    shown = {name: str(properties[name]) for name in ("type", "warehouse") if name in properties}
    if "uri" in properties:
        shown["uri"] = _without_secret(str(properties["uri"]))
    return json.dumps(shown)


def _without_secret(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
