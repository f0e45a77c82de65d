"""From settings to the parts of the river."""

import os
from contextlib import suppress

from presenced.fleet import Fleet
from presenced.metrics.series import ClientSeries
from presenced.pipeline import ClientFilter, Pipeline
from presenced.presence import OrderingRules, PresenceRules
from presenced.settings import (
    MetricsSettings,
    MqttSettings,
    PresenceSettings,
    Settings,
    StateSettings,
    read_password,
)
from presenced.settings.pem import certificate_expiry
from presenced.sources.gap_detector import GapDetector
from presenced.sources.options import tool_client_ids
from presenced.sources.source import SourceOptions, TlsFiles
from presenced.store.file import default_path
from presenced.store.state_store import StateStore
from presenced.system.loop import Clocks


def presence_rules(presence: PresenceSettings) -> PresenceRules:
    """The rules of presence that the settings make."""
    return PresenceRules(
        offline_delay=presence.offline_delay,
        offline_delay_by_reason=dict(presence.offline_delay_by_reason),
        forget_offline_after=presence.forget_offline_after,
        ordering=OrderingRules(
            timestamp_accuracy=round(presence.timestamp_accuracy * 1000),
            version_reset_after=round(presence.version_reset_after * 1000),
        ),
    )


def client_filter(settings: Settings) -> ClientFilter:
    """The filter that leaves out the daemon's own clients and those of the settings' patterns.

    Those of commands that connect beside the daemon are the daemon's own, too.
    """
    own = (*settings.mqtt.client_ids, *tool_client_ids(settings.mqtt))
    return ClientFilter(own, settings.presence.ignore_clients)


def left_out(settings: Settings) -> tuple[object, ...]:
    """What decides which clients are left out of presence."""
    return (settings.presence.ignore_clients, settings.mqtt.client_ids)


def client_series(metrics: MetricsSettings, fleet: Fleet) -> ClientSeries:
    """The series of the fleet's clients that the settings ask for, still without any client."""
    return ClientSeries(
        enabled=metrics.per_client,
        max_clients=metrics.max_clients,
        pattern=metrics.client_id_pattern,
        attributes=metrics.thing_attributes,
        describe=fleet.describe,
        find=fleet.presence.clients.get,
    )


def state_store(
    state: StateSettings,
    pipeline: Pipeline,
    gap_detector: GapDetector,
    clocks: Clocks,
) -> StateStore | None:
    """What keeps the daemon's state, None where there is no file for it; see `StateStore`."""
    path = state.path or default_path(os.environ)
    if path is None:
        return None
    return StateStore(path, pipeline, gap_detector, state.on_error, clocks)


def source_options(mqtt: MqttSettings) -> list[SourceOptions]:
    """The options of each connection.

    Raises SettingsError when the password file cannot be read.
    """
    password = read_password(mqtt)
    tls = TlsFiles(mqtt.tls.cert, mqtt.tls.key, mqtt.tls.ca) if mqtt.tls else None
    return [
        SourceOptions(
            endpoint=mqtt.endpoint,
            port=mqtt.port,
            client_id=client_id,
            filters=tuple(filters),
            tls=tls,
            username=mqtt.username,
            password=password,
            protocol=mqtt.protocol,
            qos=mqtt.qos,
            keep_alive=mqtt.keep_alive,
            session_expiry=mqtt.session_expiry,
        )
        for client_id, filters in zip(mqtt.client_ids, mqtt.connections, strict=True)
    ]


def certificate_expiries(mqtt: MqttSettings) -> dict[str, float]:
    """When the certificates expire; those that cannot be read are left out."""
    tls = mqtt.tls
    paths = {"client": tls.cert, "ca": tls.ca} if tls else {}
    expiry = {}
    for name, path in paths.items():
        # The connection tells what is wrong with a file that cannot be read.
        with suppress(OSError, ValueError):
            if path is not None:
                expiry[name] = certificate_expiry(path, bundle=name == "ca")
    return expiry
