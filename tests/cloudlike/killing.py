"""Who is killed with -9, and when: while at work, by a seed.

The moment within a call is drawn; that a call is under way is waited for.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock, Thread

from quotewatch.streams import CAPTURED
from tests.cloudlike import gateway
from tests.cloudlike.deployment import Deployment
from tests.cloudlike.plan import FUNCTIONS, GATEWAY, MORTALS
from tests.cloudlike.settling import done_frames

_MEAN_SECONDS = 5.0  # between two random kills
_LATEST_IN_CALL = 0.8  # of what a call usually takes
_AT_WORK = 0.75  # the share of random kills that wait for work
_LOOK_SECONDS = 0.05
_WARM_SECONDS = 120.0
_LAST_SECONDS = 20.0  # of the market, which a gateway needs to come back
_CALL_SECONDS = 60.0  # the rarest call comes each fifteen seconds
_GATEWAY_SECONDS = 2.0  # of capturing before it is killed: within one window or two
_TRIES = 10


@dataclass(frozen=True)
class Kill:
    """One kill -9."""

    component: str
    instance: int
    at: float  # seconds since 1970
    at_work: bool  # a call broke off with it, or, of the gateway, books were valid


class Killer:
    """Kills as the plan says, on threads of its own; each victim at its own time."""

    def __init__(self, deployment: Deployment) -> None:
        self.kills: list[Kill] = []
        self._deployment = deployment
        self._market_over = Event()
        self._threads: list[Thread] = []
        self._warming = Lock()

    def start(self) -> None:
        """Begin."""
        plan = self._deployment.plan
        if plan.mode == "random":
            self._go(partial(self._kill_at_random, random.Random(plan.seed)))
        elif plan.mode == "listed":
            for victim, at_seconds, chance in schedule(plan.victims, plan.seconds, plan.seed):
                self._go(partial(self._kill_later, victim, at_seconds, chance))

    def end(self) -> None:
        """Begin no random kill any more; those of a list are carried out."""
        self._market_over.set()

    def is_done(self) -> bool:
        """Whether nobody is to be killed any more."""
        return not any(thread.is_alive() for thread in self._threads)

    def _go(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _kill_later(self, victim: str, at_seconds: float, chance: random.Random) -> None:
        # Where the market ends before its time has come, it comes at once: still a kill at work.
        self._market_over.wait(at_seconds)
        self._wait_until_warm()
        for _ in range(_TRIES):
            kill = self._strike(victim, chance)
            if kill is not None and kill.at_work:
                return

    def _kill_at_random(self, chance: random.Random) -> None:
        self._wait_until_warm()
        while not self._market_over.wait(chance.expovariate(1 / _MEAN_SECONDS)):
            victim = chance.choice(MORTALS)
            if victim == GATEWAY and self._market_left() < _LAST_SECONDS:
                continue  # what the exchange says to nobody, nobody can know of
            if chance.random() < _AT_WORK:
                self._strike(victim, chance)
            else:
                self._kill(victim)

    def _market_left(self) -> float:
        """Say how many seconds the market has left, or a little less."""
        deployment = self._deployment
        return deployment.plan.seconds - (time.monotonic() - deployment.exchange.began)

    def _wait_until_warm(self) -> None:
        """Wait until each function has worked and each stream has rows.

        Of a first life that dies within its first window nothing is stored that would tell where
        its trades begin.
        """
        calls, tables = self._deployment.calls, self._deployment.tables

        def is_warm() -> bool:
            worked = all(any(c.ok for c in calls.of(name)) for name in FUNCTIONS)
            return worked and all(done_frames(tables, name, name) for name in CAPTURED)

        with self._warming:  # one looks for all
            calls.wait_for(is_warm, _WARM_SECONDS)

    def _strike(self, victim: str, chance: random.Random) -> Kill | None:
        """Kill one that is at work; None where it is not, or was faster."""
        if victim == GATEWAY:
            return self._strike_gateway(chance)
        front = self._deployment.fronts[victim]
        flight = front.next_flight(_CALL_SECONDS)
        usual = self._deployment.calls.usual_seconds(victim)
        if flight is None or front.is_over(flight, chance.uniform(0.0, _LATEST_IN_CALL) * usual):
            return None
        return self._kill(victim, lambda: front.is_over(flight, _CALL_SECONDS) and flight.broken)

    def _strike_gateway(self, chance: random.Random) -> Kill | None:
        component = self._deployment.gateway
        deadline = time.monotonic() + _CALL_SECONDS
        while not gateway.is_ready(component):
            if self._market_over.wait(_LOOK_SECONDS) or time.monotonic() >= deadline:
                return None
        self._market_over.wait(chance.uniform(0.0, _GATEWAY_SECONDS))
        return self._kill(GATEWAY, partial(bool, gateway.is_ready(component)))

    def _kill(self, victim: str, was_at_work: Callable[[], bool] = bool) -> Kill | None:
        """Kill one, and note it; None where none runs."""
        at = time.time()
        instance = self._deployment.components[victim].kill()
        if instance is None:
            return None
        kill = Kill(victim, instance.number, at, was_at_work())
        self.kills.append(kill)
        return kill


def schedule(
    victims: tuple[str, ...], seconds: float, seed: int
) -> Iterator[tuple[str, float, random.Random]]:
    """Yield when each is to be killed, with a chance of its own: in the middle of the run.

    The gateway among the first: what it lost has to settle before it can be fetched.
    """
    order = sorted(victims)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda victim: victim != GATEWAY)
    begin, end = 0.25 * seconds, 0.75 * seconds
    for place, victim in enumerate(order):
        at = begin + (end - begin) * place / max(1, len(order) - 1)
        yield victim, at, random.Random(f"{seed} {victim}")
