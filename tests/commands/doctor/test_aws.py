"""`presenced doctor` as a process, on the emulated operations of AWS and their faults."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from brokers import free_port
from command_line import run_here
from documentation import PROJECT
from emulator_aws import Fleet, in_thread
from presenced.aws import operations
from presenced_emulator.aws.account import EmulatedAccount
from presenced_emulator.aws.errors import CredentialsError
from presenced_emulator.aws.index import IndexStatus
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.broker import EmulatedBroker
from presenced_emulator.certificates import Certificates, issue
from presenced_emulator.daemon import DaemonProcess, clean_environment, configuration

ARN = "arn:aws:iot:eu-west-1:ACCOUNT:"
INDEXED = ["index status", "SearchIndex", "GetThingConnectivityData"]
CONTROL = ["indexing mode", *INDEXED, "ListThingGroups", "DescribeThingGroup"]
CONTROL += ["ListBillingGroups", "event types"]
DATA = ["GetConnection", "subscriptions of presenced"]
STEPS = ["credentials", *CONTROL[:4], "GetConnection", *CONTROL[4:], "subscriptions of presenced"]

Steps = dict[str, dict[str, str]]


def with_status(steps: Steps, status: str) -> list[str]:
    return sorted(name for name, step in steps.items() if step["status"] == status)


@dataclass
class Stage:
    """A fleet, its server, and a configuration whose broker is dead."""

    fleet: Fleet
    server: AwsServer
    certificates: Certificates
    directory: Path

    @property
    def sections(self) -> dict[str, Any]:
        url = self.server.https_url
        return {
            "aws": {
                "region": "eu-west-1",
                "role_alias": "presenced",
                "credentials_endpoint": url.removeprefix("https://"),
                "thing_name": "presenced",
                "iot_url": url,
                "data_url": url,
            },
            "reconcile": {"enabled": True, "searches_per_second": 100},
        }

    def doctor(
        self,
        *arguments: str,
        sections: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """Run the command; its exit status and its output, in which no secret may be."""
        config = self.directory / "presenced.yaml"
        text = configuration(
            self.certificates,
            port=free_port(),
            listen=":9883",
            sections=sections or self.sections,
        )
        config.write_text(text)
        nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(self.directory)}
        done = run_here("doctor", "--config", str(config), *arguments, **nowhere, **(environ or {}))
        assert "Traceback" not in done.stderr, done.stderr
        for key, value in self.server._store._issued.items():
            for secret in (key, value.secret_access_key, value.session_token):
                assert secret not in done.stdout + done.stderr
        return done.returncode, done.stdout

    def aws(self, **more: Any) -> Steps:
        """Run the command; the steps of the requests to AWS. MQTT has failed."""
        status, out = self.doctor("--json", **more)
        report = json.loads(out)
        assert (status, report["ok"]) == (1, False)
        for connection in report["connections"]:
            assert connection["steps"][2]["status"] == "failed", "TCP"
        return {step["step"]: step for step in report["aws"]}


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def stage(issued: Certificates, tmp_path: Path) -> Iterator[Stage]:
    fleet = Fleet()
    fleet.create("pump-1")
    fleet.connect("pump-1")
    fleet.connect("presenced", clean_session=False)
    fleet.account.connections.subscribe("presenced", "$aws/events/#", 1)
    server = AwsServer(fleet.account, issued.aws, seed=1)
    with in_thread(server):
        yield Stage(fleet, server, issued, tmp_path)


def test_every_request_succeeds_though_mqtt_fails(stage: Stage) -> None:
    steps = stage.aws()
    assert list(steps) == STEPS
    assert with_status(steps, "ok") == sorted(STEPS), steps
    details = {name: step["detail"] for name, step in steps.items()}
    found = re.fullmatch(r"from role alias presenced, valid for (1h|59m.*)", details["credentials"])
    assert found, details["credentials"]
    assert details["index status"] == "ACTIVE"
    assert details["SearchIndex"] == "1 thing on the first page"
    assert details["GetThingConnectivityData"] == "pump-1 is connected"
    assert details["GetConnection"] == "presenced is connected"
    assert details["subscriptions of presenced"] == "AWS holds what is configured: $aws/events/#"
    asked = {request.operation for request in stage.server.requests}
    assert asked == {each.name for each in operations.OPERATIONS} | {"credentials"}
    for request in stage.server.requests:
        assert request.parameters.get("clientId") in (None, "presenced")


def test_credentials_of_the_environment_over_plain_http(stage: Stage) -> None:
    url = stage.server.http_url
    aws = {"region": "eu-west-1", "iot_url": url, "data_url": url}
    reconcile = {"enabled": True, "seed_registry": False}
    steps = stage.aws(
        sections={"aws": aws, "reconcile": reconcile},
        environ=stage.server.issue("operator").environment,
    )
    groups = {"ListThingGroups", "DescribeThingGroup", "ListBillingGroups"}
    assert list(steps) == [step for step in STEPS if step not in groups]
    assert set(with_status(steps, "ok")) == set(steps), steps
    detail = "from environment variables, valid with no known end"
    assert steps["credentials"]["detail"] == detail


def test_no_credentials(stage: Stage) -> None:
    sections = stage.sections
    for key in ("role_alias", "credentials_endpoint", "thing_name"):
        del sections["aws"][key]
    steps = stage.aws(sections=sections)
    assert with_status(steps, "failed") == ["credentials"]
    assert with_status(steps, "skipped") == sorted(STEPS[1:])
    assert "aws.role_alias" in steps["credentials"]["remedy"]
    assert not stage.server.requests


@pytest.mark.parametrize(
    "refusal",
    [
        CredentialsError.UNKNOWN_ROLE,
        CredentialsError.UNKNOWN_ALIAS,
        CredentialsError.WRONG_THING,
        CredentialsError.ACCESS_DENIED,
    ],
)
def test_a_wrong_role(stage: Stage, refusal: CredentialsError) -> None:
    stage.server.faults.credentials = refusal
    steps = stage.aws()
    assert with_status(steps, "failed") == ["credentials"]
    assert with_status(steps, "skipped") == sorted(STEPS[1:])
    step = steps["credentials"]
    assert (
        f"no credentials for the role alias presenced (HTTP status {refusal.status})"
        in (step["detail"])
    )
    assert "its role trusts credentials.iot.amazonaws.com" in step["remedy"]
    assert '"iot:AssumeRoleWithCertificate"' in step["remedy"]
    assert f"{ARN}rolealias/presenced" in step["remedy"]


@pytest.mark.parametrize("operation", operations.OPERATIONS, ids=lambda operation: operation.name)
def test_a_denied_action(stage: Stage, operation: operations.Operation) -> None:
    names = {
        "GetIndexingConfiguration": "indexing mode",
        "DescribeIndex": "index status",
        "DescribeEventConfigurations": "event types",
        "ListSubscriptions": "subscriptions of presenced",
    }
    stage.server.faults.denied = {operation.name}
    steps = stage.aws()
    name = names.get(operation.name, operation.name)
    assert with_status(steps, "failed") == [name]
    assert with_status(steps, "ok") == sorted(set(STEPS) - {name})
    assert f"lack the permission iot:{operation.name}" in steps[name]["detail"]
    resource = "*" if operation.resource == "*" else ARN + operation.resource
    statement = {"Effect": "Allow", "Action": operation.permission, "Resource": resource}
    assert json.dumps(statement) in steps[name]["remedy"]


def test_indexing_is_off(stage: Stage) -> None:
    stage.fleet.account.indexing.things = False
    stage.fleet.account.indexing.connectivity = False
    steps = stage.aws()
    assert with_status(steps, "failed") == ["indexing mode"]
    assert with_status(steps, "skipped") == sorted(INDEXED)
    assert "fleet indexing is off" in steps["indexing mode"]["detail"]
    command = "aws iot update-indexing-configuration"
    assert command in steps["indexing mode"]["remedy"]


def test_connectivity_is_not_indexed(stage: Stage) -> None:
    stage.fleet.account.indexing.connectivity = False
    steps = stage.aws()
    assert with_status(steps, "failed") == ["indexing mode"]
    assert with_status(steps, "skipped") == sorted(INDEXED)
    assert "connectivity is not indexed" in steps["indexing mode"]["detail"]
    assert "thingConnectivityIndexingMode is OFF" in steps["indexing mode"]["detail"]
    modes = "thingIndexingMode=REGISTRY,thingConnectivityIndexingMode=STATUS"
    assert steps["indexing mode"]["remedy"].endswith(modes)


def test_the_index_is_off_and_its_mode_is_not_told(stage: Stage) -> None:
    stage.server.faults.denied = {"GetIndexingConfiguration"}
    stage.fleet.account.indexing.things = False
    steps = stage.aws()
    assert with_status(steps, "failed") == ["index status", "indexing mode"]
    assert "fleet indexing is off" in steps["index status"]["detail"]


def test_the_index_is_being_built(stage: Stage) -> None:
    stage.fleet.account.index.status = IndexStatus.BUILDING
    steps = stage.aws()
    assert with_status(steps, "failed") == ["index status"]
    assert with_status(steps, "skipped") == sorted(INDEXED[1:])
    assert "is being built" in steps["index status"]["detail"]
    assert "aws iot describe-index" in steps["index status"]["remedy"]


def test_an_index_that_is_rebuilt_has_old_rows(stage: Stage) -> None:
    stage.fleet.account.index.status = IndexStatus.REBUILDING
    steps = stage.aws()
    assert with_status(steps, "warning") == ["index status"]
    assert with_status(steps, "ok") == sorted(set(STEPS) - {"index status"})
    assert "REBUILDING" in steps["index status"]["detail"]


def test_throttled(stage: Stage) -> None:
    stage.server.faults.rates["SearchIndex"] = 0
    steps = stage.aws()
    assert with_status(steps, "failed") == ["SearchIndex"]
    assert with_status(steps, "ok") == sorted(set(STEPS) - {"SearchIndex"})
    assert "(throttled)" in steps["SearchIndex"]["detail"]
    assert "reconcile.searches_per_second" in steps["SearchIndex"]["remedy"]


@pytest.mark.parametrize(
    ("key", "failed", "skipped"),
    [
        ("iot_url", ["indexing mode"], CONTROL[1:]),
        ("data_url", ["GetConnection"], DATA[1:]),
        ("credentials_endpoint", ["credentials"], STEPS[1:]),
    ],
)
def test_a_dead_endpoint(stage: Stage, key: str, failed: list[str], skipped: list[str]) -> None:
    sections, dead = stage.sections, f"localhost:{free_port()}"
    sections["aws"][key] = dead if key == "credentials_endpoint" else f"https://{dead}"
    steps = stage.aws(sections=sections)
    assert with_status(steps, "failed") == failed
    assert with_status(steps, "skipped") == sorted(skipped)
    step = steps[failed[0]]
    assert f"{dead} refused the TCP connection" in step["detail"]
    assert f"aws.{key}" in step["remedy"]


@pytest.mark.parametrize(("ahead", "way"), [(600.0, "behind"), (-600.0, "ahead of")])
def test_a_clock_that_is_ten_minutes_off(stage: Stage, ahead: float, way: str) -> None:
    stage.server.faults.clock_offset = ahead
    steps = stage.aws()
    assert with_status(steps, "failed") == ["indexing mode"]
    assert with_status(steps, "ok") == ["credentials"]
    assert "the clock of this machine is wrong" in steps["indexing mode"]["detail"]
    assert f"{way} AWS's" in steps["indexing mode"]["detail"]
    assert "timedatectl" in steps["indexing mode"]["remedy"]


def test_event_types_that_are_off(stage: Stage) -> None:
    stage.fleet.account.events |= {"JOB": False, "THING_GROUP": False, "POLICY": False}
    steps = stage.aws()
    assert with_status(steps, "warning") == ["event types"]
    assert steps["event types"]["detail"].endswith("match: THING_GROUP, JOB")
    remedy = steps["event types"]["remedy"]
    _, _, switches = remedy.partition("--event-configurations ")
    assert json.loads(switches.strip("'")) == {
        "THING_GROUP": {"Enabled": True},
        "JOB": {"Enabled": True},
    }


@pytest.mark.parametrize(
    ("held", "status", "detail"),
    [
        ({}, "failed", "does not hold $aws/events/#"),
        ({"$aws/events/#": 0}, "warning", "at QoS 0, though mqtt.qos is 1"),
        ({"$aws/events/#": 1, "a/b": 1}, "warning", "holds a/b as well"),
    ],
)
def test_what_aws_holds_for_the_daemon(
    stage: Stage, held: dict[str, int], status: str, detail: str
) -> None:
    connections = stage.fleet.account.connections
    connections.unsubscribe("presenced", "$aws/events/#")
    for topic_filter, qos in held.items():
        connections.subscribe("presenced", topic_filter, qos)
    steps = stage.aws()
    assert with_status(steps, status) == ["subscriptions of presenced"]
    assert detail in steps["subscriptions of presenced"]["detail"]
    assert steps["subscriptions of presenced"]["remedy"]


def test_a_daemon_that_has_no_session(stage: Stage) -> None:
    stage.fleet.disconnect("presenced", "CLIENT_INITIATED_DISCONNECT")
    stage.fleet.connect("presenced")
    stage.fleet.disconnect("presenced", "CLIENT_INITIATED_DISCONNECT")
    steps = stage.aws()
    assert with_status(steps, "skipped") == ["subscriptions of presenced"]
    assert "the daemon is not connected" in steps["subscriptions of presenced"]["detail"]


def test_each_connection_has_its_own_filters(stage: Stage) -> None:
    """Event types that no filter matches may be off; AWS may name a shared filter without group."""
    stage.fleet.account.connections.unsubscribe("presenced", "$aws/events/#")
    stage.fleet.account.connections.subscribe("presenced", "$aws/events/presence/#", 1)
    stage.fleet.account.events |= {"JOB": False, "THING": False}
    connections = [["$share/g/$aws/events/presence/#"], ["$aws/events/job/#"]]
    steps = stage.aws(environ={"PRESENCED_MQTT__CONNECTIONS": json.dumps(connections)})
    assert steps["subscriptions of presenced"]["status"] == "ok"
    assert steps["subscriptions of presenced-2"]["status"] == "skipped"
    assert steps["event types"]["detail"].endswith("match: JOB")


def test_without_reconcile_nothing_is_asked(stage: Stage) -> None:
    sections = stage.sections
    sections["reconcile"]["enabled"] = False
    assert stage.aws(sections=sections) == {}
    assert not stage.server.requests


def test_the_lines_for_people(stage: Stage) -> None:
    stage.server.faults.denied = {"SearchIndex"}
    _, out = stage.doctor()
    lines = out.splitlines()
    at = lines.index(f"AWS IoT in eu-west-1 ({stage.server.https_url}, {stage.server.https_url})")
    assert "localhost" in lines[0]
    assert lines[at + 1].startswith("  ok       credentials: from role alias presenced, valid for")
    failed = lines.index("  FAILED   SearchIndex")
    assert lines[failed + 1].strip() == "the credentials lack the permission iot:SearchIndex"
    assert lines[failed + 2].strip().startswith("Remedy: Add to the policies of their role: {")
    assert lines[-1] == "2 failed."
    page = (PROJECT / "docs/how-to/ask-aws.md").read_text()
    [sample] = re.findall(r"^```\n(AWS IoT in .*?)^```", page, re.DOTALL | re.MULTILINE)
    shown = [line for line in sample.splitlines()[2:] if line != "  ..."]
    assert [line for line in lines if line in shown] == shown


def test_everything_is_well_beside_a_running_daemon(issued: Certificates, tmp_path: Path) -> None:
    """The real daemon holds its subscription at the emulated broker, which the account knows."""

    async def scenario() -> None:
        async with EmulatedBroker(issued, seed=1) as broker:
            account = EmulatedAccount(broker.registry, broker.connections)
            broker.on_event(lambda message: account.on_event(message, time.time()))
            async with AwsServer(account, issued.aws, seed=1) as server:
                port = free_port()
                config = tmp_path / "presenced.yaml"
                url = server.https_url
                aws = {"region": "eu-west-1", "iot_url": url, "data_url": url}
                sections = {"aws": aws, "reconcile": {"enabled": True}}
                listen = f"127.0.0.1:{port}"
                config.write_text(
                    configuration(issued, port=broker.port, listen=listen, sections=sections)
                )
                environment = server.issue("presenced-role").environment
                async with DaemonProcess(config, f"http://{listen}", environment) as daemon:
                    await daemon.ready()
                    process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "presenced", "doctor", "--config", str(config)),
                        env=clean_environment() | environment,
                        stdout=asyncio.subprocess.PIPE,
                    )
                    out, _ = await asyncio.wait_for(process.communicate(), 60)
                text = out.decode()
                assert process.returncode == 0, text
                assert text.splitlines()[-1] == "Everything is well.", text
                held = "subscriptions of presenced: AWS holds what is configured: $aws/events/#"
                assert f"  ok       {held}" in text

    asyncio.run(scenario())
