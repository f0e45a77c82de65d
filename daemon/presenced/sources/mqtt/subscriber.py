"""Keeps the topic filters of one connection subscribed.

How long to wait before trying again.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from presenced.sources.mqtt.symptoms import is_refusal, reason_name
from presenced.sources.status import ConnectionStatus


class Backoff:
    """Exponential back-off with full jitter: each wait is uniform between 0 and a growing bound.

    The bound starts at `minimum` seconds, doubles, and ends at `maximum`. Full jitter spreads the
    daemons that lost one broker over time ("Exponential Backoff And Jitter", AWS Architecture
    Blog); awscrt does the same in its default mode.
    """

    def __init__(
        self,
        minimum: float,
        maximum: float,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._uniform = uniform
        self._bound = minimum

    def next(self) -> float:
        """The next wait in seconds."""
        wait = self._uniform(0.0, min(self._bound, self._maximum))
        self._bound = min(self._bound * 2, self._maximum)
        return wait

    def reset(self) -> None:
        """Start again at the minimum."""
        self._bound = self._minimum


# AWS IoT Core: topic filters per SUBSCRIBE ("AWS IoT Core message broker quotas").
_FILTERS_PER_SUBSCRIBE = 8
_RETRY_MIN = 5.0
_RETRY_MAX = 120.0

Answered = Callable[[Sequence[int]], None]
Ask = Callable[[list[str], Answered], Awaitable[None]]


async def subscribe_until_granted(
    subscribe: Ask, unsubscribe: Ask, status: ConnectionStatus, *, backoff: Backoff | None = None
) -> None:
    """Subscribe to all filters, and again to those refused, until the broker grants them all.

    `subscribe` sends one SUBSCRIBE, calls its second argument with the SUBACK's reason codes the
    moment they are there, and returns then; what it raises counts as no answer. A broker may
    refuse and hang up in one breath, hence the call: a result that wakes a task would come after
    the news of the lost connection. `unsubscribe` does the same by UNSUBSCRIBE, for filters that
    a resumed session holds and that are not wanted any more, once all others are granted.

    Trying again heals a connection whose policy is mended while it is up. To be cancelled when
    the connection ends.
    """
    backoff = backoff or Backoff(_RETRY_MIN, _RETRY_MAX)
    missing = list(status.filters)
    while missing or status.unwanted:
        for some in _in_packets(missing):
            await _subscribe(subscribe, some, status)
        missing = [topic_filter for topic_filter in missing if not status.granted[topic_filter]]
        if not missing:
            # Not before: what matches an old filter and a new one must never match neither.
            for some in _in_packets(status.unwanted):
                await _unsubscribe(unsubscribe, some, status)
        if missing or status.unwanted:
            await asyncio.sleep(backoff.next())


async def _subscribe(subscribe: Ask, filters: list[str], status: ConnectionStatus) -> None:
    """Send one SUBSCRIBE and report each filter's answer."""

    def answered(codes: Sequence[int]) -> None:
        for topic_filter, code in zip(filters, codes, strict=False):
            if is_refusal(code):
                status.filter_refused(topic_filter, reason_name(code))
            else:
                status.filter_granted(topic_filter, code)

    status.subscribing(time.monotonic())
    try:
        await subscribe(filters, answered)
    except Exception as error:  # noqa: BLE001 - each library has its own; none may end the retries
        status.subscription_unanswered(filters, f"{type(error).__name__}: {error}")


async def _unsubscribe(unsubscribe: Ask, filters: list[str], status: ConnectionStatus) -> None:
    """Send one UNSUBSCRIBE and report each filter's answer."""

    def answered(codes: Sequence[int]) -> None:
        for topic_filter, code in zip(filters, codes, strict=False):
            if is_refusal(code):
                status.still_subscribed([topic_filter], reason_name(code))
            else:
                status.unsubscribed(topic_filter)

    try:
        await unsubscribe(filters, answered)
    except Exception as error:  # noqa: BLE001 - each library has its own; none may end the retries
        status.still_subscribed(filters, f"{type(error).__name__}: {error}")


def _in_packets(filters: list[str]) -> Iterator[list[str]]:
    rest = iter(filters)
    while some := list(itertools.islice(rest, _FILTERS_PER_SUBSCRIBE)):
        yield some
