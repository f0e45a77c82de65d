"""How long the event loop is held up while events come: `python benchmarks/pauses.py [CLIENTS]`.

A daemon with so many clients (1,000,000) in its state file, a mosquitto, and a publisher of 5,000
lifecycle events a second at QoS 1. The daemon runs in this process, so that a task of its loop can
measure by how much it wakes too late. It does so with a state file and without, in turns.
"""

import asyncio
import gc
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from random import Random
from threading import Thread
from uuid import UUID

from restart import free_port, start_broker
from state_writer import fill

from presenced import log
from presenced.service import Service
from presenced.settings import Settings

RATE, TICKS, SECONDS, RUNS = 5_000, 50, 20.0, 3


def packets(clients: int, seed: int) -> Iterator[bytes]:
    """PUBLISH packets (MQTT 3.1.1 section 3.3) of clients of the file, each a later event."""
    random = Random(seed)
    for number in count(1):
        client_id = f"device-{random.randrange(clients) * 7919 % 10_000_019:08d}"
        kind = random.choice(["connected", "disconnected"])
        topic = f"$aws/events/presence/{kind}/{client_id}".encode()
        fields = {
            "clientId": client_id,
            "timestamp": time.time_ns() // 1_000_000,
            "versionNumber": seed * 1_000_000 + number,
            "sessionIdentifier": str(UUID(int=random.getrandbits(128))),
        }
        body = len(topic).to_bytes(2) + topic + (number % 65535 + 1).to_bytes(2)
        body += json.dumps(fields).encode()
        length = bytes([len(body) % 128 | 128, len(body) // 128])
        yield b"\x32" + length + body


def publish(port: int, clients: int, seed: int) -> None:
    """Publish at the rate; a process of its own."""
    stream = packets(clients, seed)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01p")

        def read() -> None:
            while connection.recv(65536):
                pass

        Thread(target=read, daemon=True).start()
        began = time.perf_counter()
        for tick in range(int(SECONDS * TICKS)):
            connection.sendall(b"".join(islice(stream, RATE // TICKS)))
            time.sleep(max(0.0, began + (tick + 1) / TICKS - time.perf_counter()))
        connection.sendall(b"\xe0\x00")


async def measure(
    port: int, clients: int, state: Path | None, seed: int
) -> tuple[list[float], float]:
    """The pauses of the loop, sorted, and the events applied per second."""
    settings = Settings.model_validate(
        {
            "mqtt": {
                "endpoint": "localhost",
                "port": port,
                "tls": False,
                "client_id": f"bench-{seed}",
                "max_message_rate": 1_000_000,
            },
            "metrics": {"listen": f"127.0.0.1:{free_port()}"},
            "state": {"path": state},
        }
    )
    gc.disable()  # as the daemon does
    service = Service(settings, lambda: settings)
    service.restore()
    gc.enable()
    gc.freeze()
    counted = service._pipeline.counts.decoded  # noqa: SLF001 - nobody else asks from within
    before = sum(counted.values())
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    while not service._readiness().ready:  # noqa: ASYNC110, SLF001
        await asyncio.sleep(0.05)
    publisher = multiprocessing.Process(target=publish, args=(port, clients, seed))
    publisher.start()
    pauses = []
    while publisher.is_alive():
        fell_asleep = time.perf_counter()
        await asyncio.sleep(0.001)
        pauses.append(time.perf_counter() - fell_asleep - 0.001)
    applied = (sum(counted.values()) - before) / SECONDS
    stop.set()
    await running
    return sorted(pauses), applied


def main() -> None:
    """Measure and print."""
    log.configure("error", "json")
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    multiprocessing.set_start_method("spawn")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        state = directory / "presenced.db"
        fill(state, clients)
        port = free_port()
        mosquitto = start_broker(directory, port)
        print(f"{clients:,} clients in the file, {os.cpu_count()} cores, {RUNS} runs each")
        for run in range(RUNS):
            for seed, label, path in (
                (2 * run + 1, "with the state file", state),
                (2 * run + 2, "without", None),
            ):
                pauses, applied = asyncio.run(measure(port, clients, path, seed))
                p99 = pauses[len(pauses) * 99 // 100]
                print(
                    f"{label:20} longest pause {pauses[-1] * 1e3:6.1f} ms, p99 {p99 * 1e3:5.1f} ms,"
                    f" {applied:,.0f} events/s"
                )
                gc.collect()
        mosquitto.terminate()
        mosquitto.wait()


if __name__ == "__main__":
    main()
