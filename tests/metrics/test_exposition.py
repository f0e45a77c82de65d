"""The whole exposition, which is exactly the catalog."""

import asyncio
import gzip
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from histories import lifecycle
from presenced.aws.client import RequestCounts
from presenced.events.message import Message
from presenced.events.model import EVENT_TYPES
from presenced.fleet import Fleet
from presenced.metrics.catalog import CATALOG, PER_CLIENT
from presenced.metrics.clients import ClientMetrics
from presenced.metrics.declaration import FleetSources, MetricSources
from presenced.metrics.exposition import CONTENT_TYPES, Exposition, gzip_parts
from presenced.metrics.reference import reference
from presenced.pipeline import Pipeline
from presenced.presence import PresenceRules
from presenced.settings import MetricsSettings
from presenced.sources.gaps import Gaps
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.gap_detector import GapDetector
from presenced.sources.mqtt.source import MqttSource
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.sources.mqtt.traffic import Traffic
from presenced.system.loop import Clocks
from registries import member, thing
from waiting import until

TEXT, OPENMETRICS = CONTENT_TYPES
CLOCKS = Clocks(lambda: 0.0, lambda: 0.0)
# These have samples with a snapshot, with a queue, with Kafka, or with clients that flap only.
_OPTIONAL = (
    "iot_client_flaps_recent",
    "iot_client_takeovers_recent",
    "iot_client_connect_failures_recent",
    "iot_client_short_sessions_recent",
    "iot_client_flapping",
    "iot_clients_flapping",
    "presenced_aws_last",
    "presenced_aws_snapshot",
    "presenced_sqs_",
    "presenced_kafka_",
    "presenced_partition_",
    "presenced_records_",
)


class OneConnection(MqttSource):
    """MQTT without a broker: one connection that has not come up."""

    def __init__(self, gaps: Gaps) -> None:
        inbox = Inbox(asyncio.new_event_loop(), lambda _: None)
        super().__init__(inbox, GapDetector(gaps, CLOCKS), lambda: None, CLOCKS)

    @property
    def traffic(self) -> dict[str, Traffic]:
        return {"presenced": Traffic()}

    @property
    def statuses(self) -> list[ConnectionStatus]:
        return [ConnectionStatus("presenced", ["$aws/events/#"])]


@pytest.fixture
def view() -> MetricSources:
    settings = MetricsSettings(max_clients=2, client_id_pattern="(?P<kind>c)(?P<number>[01])?")
    fleet = Fleet(PresenceRules())
    clients = ClientMetrics(fleet, settings)
    pipeline = Pipeline(fleet, [clients])
    for number in range(3):
        event = lifecycle(
            connected=True, timestamp=0, version=1, session="s", client_id=f"c{number}"
        )
        fleet.apply(event, 10.0, 10.0)
    fleet.apply_registry(thing("c1", "valve"), 10.0)
    fleet.apply_registry(member("plants", "c1"), 10.0)
    fleet.apply_registry(thing("spare", "valve"), 10.0)
    pipeline.process([])
    sources = FleetSources(pipeline, clients)
    return MetricSources(
        fleets=lambda: [sources],
        transport="awscrt",
        mqtt=OneConnection(Gaps(fleet.presence, CLOCKS)),
        aws_requests=RequestCounts(),
        certificate_expiry={"client": 5.0},
    )


def family_name(name: str) -> str:
    return name.removesuffix("_total")


def test_the_exposition_has_the_metrics_of_the_catalog(view: MetricSources) -> None:
    assert TEXT == "text/plain; version=0.0.4; charset=utf-8"
    body = Exposition(view, process_metrics=False).render()
    families = list(parse_text(body.decode()))
    wanted = CATALOG | PER_CLIENT
    assert {f.name for f in families} == {family_name(name) for name in wanted}
    for family in families:
        metric = wanted.get(family.name) or wanted[family.name + "_total"]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        if not family.name.startswith(_OPTIONAL):
            assert family.samples, f"{family.name} has no sample from the start"
        for sample in family.samples:
            assert set(sample.labels) - {"le", "kind", "number"} == set(metric.labels)


# SPEC.md, the contract: presence of the fleet, events, the daemon itself.
CONTRACT = """
iot_clients iot_client_connected iot_client_last_transition_timestamp_seconds
iot_client_transitions_total iot_client_disconnects_total iot_client_flaps_suppressed_total
iot_client_connections_replaced_total iot_client_connect_failures_total
iot_client_session_duration_seconds iot_client_offline_duration_seconds iot_class_clients
iot_events_total iot_events_rejected_total iot_events_ignored_total iot_event_version_resets_total
iot_events_missed_total iot_event_delay_seconds
iot_things iot_thing_groups iot_thing_types iot_registry_changes_total iot_thing_type_clients
iot_thing_group_clients iot_client_info iot_job_events_total iot_job_executions_total
iot_certificates_registered_total iot_command_executions_total iot_clients_forgotten_total
presenced_build_info presenced_mqtt_connected presenced_mqtt_connects_total
presenced_mqtt_connection_failures_total presenced_mqtt_subscription_granted
presenced_mqtt_messages_total presenced_mqtt_last_message_timestamp_seconds
presenced_mqtt_saturated_seconds_total presenced_pipeline_backlog_messages
presenced_clients_without_series presenced_certificate_expiry_timestamp_seconds
presenced_config_last_reload_successful presenced_config_last_reload_success_timestamp_seconds
presenced_aws_requests_total
"""


def test_requests_to_aws_start_at_0_where_aws_is_asked(view: MetricSources) -> None:
    line = b'presenced_aws_requests_total{operation="SearchIndex",result="throttled"} 0.0\n'
    assert line in Exposition(view).render()
    view.aws_requests = None
    assert b"presenced_aws_requests_total{" not in Exposition(view).render()


def test_no_metric_of_the_contract_is_missing() -> None:
    assert set(CONTRACT.split()) <= set(CATALOG | PER_CLIENT)


def test_openmetrics_has_the_same_samples(view: MetricSources) -> None:
    exposition = Exposition(view, process_metrics=False)
    text = {
        (s.name, tuple(sorted(s.labels.items())), s.value)
        for f in parse_text(exposition.render().decode())
        for s in f.samples
    }
    assert OPENMETRICS.startswith("application/openmetrics-text; version=1.0.0")
    body = exposition.render(OPENMETRICS)
    openmetrics = {
        (s.name, tuple(sorted(s.labels.items())), s.value)
        for f in parse_openmetrics(body.decode())
        for s in f.samples
    }
    assert openmetrics == text


def test_values(view: MetricSources) -> None:
    body = Exposition(view).render()
    lines = body.decode().splitlines()
    assert 'iot_clients{state="online"} 3.0' in lines
    assert "presenced_clients_without_series 1.0" in lines
    assert 'iot_client_connected{client_id="c0",kind="c",number="0"} 1' in lines
    assert 'iot_class_clients{kind="c",number="0",state="online"} 1.0' in lines
    assert 'iot_class_clients{kind="c",number="",state="online"} 1.0' in lines
    assert 'iot_clients{state="unknown"} 1.0' in lines, "the spare"
    assert 'iot_thing_type_clients{state="online",thing_type="valve"} 1.0' in lines
    assert 'iot_thing_type_clients{state="unknown",thing_type="valve"} 1.0' in lines
    assert 'iot_thing_group_clients{state="online",thing_group="plants"} 1.0' in lines
    assert 'iot_client_info{client_id="c1",kind="c",number="1",thing_type="valve"} 1' in lines
    assert "iot_things 2.0" in lines
    assert 'presenced_certificate_expiry_timestamp_seconds{certificate="client"} 5.0' in lines
    for family, types in EVENT_TYPES.items():
        for event_type in types:
            assert f'iot_events_total{{family="{family}",type="{event_type}"}} 0.0' in lines


def test_messages_of_a_batch_that_fails_as_a_whole_are_faults(view: MetricSources) -> None:
    def fail(_: list[Message]) -> None:
        raise RuntimeError("the state cannot be written")

    async def run() -> None:
        (fleet,) = view.fleets()
        fleet.inbox = Inbox(asyncio.get_running_loop(), fail)
        for topic in "ab":
            fleet.inbox.put(Message(topic, b"", 1, 0.0, 0.0))
        await until(lambda: not fleet.inbox.backlog)

    asyncio.run(run())
    samples = parse_text(Exposition(view, process_metrics=False).render().decode())
    values = {sample.name: sample.value for family in samples for sample in family.samples}
    assert values["presenced_pipeline_faults_total"] == 2


def test_gzip(view: MetricSources) -> None:
    exposition = Exposition(view, process_metrics=False)
    snapshot = exposition.collect(OPENMETRICS)
    compressed = b"".join(gzip_parts(snapshot.blocks()))
    assert gzip.decompress(compressed).decode() == exposition.render(OPENMETRICS).decode()


def test_a_snapshot_is_of_the_moment_of_its_collection(view: MetricSources) -> None:
    exposition = Exposition(view, process_metrics=False)
    before = exposition.render()
    snapshot = exposition.collect()
    event = lifecycle(connected=True, timestamp=0, version=1, session="s", client_id="c00")
    view.fleets()[0].pipeline.fleet.apply(event, 20.0, 20.0)
    view.fleets()[0].pipeline.process([])
    event = lifecycle(connected=False, timestamp=0, version=1, session="s", client_id="c0")
    view.fleets()[0].pipeline.fleet.apply(event, 20.0, 20.0)
    view.fleets()[0].pipeline.process([])
    view.fleets()[0].pipeline.advance(100.0, 0.0)
    assert exposition.render() != before
    assert b"".join(block.text for block in snapshot.blocks()) == before


def test_the_documentation_is_current() -> None:
    """Fix with `make docs`."""
    written = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
    assert written.read_text() == reference()
    assert all(f"| `{name}` |" in reference() for name in CATALOG | PER_CLIENT)
