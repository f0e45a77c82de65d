"""Draw docs/images/dashboard-scale-out.svg from two workers of a Kafka group; one restarts.

`make build/kafka/.jars && PYTHONPATH=. python docs/draw/draw_scale_out.py` in the project's folder
takes five minutes and needs `java` and `prometheus` on the path.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

from benchmarks.kafka_broker import KafkaBroker, Record
from benchmarks.kafka_worker import KafkaWorker, create_topics
from draw_dashboards import DASHBOARDS, IMAGES, PROMETHEUS, RATE_INTERVAL, SPAN, draw, program
from panel_data import Source
from presenced_emulator.fleet import FleetPlan
from presenced_emulator.simulate.simulation import ScheduledMessage, Simulation

PARTITIONS, DEVICES = 12, 2000
RESTARTS_AFTER, AWAY = SPAN // 2, 20


def main() -> None:
    """Run the group and write the picture."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        broker = stack.enter_context(KafkaBroker(directory))
        create_topics(directory, broker, PARTITIONS)
        staying, restarted = (KafkaWorker(directory, broker, name) for name in ("one", "two"))
        stack.enter_context(staying)
        restarted.wait_for_partitions(PARTITIONS // 2)
        stack.enter_context(_prometheus(directory, [staying.port, restarted.port]))
        stack.enter_context(_fleet(broker))
        time.sleep(RATE_INTERVAL + RESTARTS_AFTER)
        restarted.stop()
        time.sleep(AWAY)
        with KafkaWorker(directory, broker, "two", restarted.port):
            time.sleep(SPAN - RESTARTS_AFTER - AWAY)
            source = Source(
                f"http://{PROMETHEUS}", span=SPAN, rate_interval=RATE_INTERVAL, variables={}
            )
            dashboard = json.loads((DASHBOARDS / "scale-out.json").read_text())
            (IMAGES / "dashboard-scale-out.svg").write_text(draw(dashboard, source))


@contextmanager
def _prometheus(directory: Path, ports: list[int]) -> Iterator[None]:
    """Scrape the workers every second."""
    targets = [f"127.0.0.1:{port}" for port in ports]
    scrape = {"job_name": "presenced", "static_configs": [{"targets": targets}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
    (directory / "prometheus.yml").write_text(json.dumps(config))
    command = [
        program("prometheus"),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={PROMETHEUS}",
        "--log.level=warn",
    ]
    with subprocess.Popen(command) as running:  # noqa: S603
        try:
            yield
        finally:
            running.terminate()


@contextmanager
def _fleet(broker: KafkaBroker) -> Iterator[None]:
    """Write the lifecycle events of a fleet into the topic, as an IoT rule does."""
    start, ended = time.time(), Event()
    plan = FleetPlan(devices=DEVICES, seed=11, duration=2 * SPAN, storms=3, storm_share=0.3)
    messages = (m for m in Simulation(plan, start).messages() if "/presence/" in m.topic)

    def produce() -> None:
        due = []
        for message in messages:
            due.append(message)
            while start + message.at > time.time():
                broker.produce(_record(each) for each in due)
                due = []
                if ended.wait(1.0):
                    return

    thread = Thread(target=produce)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _record(message: ScheduledMessage) -> Record:
    """Return a message as `SELECT *, topic() AS topic` makes it, keyed by `${clientId}`."""
    fields = json.loads(message.payload)
    value = json.dumps(fields | {"topic": message.topic}).encode()
    return Record(fields["clientId"], value, round(time.time() * 1000))


if __name__ == "__main__":
    main()
