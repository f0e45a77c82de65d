"""`presenced kafka create-topics`: create the topics that are missing, with the right settings."""

import argparse
import asyncio

from presenced.commands.output import DONE
from presenced.settings import Problem, Settings, SettingsError, load_settings
from presenced.sources.kafka.installed import missing_client
from presenced.system import log


def run(options: argparse.Namespace) -> int:
    """Create the topics and print what was done. Raises SettingsError and CommandError."""
    settings = load_settings(options.config)
    require_kafka(settings)
    log.configure("error", settings.log.format)
    # It cannot be imported without the client of Kafka.
    from presenced.commands.kafka.topics import create_topics

    asyncio.run(create_topics(settings, options.partitions, options.replication_factor))
    return DONE


def require_kafka(settings: Settings) -> None:
    """Raise SettingsError unless the source is Kafka and its client is installed."""
    if settings.source != "kafka":
        message = "is not kafka: there are no topics with another source"
        raise SettingsError([Problem(key="source", value=settings.source, message=message)])
    if problem := missing_client():
        raise SettingsError([problem])
