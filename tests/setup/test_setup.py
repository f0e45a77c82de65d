"""config/aws/setup.sh with the AWS CLI on an account of this machine; see `aws_account`."""

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aws.aws_account import Account

AWS = Path(__file__).parents[2] / "config" / "aws"
EVENTS = json.loads((AWS / "event-configurations.json").read_text())

# What a run requests in a new account.
SETUP = [
    *("GetCallerIdentity", "GetPolicy", "CreatePolicy", "DescribeThing", "CreateThing"),
    *("CreateKeysAndCertificate", "AttachPolicy", "AttachThingPrincipal"),
    *("DescribeEventConfigurations", "UpdateEventConfigurations"),
]
UNDO = [
    *("GetCallerIdentity", "DetachPolicy", "DetachThingPrincipal", "UpdateCertificate"),
    *("DeleteCertificate", "GetPolicy", "ListTargetsForPolicy", "DeletePolicy"),
    *("DescribeThing", "ListThingPrincipals", "DeleteThing", "UpdateEventConfigurations"),
]
READING = ("Get", "Describe", "List")
EMPTY: dict[str, Any] = {
    "documents": {},
    "policies": {},
    "things": {},
    "certificates": {},
    "events": [],
    "aliases": {},
    "roles": {},
}
RECONCILE = [
    *("GetRole", "CreateRole", "PutRolePolicy", "DescribeRoleAlias", "GetRole", "CreateRoleAlias"),
    *("GetPolicy", "CreatePolicy", "AttachPolicy", "DescribeEndpoint"),
]
# What --undo requests after a run with --reconcile, without that of every run.
UNDO_RECONCILE = [
    *("DetachPolicy", "GetPolicy", "ListTargetsForPolicy", "DeletePolicy", "GetPolicy"),
    *("DeleteRoleAlias", "DeleteRolePolicy", "DeleteRole"),
]


class Machine:
    """A machine with the script's tools, and an empty account."""

    def __init__(self, directory: Path, account: Account) -> None:
        self.account = account
        self.directory, self.certs = directory, directory / "certs"
        self._bin = directory / "bin"
        self._bin.mkdir()
        self._tool("curl", '[ -z "$OFFLINE" ] || exit 6\necho root > "$2"\n')
        self._tool("sleep", "")
        account.reset()

    def _tool(self, name: str, text: str) -> None:
        (self._bin / name).write_text(f"#!/bin/sh\n{text}")
        (self._bin / name).chmod(0o755)

    def run(
        self, *arguments: str, region: str = "eu-west-1", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the script for `presenced` with `certs` as its directory, or as the arguments say."""
        self.account.requests()
        if not [each for each in arguments if not each.startswith("--")]:
            arguments = (*arguments, "presenced", str(self.certs))
        known = {
            "PATH": f"{self._bin}:{self.account.bin}:{os.environ['PATH']}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_REGION": region,
            "OFFLINE": "",
        }
        return subprocess.run(
            ["sh", str(AWS / "setup.sh"), *arguments],
            env=known | environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def succeed(self, *arguments: str, **environ: str) -> str:
        """Run the script to its end and return what it printed."""
        done = self.run(*arguments, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @property
    def state(self) -> dict[str, Any]:
        return self.account.state("eu-west-1")

    def assert_complete(self) -> None:
        """Assert that there is one of each, and that they belong together."""
        arn = (self.certs / "arn").read_text().strip()
        state = self.state
        del state["documents"]
        assert state == {
            "policies": {"presenced": [arn]},
            "things": {"presenced": [arn]},
            "certificates": {arn: "ACTIVE"},
            "events": sorted({*EVENTS, "POLICY"}),
            "aliases": {},
            "roles": {},
        }
        assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in self.certs.iterdir()} == {
            "certificate.pem.crt": 0o644,
            "private.pem.key": 0o600,
            "AmazonRootCA1.pem": 0o644,
            "arn": 0o600,
            "created": 0o644,
        }
        assert "PRIVATE KEY" in (self.certs / "private.pem.key").read_text()

    def assert_untouched(self) -> None:
        """Assert that there is nothing but the event type that was enabled before."""
        state = self.state
        assert state["events"] in ([], ["POLICY"])
        assert state | {"events": []} == EMPTY
        assert not self.certs.exists()


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    account = Account(tmp_path_factory.mktemp("account"))
    yield account
    account.stop()


@pytest.fixture
def machine(tmp_path: Path, account: Account) -> Machine:
    return Machine(tmp_path, account)


def test_everything_is_created(machine: Machine) -> None:
    out = machine.succeed()
    assert machine.account.requests() == SETUP
    machine.assert_complete()
    for created in ("policy presenced", "thing presenced", "certificate arn:", "Amazon", "THING"):
        assert created in out
    assert out.splitlines()[-1] == f"Done: {(machine.certs / 'arn').read_text().strip()}"


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")],
)
def test_the_policy_is_of_the_account_and_its_partition(
    machine: Machine, region: str, partition: str
) -> None:
    machine.succeed("fleet", str(machine.certs), region=region)
    text = (AWS / "policy.json").read_text()
    text = text.replace("aws:iot:REGION:ACCOUNT", f"{partition}:iot:{region}:123456789012")
    expected = json.loads(text.replace("client/presenced", "client/fleet"))
    assert machine.account.state(region)["documents"] == {"fleet": expected}
    assert (machine.certs / "arn").read_text().startswith(f"arn:{partition}:iot:{region}:")
    machine.succeed("--undo", "fleet", str(machine.certs), region=region)
    assert machine.account.state(region) == EMPTY | {"events": ["POLICY"]}


def test_a_second_run_changes_nothing(machine: Machine) -> None:
    machine.succeed()
    before = machine.state
    out = machine.succeed()
    assert machine.state == before
    assert "created:" not in out
    assert out.count("exists: ") == 5
    machine.assert_complete()


@pytest.mark.parametrize("operation", SETUP)
def test_a_run_that_is_refused_is_continued(machine: Machine, operation: str) -> None:
    machine.account.fail(operation, "refused")
    stopped = machine.run()
    assert stopped.returncode != 0
    assert f"(AccessDeniedException) when calling the {operation} operation" in stopped.stderr
    assert machine.account.requests()[-1] == operation
    assert ("Run the same command again" in stopped.stderr) is machine.certs.exists()
    machine.succeed()
    machine.assert_complete()


@pytest.mark.parametrize("operation", SETUP)
def test_a_run_that_is_refused_is_undone(machine: Machine, operation: str) -> None:
    machine.account.fail(operation, "refused")
    assert machine.run().returncode != 0
    machine.succeed("--undo")
    machine.assert_untouched()


def test_each_answer_of_a_run_may_be_lost(machine: Machine) -> None:
    for operation in SETUP:
        if not operation.startswith(READING) and operation != "CreateKeysAndCertificate":
            machine.account.fail(operation, "unanswered")
            stopped = machine.run()
            assert stopped.returncode != 0
            assert "the connection was lost" in stopped.stderr
    machine.succeed()
    machine.assert_complete()
    machine.succeed("--undo")
    machine.assert_untouched()


def test_a_certificate_whose_answer_is_lost_is_not_replaced(machine: Machine) -> None:
    machine.account.fail("CreateKeysAndCertificate", "unanswered")
    assert machine.run().returncode != 0
    again = machine.run()
    assert again.returncode == 1
    assert "the ARN of the certificate of" in again.stderr
    assert "run --undo" in again.stderr
    assert len(machine.state["certificates"]) == 1
    undone = machine.run("--undo")
    assert undone.returncode == 0
    assert "delete it in the AWS console" in undone.stderr
    assert machine.state["policies"] == machine.state["things"] == {}
    assert not machine.certs.exists()


def test_a_run_without_internet_is_continued(machine: Machine) -> None:
    stopped = machine.run(OFFLINE="yes")
    assert stopped.returncode == 6
    assert "Run the same command again" in stopped.stderr
    assert not (machine.certs / "AmazonRootCA1.pem").exists()
    machine.succeed()
    machine.assert_complete()


def test_undo_removes_everything(machine: Machine) -> None:
    machine.succeed()
    out = machine.succeed("--undo")
    assert machine.account.requests() == UNDO
    machine.assert_untouched()
    for removed in ("certificate arn:", "policy presenced", "thing presenced", "THING", "files"):
        assert removed in out
    assert "Nothing to undo" in machine.succeed("--undo")
    machine.succeed()
    machine.assert_complete()


@pytest.mark.parametrize("failure", ["refused", "unanswered"])
def test_undo_is_continued_after_each_failure(machine: Machine, failure: Any) -> None:
    machine.succeed()
    for operation in UNDO:
        if failure == "refused" or not operation.startswith(READING):
            machine.account.fail(operation, failure)
            stopped = machine.run("--undo")
            assert stopped.returncode != 0, operation
            assert "Run the same command again" in stopped.stderr or operation == UNDO[0]
    machine.succeed("--undo")
    machine.assert_untouched()


def test_an_undo_that_has_begun_is_completed_first(machine: Machine) -> None:
    machine.succeed()
    machine.account.fail("DeleteThing", "refused")
    assert machine.run("--undo").returncode != 0
    done = machine.run()
    assert done.returncode == 1
    assert "--undo was not completed: first run it again" in done.stderr
    machine.succeed("--undo")
    machine.assert_untouched()


@pytest.mark.parametrize("operation", ["DeleteCertificate", "DeletePolicy", "DeleteThing"])
def test_undo_waits_for_what_was_detached(machine: Machine, operation: str) -> None:
    machine.succeed()
    machine.account.fail(operation, "conflict")
    machine.succeed("--undo")
    assert machine.account.requests().count(operation) == 2
    machine.assert_untouched()


def test_what_was_there_before_is_kept(machine: Machine, tmp_path: Path) -> None:
    for call in (
        ["create-policy", "--policy-name", "presenced", "--policy-document", "{}"],
        ["create-thing", "--thing-name", "presenced"],
        ["update-event-configurations", "--event-configurations", '{"JOB": {"Enabled": true}}'],
    ):
        environ = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_CONFIG_FILE": "/dev/null"}
        login = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        command = [str(machine.account.bin / "aws"), "iot", *call]
        subprocess.run(command, env=environ | login, check=True, capture_output=True)
    machine.certs.mkdir()
    (machine.certs / "AmazonRootCA1.pem").write_text("mine")
    before = machine.state
    assert "exists:   policy presenced, which --undo will keep" in machine.succeed()
    assert machine.state["documents"] == {"presenced": {}}
    machine.succeed("--undo")
    assert machine.state == before
    assert [file.read_text() for file in machine.certs.iterdir()] == ["mine"]


def test_what_another_certificate_uses_is_kept(machine: Machine) -> None:
    machine.succeed()
    second = machine.directory / "second"
    machine.succeed("presenced", str(second))
    out = machine.succeed("--undo")
    arn = (second / "arn").read_text().strip()
    assert f"kept:     policy presenced, which is attached to {arn}" in out
    assert f"kept:     thing presenced, which is attached to {arn}" in out
    state = machine.state
    assert state["policies"] == state["things"] == {"presenced": [arn]}
    assert state["certificates"] == {arn: "ACTIVE"}


def test_a_rotated_certificate_is_kept(machine: Machine) -> None:
    machine.succeed()
    second = machine.directory / "second"
    machine.succeed("presenced", str(second))
    for name in ("private.pem.key", "certificate.pem.crt"):
        (second / name).replace(machine.certs / name)
    key = (machine.certs / "private.pem.key").read_text()
    assert "which replaced those created" in machine.succeed("--undo")
    assert machine.state["certificates"] == {(second / "arn").read_text().strip(): "ACTIVE"}
    assert sorted(file.name for file in machine.certs.iterdir()) == [
        "certificate.pem.crt",
        "private.pem.key",
    ]
    assert (machine.certs / "private.pem.key").read_text() == key


def test_a_key_that_is_there_is_never_overwritten(machine: Machine) -> None:
    machine.certs.mkdir()
    (machine.certs / "private.pem.key").write_text("mine")
    done = machine.run()
    assert done.returncode == 1
    assert "is there already, and was not created by this script" in done.stderr
    assert "Nothing to undo" in machine.succeed("--undo")
    assert machine.state == EMPTY
    assert [file.read_text() for file in machine.certs.iterdir()] == ["mine"]


@pytest.mark.parametrize("undo", [[], ["--undo"]])
def test_a_directory_belongs_to_one_client_of_one_account(
    machine: Machine, undo: list[str]
) -> None:
    machine.succeed()
    before = machine.state
    for done in (
        machine.run(*undo, "fleet", str(machine.certs)),
        machine.run(*undo, "presenced", str(machine.certs), region="us-gov-west-1"),
    ):
        assert done.returncode == 1
        owner = "presenced in account 123456789012, region eu-west-1"
        assert f"{machine.certs} belongs to {owner}" in done.stderr
    assert machine.state == before


@pytest.mark.parametrize(("file", "told"), [("private.pem.key", "is missing"), ("", "was deleted")])
def test_a_loss_is_reported(machine: Machine, file: str, told: str) -> None:
    machine.succeed()
    if file:
        (machine.certs / file).unlink()
    else:
        machine.account.reset()
    done = machine.run()
    assert done.returncode == 1
    assert told in done.stderr
    machine.succeed("--undo")
    assert not machine.certs.exists()


@pytest.mark.parametrize("name", ["a b", "a/b", "a;b", "é", "-x", "x" * 121])
def test_names_that_no_policy_can_have_are_refused(machine: Machine, name: str) -> None:
    assert machine.run(name, str(machine.certs)).returncode == 1
    assert machine.account.requests() == []
    assert not machine.certs.exists()


def test_a_region_is_needed(machine: Machine, tmp_path: Path) -> None:
    done = machine.run(region="")
    assert (done.returncode, machine.account.requests()) == (1, [])
    assert "AWS_REGION" in done.stderr
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-west-1\n")
    machine.succeed(region="", AWS_CONFIG_FILE=str(config))
    machine.assert_complete()


def test_the_documentation_shows_the_output(machine: Machine) -> None:
    page = (AWS.parents[1] / "docs/how-to/connect-to-aws.md").read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    samples = [text for text in fenced if text.startswith("Setting up")]
    machine.account.fail("AttachPolicy", "refused")
    stopped = machine.run()
    for sample, out in zip(
        samples, [stopped.stdout + stopped.stderr, machine.succeed()], strict=True
    ):
        shown = out.replace(str(machine.certs), "/etc/presenced/certs")
        shown = shown.replace(str(AWS), "config/aws")
        for line in sample.splitlines():
            assert re.split(r" \.\.\.|cert/", line)[0] in shown


def test_the_help_names_the_arguments(machine: Machine) -> None:
    usage = "setup.sh [--reconcile] [--undo] [CLIENT_ID [DIRECTORY]]"
    assert usage in machine.succeed("--help")


def of_here(file: str, client_id: str = "presenced", arn: str = "aws:iot:eu-west-1") -> Any:
    """A policy of config/aws for the account of a test."""
    text = (AWS / file).read_text().replace("aws:iot:REGION:ACCOUNT", f"{arn}:123456789012")
    return json.loads(text.replace("rolealias/presenced", f"rolealias/{client_id}"))


def assert_reconciles(machine: Machine) -> None:
    """Assert that there is a role behind the role alias, and that the certificate may have it."""
    state, arn = machine.state, (machine.certs / "arn").read_text().strip()
    role = "arn:aws:iam::123456789012:role/presenced-eu-west-1"
    assert state["aliases"] == {"presenced": role}
    assert state["roles"] == {
        role: {
            "trust": of_here("role-trust.json"),
            "policies": {"presenced": of_here("role-policy.json")},
        }
    }
    assert state["policies"] == {"presenced": [arn], "presenced-reconcile": [arn]}
    assert state["documents"]["presenced-reconcile"] == of_here("role-alias-policy.json")


def test_reconcile_adds_a_role_and_prints_its_settings(machine: Machine) -> None:
    out = machine.succeed("--reconcile")
    assert machine.account.requests() == SETUP + RECONCILE
    assert_reconciles(machine)
    settings = yaml.safe_load(out.partition("Settings for presenced.yaml:\n")[2])
    endpoint = settings["aws"].pop("credentials_endpoint")
    assert endpoint.endswith(".credentials.iot.eu-west-1.amazonaws.com")
    assert settings == {
        "aws": {"role_alias": "presenced", "thing_name": "presenced"},
        "reconcile": {"enabled": True},
    }


def test_reconcile_adds_to_an_earlier_setup(machine: Machine) -> None:
    machine.succeed()
    before = machine.state
    machine.succeed("--reconcile")
    assert_reconciles(machine)
    assert machine.state["certificates"] == before["certificates"]
    machine.succeed()
    assert_reconciles(machine)
    machine.succeed("--undo")
    machine.assert_untouched()


@pytest.mark.parametrize(
    ("region", "partition"), [("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")]
)
def test_the_role_is_of_the_account_and_its_partition(
    machine: Machine, region: str, partition: str
) -> None:
    machine.succeed("--reconcile", "fleet", str(machine.certs), region=region)
    state, arn = machine.account.state(region), f"{partition}:iot:{region}"
    [(found, role)] = state["roles"].items()
    assert state["aliases"] == {"fleet": found}
    assert found.endswith(f":iam::123456789012:role/fleet-{region}")
    assert role["policies"] == {"presenced": of_here("role-policy.json", arn=arn)}
    expected = of_here("role-alias-policy.json", "fleet", arn)
    assert state["documents"]["fleet-reconcile"] == expected


@pytest.mark.parametrize("failure", ["refused", "unanswered"])
def test_a_reconcile_is_continued_after_each_failure(machine: Machine, failure: Any) -> None:
    machine.succeed()
    for operation in dict.fromkeys(RECONCILE):
        if failure == "refused" or not operation.startswith(READING):
            machine.account.fail(operation, failure)
            stopped = machine.run("--reconcile")
            assert stopped.returncode != 0, operation
            assert "Run the same command again" in stopped.stderr
    machine.succeed("--reconcile")
    assert_reconciles(machine)


@pytest.mark.parametrize("operation", ["PutRolePolicy", "CreateRoleAlias", "DescribeEndpoint"])
def test_a_reconcile_that_is_refused_is_undone(machine: Machine, operation: str) -> None:
    machine.account.fail(operation, "refused")
    assert machine.run("--reconcile").returncode != 0
    machine.succeed("--undo")
    machine.assert_untouched()


@pytest.mark.parametrize("failure", ["refused", "unanswered"])
def test_undo_of_a_reconcile_is_continued_after_each_failure(
    machine: Machine, failure: Any
) -> None:
    machine.succeed("--reconcile")
    for operation in dict.fromkeys(UNDO_RECONCILE):
        if failure == "refused" or not operation.startswith(READING):
            machine.account.fail(operation, failure)
            assert machine.run("--undo").returncode != 0, operation
    machine.succeed("--undo")
    machine.assert_untouched()


def test_undo_of_a_reconcile_removes_everything(machine: Machine) -> None:
    machine.succeed("--reconcile")
    out = machine.succeed("--undo")
    assert sorted(machine.account.requests()) == sorted(UNDO + UNDO_RECONCILE)
    machine.assert_untouched()
    for removed in ("role presenced-eu-west-1", "role alias presenced", "policy presenced-reconc"):
        assert f"removed:  {removed}" in out


def test_a_role_that_another_certificate_uses_is_kept(machine: Machine) -> None:
    machine.succeed("--reconcile")
    second = machine.directory / "second"
    out = machine.succeed("--reconcile", "presenced", str(second))
    assert "exists:   role presenced-eu-west-1, which --undo will keep" in out
    out = machine.succeed("--undo")
    assert "kept:     role presenced-eu-west-1" in out
    state, arn = machine.state, (second / "arn").read_text().strip()
    assert state["policies"]["presenced-reconcile"] == [arn]
    assert list(state["aliases"]) == ["presenced"]
    assert len(state["roles"]) == 1


def test_a_name_that_no_role_can_have_is_refused(machine: Machine) -> None:
    name = "x" * 55
    done = machine.run("--reconcile", name, str(machine.certs))
    assert done.returncode == 1
    assert "at most 54 characters with --reconcile" in done.stderr
    assert not machine.certs.exists()
    machine.succeed("--reconcile", "x" * 54, str(machine.certs))
