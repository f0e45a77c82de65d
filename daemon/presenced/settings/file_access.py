"""Read files beside the event loop, within a time limit, and once they have stopped changing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from presenced.settings.files import Digests, FileSnapshot
from presenced.settings.problems import Problem, SettingsError
from presenced.system.loop import BoundedThread

T = TypeVar("T")

_MAX_LOOKS = 20


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """What a look at files found: `outcome` is a value, or what is wrong with the files."""

    digests: Digests
    outcome: T | SettingsError

    @property
    def value(self) -> T:
        """The value; raises SettingsError if there is none."""
        if isinstance(self.outcome, SettingsError):
            raise self.outcome
        return self.outcome


class FileAccess:
    """Reads files in a thread, so that a hung file system does not block the loop.

    A file that is written in place is empty or cut for a moment, and a pair is replaced one file
    after the other. A change is used after two reads, `pause` seconds apart, return the same
    content. `name` is the name of the thread.

    All methods raise SettingsError if a look takes longer than `time_limit` seconds.
    """

    def __init__(self, name: str, *, pause: float = 0.5, time_limit: float = 5.0) -> None:
        self._thread = BoundedThread(name, time_limit)
        self._pause = pause
        self._time_limit = time_limit
        self._snapshot = FileSnapshot()

    async def look(self, read: Callable[[FileSnapshot], T]) -> Look[T]:
        """Look once. What `read` raises other than SettingsError is raised."""
        snapshot = FileSnapshot()

        def attempt() -> T | SettingsError:
            self._snapshot = snapshot
            try:
                return read(snapshot)
            except SettingsError as error:
                return error

        try:
            outcome = await self._thread.run(attempt)
        except TimeoutError:
            raise SettingsError([self._no_answer()]) from None
        return Look(snapshot.digests, outcome)

    async def look_until_settled(self, read: Callable[[FileSnapshot], T]) -> Look[T]:
        """Look until two looks in sequence found the same files, and return the last."""
        previous = await self.look(read)
        for _ in range(_MAX_LOOKS):
            await asyncio.sleep(self._pause)
            look = await self.look(read)
            if look.digests == previous.digests:
                return look
            previous = look
        changing = [path for path, digest in look.digests.items()]
        message = f"changed during each of {_MAX_LOOKS} looks: {', '.join(map(str, changing))}"
        raise SettingsError([Problem(key="", message=message, kind="unreadable")])

    async def changed(self, digests: Digests) -> bool:
        """Return whether any of these files now has another digest."""
        if not digests:
            return False

        def differs(snapshot: FileSnapshot) -> bool:
            return any(snapshot.digest(path) != digest for path, digest in digests.items())

        return (await self.look(differs)).value

    def _no_answer(self) -> Problem:
        """Return the problem that the thread still reads."""
        path = self._snapshot.reading
        return Problem(
            key="",
            origin=str(path) if path else "configuration files",
            message=f"could not be read within {self._time_limit:g} s",
            remedy="Check the file system that holds it",
            kind="unreadable",
        )
