"""`python -m benchmarks.lost_connects`: false offlines after a storm that AWS's limit has cut.

Clients that AWS calls connected lose their connections within 10 s, and each is back after at most
3 s. Of their events AWS delivers 100 a second and discards the others. No client is away for longer
than the offline delay, so that each transition to offline is a false one. A real daemon is measured
without asking AWS first, with the default budget of lookups, and with larger ones.
"""

import argparse
import asyncio
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from heapq import merge
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.broker import Broker
from benchmarks.events import Event
from benchmarks.exporters import Presenced
from benchmarks.publisher import Publisher, packed
from benchmarks.scraping import samples, scrape
from benchmarks.waiting import wait_for
from presenced.presence.lookups import LOOKUP_TIMEOUT
from presenced_emulator.aws.account import EmulatedAccount
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import issue
from presenced_emulator.connections import ConnectionTable
from presenced_emulator.events import EventMessage
from presenced_emulator.lifecycle import Connection, ConnectionLedger, DisconnectReason
from presenced_emulator.registry import REGION, Registry
from presenced_emulator.throttling import RateLimiter

CLIENTS, SECONDS, LONGEST_ABSENCE = 5_000, 10.0, 3.0
DELAY = 5.0
MESSAGES_PER_SECOND = 100.0

_CONNECTED_FOR = 600.0
_ONLINE = 'iot_clients{state="online"}'
_OFFLINE = 'iot_client_transitions_total{to="offline"}'
_PREVENTED = "iot_client_offline_prevented_total"
_LOOKUPS = 'presenced_aws_requests_total{operation="GetThingConnectivityData",result="ok"}'
_WAYS: Mapping[str, Mapping[str, Any]] = {
    "verify_offline: never": {"verify_offline": "never"},
    "verify_offline: always": {},
    **{
        f"verify_offline: always, lookups_per_second: {number}": {"lookups_per_second": number}
        for number in (60, 100)
    },
}


class Outcome(NamedTuple):
    """What one storm came to; `wrong` are the clients that are not online at its end."""

    events: int
    discarded: int
    offline: int
    wrong: int
    prevented: int
    lookups: int


class EmulatedClients:
    """Clients of an account, and the events of what they do."""

    def __init__(self, number: int, random: Random) -> None:
        self.account = EmulatedAccount(Registry(random), ConnectionTable())
        self.names = [f"device-{n:05}" for n in range(number)]
        self._ledger = ConnectionLedger(random)
        self._open: dict[str, Connection] = {}
        now = time.time() - _CONNECTED_FOR
        for name in self.names:
            self.account.registry.create_thing(name, now, attributes={})
            self.connect(name, now)

    def connect(self, name: str, now: float) -> EventMessage:
        """Connect a client."""
        connection = self._open[name] = self._ledger.open(
            name, principal="ab", ip_address="192.0.2.1"
        )
        self.account.connections.open(connection, now)
        self.account.update([name], now)
        return self._ledger.connected(connection, now)

    def disconnect(self, name: str, now: float) -> EventMessage:
        """Break the connection of a client."""
        connection, reason = self._open.pop(name), DisconnectReason.CONNECTION_LOST
        self.account.connections.close(connection, reason, now)
        self.account.update([name], now)
        return self._ledger.disconnected(connection, reason, now)

    def storm(self, random: Random) -> Iterator[tuple[float, Callable[[float], EventMessage]]]:
        """Yield what happens, and when, in seconds after the beginning."""
        downs, ups = [], []
        for name in self.names:
            down = random.uniform(0, SECONDS - LONGEST_ABSENCE)
            downs.append((down, name, self.disconnect))
            ups.append((down + random.uniform(0.5, LONGEST_ABSENCE), name, self.connect))
        for at, name, step in merge(sorted(downs), sorted(ups), key=lambda each: each[0]):
            yield at, partial(step, name)


async def storm(
    directory: Path, tls: ssl.SSLContext, number: int, reconcile: Mapping[str, Any]
) -> Outcome:
    """Let a storm pass over a daemon with these settings."""
    random = Random(1)
    clients = EmulatedClients(number, random)
    async with AwsServer(clients.account, tls, seed=1) as aws:
        sections: dict[str, Any] = {
            "aws": {"region": REGION, "iot_url": aws.http_url, "data_url": aws.http_url},
            "reconcile": {"enabled": True, "searches_per_second": 15, **reconcile},
            "presence": {"offline_delay": f"{DELAY:g}s"},
            "log": {"level": "warning"},
        }
        environment = aws.issue("presenced").environment
        with Broker(directory) as broker, Publisher(broker.port) as publisher:
            daemon = await asyncio.to_thread(
                Presenced, directory, broker, qos=1, environment=environment, **sections
            )
            with daemon:
                await asyncio.to_thread(
                    wait_for, lambda: _all_online(daemon, number), "all clients online", 120.0
                )
                events, discarded = await _play(clients, random, publisher)
                await asyncio.sleep(DELAY + 2 * LOOKUP_TIMEOUT)
                return await asyncio.to_thread(_outcome, daemon, number, events, discarded)


async def _play(clients: EmulatedClients, random: Random, publisher: Publisher) -> tuple[int, int]:
    """Publish the events of a storm as AWS does; return how many there were and were discarded."""
    limiter = RateLimiter()
    events = discarded = 0
    began = time.monotonic()
    for at, step in clients.storm(random):
        await asyncio.sleep(began + at - time.monotonic())
        message = step(time.time())
        events += 1
        if limiter.allows("presenced", MESSAGES_PER_SECOND, time.monotonic()):
            publisher.send(list(packed([Event(message.topic, message.payload)], qos=1)))
        else:
            discarded += 1
    return events, discarded


def _outcome(daemon: Presenced, number: int, events: int, discarded: int) -> Outcome:
    text = scrape(daemon.port).text
    offline, online, prevented, lookups = (
        int(sum(samples(text, name))) for name in (_OFFLINE, _ONLINE, _PREVENTED, _LOOKUPS)
    )
    return Outcome(events, discarded, offline, number - online, prevented, lookups)


def _all_online(daemon: Presenced, number: int) -> bool:
    time.sleep(0.5)
    return sum(samples(scrape(daemon.port).text, _ONLINE)) == number


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    options = parser.parse_args()
    for name, reconcile in _WAYS.items():
        with TemporaryDirectory(prefix="presenced-bench-") as path:
            directory = Path(path)
            tls = issue(directory).aws
            outcome = asyncio.run(storm(directory, tls, options.clients, reconcile))
        print(
            f"{name}: {outcome.offline} false offlines of {options.clients:,} clients, at the end"
            f" {outcome.wrong} not online; {outcome.discarded:,} of {outcome.events:,} events"
            f" discarded, {outcome.lookups} lookups, {outcome.prevented} found connected"
        )


if __name__ == "__main__":
    main()
