"""The configuration file, the environment and the flags as typed, validated settings."""

from presenced.settings.aws import AwsEndpoints, AwsSettings, ReconcileSettings, aws_endpoints
from presenced.settings.loading import DEFAULT_CONFIG, FLAGS, load_settings
from presenced.settings.model import (
    HistorySettings,
    MetricsSettings,
    PresenceSettings,
    Settings,
    StateSettings,
)
from presenced.settings.mqtt import MqttSettings, TlsSettings, read_password
from presenced.settings.problems import Problem, SettingsError
from presenced.settings.values import ListenAddress, format_duration, parse_duration

__all__ = [
    "DEFAULT_CONFIG",
    "FLAGS",
    "AwsEndpoints",
    "AwsSettings",
    "HistorySettings",
    "ListenAddress",
    "MetricsSettings",
    "MqttSettings",
    "PresenceSettings",
    "Problem",
    "ReconcileSettings",
    "Settings",
    "SettingsError",
    "StateSettings",
    "TlsSettings",
    "aws_endpoints",
    "format_duration",
    "load_settings",
    "parse_duration",
    "read_password",
]
