"""A flood of wrong passwords, and right users whom the daemon has not seen before."""

import base64
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from brokers import free_port
from daemons import Daemon

PASSWORD = "correct horse"
NAMES = [f"user-{number}" for number in range(20)]
SECONDS_BETWEEN_USERS = 0.5


def ask(daemon: Daemon, name: str, password: str, address: str) -> int:
    """The status of the answer to one request from a loopback address."""
    encoded = base64.b64encode(f"{name}:{password}".encode()).decode()
    connection = http.client.HTTPConnection(
        "127.0.0.1", daemon.port, timeout=10, source_address=(address, 0)
    )
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Basic {encoded}"})
        return connection.getresponse().status
    finally:
        connection.close()


@contextmanager
def flood(daemon: Daemon, addresses: list[str]) -> Iterator[Counter[tuple[str, int]]]:
    """Wrong passwords from each address at once; yields how often each got which status."""
    stop = threading.Event()
    statuses: Counter[tuple[str, int]] = Counter()

    def attack(own: list[str]) -> None:
        number = 0
        while not stop.is_set():
            for address in own:
                number += 1
                statuses[address, ask(daemon, NAMES[0], f"wrong-{number}", address)] += 1

    threads = [threading.Thread(target=attack, args=(addresses[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("count", [1, 12, 60])
def test_right_users_get_in_while_others_guess(tmp_path: Path, daemon_of: Any, count: int) -> None:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": dict.fromkeys(NAMES, hashed)}))
    health = f"127.0.0.1:{free_port()}"
    daemon: Daemon = daemon_of(metrics={"web_config": str(web), "health_listen": health})
    began = time.monotonic()
    with flood(daemon, [f"127.0.1.{number}" for number in range(1, count + 1)]) as statuses:
        for name in NAMES:
            assert ask(daemon, name, PASSWORD, "127.0.0.1") == 200, name
            time.sleep(SECONDS_BETWEEN_USERS)  # the length of the attack
    lasted = time.monotonic() - began
    assert {status for _, status in statuses} <= {401, 429}
    for address in {address for address, _ in statuses}:
        # Compared with bcrypt: ten at once, then one every 6 s.
        assert statuses[address, 401] <= 10 + lasted / 6 + 1
