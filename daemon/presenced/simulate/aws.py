"""Keeps simulations away from AWS IoT Core."""

import re
import socket
from collections.abc import Iterable

from presenced.mqtt.background import in_thread
from presenced.settings import Problem, SettingsError

__all__ = ["aws_name", "refuse_aws"]

_ENDPOINT = re.compile(r"\.iot\.[a-z0-9-]+\.(vpce\.)?amazonaws\.com(\.cn)?\.?$", re.IGNORECASE)


def aws_name(names: Iterable[str]) -> str | None:
    """The first of these host names that is AWS IoT Core's, None where none is."""
    return next((name for name in names if _ENDPOINT.search(name)), None)


async def refuse_aws(endpoint: str) -> None:
    """Raise SettingsError where an endpoint is AWS IoT Core's, also by another name for it.

    A custom domain of an account is an alias of its endpoint, which the name service tells.
    """
    found = aws_name([endpoint]) or aws_name(
        await in_thread(lambda: _aliases(endpoint), name="dns")
    )
    if found is None:
        return
    alias = "" if found == endpoint else f", an alias of {found}"
    message = (
        f'is AWS IoT Core{alias}, which lets no client publish to $aws/events/ ("Reserved topics"'
        " of the AWS IoT developer guide) and may end the connection of one that tries. Simulate on"
        " a broker of your own, such as mosquitto"
    )
    raise SettingsError([Problem(key="mqtt.endpoint", value=endpoint, message=message)])


def _aliases(endpoint: str) -> list[str]:
    """What the name service calls an endpoint; nothing where it does not know it."""
    try:
        found = socket.getaddrinfo(
            endpoint, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME
        )
    except OSError:
        return []  # connecting will tell
    return [name for *_, name, _ in found if name]
