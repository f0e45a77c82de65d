"""config/aws/setup.sh with an `aws` and a `curl` that write down what they are asked."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

AWS = Path(__file__).parents[2] / "config" / "aws"

FAKE_AWS = r"""#!/bin/sh
for argument in "$@"; do printf '%s\0' "$argument"; done >> "$CALLS"
printf '\n\0' >> "$CALLS"
case "$*" in
"sts get-caller-identity --query Account"*) echo 123456789012 ;;
"sts get-caller-identity --query Arn"*) echo arn:aws-cn:sts::123456789012:assumed-role/admin/me ;;
"configure get region") echo "$CONFIGURED" ;;
"iot get-policy"*) exit "$POLICY_MISSING" ;;
"iot create-keys-and-certificate"*)
    echo certificate > "$5"
    echo key > "$7"
    echo arn:aws-cn:iot:cn-north-1:123456789012:cert/abc
    ;;
esac
"""
FAKE_CURL = '#!/bin/sh\necho root > "$2"\n'


class Machine:
    """A machine with the script's two tools."""

    def __init__(self, directory: Path) -> None:
        self.bin, self.certs = directory / "bin", directory / "certs"
        self._calls = directory / "calls"
        self.bin.mkdir()
        for name, text in (("aws", FAKE_AWS), ("curl", FAKE_CURL)):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        known = {"CALLS": str(self._calls), "CONFIGURED": "cn-north-1", "POLICY_MISSING": "254"}
        path = {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        return subprocess.run(
            ["sh", str(AWS / "setup.sh"), *arguments],
            env=path | known | environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    @property
    def calls(self) -> list[list[str]]:
        """What `aws` was asked, but for questions."""
        text = self._calls.read_text() if self._calls.exists() else ""
        calls = [call.split("\0")[:-1] for call in text.split("\n\0") if call]
        return [call for call in calls if call[1] not in ("get", "get-policy") and call[0] == "iot"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def option(call: list[str], name: str) -> Any:
    return call[call.index(name) + 1]


def test_everything_is_created_once(machine: Machine) -> None:
    done = machine.run("fleet", str(machine.certs))
    assert (done.returncode, done.stderr) == (0, "")
    assert [call[1] for call in machine.calls] == [
        "create-policy",
        "create-thing",
        "create-keys-and-certificate",
        "attach-policy",
        "attach-thing-principal",
        "update-event-configurations",
    ]
    policy, thing, _, attached, principal, events = machine.calls
    text = (AWS / "policy.json").read_text()
    text = text.replace("aws:iot:REGION:ACCOUNT", "aws-cn:iot:cn-north-1:123456789012")
    text = text.replace("client/presenced", "client/fleet")
    assert json.loads(option(policy, "--policy-document")) == json.loads(text)
    arn = "arn:aws-cn:iot:cn-north-1:123456789012:cert/abc"
    assert option(policy, "--policy-name") == option(thing, "--thing-name") == "fleet"
    assert option(attached, "--policy-name") == option(principal, "--thing-name") == "fleet"
    assert option(attached, "--target") == option(principal, "--principal") == arn
    file = option(events, "--event-configurations").removeprefix("file://")
    assert Path(file) == AWS / "event-configurations.json"


def test_the_files_are_there_and_the_key_is_private(machine: Machine) -> None:
    machine.run("presenced", str(machine.certs))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in machine.certs.iterdir()}
    assert set(modes) == {"certificate.pem.crt", "private.pem.key", "AmazonRootCA1.pem"}
    assert modes["private.pem.key"] == 0o600
    assert modes["certificate.pem.crt"] == 0o644


def test_a_policy_that_is_there_is_kept(machine: Machine) -> None:
    assert machine.run("presenced", str(machine.certs), POLICY_MISSING="0").returncode == 0
    assert "create-policy" not in [call[1] for call in machine.calls]


def test_a_key_that_is_there_is_never_overwritten(machine: Machine) -> None:
    machine.certs.mkdir()
    (machine.certs / "private.pem.key").write_text("mine")
    done = machine.run("presenced", str(machine.certs))
    assert (done.returncode, machine.calls) == (1, [])
    assert "is there already" in done.stderr
    assert (machine.certs / "private.pem.key").read_text() == "mine"


@pytest.mark.parametrize("name", ["a b", "a/b", "a;b", "é"])
def test_names_that_no_policy_can_have_are_refused(machine: Machine, name: str) -> None:
    done = machine.run(name, str(machine.certs))
    assert (done.returncode, machine.calls) == (1, [])


def test_a_region_is_needed(machine: Machine) -> None:
    done = machine.run("presenced", str(machine.certs), CONFIGURED="")
    assert (done.returncode, machine.calls) == (1, [])
    assert "AWS_REGION" in done.stderr
    assert machine.run("p", str(machine.certs), CONFIGURED="", AWS_REGION="x-1").returncode == 0
