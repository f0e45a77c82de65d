"""Shards of partitions: a thread restores each, and reloads and timers must wait for it."""

import asyncio
import threading

from partition_fleets import Fleets, kafka_settings, lifecycle_messages
from presenced.presence import State
from presenced.service.partition_fleet import ShardFleet
from presenced.sources.kafka.partition import Record

PARTITIONS = 4


def new_fleets() -> Fleets:
    return Fleets(kafka_settings(), PARTITIONS)


def apply(fleet: ShardFleet, *client_ids: str, connected: bool = True) -> None:
    fleet.shard.pipeline.process(lifecycle_messages(client_ids, connected=connected))


def state_of(*client_ids: str, pending: bool = False) -> list[Record]:
    """What a fleet with these clients writes."""
    fleet = new_fleets().open(1)
    fleet.restore([])
    fleet.restored()
    apply(fleet, *client_ids)
    if pending:
        apply(fleet, *client_ids, connected=False)
    unwritten = fleet.store.take()
    assert unwritten is not None
    return list(unwritten.records.items())


def test_a_partition_that_is_restored_during_a_reload_gets_the_new_settings() -> None:
    async def main() -> None:
        fleets = new_fleets()
        shown = fleets.open(0)
        shown.restored()
        apply(shown, "a")
        shown.show()
        fleet = fleets.open(1)
        fleet.restore(state_of("b"))
        fleets.reload(
            metrics={"per_client": False},
            presence={"ignore_clients": ["probe"], "offline_delay": "0s"},
        )
        assert list(fleets.shards) == [shown.shard]
        fleet.restored()
        fleet.show()
        assert 'client_id="' not in fleets.scrape()
        clients = fleet.shard.fleet.presence.clients
        apply(fleet, "probe")
        assert clients.keys() == {"b"}
        apply(fleet, "b", connected=False)
        assert clients["b"].state is State.OFFLINE

    asyncio.run(main())


def test_a_reload_keeps_a_client_held_until_damping_is_off() -> None:
    async def main() -> None:
        fleets = new_fleets()
        fleet = fleets.open(1)
        fleet.restored()
        fleet.show()
        damping = {"enabled": True, "suppress_after": 0.9, "reuse_below": 0.5}
        fleets.reload(presence={"damping": damping})
        apply(fleet, "a")
        apply(fleet, "a", connected=False)
        held = 'iot_client_flapping{client_id="a",partition="1"} 1.0'
        assert held in fleets.scrape()
        fleets.reload(presence={"damping": damping | {"half_life": "1h"}})
        assert held in fleets.scrape()
        fleets.reload()
        assert held not in fleets.scrape()
        fleets.reload(presence={"damping": damping})
        assert 'iot_clients_flapping{partition="1"} 0.0' in fleets.scrape()

    asyncio.run(main())


def test_reloads_and_timers_leave_a_partition_alone_that_a_thread_restores() -> None:
    async def main() -> None:
        fleets = new_fleets()
        fleet = fleets.open(1)
        names = [f"client-{number}" for number in range(20_000)]
        rows = state_of(*names, pending=True)
        thread = threading.Thread(target=lambda: fleet.restore(rows))
        thread.start()
        turn = 0
        while thread.is_alive():
            turn += 1
            ignored = {"ignore_clients": [f"tool-{turn}"]}
            fleets.reload(metrics={"max_clients": turn}, presence=ignored)
            fleets.shards.arm()
            fleets.shards.flush()
            await asyncio.sleep(0)
        fleet.restored()
        assert list(fleets.shards) == [fleet.shard]
        assert len(fleets.clients) == len(names)

    asyncio.run(main())


def test_a_partition_that_is_restored_while_the_daemon_stops_takes_no_events() -> None:
    async def main() -> None:
        fleets = new_fleets()
        fleet = fleets.open(1)
        fleet.restore([])
        fleets.shards.close()
        fleet.restored()
        assert not fleet.inbox.put_all(lifecycle_messages(["a"]))

    asyncio.run(main())
