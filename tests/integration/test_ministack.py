"""The daemon at ministack: a broker and operations of AWS IoT that others have written.

ministack has SearchIndex with the connections of its broker, in pages, DescribeIndex, and the
events of clients and of the registry. It has no ListBillingGroups, so the daemon cannot seed its
registry, and neither GetThingConnectivityData nor GetConnection, so lookups fail.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import Daemon
from ministack import CREDENTIALS, MQTT_PORT, REGION, Ministack, connect, need_ministack
from namespaces import need_network_namespaces, own_network
from waiting import wait_for

THINGS = 120


@pytest.fixture
def ministack(tmp_path: Path) -> Iterator[Ministack]:
    """ministack with things, and its index and its events of things switched on."""
    need_network_namespaces()
    command = need_ministack()
    with own_network(), Ministack(command, tmp_path) as server:
        iot = server.iot
        iot.update_indexing_configuration(
            thingIndexingConfiguration={
                "thingIndexingMode": "REGISTRY",
                "thingConnectivityIndexingMode": "STATUS",
            }
        )
        events = ("THING", "THING_GROUP", "THING_GROUP_HIERARCHY", "THING_GROUP_MEMBERSHIP")
        iot.update_event_configurations(
            eventConfigurations={event: {"Enabled": True} for event in events}
        )
        iot.create_thing_type(thingTypeName="pump")
        for number in range(THINGS):
            iot.create_thing(thingName=f"pump-{number}", thingTypeName="pump")
        yield server


def test_who_is_connected_before_the_daemon_starts_and_after(
    ministack: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    devices = ministack.issue("devices")
    early, lost = connect("pump-0", devices), connect("pump-1", devices)
    daemon = Daemon(
        tmp_path,
        endpoint="127.0.0.1",
        tls=ministack.issue("presenced"),
        mqtt={"port": MQTT_PORT, "transport": "aiomqtt", "protocol": "3.1.1"},
        aws={"region": REGION, "iot_url": ministack.url, "data_url": ministack.url},
        reconcile={"enabled": True, "searches_per_second": 100, "seed_registry": False},
        presence={"offline_delay": "500ms"},
    )
    daemon.start()
    try:
        daemon.wait_until_ready()

        def clients(state: str) -> float | None:
            return daemon.value("iot_clients", state=state)

        def snapshot_is_taken() -> bool:
            return daemon.value("presenced_aws_snapshot_things") == THINGS

        wait_for(snapshot_is_taken, what="the snapshot")
        assert clients("online") == 2
        assert daemon.value("iot_clients_adopted_total", state="online") == 2
        assert clients("unknown") == THINGS - 2

        lost.disconnect()
        wait_for(lambda: clients("offline") == 1, what="the disconnect, though no lookup answers")
        late = connect("pump-2", devices)
        wait_for(lambda: clients("online") == 2, what="the connect")
        assert daemon.value("iot_client_transitions_total", to="offline") == 1
        failed = {"operation": "GetConnection", "result": "failed"}
        assert daemon.value("presenced_aws_requests_total", **failed) == 1
        assert daemon.value("presenced_aws_requests_total", operation="SearchIndex", result="ok")

        iot = ministack.iot
        iot.create_thing(thingName="pump-new", thingTypeName="pump")
        iot.create_thing_group(thingGroupName="plant")
        iot.create_thing_group(thingGroupName="hall", parentGroupName="plant")
        for name in ("pump-0", "pump-new"):
            iot.add_thing_to_thing_group(thingName=name, thingGroupName="hall")

        def in_plant(state: str) -> float | None:
            return daemon.value("iot_thing_group_clients", thing_group="plant", state=state)

        wait_for(lambda: (in_plant("online"), in_plant("unknown")) == (1, 1), what="the groups")
        assert daemon.value("iot_thing_type_clients", thing_type="pump", state="unknown") == 1
        for client in (early, lost, late):
            client.disconnect()
            client.loop_stop()
    finally:
        daemon.stop()
