"""`presenced doctor`: test the source of a configuration and its requests to AWS."""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from presenced.aws.client import RequestCounts, open_client, open_queue_client
from presenced.aws.queue import Queue
from presenced.commands.doctor.aws_steps import AwsProbe
from presenced.commands.doctor.mqtt_steps import MqttProbe
from presenced.commands.doctor.queue_steps import QueueProbe
from presenced.commands.doctor.report import Finding, Report, Status
from presenced.commands.doctor.steps import NetworkProbe, check_files, check_hardware_key
from presenced.commands.doctor.websocket_steps import WebSocketProbe
from presenced.commands.output import DONE, FAILED, print_line
from presenced.settings import MqttSettings, Settings, SettingsError, TlsSettings, aws_endpoints
from presenced.sources.kafka.installed import missing_client
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.options import (
    load_for_tool,
    source_options,
    without_side_effects,
)
from presenced.system import log
from presenced.system.loop import Clocks, in_thread


def run(options: argparse.Namespace) -> int:
    """Print each step as it is done, or all as JSON. Raises SettingsError."""
    settings, daemon_client_id = load_for_tool(options.config, options.client_id, "doctor")
    # The steps report what is wrong with the connection; the log is for faults of the doctor.
    log.configure("error", settings.log.format)
    report = asyncio.run(
        examine(
            settings,
            message_timeout=options.timeout,
            daemon_client_id=daemon_client_id,
            write_line=(lambda _: None) if options.json else print_line,
        )
    )
    print(report.as_json() if options.json else report.summary())
    return DONE if report.ok else FAILED


async def examine(
    settings: Settings,
    *,
    message_timeout: float,
    daemon_client_id: str | None = None,
    write_line: Callable[[str], None] = lambda _: None,
) -> Report:
    """Test the source of the settings, then the requests to AWS.

    `message_timeout` limits the wait for the first message of MQTT, in seconds. `daemon_client_id`
    is the configured client ID if the settings have another one. `write_line` gets the lines for
    people, those of the first connection as its steps are done. Raises SettingsError if a file
    cannot be read. Of a queue no message is received, and no consumer group is joined.
    """
    report = Report()
    mqtt, queue_url = settings.mqtt_source, settings.sqs.queue_url
    if mqtt is not None:
        sources = source_options(settings, mqtt)
        options = [without_side_effects(each, "doctor") for each in sources]
        await _test_connections(
            mqtt, options, daemon_client_id, message_timeout, report, write_line
        )
        mqtt = mqtt.model_copy(update={"client_id": daemon_client_id or mqtt.client_id})
    elif settings.source == "kafka":
        await _test_kafka(settings, report, write_line)
    elif queue_url is not None:
        await _test_queue(settings, Queue(queue_url), report, write_line)
    if settings.reconcile.enabled:
        await _test_aws(settings, mqtt, report.aws, write_line)
    return report


async def _test_connections(
    mqtt: MqttSettings,
    options: Sequence[ConnectionOptions],
    daemon_client_id: str | None,
    message_timeout: float,
    report: Report,
    write_line: Callable[[str], None],
) -> None:
    """Test all connections concurrently, and write the steps of one after the other."""
    findings: dict[str, asyncio.Queue[tuple[str, Finding] | None]] = {}
    async with asyncio.TaskGroup() as group:
        for each in options:
            queue = findings[each.client_id] = asyncio.Queue()
            probe = MqttProbe(mqtt.transport, each, daemon_client_id)
            group.create_task(_test_connection(mqtt.tls, each, probe, message_timeout, queue))
        for each in options:
            write_line(f"{each.client_id} at {each.address} ({mqtt.transport})")
            steps = report.connections[each.client_id] = []
            await _write(_steps_of(findings[each.client_id]), steps, write_line)


async def _steps_of(
    queue: asyncio.Queue[tuple[str, Finding] | None],
) -> AsyncIterator[tuple[str, Finding]]:
    while (item := await queue.get()) is not None:
        yield item


async def _test_kafka(
    settings: Settings, report: Report, write_line: Callable[[str], None]
) -> None:
    """Add the steps of the cluster."""
    if problem := missing_client():
        raise SettingsError([problem])
    # It cannot be imported without the client of Kafka.
    from presenced.commands.doctor.kafka_steps import KafkaProbe

    steps = report.connections["kafka"] = []
    write_line(f"Kafka at {', '.join(settings.kafka.bootstrap_servers)}")
    await _write(KafkaProbe(settings).findings(), steps, write_line)


async def _test_connection(
    tls: TlsSettings | None,
    options: ConnectionOptions,
    mqtt: MqttProbe,
    message_timeout: float,
    queue: asyncio.Queue[tuple[str, Finding] | None],
) -> None:
    """Put each step with its finding into the queue, then None. A failure skips later stages."""
    now = datetime.now(UTC)
    network, websocket = NetworkProbe(options, now), WebSocketProbe(options)
    signed = options.signing_region is not None
    in_hardware = options.tls is not None and options.tls.pkcs11 is not None
    hardware_key = _blocking(partial(check_hardware_key, options))
    stages: list[list[tuple[str, Callable[[], Awaitable[Finding]]]]] = [
        [("certificate files", _blocking(partial(check_files, tls, now)))],
        [("key in hardware", hardware_key)] if in_hardware else [],
        [("credentials", websocket.credentials)] if signed else [],
        [("name resolution", _blocking(network.resolve))],
        [("TCP", _blocking(network.connect))],
        *([[("proxy", _blocking(network.tunnel))]] if options.proxy else []),
        [("TLS", _blocking(network.secure))],
        [("WebSocket", _blocking(websocket.handshake))] if signed else [],
        [("CONNACK", mqtt.connect)],
        # One stage: a broker grants or refuses each filter by itself.
        [(f"SUBACK {each}", partial(mqtt.subscribed, each)) for each in options.filters],
        [("first message", partial(mqtt.first_message, message_timeout))],
    ]
    failed = False
    try:
        for stage in stages:
            skip = failed
            for step, check in stage:
                finding = Finding(Status.SKIPPED) if skip else await check()
                failed |= finding.status is Status.FAILED
                queue.put_nowait((step, finding))
    finally:
        network.close()
        await mqtt.stop()
    queue.put_nowait(None)


async def _test_aws(
    settings: Settings,
    mqtt: MqttSettings | None,
    steps: list[tuple[str, Finding]],
    write_line: Callable[[str], None],
) -> None:
    """Add the steps of the requests to AWS, which do not need the source."""
    endpoints = aws_endpoints(settings.aws, settings.mqtt_endpoint, settings.sqs.queue_url)
    write_line(f"AWS IoT in {endpoints.region} ({endpoints.iot_url}, {endpoints.data_url})")
    client = open_client(settings, RequestCounts(), Clocks(time.monotonic, time.time))
    try:
        probe = AwsProbe(client, mqtt, seed_registry=settings.reconcile.seed_registry)
        await _write(probe.findings(), steps, write_line)
    finally:
        await client.close()


async def _test_queue(
    settings: Settings, queue: Queue, report: Report, write_line: Callable[[str], None]
) -> None:
    """Add the steps of the queue."""
    steps = report.connections["sqs"] = []
    write_line(f"queue {queue.name} in {settings.queue_region}")
    client = open_queue_client(settings, RequestCounts(), Clocks(time.monotonic, time.time))
    try:
        await _write(QueueProbe(client, queue).findings(), steps, write_line)
    finally:
        await client.close()


async def _write(
    findings: AsyncIterator[tuple[str, Finding]],
    steps: list[tuple[str, Finding]],
    write_line: Callable[[str], None],
) -> None:
    async for step, finding in findings:
        steps.append((step, finding))
        for line in finding.lines(step):
            write_line(line)


def _blocking(check: Callable[[], Finding]) -> Callable[[], Awaitable[Finding]]:
    return lambda: in_thread(check, name="doctor")
