"""One component of which the platform always runs one instance: who dies is replaced at once.

A new instance is a new process on a new port, in an empty folder: nothing of the old one is left.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread

from tests.cloudlike.processes import CloudlikeError, Program

_MOST_DEATHS = 3  # of its own, in a row, before it is given up

# From the how-manieth instance it is, and its empty folder and log, to the process.
Launch = Callable[[int, Path, Path], Program]


@dataclass
class Instance:
    """One life of a component."""

    number: int
    program: Program
    folder: Path
    began: float  # seconds since 1970
    port: int = 0
    killed: bool = False
    ended: float | None = None
    code: int | None = None


class Component:
    """Keeps one instance running until it is stopped."""

    def __init__(
        self,
        name: str,
        folder: Path,
        launch: Launch,
        listening: str,
        *,
        up: Callable[[int, int], None] = lambda _, __: None,
        down: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.instances: list[Instance] = []
        self.deaths: list[str] = []  # that nobody wanted
        self._folder = folder
        self._launch = launch
        self._listening = listening
        self._up, self._down = up, down
        self._stopping = self._given_up = False
        self._lock = Lock()
        self._is_up = Event()  # the first instance is, or never will be
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._folder.mkdir(parents=True)
        self._thread.start()

    def wait_until_up(self) -> None:
        """Wait for the first instance that can be called."""
        self._is_up.wait()
        self.check()

    def check(self) -> None:
        """Raise if it has been given up."""
        if self._given_up:
            raise CloudlikeError(f"{self.name} keeps dying: {'; '.join(self.deaths)}")

    @property
    def current(self) -> Instance | None:
        """The instance that runs now."""
        with self._lock:
            running = bool(self.instances) and self.instances[-1].ended is None
            return self.instances[-1] if running else None

    def kill(self) -> Instance | None:
        """End the instance that runs with -9; None where there is none."""
        with self._lock:
            if not self.instances or self.instances[-1].ended is not None or self._stopping:
                return None
            instance = self.instances[-1]
            instance.killed = True
            instance.program.kill()
            return instance

    def stop(self, *, at_once: bool = False) -> int | None:
        """Let the instance end as the platform does, or kill it; return its exit code."""
        with self._lock:
            self._stopping = True
        self._down()  # it gets no call any more, but ends the one it is at
        instance = self.current
        if instance is not None and at_once:
            instance.program.kill()
        elif instance is not None:
            instance.program.end()
        if self._thread.ident is not None:
            self._thread.join()
        return self.instances[-1].code if self.instances else None

    def stray_files(self) -> list[Path]:
        """Return what its instances left on their disks, which are memory in the cloud."""
        return [path for each in self.instances for path in each.folder.rglob("*")]

    def _run(self) -> None:
        while (instance := self._begin()) is not None:
            self._attend(instance)
            if self._has_failed():
                self._given_up = True
                break
        self._is_up.set()

    def _begin(self) -> Instance | None:
        with self._lock:
            if self._stopping:
                return None
            number = len(self.instances) + 1
            folder = self._folder / f"{number}"
            folder.mkdir()
            log = self._folder / f"{number}.log"
            began = time.time()
            instance = Instance(number, self._launch(number, folder, log), folder, began)
            self.instances.append(instance)
            return instance

    def _attend(self, instance: Instance) -> None:
        """Follow one instance to its end."""
        try:
            instance.port = int(instance.program.hear(self._listening)[1])
        except CloudlikeError:
            instance.program.kill()  # it has ended, or says nothing
        else:
            self._up(instance.number, instance.port)
            self._is_up.set()
        code = instance.program.wait()
        self._down()
        with self._lock:
            instance.ended, instance.code = time.time(), code
            if not instance.killed and not self._stopping:
                self.deaths.append(f"instance {instance.number} ended with {code}")

    def _has_failed(self) -> bool:
        last = self.instances[-_MOST_DEATHS:]
        return len(self.deaths) >= _MOST_DEATHS and not any(each.killed for each in last)
