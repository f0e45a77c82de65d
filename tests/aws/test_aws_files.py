"""What config/aws/ creates is the same by every way, and what the daemon's own remedies say."""

import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from cloudformation import substituted, template
from presenced.aws.errors import policy_statement as remedy_statement
from presenced.aws.operations import OPERATIONS
from presenced.events.topics import EVENT_CONFIGURATIONS
from presenced.settings import load_settings
from presenced.sources.mqtt.faults import policy_statement
from terraform import declared_resources, terraform

ROOT = Path(__file__).parents[2]
AWS = ROOT / "config" / "aws"
TEMPLATE = AWS / "cloudformation.yaml"
TERRAFORM = AWS / "terraform"
MOST_CHARACTERS = 2048  # of a policy document, by AWS IoT Core's quotas

POLICY: dict[str, Any] = json.loads((AWS / "policy.json").read_text())
ROLE: dict[str, Any] = json.loads((AWS / "role-policy.json").read_text())
TRUST: dict[str, Any] = json.loads((AWS / "role-trust.json").read_text())
CREDENTIALS: dict[str, Any] = json.loads((AWS / "role-alias-policy.json").read_text())
EVENTS: dict[str, Any] = json.loads((AWS / "event-configurations.json").read_text())


def test_the_policy_is_what_the_default_configuration_needs() -> None:
    mqtt = load_settings(None, environ={}, require_endpoint=False).mqtt
    [filters] = mqtt.connections
    connect = policy_statement("Connect", mqtt.client_id, "")
    # Other connections, and those of commands beside the daemon, append to the client ID.
    others = policy_statement("Connect", f"{mqtt.client_id}-*", "")
    statements = [
        {**connect, "Resource": [connect["Resource"], others["Resource"]]},
        *(policy_statement(action, f, "") for f in filters for action in ("Subscribe", "Receive")),
    ]
    assert {"Version": "2012-10-17", "Statement": statements} == POLICY


def test_the_event_types_are_those_that_the_doctor_expects() -> None:
    assert list(EVENT_CONFIGURATIONS) == list(EVENTS)


def test_the_role_has_the_permission_of_each_request() -> None:
    """With those of the statements that the daemon's own remedies show."""
    allowed = set()
    for statement in ROLE["Statement"]:
        actions = statement["Action"]
        for action in actions if isinstance(actions, list) else [actions]:
            allowed.add((action, statement["Resource"]))
    needed = (
        json.loads(remedy_statement(each.permission, each.resource, region="REGION"))
        for each in OPERATIONS
    )
    assert allowed == {(each["Action"], each["Resource"]) for each in needed}
    assert {each["Effect"] for each in ROLE["Statement"]} == {"Allow"}


def test_the_certificate_may_have_the_role() -> None:
    permission = "iot:AssumeRoleWithCertificate"
    statement = remedy_statement(permission, "rolealias/presenced", region="REGION")
    assert {"Version": "2012-10-17", "Statement": [json.loads(statement)]} == CREDENTIALS
    assert [each["Principal"] for each in TRUST["Statement"]] == [
        {"Service": "credentials.iot.amazonaws.com"}
    ]


def test_the_policy_fits_with_the_longest_names() -> None:
    text = json.dumps(POLICY).replace("REGION", "ap-southeast-99").replace("ACCOUNT", "1" * 12)
    assert len(text.replace("client/presenced", f"client/{'x' * 120}")) < MOST_CHARACTERS


def test_the_documentation_shows_the_policy() -> None:
    page = (ROOT / "docs/how-to/connect-to-aws.md").read_text()
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    shown = [json.loads(block) for block in blocks if '"Statement"' in block]
    assert shown == [POLICY]


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return template(TEMPLATE)["Resources"]


def test_cfn_lint_finds_nothing() -> None:
    lint = Path(sys.executable).parent / "cfn-lint"
    done = subprocess.run([lint, TEMPLATE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_stack_has_the_same_policy_and_events(resources: dict[str, Any]) -> None:
    assert (
        substituted(resources["Policy"]["Properties"]["PolicyDocument"], ClientId="presenced")
        == POLICY
    )
    assert resources["EventTypes"]["Properties"]["EventTypes"] == list(EVENTS)


def test_the_stack_has_the_same_role(resources: dict[str, Any]) -> None:
    role = resources["ReconcileRole"]["Properties"]
    assert role["AssumeRolePolicyDocument"] == TRUST
    [policy] = role["Policies"]
    assert substituted(policy["PolicyDocument"], ClientId="presenced") == ROLE
    properties = resources["ReconcilePolicy"]["Properties"]
    assert substituted(properties["PolicyDocument"], ClientId="presenced") == CREDENTIALS
    assert substituted(properties["PolicyName"], ClientId="presenced") == "presenced-reconcile"
    optional = {name for name, each in resources.items() if each.get("Condition") == "Reconciles"}
    assert optional == {name for name in resources if name.startswith("Reconcile")}


@pytest.fixture
def lambda_call(resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls the stack's function; gives what it asked of AWS and what it answered."""

    def call(request: str, *, fails: bool = False) -> tuple[list[Any], list[Any]]:
        asked: list[Any] = []
        answered: list[Any] = []

        def update(**arguments: Any) -> None:
            if fails:
                raise RuntimeError("throttled")
            asked.append(arguments)

        client = types.SimpleNamespace(update_event_configurations=update)
        boto3: Any = types.ModuleType("boto3")
        boto3.client = {"iot": client}.__getitem__
        cfnresponse: Any = types.ModuleType("cfnresponse")
        cfnresponse.SUCCESS, cfnresponse.FAILED = "SUCCESS", "FAILED"
        cfnresponse.send = lambda *arguments: answered.append(arguments[2])
        monkeypatch.setitem(sys.modules, "boto3", boto3)
        monkeypatch.setitem(sys.modules, "cfnresponse", cfnresponse)
        function: dict[str, Any] = {}
        exec(resources["EventTypesFunction"]["Properties"]["Code"]["ZipFile"], function)
        function["handler"](
            {
                "RequestType": request,
                "ResourceProperties": {"EventTypes": list(EVENTS)},
            },
            None,
        )
        return asked, answered

    return call


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_the_stack_enables_events(lambda_call: Any, request_type: str) -> None:
    assert lambda_call(request_type) == ([{"eventConfigurations": EVENTS}], ["SUCCESS"])


def test_a_stack_that_goes_leaves_events_alone(lambda_call: Any) -> None:
    assert lambda_call("Delete") == ([], ["SUCCESS"])


def test_the_function_always_answers(lambda_call: Any) -> None:
    assert lambda_call("Create", fails=True) == ([], ["FAILED"])


def test_the_terraform_module_creates_the_same() -> None:
    found = declared_resources(TERRAFORM)
    optional = {name for name in found if name.endswith(".reconcile")}
    assert set(found) - optional == {
        "aws_iot_policy.this",
        "aws_iot_thing.this",
        "aws_iot_policy_attachment.this",
        "aws_iot_thing_principal_attachment.this",
        "aws_iot_event_configurations.this",
    }
    assert optional == {
        "aws_iam_role.reconcile",
        "aws_iam_role_policy.reconcile",
        "aws_iot_role_alias.reconcile",
        "aws_iot_policy.reconcile",
        "aws_iot_policy_attachment.reconcile",
    }
    assert {found[name]["count"] for name in optional} == {"${var.reconcile ? 1 : 0}"}


def test_terraform_finds_the_module_well_formed() -> None:
    done = terraform("fmt", "-check", "-diff", "-no-color", at=TERRAFORM)
    assert (done.returncode, done.stdout) == (0, "")


def test_terraform_computes_the_same_policy_and_events(tmp_path: Path) -> None:
    """Its expressions, with what the provider would look up put in by hand."""
    for file in AWS.glob("*.json"):
        shutil.copy(file, tmp_path)
    module = tmp_path / "terraform"
    module.mkdir()
    main = (TERRAFORM / "main.tf").read_text()
    [expression] = re.findall(r"event_configurations = (merge\(.*?\n  \))", main, re.DOTALL)
    text = main[main.index("locals {") : main.index("resource ")]
    for looked_up, value in (
        ("data.aws_partition.current.partition", "aws"),
        ("data.aws_region.current.id", "eu-west-1"),
        ("data.aws_caller_identity.current.account_id", "1"),
    ):
        text = text.replace(looked_up, f'"{value}"')
    (module / "main.tf").write_text(f"{text}\nlocals {{\n  events = {expression}\n}}\n")
    shutil.copy(TERRAFORM / "variables.tf", module)
    certificate = f"certificate_arn=arn:aws:iot:eu-west-1:{'1' * 12}:cert/{'a' * 64}"

    def value(local: str) -> Any:
        ask = f"jsonencode({local})\n"
        arguments = ("console", "-var", certificate, "-var", "client_id=p")
        done = terraform(*arguments, at=module, ask=ask)
        assert done.returncode == 0, done.stderr
        return json.loads(json.loads(done.stdout))

    documents = value("local.documents")
    for name, policy in (
        ("policy", POLICY),
        ("role-policy", ROLE),
        ("role-alias-policy", CREDENTIALS),
    ):
        expected = json.dumps(policy).replace("REGION:ACCOUNT", "eu-west-1:1")
        for kind in ("client", "rolealias"):
            expected = expected.replace(f"{kind}/presenced", f"{kind}/p")
        assert json.loads(documents[name]) == json.loads(expected)
    others = {"POLICY": False, "CA_CERTIFICATE": False}
    assert value("local.events") == {**dict.fromkeys(EVENTS, True), **others}
