"""How the doctor goes about a connection without disturbing the daemon whose it is."""

from dataclasses import replace
from pathlib import Path

from presenced.doctor.identity import doctor_client_id
from presenced.mqtt.source import SourceOptions
from presenced.settings import Settings, load_settings

__all__ = ["load_for_visit", "undisturbing"]

_SHARED = "$share"


def load_for_visit(config: Path, client_id: str | None) -> tuple[Settings, str | None]:
    """The settings, with the given client ID or else one of the doctor's own.

    The second value is the daemon's client ID where the doctor does not use the given one. Raises
    SettingsError.
    """
    if client_id is not None:
        return load_settings(config, overrides={"mqtt.client_id": client_id}), None
    daemons = load_settings(config).mqtt.client_id
    own = {"mqtt.client_id": doctor_client_id(daemons)}
    return load_settings(config, overrides=own), daemons


def undisturbing(options: SourceOptions) -> SourceOptions:
    """The same connection, taking nothing that is meant for another.

    With a clean session the broker hands over no queued messages, and keeps none. In a shared
    subscription it would hand each message to one member only; so the doctor's is another one.
    """
    filters = tuple(_unshared(each) for each in options.filters)
    return replace(options, session_expiry=0, filters=filters)


def _unshared(topic_filter: str) -> str:
    levels = topic_filter.split("/")
    if levels[0] == _SHARED:
        levels[1] = doctor_client_id(levels[1])
    return "/".join(levels)
