"""Nothing is lost over restarts, crashes and outages: a real broker with persistent sessions."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from brokers import Mosquitto
from daemons import Daemon
from waiting import wait_for

NOW = 1_700_000_000_000
TRANSPORTS = ["awscrt", "aiomqtt"]

Publication = tuple[str, bytes]


def event(kind: str, client_id: str, version: int, at: int = 0) -> Publication:
    payload = {
        "clientId": client_id,
        "sessionIdentifier": f"s{version}",
        "versionNumber": version,
        "timestamp": NOW + at,
        "disconnectReason": "CONNECTION_LOST" if kind == "disconnected" else None,
    }
    return f"$aws/events/presence/{kind}/{client_id}", json.dumps(payload).encode()


def with_state(daemon_of: Any, broker: Mosquitto, path: Path, **sections: Any) -> Daemon:
    sections.setdefault("presence", {"offline_delay": "1s"})
    state = {"path": str(path), **sections.pop("state", {})}
    return daemon_of(broker=broker, state=state, **sections)


def kill(daemon: Daemon) -> None:
    daemon.signal(signal.SIGKILL)
    daemon.wait(10)


def end(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(10) == 0


def totals(daemon: Daemon) -> dict[Any, float]:
    """The counters of the fleet and its events, without histograms' buckets."""
    return {
        key: value
        for key, value in daemon.scrape().items()
        if key[0].startswith("iot_") and key[0].endswith("_total")
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "presenced.db"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("stop", [end, kill])
def test_a_restart_changes_nothing_that_users_see(
    broker_of: Any, daemon_of: Any, path: Path, transport: str, stop: Any
) -> None:
    broker: Mosquitto = broker_of()
    daemon = with_state(daemon_of, broker, path, mqtt={"transport": transport})
    daemon.wait_until_ready()
    broker.publish(
        [
            event("connected", "a", 1),
            event("connected", "b", 1),
            event("disconnected", "b", 1, 10),
            event("disconnected", "b", 1, 10),
            ("$aws/events/thing/spare/created", b'{"thingTypeName": "pump"}'),
        ]
    )
    wait_for(lambda: daemon.value("iot_clients", state="offline") == 1)
    wait_for(lambda: daemon.value("iot_things") == 1)
    before = {key: value for key, value in daemon.scrape().items() if key[0].startswith("iot_")}
    if stop is kill:  # and not in the tenth of a second in which a deadline waits for its commit
        committed = daemon.value("presenced_state_commits_total") or 0
        wait_for(lambda: (daemon.value("presenced_state_commits_total") or 0) > committed)
    stop(daemon)
    daemon.start()
    after = {key: value for key, value in daemon.scrape().items() if key[0].startswith("iot_")}
    assert after == before, "from the first answer on"
    daemon.wait_until_ready()
    assert daemon.value("iot_clients_unverified") == 0
    assert daemon.value("presenced_mqtt_connects_total", connection="presenced", session="resumed")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_happens_while_the_daemon_is_down(
    broker_of: Any, daemon_of: Any, path: Path, transport: str
) -> None:
    """Who came back is never shown offline; who stays away is, since before the outage."""
    broker: Mosquitto = broker_of()
    daemon = with_state(
        daemon_of,
        broker,
        path,
        mqtt={"transport": transport},
        presence={"offline_delay": "3s"},
    )
    daemon.wait_until_ready()
    broker.publish([event("connected", name, 1) for name in ("back", "away", "gone")])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 3)
    broker.publish([event("disconnected", name, 1, 10) for name in ("back", "away")])
    wait_for(lambda: daemon.value("iot_clients", state="pending") == 2)
    committed = daemon.value("presenced_state_commits_total") or 0
    disconnected_by = time.time()
    assert committed > 0
    kill(daemon)
    broker.publish([event("connected", "back", 2, 20), event("disconnected", "gone", 1, 20)])
    wait_for(lambda: time.time() > disconnected_by + 4, what="both delays over")
    daemon.start()
    assert daemon.value("iot_clients", state="pending") == 2, "nothing is concluded yet"
    status, text = daemon.get("/-/ready")
    assert status == 503 or daemon.ready, text
    wait_for(lambda: daemon.value("iot_client_connected", client_id="away") == 0)
    since = daemon.value("iot_client_last_transition_timestamp_seconds", client_id="away")
    assert since is not None
    assert since <= disconnected_by
    wait_for(lambda: daemon.value("iot_client_connected", client_id="gone") == 0)
    assert daemon.value("iot_client_connected", client_id="back") == 1
    assert daemon.value("iot_client_flaps_suppressed_total") == 1
    assert daemon.value("iot_client_transitions_total", to="offline") == 2
    assert sum(line["event"] == "client went offline" for line in daemon.log) == 2
    daemon.wait_until_ready()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_it_has_caught_up_though_new_events_never_pause(
    broker_of: Any, daemon_of: Any, path: Path, transport: str
) -> None:
    """And not before what was stored: a device that is back is found there, among 2,000 others."""
    broker: Mosquitto = broker_of()
    daemon = with_state(daemon_of, broker, path, mqtt={"transport": transport})
    daemon.wait_until_ready()
    broker.publish([event("connected", "a", 1), event("disconnected", "a", 1, 10)])
    wait_for(lambda: daemon.value("iot_clients", state="pending") == 1)
    kill(daemon)
    stored = [event("connected", f"c{number % 50}", number) for number in range(1, 2_000)]
    broker.publish([*stored, event("connected", "a", 2, 20)])
    done = threading.Event()

    def happen() -> None:
        number = 0
        while not done.wait(0.001):
            at = round(time.time() * 1000) - NOW
            broker.publish([event("connected", f"busy-{number + i}", 1, at) for i in range(3)])
            number += 3

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(happen)
        daemon.start()
        try:
            daemon.wait_until_ready()
            assert daemon.value("iot_client_connected", client_id="a") == 1
            assert daemon.value("iot_client_transitions_total", to="offline") == 0
            seen = daemon.value("iot_events_total", family="presence", type="connected") or 0
            wait_for(
                lambda: (
                    (daemon.value("iot_events_total", family="presence", type="connected") or 0)
                    > seen
                ),
                what="events that go on",
            )
        finally:
            done.set()
        busy.result()


def test_an_outage_of_the_connection_is_no_offline_either(
    broker_of: Any, daemon_of: Any, path: Path
) -> None:
    """The broker is away while the delay runs out, and knows that the device came back."""
    broker: Mosquitto = broker_of()
    daemon = with_state(daemon_of, broker, path, presence={"offline_delay": "2s"})
    daemon.wait_until_ready()
    broker.publish([event("connected", "a", 1), event("disconnected", "a", 1, 10)])
    wait_for(lambda: daemon.value("iot_clients", state="pending") == 1)
    down_at = time.monotonic()
    broker.stop()
    wait_for(lambda: daemon.value("presenced_mqtt_connected", connection="presenced") == 0)
    wait_for(lambda: time.monotonic() > down_at + 3, what="the delay over")
    assert daemon.value("iot_clients", state="pending") == 1
    broker.start()
    broker.publish([event("connected", "a", 2, 20)])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1)
    daemon.wait_until_ready()
    assert daemon.value("iot_client_transitions_total", to="offline") == 0


@pytest.mark.parametrize("on_error", ["continue", "stall"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_is_back_behind_what_waits_for_the_disk_is_not_offline(
    broker_of: Any, daemon_of: Any, path: Path, transport: str, on_error: str
) -> None:
    """While acknowledgements wait for a commit the broker sends no more: the silence is ours."""
    broker: Mosquitto = broker_of()
    daemon = with_state(
        daemon_of,
        broker,
        path,
        mqtt={"transport": transport},
        presence={"offline_delay": "1s"},
        state={"on_error": on_error},
    )
    daemon.wait_until_ready()
    broker.publish([event("connected", "a", 1)])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1)
    lock = sqlite3.connect(path, isolation_level=None, timeout=10)
    lock.execute("BEGIN IMMEDIATE")
    locked_at = time.monotonic()
    others = [event("connected", f"other-{number}", 1) for number in range(150)]
    broker.publish([event("disconnected", "a", 1, 10), *others, event("connected", "a", 2, 20)])
    wait_for(lambda: daemon.value("iot_clients", state="pending") == 1)
    wait_for(lambda: time.monotonic() > locked_at + 3, what="the delay over")
    assert daemon.value("iot_clients", state="pending") == 1
    lock.execute("ROLLBACK")
    lock.close()
    wait_for(lambda: daemon.value("iot_clients", state="online") == 151)
    daemon.wait_until_ready()
    assert daemon.value("iot_client_transitions_total", to="offline") == 0


def test_a_lost_session_leaves_clients_unverified(
    broker_of: Any, daemon_of: Any, path: Path
) -> None:
    broker: Mosquitto = broker_of()
    daemon = with_state(daemon_of, broker, path)
    daemon.wait_until_ready()
    broker.publish([event("connected", name, 1) for name in ("a", "b")])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 2)
    end(daemon)
    broker.stop()
    (broker.directory / "mosquitto.db").unlink()
    broker.start()
    daemon.start()
    daemon.wait_until_ready()
    assert daemon.value("iot_clients_unverified") == 2
    assert daemon.value("iot_clients", state="online") == 2, "the last known is the best known"
    assert daemon.value("presenced_gaps_total", reason="session_lost") == 1
    (line,) = (line for line in daemon.log if line["event"] == "events may have been lost")
    assert line["reason"] == "session_lost"
    assert 0 < line["gap_seconds"] < 60
    broker.publish([event("connected", "a", 2, 20)])
    wait_for(lambda: daemon.value("iot_clients_unverified") == 1)
    broker.publish([event("disconnected", "b", 1, 20)])
    wait_for(lambda: daemon.value("iot_clients_unverified") == 0)
    end(daemon)
    daemon.start()
    assert daemon.value("presenced_gaps_total", reason="session_lost") == 1
    assert daemon.value("iot_clients_unverified") == 0, "verified clients stay so"


def test_a_clean_session_says_that_something_may_have_been_missed(
    broker_of: Any, daemon_of: Any, path: Path
) -> None:
    broker: Mosquitto = broker_of()
    daemon = with_state(daemon_of, broker, path, mqtt={"session_expiry": "0s"})
    daemon.wait_until_ready()
    assert sum(totals(daemon).values()) == 0
    broker.publish([event("connected", "a", 1)])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1)
    end(daemon)
    daemon.start()
    daemon.wait_until_ready()
    assert daemon.value("presenced_gaps_total", reason="clean_session") == 1
    assert daemon.value("iot_clients_unverified") == 1


def test_messages_at_the_rate_limit_leave_clients_unverified(
    broker_of: Any, daemon_of: Any
) -> None:
    broker: Mosquitto = broker_of()
    daemon: Daemon = daemon_of(broker=broker, mqtt={"max_message_rate": 100})
    daemon.wait_until_ready()
    broker.publish([event("connected", f"c{number}", 1) for number in range(500)])
    wait_for(lambda: daemon.value("presenced_gaps_total", reason="rate_limit"))
    assert daemon.value("iot_clients_unverified")


def test_a_file_of_a_newer_version_is_refused(broker_of: Any, daemon_of: Any, path: Path) -> None:
    daemon = with_state(daemon_of, broker_of(), path)
    end(daemon)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE clients ADD COLUMN mood TEXT")
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "newer presenced" in daemon.fail_to_start()


@pytest.mark.parametrize("damage", ["header", "page"])
def test_a_damaged_file_is_moved_aside_and_the_daemon_starts_cold(
    broker_of: Any, daemon_of: Any, path: Path, damage: str
) -> None:
    broker: Mosquitto = broker_of()
    daemon = with_state(daemon_of, broker, path)
    daemon.wait_until_ready()
    broker.publish([event("connected", f"client-{number}", 1) for number in range(400)])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 400)
    end(daemon)
    content = bytearray(path.read_bytes())
    start = 0 if damage == "header" else 3 * 4096
    content[start : start + 8 * 4096] = b"\xff" * (8 * 4096)
    path.write_bytes(content)
    daemon.start()
    daemon.wait_until_ready()
    assert daemon.value("iot_clients", state="online") == 0
    (aside,) = path.parent.glob("presenced.db.corrupt-*Z")
    (line,) = (line for line in daemon.log if "was damaged" in line["event"])
    assert line["moved_aside"] == str(aside)
    broker.publish([event("connected", "a", 1)])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1)
    end(daemon)
    daemon.start()
    assert daemon.value("iot_clients", state="online") == 1, "the new file holds"


def test_a_client_is_forgotten_on_request(broker_of: Any, daemon_of: Any, path: Path) -> None:
    broker: Mosquitto = broker_of()
    daemon = with_state(daemon_of, broker, path)
    daemon.wait_until_ready()
    broker.publish([event("connected", name, 1) for name in ("a", "b")])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 2)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "presenced",
            "state",
            "forget",
            "--config",
            str(daemon.config),
            "a",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wait_for(lambda: daemon.value("iot_clients", state="online") == 1)
    assert daemon.value("iot_client_connected", client_id="a") is None
    assert daemon.value("iot_clients_forgotten_total", reason="requested") == 1
    end(daemon)
    daemon.start()
    assert daemon.value("iot_clients", state="online") == 1
    assert daemon.value("iot_clients_forgotten_total", reason="requested") == 1
    broker.publish([event("connected", "a", 0)])
    wait_for(lambda: daemon.value("iot_clients", state="online") == 2)


class Fleet:
    """Devices that come and go, and what AWS IoT Core publishes of it: late, twice, disordered."""

    def __init__(self, seed: int, devices: int) -> None:
        self.random = Random(seed)
        self.version = dict.fromkeys((f"device-{number}" for number in range(devices)), 0)
        self.online = dict.fromkeys(self.version, False)
        self.at = 0
        self.disconnects = 0

    def live(self, changes: int) -> list[Publication]:
        """Events of so many changes, in the order of their arrival."""
        told: list[tuple[float, Publication]] = []
        for _ in range(changes):
            self.at += 10
            client_id = self.random.choice(list(self.version))
            self.online[client_id] = not self.online[client_id]
            self.version[client_id] += self.online[client_id]
            self.disconnects += not self.online[client_id]
            kind = "connected" if self.online[client_id] else "disconnected"
            one = event(kind, client_id, self.version[client_id], self.at)
            for _ in range(1 + (self.random.random() < 0.05)):
                late = self.random.expovariate(1 / 5000) if self.random.random() < 0.1 else 0
                told.append((self.at + late, one))
        return [one for _, one in sorted(told, key=lambda each: each[0])]


def presence(daemon: Daemon) -> dict[str, bool]:
    return {
        dict(labels)["client_id"]: bool(value)
        for (name, labels), value in daemon.scrape().items()
        if name == "iot_client_connected"
    }


def settled(daemon: Daemon, fleet: Fleet) -> bool:
    """Whether presence is the truth; a device that never connected is not known."""
    truth = {name: on for name, on in fleet.online.items() if fleet.version[name]}
    return presence(daemon) == truth


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_killed_thirty_times_among_fifty_thousand_events(
    broker_of: Any, daemon_of: Any, path: Path, transport: str
) -> None:
    """Presence ends in the truth for every client, and nothing is lost or counted twice."""
    broker: Mosquitto = broker_of()
    fleet = Fleet(seed=5, devices=500)
    delay = {"offline_delay": "200ms", "version_reset_after": "365d"}
    mqtt = {"transport": transport}
    daemon = with_state(daemon_of, broker, path, presence=delay, mqtt=mqtt)
    daemon.wait_until_ready()
    published = 0
    random = Random(9)
    for _ in range(30):
        events = fleet.live(1_600)
        at = random.randrange(len(events))
        broker.publish(events[:at])
        kill(daemon)
        broker.publish(events[at:])
        published += len(events)
        daemon.start()
    assert published >= 50_000
    wait_for(lambda: settled(daemon, fleet), timeout=60, what="presence is the truth")
    daemon.wait_until_ready()
    assert settled(daemon, fleet)
    scrape = daemon.scrape()
    received = sum(n for (name, _), n in scrape.items() if name == "iot_events_total")
    assert received >= published, "none is lost"
    assert daemon.value("iot_clients_unverified") == 0
    transitions = [
        value for (name, _), value in scrape.items() if name == "iot_client_transitions_total"
    ]
    counted = sum(n for (name, _), n in scrape.items() if name == "iot_client_disconnects_total")
    assert counted == fleet.disconnects, "each once"
    connects = sum(fleet.version.values())
    assert max(transitions) <= connects, "each connect is one transition at most"


def test_graceful_restarts_leave_counters_exact(
    broker_of: Any, daemon_of: Any, path: Path, tmp_path: Path
) -> None:
    """The same history, once to a daemon that is restarted and once to one that is not."""
    broker: Mosquitto = broker_of()
    delay = {"offline_delay": "365d", "version_reset_after": "365d"}
    restarted = with_state(daemon_of, broker, path, presence=delay)
    steady = with_state(
        daemon_of,
        broker,
        tmp_path / "steady.db",
        presence={**delay, "ignore_clients": ["presenced"]},
        mqtt={"client_id": "steady"},
    )
    for daemon in (restarted, steady):
        daemon.wait_until_ready()
    fleet = Fleet(seed=5, devices=500)
    published = 0
    for _ in range(10):
        events = fleet.live(4_800)
        published += len(events)
        broker.publish(events[:2_400])
        end(restarted)
        broker.publish(events[2_400:])
        restarted.start()
    assert published >= 50_000

    def received(daemon: Daemon) -> float:
        return sum(n for (name, _), n in daemon.scrape().items() if name == "iot_events_total")

    wait_for(lambda: received(steady) == published, timeout=60)
    wait_for(lambda: received(restarted) >= published, timeout=60)
    restarted.wait_until_ready()
    assert totals(restarted) == totals(steady)
