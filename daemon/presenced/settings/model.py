"""The whole configuration as typed, validated values."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from presenced.settings.base import Number, PathName, Section, written
from presenced.settings.metrics import MetricsSettings
from presenced.settings.mqtt import MqttSettings
from presenced.settings.presence import PresenceSettings

__all__ = ["HistorySettings", "LogSettings", "Settings", "StateSettings"]


class StateSettings(Section):
    """What outlives a restart."""

    path: PathName | None = None
    """SQLite file that keeps presence over restarts. null takes $STATE_DIRECTORY/presenced.db where
    systemd sets that variable, and else keeps nothing."""

    on_error: Literal["continue", "stall"] = "continue"
    """What becomes of messages while the file cannot be written, because the disk is full for
    example. `continue` acknowledges them, so that presence goes on, on memory; a crash then loses
    what was not written. `stall` acknowledges none, so that the broker keeps them; it stops sending
    after some, and presence stands still."""


class HistorySettings(Section):
    """What the API remembers of the events of each client, in memory: see `metrics.api`."""

    clients: Annotated[Number, Field(ge=0)] = 10_000
    """How many clients have a history: those of which an event came last. The history of a client
    takes about 250 bytes, and 250 more for each of its events."""

    per_client: Annotated[Number, Field(ge=1, le=1000)] = 20
    """How many events of each of them are remembered: the last ones, those included that were
    ignored."""


class LogSettings(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines to write."""

    format: Literal["auto", "console", "json"] = "auto"
    """`console` is text for people, `json` one object per line for programs; `auto` is console
    on a terminal, entries with fields in the systemd journal, else json."""


class Settings(Section):
    """The configuration of presenced.

    Every key can be overridden by an environment variable: PRESENCED_ and the key's path joined
    by __, such as PRESENCED_MQTT__ENDPOINT.
    """

    mqtt: MqttSettings = written({})
    presence: PresenceSettings = written({})
    metrics: MetricsSettings = written({})
    history: HistorySettings = written({})
    state: StateSettings = written({})
    log: LogSettings = written({})

    @field_validator("*", mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        # A section whose keys are all commented out is null in YAML.
        return {} if value is None else value
