"""The daemon on a queue: killed again and again, and with the endpoint down."""

import json
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from daemons import Daemon
from waiting import wait_for

MESSAGES, CLIENTS, KILLS, DOWN_FOR = 50_000, 1_600, 20, 30.0
IN_FLIGHT = 5000
PRESENCE = "$aws/events/presence"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def history(number: int, start: int) -> list[tuple[float, dict[str, Any]]]:
    """The events of a client, a second apart; those of an odd number end with a connect."""
    events = []
    for place in range(24 + number % 2):
        kind = "disconnected" if place % 2 else "connected"
        client_id, at = f"c{number}", start + 1000 * place
        event = {
            "clientId": client_id,
            "timestamp": at,
            "eventType": kind,
            "sessionIdentifier": f"{client_id}-{place // 2}",
            "versionNumber": place // 2,
            "topic": f"{PRESENCE}/{kind}/{client_id}",
        }
        events.append((at, event))
    return events


def messages(chance: random.Random) -> list[str]:
    """All events, some of them twice, in the order of their time give or take three seconds."""
    start = round(time.time() * 1000) - 30_000
    events = [each for number in range(CLIENTS) for each in history(number, start)]
    events += chance.sample(events, MESSAGES - len(events))
    events.sort(key=lambda each: each[0] + chance.uniform(-3000, 3000))
    return [json.dumps(event) for _, event in events]


def daemon_on(directory, queue: str) -> Daemon:
    daemon = Daemon(
        directory,
        sqs={"queue_url": queue, "receivers": 8},
        aws={"region": "eu-west-1"},
        presence={"offline_delay": "500ms"},
        state={"path": str(directory / "presenced.db")},
    )
    daemon.settings["source"] = "sqs"
    del daemon.settings["mqtt"]
    daemon.write()
    return daemon


def total(daemon: Daemon, name: str) -> float:
    return sum(value for (each, _), value in daemon.scrape().items() if each == name)


def wait_for_progress(daemon: Daemon, count: int, seconds: float) -> None:
    """Until so many messages are done, or some time: hidden ones come back after 30 s."""
    until = time.monotonic() + seconds
    wait_for(
        lambda: total(daemon, "presenced_sqs_messages_total") >= count or time.monotonic() > until,
        what="progress",
    )


def take_down(sqs, daemon: Daemon) -> None:
    """Let the endpoint be down for 30 s; that is a state of the daemon."""
    sqs.kill()
    wait_for(lambda: "the queue presenced" in daemon.get("/-/ready")[1], what="a problem")
    until = time.monotonic() + DOWN_FOR
    wait_for(lambda: time.monotonic() > until, timeout=DOWN_FOR + 5)
    assert not daemon.ready
    sqs.start()
    # It answers before it has restored its queues.
    wait_for(lambda: sqs.client().list_queues().get("QueueUrls"), timeout=60, what="the queue")


def test_fifty_thousand_messages_twenty_crashes_and_a_dead_endpoint(sqs_of, tmp_path):
    chance = random.Random(15)
    sqs = sqs_of(durable=True)
    queue = sqs.create_queue("presenced")
    bodies = messages(chance)
    with ThreadPoolExecutor(4) as sending:
        list(sending.map(lambda part: sqs.send(queue, bodies[part::4]), range(4)))
    daemon = daemon_on(tmp_path, queue)
    hidden = 0  # messages that a crash left hidden: received, and perhaps counted, but not deleted
    try:
        for crash in range(KILLS):
            daemon.start()
            wait_for_progress(daemon, chance.randrange(1, 2500), chance.uniform(1, 4))
            if crash == KILLS // 2:
                take_down(sqs, daemon)
                hidden += IN_FLIGHT  # what was here may be visible again already
            daemon.signal(signal.SIGKILL)
            daemon.wait(10)
            hidden += sqs.counts(queue)["in_flight"]
        daemon.start()
        empty = {"visible": 0, "in_flight": 0}
        wait_for(lambda: sqs.counts(queue) == empty, timeout=400, what="an empty queue")
        wait_for(
            lambda: daemon.value("iot_clients", state="offline") == CLIENTS / 2,
            timeout=60,
            what="the last deadlines",
        )
        wait_for(lambda: daemon.ready, what="readiness")
        assert_final_truth(daemon, hidden)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
    finally:
        daemon.stop()


def assert_final_truth(daemon: Daemon, hidden: int) -> None:
    samples = daemon.scrape()
    for number in range(CLIENTS):
        key = ("iot_client_connected", frozenset({("client_id", f"c{number}")}))
        assert samples[key] == number % 2, f"c{number}"
    assert daemon.value("iot_clients", state="online") == CLIENTS / 2
    assert daemon.value("iot_clients", state="pending") == 0
    # Counted again is what was counted and not deleted at a crash: at most what was hidden.
    counted = total(daemon, "iot_events_total")
    assert MESSAGES <= counted <= MESSAGES + hidden
    assert total(daemon, "iot_events_rejected_total") == 0
    assert daemon.value("presenced_sqs_messages_total", result="poison") == 0
