"""Each component sees its cloud through guards that let it do what its account was granted."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.cloudlike.cloud import Addresses
from tests.servers.guards import (
    Account,
    catalog_need,
    guarded_http,
    guarded_pubsub,
    storage_need,
)
from tests.terraform.grants import Grant
from tests.terraform.rights import rights_of


@dataclass(frozen=True)
class Accounts:
    """The accounts of a run. Without grants nobody is guarded, as on any emulator."""

    grants: Mapping[str, frozenset[Grant]] = field(default_factory=dict)
    used: dict[str, Account] = field(default_factory=dict)

    @contextmanager
    def views(self, addresses: Addresses) -> Iterator[Mapping[str, Addresses]]:
        """Put guards before what each component sees; yield where it finds them."""
        with ExitStack() as opened:
            yield {name: self._view(name, addresses, opened) for name in self.grants}

    def refused(self) -> dict[str, list[str]]:
        """Return what each account was refused."""
        return {
            name: sorted({f"{each.permission} on {each.thing}" for each in account.refused})
            for name, account in self.used.items()
            if account.refused
        }

    def unused(self) -> dict[str, list[str]]:
        """Return the grants that no call of a component made use of."""
        left = {
            name: [grant for grant in granted if not _is_used(grant, self.used[name])]
            for name, granted in self.grants.items()
        }
        return {
            name: sorted(f"{each.role} on {each.thing}" for each in grants)
            for name, grants in left.items()
            if grants
        }

    def _view(self, name: str, addresses: Addresses, opened: ExitStack) -> Addresses:
        account = self.used[name] = Account(name, rights_of(self.grants[name]))
        http = {
            "objects": guarded_http(account, addresses.objects, storage_need),
            "warehouse": guarded_http(account, addresses.warehouse, storage_need),
            "catalog": guarded_http(account, addresses.catalog, catalog_need),
        }
        return replace(
            addresses,
            bus=opened.enter_context(guarded_pubsub(account, addresses.bus)),
            **{what: opened.enter_context(guard) for what, guard in http.items()},
        )


def load_grants(file: Path) -> dict[str, frozenset[Grant]]:
    """Read the grants of each component, as `dump_grants` wrote them."""
    said = json.loads(file.read_text())
    return {name: frozenset(Grant(*each) for each in granted) for name, granted in said.items()}


def dump_grants(grants: Mapping[str, Iterable[Grant]], file: Path) -> None:
    """Write the grants of each component."""
    plain = {
        name: sorted([each.thing, each.role, each.condition] for each in granted)
        for name, granted in grants.items()
    }
    file.write_text(json.dumps(plain))


def _is_used(grant: Grant, account: Account) -> bool:
    allows = rights_of([grant])
    return any(allows(need) for need in account.done)
