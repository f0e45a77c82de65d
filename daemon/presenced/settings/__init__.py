"""The YAML file, the environment and the flags as typed, validated settings."""

from presenced.settings.durations import format_duration, parse_duration
from presenced.settings.hosts import ListenAddress
from presenced.settings.loading import DEFAULT_CONFIG, FLAGS, load_settings
from presenced.settings.metrics import MetricsSettings
from presenced.settings.model import HistorySettings, LogSettings, Settings, StateSettings
from presenced.settings.mqtt import MqttSettings
from presenced.settings.passwords import read_password
from presenced.settings.presence import PresenceSettings
from presenced.settings.problems import Problem, SettingsError
from presenced.settings.tls import TlsSettings

__all__ = [
    "DEFAULT_CONFIG",
    "FLAGS",
    "HistorySettings",
    "ListenAddress",
    "LogSettings",
    "MetricsSettings",
    "MqttSettings",
    "PresenceSettings",
    "Problem",
    "Settings",
    "SettingsError",
    "StateSettings",
    "TlsSettings",
    "format_duration",
    "load_settings",
    "parse_duration",
    "read_password",
]
