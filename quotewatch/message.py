"""What travels on the bus: bytes and the attributes that describe them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """What a producer hands over."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
