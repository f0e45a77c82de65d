"""AWS's limit of messages per second on a connection, as a plugin of amqtt.

AWS discards messages above the limit and notifies neither side (AWS IoT Core quotas, "Publish
requests per second per connection": 100, in both directions together).
"""

from dataclasses import dataclass
from time import monotonic
from typing import Any

from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseTopicPlugin
from amqtt.session import Session

from presenced_emulator.throttling import RateLimiter


class MessageLimitPlugin(BaseTopicPlugin):
    """Discards messages from and to a client beyond `rate` per second."""

    @dataclass
    class Config:
        """`rate` is in messages per second."""

        rate: float

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.discarded = 0
        """How many messages have been discarded."""
        self._limiter = RateLimiter()

    async def topic_filtering(
        self, *, session: Session | None = None, action: Action | None = None, **_: Any
    ) -> bool:
        """Return whether a message may pass; subscriptions always may."""
        if session is None or action is Action.SUBSCRIBE:
            return True
        passes = self._limiter.allows(str(session.client_id), self.config.rate, monotonic())
        self.discarded += not passes
        return passes
