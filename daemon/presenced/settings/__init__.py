"""The configuration file, the environment and the flags as typed, validated settings."""

from presenced.settings.aws import AwsSettings, ReconcileSettings
from presenced.settings.connection_secrets import (
    read_aws_proxy,
    read_mqtt_proxy,
    read_password,
    read_user_name,
)
from presenced.settings.endpoints import AwsEndpoints, aws_endpoints
from presenced.settings.kafka import KafkaSecurity, KafkaSettings, read_kafka_password
from presenced.settings.loading import DEFAULT_CONFIG, FLAGS, load_settings
from presenced.settings.metrics import MetricsSettings
from presenced.settings.model import (
    HistorySettings,
    Settings,
    StateSettings,
)
from presenced.settings.mqtt import MqttSettings
from presenced.settings.presence import PresenceSettings
from presenced.settings.problems import Problem, SettingsError
from presenced.settings.sqs import SqsSettings
from presenced.settings.tls import TlsSettings
from presenced.settings.values import ListenAddress, format_duration, parse_duration

__all__ = [
    "DEFAULT_CONFIG",
    "FLAGS",
    "AwsEndpoints",
    "AwsSettings",
    "HistorySettings",
    "KafkaSecurity",
    "KafkaSettings",
    "ListenAddress",
    "MetricsSettings",
    "MqttSettings",
    "PresenceSettings",
    "Problem",
    "ReconcileSettings",
    "Settings",
    "SettingsError",
    "SqsSettings",
    "StateSettings",
    "TlsSettings",
    "aws_endpoints",
    "format_duration",
    "load_settings",
    "parse_duration",
    "read_aws_proxy",
    "read_kafka_password",
    "read_mqtt_proxy",
    "read_password",
    "read_user_name",
]
