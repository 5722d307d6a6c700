"""What a component is told about the cloud: addresses in, the environment of each component out.

As a deployment sets it, and nothing else: what the shell that started the run says does not count.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.cloudlike.plan import ACK_SECONDS, GATEWAY, HORIZON_MS, SETTLE_SECONDS, Plan
from tests.cloudlike.processes import ROOT

# The project of Terraform's tests, and its buckets: so its grants can be asked for.
PROJECT = "quotewatch-test"
ENVIRONMENT = "cloudlike"
WAREHOUSE_BUCKET = f"{PROJECT}-quotewatch-warehouse"
OBJECTS_BUCKET = f"{PROJECT}-quotewatch-objects"
WAREHOUSE = f"gs://{WAREHOUSE_BUCKET}"
OBJECTS = f"gs://{OBJECTS_BUCKET}"
SPOOL = f"{OBJECTS}/spool"

EXPORT_SECONDS = "10"
_TOKEN_SECONDS = 86_400
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


@dataclass(frozen=True)
class Addresses:
    """Where one component finds what it stands on."""

    bus: str  # host:port
    objects: str  # a URL, as all below but one
    warehouse: str
    catalog: str
    monitoring: str  # host:port
    feed: str = ""
    rest: str = ""


@dataclass(frozen=True)
class Cloud:
    """The addresses of all, or of one component: somebody may stand before what it sees."""

    addresses: Addresses
    views: Mapping[str, Addresses] = field(default_factory=dict)

    def seen_by(self, component: str) -> Addresses:
        """Return where this component finds what it stands on."""
        return self.views.get(component, self.addresses)


def catalog_of(addresses: Addresses) -> str:
    """Return the setting CATALOG: a REST catalog, whose files are in a bucket."""
    properties = {"type": "rest", "uri": addresses.catalog, **io_properties(addresses.warehouse)}
    return json.dumps(properties)


def io_properties(warehouse: str) -> dict[str, str]:
    """Tell pyiceberg where the bucket is; without a token Google's library looks for minutes."""
    return {
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
        "gcs.service.host": warehouse,
        "gcs.oauth2.token": "emulated",
        "gcs.oauth2.token-expires-at": str(round((time.time() + _TOKEN_SECONDS) * 1_000)),
    }


def environment_of(component: str, cloud: Cloud, plan: Plan) -> dict[str, str]:
    """Return all that a component is told."""
    addresses = cloud.seen_by(component)
    own = {f"QUOTEWATCH_{name}": value for name, value in _OWN[component](addresses, plan).items()}
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        **own,
        "ENVIRONMENT": ENVIRONMENT,
        "PUBSUB_EMULATOR_HOST": addresses.bus,
        "STORAGE_EMULATOR_HOST": addresses.objects,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "K_SERVICE": component,
        "K_CONFIGURATION": component,
        "K_REVISION": f"{component}-00001-abc",
        **(_IMAGE if component == GATEWAY else _runtime(component)),
    }


def _gateway(addresses: Addresses, plan: Plan) -> dict[str, str]:
    return {
        "BUS": "pubsub",
        "PROJECT": PROJECT,
        "PRODUCTS": ",".join(plan.products),
        "FEED_DIALECT": "exchange",
        "FEED_URL": addresses.feed,
        "SPOOL_DIR": SPOOL,
        "ACK_DEADLINE_S": str(ACK_SECONDS),
        "HTTP_PORT": "0",
        **_exports(addresses),
    }


def _write(addresses: Addresses, _: Plan) -> dict[str, str]:
    return {**_stands_on(addresses), **_tables(addresses), "OBJECTS": OBJECTS}


def _label(addresses: Addresses, _: Plan) -> dict[str, str]:
    return {**_stands_on(addresses), **_tables(addresses), "HORIZON_MS": str(HORIZON_MS)}


def _predict(addresses: Addresses, _: Plan) -> dict[str, str]:
    return {**_stands_on(addresses), "OBJECTS": OBJECTS, "HORIZON_MS": str(HORIZON_MS)}


def _train(addresses: Addresses, plan: Plan) -> dict[str, str]:
    return {**_label(addresses, plan), "OBJECTS": OBJECTS}


def _reconcile(addresses: Addresses, _: Plan) -> dict[str, str]:
    settled = {"REST_URL": addresses.rest, "SETTLE_S": str(SETTLE_SECONDS)}
    return {**_stands_on(addresses), **_tables(addresses), **settled}


def _maintain(addresses: Addresses, _: Plan) -> dict[str, str]:
    return {**_stands_on(addresses), **_tables(addresses)}


_OWN: Mapping[str, Callable[[Addresses, Plan], dict[str, str]]] = {
    GATEWAY: _gateway,
    "write": _write,
    "label": _label,
    "predict": _predict,
    "train": _train,
    "reconcile": _reconcile,
    "maintain": _maintain,
}


def _stands_on(addresses: Addresses) -> dict[str, str]:
    told = {"BUS": "pubsub", "PROJECT": PROJECT, "ACK_DEADLINE_S": str(ACK_SECONDS)}
    return {**told, **_exports(addresses)}


def _exports(addresses: Addresses) -> dict[str, str]:
    where = f"grpc://{addresses.monitoring}"
    return {"MONITORING": where, "METRICS_EXPORT_SECONDS": EXPORT_SECONDS}


def _tables(addresses: Addresses) -> dict[str, str]:
    return {"CATALOG": catalog_of(addresses), "WAREHOUSE": WAREHOUSE}


# The image's working directory holds the code; a function's framework is told where it is.
_IMAGE = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def _runtime(function: str) -> dict[str, str]:
    return {
        "FUNCTION_TARGET": function,
        "WORKERS": "1",
        "GUNICORN_LOG_LEVEL": "info",  # it says where it listens
        "PYTHONUNBUFFERED": "1",
    }
