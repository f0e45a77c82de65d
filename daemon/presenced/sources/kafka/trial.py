"""Whether a worker could join its group with other settings, found out without joining."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from presenced.settings import Problem, Settings, SettingsError
from presenced.settings.connection_secrets import aws_proxy_choice
from presenced.sources.kafka.cluster import Cluster
from presenced.sources.kafka.cluster_checks import check_topics
from presenced.sources.kafka.faults import KafkaFaultError
from presenced.system.loop import in_thread


async def try_settings(settings: Settings, config: Mapping[str, Any]) -> None:
    """Connect as a worker does, with a configuration of librdkafka that was made of the settings.

    No record is written. It takes 5 s if no broker can be reached. Raises SettingsError if the
    brokers reject the user, if a topic is wrong, or if the user may not describe the group or begin
    transactions.
    """
    try:
        await in_thread(lambda: _try(settings, config), name="kafka settings")
    except KafkaFaultError as error:
        fault = error.fault
        problem = Problem(key="kafka", message=fault.detail, remedy=fault.remedy)
        raise SettingsError([problem]) from None


def _try(settings: Settings, config: Mapping[str, Any]) -> None:
    kafka, region = settings.kafka, settings.brokers_region
    with closing(Cluster(kafka, lambda report: {**config, "error_cb": report}, region)) as cluster:
        cluster.connect()
        check_topics(cluster, kafka)
        cluster.group()
        cluster.try_transactions()


def made_of(settings: Settings) -> tuple[object, ...]:
    """Return the settings that a membership depends on, without the contents of their files."""
    proxy = aws_proxy_choice(settings.aws, settings.mqtt)
    return settings.kafka, settings.aws, settings.tls_files, proxy


def secrets_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was read from files."""
    return {key: value for key, value in config.items() if key.startswith(("ssl.", "sasl."))}
