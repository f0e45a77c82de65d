"""How commands connect beside a running daemon: as somebody else, and taking nothing from it.

A broker ends a connection when another one comes with the same client ID (MQTT 5 section 3.1.4),
so a command that used the daemon's would throw it off.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from presenced.settings import MqttSettings, Settings, load_settings
from presenced.sources.source import SourceOptions

Tool = Literal["doctor", "record", "simulate"]
"""The commands that connect."""

_SUBSCRIBERS: tuple[Tool, ...] = ("doctor", "record")
_SHARED = "$share"


def tool_client_id(client_id: str, tool: Tool) -> str:
    """The client ID of a command beside a daemon with this one."""
    return f"{client_id}-{tool}"


def probe_client_id(client_id: str) -> str:
    """The client ID of the short connection by which a doctor with this one provokes events."""
    return f"{client_id}-probe"


def tool_client_ids(mqtt: MqttSettings) -> list[str]:
    """Every client ID that commands use beside the daemon's: not clients of the fleet."""
    doctor, record = (_client_ids(mqtt, tool) for tool in _SUBSCRIBERS)
    probes = map(probe_client_id, (*mqtt.client_ids, *doctor))
    return [*doctor, *probes, *record, tool_client_id(mqtt.client_id, "simulate")]


def load_for_tool(config: Path, client_id: str | None, tool: Tool) -> tuple[Settings, str | None]:
    """The settings, with the given client ID or else one of the tool's own.

    The second value is the daemon's client ID where the tool does not use the given one. Raises
    SettingsError.
    """
    if client_id is not None:
        return load_settings(config, overrides={"mqtt.client_id": client_id}), None
    daemons = load_settings(config).mqtt.client_id
    own = {"mqtt.client_id": tool_client_id(daemons, tool)}
    return load_settings(config, overrides=own), daemons


def without_side_effects(options: SourceOptions, tool: Tool) -> SourceOptions:
    """The same connection, taking nothing that is meant for another.

    With a clean session the broker hands over no queued messages, and keeps none. In a shared
    subscription it would hand each message to one member only; so the tool's is another one.
    """
    filters = tuple(_unshared(each, tool) for each in options.filters)
    return replace(options, session_expiry=0, filters=filters)


def _client_ids(mqtt: MqttSettings, tool: Tool) -> tuple[str, ...]:
    own = tool_client_id(mqtt.client_id, tool)
    return mqtt.model_copy(update={"client_id": own}).client_ids


def _unshared(topic_filter: str, tool: Tool) -> str:
    levels = topic_filter.split("/")
    if levels[0] == _SHARED:
        levels[1] = tool_client_id(levels[1], tool)
    return "/".join(levels)
