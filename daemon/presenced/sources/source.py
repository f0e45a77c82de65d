"""What every source of events has in common: MQTT connections, a queue, a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from presenced.settings import Problem, Settings
from presenced.sources.mqtt.connection_options import ConnectionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFiles:
    """What was read from the files that the settings of the source name.

    `connections` are the options of each MQTT connection, `problems` those of the certificate
    files; `expiries` are when certificates expire, in epoch seconds, by what they are for.
    """

    connections: Sequence[ConnectionOptions] = ()
    problems: Sequence[Problem] = ()
    expiries: Mapping[str, float] = field(default_factory=dict)


class SettingsTrial(Protocol):
    """A source that can find out whether other settings would do before it uses them."""

    async def try_settings(self, settings: Settings) -> None:
        """Raise SettingsError if it could not go on with these settings; change nothing."""


class Source(Protocol):
    """Where events come from; it fills the inbox of each fleet until it is stopped.

    All methods are called on the event loop. Being cut off is a state that `problems` shows, never
    an exception.
    """

    @property
    def started(self) -> bool:
        """Whether `use` has been called."""

    @property
    def may_show(self) -> bool:
        """Whether its fleets may be shown now; they may be those of another process otherwise."""

    @property
    def problems(self) -> list[str]:
        """Why the source is not ready, one text each; empty if it is, and has caught up."""

    @property
    def catching_up(self) -> bool:
        """Whether all that keeps it from being ready is what had waited and is not applied yet."""

    @property
    def warnings(self) -> list[str]:
        """What is wrong although the source is ready, one text each."""

    @property
    def summary(self) -> str:
        """The state of the source in a few words, as `systemctl status` shows it."""

    async def use(self, settings: Settings, files: SourceFiles) -> int:
        """Start, or go on with other settings; return how many connections were made anew."""

    async def renew(self) -> int:
        """Use certificate files that have changed; return how many connections were made anew."""

    def check(self) -> None:
        """Look for gaps and for what can be concluded; called four times a second."""

    async def stop(self) -> None:
        """Take no more messages, and disconnect within 3 seconds."""
