"""Connection options from the settings: for the daemon, and for commands that run beside it.

A broker ends a connection when another client connects with the same client ID (MQTT 5 section
3.1.4). So each command uses a client ID of its own.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from presenced.settings import (
    MqttSettings,
    Problem,
    Settings,
    SettingsError,
    TlsSettings,
    load_settings,
    read_mqtt_proxy,
    read_password,
    read_user_name,
)
from presenced.settings.files import FileSnapshot
from presenced.settings.proxy import is_exempt
from presenced.sources.mqtt.connection_options import ConnectionOptions, TlsFiles

Tool = Literal["doctor", "record", "simulate"]
"""The commands that connect."""


def source_options(
    settings: Settings, mqtt: MqttSettings, snapshot: FileSnapshot | None = None
) -> list[ConnectionOptions]:
    """Return the options of each connection; `mqtt` is the section of the settings.

    The first one has the filters of status topics, too.

    Raises SettingsError if a file with a password, token or signature cannot be read.
    """
    username, password = read_user_name(mqtt, snapshot), read_password(mqtt, snapshot)
    proxy = read_mqtt_proxy(mqtt, snapshot)
    if proxy and is_exempt(mqtt.endpoint, mqtt.port):
        proxy = None
    tls = _tls_files(mqtt.tls) if mqtt.tls else None
    status_filters = settings.presence.status_filters
    of_status = [tuple(status_filters), *[()] * (len(mqtt.connections) - 1)]
    return [
        ConnectionOptions(
            endpoint=mqtt.endpoint,
            port=mqtt.port,
            client_id=client_id,
            filters=(*filters, *status),
            status_filters=status,
            tls=tls,
            server_name=mqtt.server_name,
            proxy=proxy,
            auth=mqtt.auth,
            username=username,
            password=password,
            protocol=mqtt.protocol,
            qos=mqtt.qos,
            keep_alive=mqtt.keep_alive,
            session_expiry=mqtt.session_expiry,
            signing_region=settings.signing_region,
        )
        for client_id, filters, status in zip(
            mqtt.client_ids, mqtt.connections, of_status, strict=True
        )
    ]


def _tls_files(tls: TlsSettings) -> TlsFiles:
    pkcs11 = tls.pkcs11 if tls.pkcs11.library else None
    return TlsFiles(tls.cert, tls.key, tls.ca, pkcs11)


def tool_client_id(client_id: str, tool: Tool) -> str:
    """Return the client ID of a command that runs beside a daemon with this client ID."""
    return f"{client_id}-{tool}"


def probe_client_id(client_id: str) -> str:
    """Return the client ID of the short connections with which the doctor causes events."""
    return f"{client_id}-probe"


def tool_client_ids(mqtt: MqttSettings) -> list[str]:
    """Return all client IDs of commands beside the daemon. They are not part of the fleet."""

    def client_ids(tool: Tool) -> tuple[str, ...]:
        client_id = tool_client_id(mqtt.client_id, tool)
        return mqtt.model_copy(update={"client_id": client_id}).client_ids

    probes = map(probe_client_id, (*mqtt.client_ids, *client_ids("doctor")))
    simulate = tool_client_id(mqtt.client_id, "simulate")
    return [*client_ids("doctor"), *probes, *client_ids("record"), simulate]


def load_for_tool(config: Path, client_id: str | None, tool: Tool) -> tuple[Settings, str | None]:
    """Load the settings with the given client ID, or with that of the tool if none is given.

    The second value is the daemon's client ID, or None if the tool uses the given one, or none
    because the source is not MQTT. Raises SettingsError, also if a client ID is given then.
    """
    settings = load_settings(config, overrides={"mqtt.client_id": client_id})
    mqtt = settings.mqtt_source
    if client_id is not None and mqtt is None:
        message = f"has no effect with source: {settings.source}, which uses no MQTT client ID"
        raise SettingsError([Problem(key="--client-id", value=client_id, message=message)])
    if client_id is not None or mqtt is None:
        return settings, None
    own_client_id = tool_client_id(mqtt.client_id, tool)
    return load_settings(config, overrides={"mqtt.client_id": own_client_id}), mqtt.client_id


def mqtt_for_tool(settings: Settings, tool: Tool) -> MqttSettings:
    """Return the section `mqtt`, for a tool that has no use for the source of the settings.

    Raises SettingsError with another source.
    """
    mqtt = settings.mqtt_source
    if mqtt is None:
        message = f"is not supported by `presenced {tool}`, which connects by MQTT only"
        remedy = "Use a configuration with source: mqtt"
        if tool == "record":
            message = "cannot be recorded: the daemon would lack each message that is received"
            remedy = (
                "Use a configuration with source: mqtt, by which the same events can be received"
            )
        problem = Problem(key="source", value=settings.source, message=message, remedy=remedy)
        raise SettingsError([problem])
    return mqtt


def without_side_effects(options: ConnectionOptions, tool: Tool) -> ConnectionOptions:
    """Return options of a connection that takes no message from the daemon.

    With a clean session the broker delivers no queued messages, and keeps none. A shared
    subscription delivers each message to one member only, so the tool uses a group of its own.
    """
    filters = tuple(_unshared(each, tool) for each in options.filters)
    return replace(options, session_expiry=0, filters=filters)


def _unshared(topic_filter: str, tool: Tool) -> str:
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        levels[1] = tool_client_id(levels[1], tool)
    return "/".join(levels)
