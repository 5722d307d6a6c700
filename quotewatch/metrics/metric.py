"""What one metric says about itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Values = Mapping[str, frozenset[str]]  # label -> all it can say
Owners = Mapping[str, Values]  # process -> what it says

OTHER = "other"  # the label value of what no list names
PRODUCT = "product"  # the one label without a list: the settings close it


@dataclass(frozen=True)
class Metric:
    """One metric as it is exported; `environment` is a label of all of them.

    `owners` are the processes that record it, each with the label values it uses.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    owners: Owners
    per_product: bool = False
    buckets: tuple[float, ...] = ()
    most: int | None = None  # series of one process, where its labels do not say everything freely
    forensic: bool = False  # looked at by hand, after something happened: no panel, no alert

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels beside `environment`."""
        listed = tuple(next(iter(self.owners.values())))
        return (*listed, PRODUCT) if self.per_product else listed

    @cached_property
    def values(self) -> Values:
        """All that each listed label can say, whoever records it."""
        names = (name for name in self.labels if name != PRODUCT)
        every = self.owners.values()
        return {name: frozenset().union(*(each[name] for each in every)) for name in names}

    def series(self, owner: str, products: int) -> int:
        """Count the series of one process at most."""
        if owner not in self.owners:
            return 0
        listed = math.prod(len(values) for values in self.owners[owner].values())
        return min(listed, self.most or listed) * (products if self.per_product else 1)
