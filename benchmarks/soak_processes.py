"""The processes of a soak: real stages and a publisher, each ended with -9 and started again."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quotewatch.local.children import Child

_SHORTEST_SECONDS = 0.5


@dataclass
class Place:
    """One process that is always there, whatever befalls it."""

    name: str
    command: Callable[[int], Sequence[str]]  # the how-manieth life -> what to run
    mean_seconds: float  # of a life
    lives: int = 0
    dies_at: float = 0.0
    child: Child | None = None


@dataclass
class Crew:
    """All of them."""

    data: Path
    environment: Mapping[str, str]
    places: list[Place]
    chance: random.Random
    crashes: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)  # of their own

    def start(self) -> None:
        """Start whoever is not there."""
        for place in self.places:
            if place.child is None:
                self._start(place)

    def trouble(self) -> None:
        """Kill those whose time has come; start again whoever is gone."""
        now = time.monotonic()
        for place in self.places:
            if place.child is not None and now >= place.dies_at and place.child.returncode is None:
                place.child.kill()
                place.child = None
                self.crashes[place.name] += 1
        self.revive()

    def revive(self) -> None:
        """Start again whoever is gone; one that died by itself is noted."""
        for place in self.places:
            if place.child is not None and place.child.returncode is not None:
                self.deaths.append(str(place.child.death()))
                place.child = None
        self.start()

    def end(self, *names: str) -> None:
        """Let these finish what they do, all where none is named; they do not come back."""
        chosen = [each for each in self.places if not names or each.name in names]
        self.places = [each for each in self.places if each not in chosen]
        children = [each.child for each in chosen if each.child is not None]
        for child in children:
            child.ask_to_stop()
        for child in children:
            child.stop()

    def kill(self) -> None:
        """End them all at once."""
        for place in self.places:
            if place.child is not None:
                place.child.kill()

    def _start(self, place: Place) -> None:
        place.lives += 1
        log = self.data / f"{place.name}.log"
        place.child = Child(place.name, place.command(place.lives), log, self.environment)
        life = max(_SHORTEST_SECONDS, self.chance.expovariate(1 / place.mean_seconds))
        place.dies_at = time.monotonic() + life


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings of ours and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QUOTEWATCH_")}
    return {**kept, "ENVIRONMENT": "local", **{f"QUOTEWATCH_{k}": v for k, v in own.items()}}
