"""Chooses the transport."""

from typing import Literal

from presenced.mqtt.inbox import Inbox
from presenced.mqtt.source import Source, SourceOptions
from presenced.mqtt.status import ConnectionStatus

__all__ = ["build_source"]


def build_source(
    transport: Literal["awscrt", "aiomqtt"],
    options: SourceOptions,
    inbox: Inbox,
    status: ConnectionStatus | None = None,
) -> Source:
    """A source of the named transport, with a new status or the given one.

    To be called on the event loop. Each library is imported only where it is used: together they
    double the start-up time.
    """
    if transport == "awscrt":
        from presenced.mqtt.awscrt_source import AwscrtSource

        return AwscrtSource(options, inbox, status)
    from presenced.mqtt.aiomqtt_source import AiomqttSource

    return AiomqttSource(options, inbox, status)
