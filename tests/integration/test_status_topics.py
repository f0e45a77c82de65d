"""Devices with Last Wills on a real mosquitto, by docs/how-to/plain-mosquitto.md."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import yaml

from brokers import Mosquitto
from daemons import Daemon
from documentation import blocks
from waiting import wait_for

PAGE = "docs/how-to/plain-mosquitto.md"
DEVICE = blocks(PAGE, "python")[0]
CONFIG = yaml.safe_load(blocks(PAGE, "yaml")[0])


class Devices:
    """Processes of the page's device, by client ID."""

    def __init__(self, broker: Mosquitto) -> None:
        self._broker = broker
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def connect(self, *names: str) -> None:
        for name in names:
            command = [sys.executable, "-c", DEVICE, "127.0.0.1", str(self._broker.back_port)]
            self._running[name] = subprocess.Popen([*command, name])

    def die(self, *names: str) -> None:
        """End without DISCONNECT, so that the broker publishes the Last Will."""
        for name in names:
            device = self._running.pop(name)
            device.send_signal(signal.SIGKILL)
            device.wait()

    def leave(self, name: str) -> None:
        """Publish `offline` and disconnect."""
        device = self._running.pop(name)
        device.send_signal(signal.SIGTERM)
        device.wait(20)

    def end(self) -> None:
        self.die(*self._running)


@pytest.fixture
def broker(broker_of: Callable[..., Mosquitto]) -> Mosquitto:
    return broker_of()


@pytest.fixture
def devices(broker: Mosquitto) -> Iterator[Devices]:
    devices = Devices(broker)
    yield devices
    devices.end()


def daemon_of(path: Path, broker: Mosquitto, **options: Any) -> Daemon:
    return Daemon(
        path,
        broker=broker,
        mqtt=CONFIG["mqtt"] | {"port": broker.port} | options,
        presence=CONFIG["presence"] | {"offline_delay": "300ms"},
        state={"path": str(path / "presenced.db")},
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"protocol": "3.1.1"}, {"transport": "awscrt"}],
    ids=["aiomqtt", "aiomqtt-3.1.1", "awscrt"],
)
def test_devices_with_last_wills(
    tmp_path: Path, broker: Mosquitto, devices: Devices, options: dict[str, str]
) -> None:
    daemon = daemon_of(tmp_path, broker, **options)

    def clients(state: str) -> float | None:
        return daemon.value("iot_clients", state=state)

    def transitions(to: str) -> float | None:
        return daemon.value("iot_client_transitions_total", to=to)

    devices.connect("early")
    wait_for(lambda: retained(broker, "devices/early/status") == b"online", what="a device")
    daemon.start()
    try:
        daemon.wait_until_ready()
        wait_for(lambda: clients("online") == 1, what="the retained status")
        assert daemon.value("iot_clients_adopted_total", state="online") == 1
        assert transitions("online") == 0, "it is not known when it connected"
        granted = {"connection": "presenced", "filter": "devices/+/status"}
        assert daemon.value("presenced_mqtt_subscription_granted", **granted) == 1

        devices.connect("a", "b")
        wait_for(lambda: clients("online") == 3, what="two more devices")
        assert transitions("online") == 2
        devices.die("a")
        devices.leave("b")
        wait_for(lambda: clients("offline") == 2, what="a Last Will and a farewell")
        assert daemon.value("iot_client_connected", client_id="a") == 0
        assert daemon.value("iot_client_connected", client_id="early") == 1
        devices.connect("a")
        wait_for(lambda: clients("online") == 2, what="the return of a device")
        assert transitions("online") == 3

        broker.publish([("devices/a/status", b"sleeping"), ("devices//status", b"online")])
        rejected = {"reason": "invalid_payload"}
        wait_for(
            lambda: daemon.value("iot_events_rejected_total", **rejected) == 2,
            what="the rejection of malformed messages",
        )
        assert daemon.value("iot_events_total", family="status", type="online") == 4
        assert clients("online") == 2
    finally:
        daemon.stop()


def test_devices_that_come_and_go_while_presenced_is_away(
    tmp_path: Path, broker: Mosquitto, devices: Devices
) -> None:
    daemon = daemon_of(tmp_path, broker)
    daemon.start()
    try:
        daemon.wait_until_ready()
        devices.connect("stays", "dies")
        wait_for(lambda: daemon.value("iot_clients", state="online") == 2, what="two devices")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
        devices.die("dies")
        devices.connect("comes")
        wait_for(lambda: retained(broker, "devices/comes/status") == b"online", what="a device")
        daemon.start()
        wait_for(lambda: daemon.value("iot_clients", state="offline") == 1, what="the Last Will")
        wait_for(lambda: daemon.value("iot_clients", state="online") == 2, what="the others")
        assert daemon.value("iot_client_connected", client_id="dies") == 0
        assert daemon.value("iot_client_connected", client_id="stays") == 1
        assert daemon.value("iot_clients_unverified") == 0
    finally:
        daemon.stop()


def retained(broker: Mosquitto, topic: str) -> bytes | None:
    """The retained message of a topic, None if none comes within a second."""
    messages: Queue[bytes] = Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(topic)
    client.on_message = lambda *arguments: messages.put(arguments[-1].payload)
    client.connect("127.0.0.1", broker.back_port)
    client.loop_start()
    try:
        return messages.get(timeout=1)
    except Empty:
        return None
    finally:
        client.disconnect()
        client.loop_stop()
