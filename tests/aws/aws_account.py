"""An AWS account on this machine: the AWS CLI, whose requests moto answers.

Run as a process, because the CLI takes a second to load, and a script calls it often. Its `aws`
passes arguments and environment to this process. Requests can be made to fail.
"""

import contextlib
import gc
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import awscli.clidriver
import boto3
from moto import mock_aws

from waiting import wait_for

Failure = Literal["refused", "conflict", "unanswered"]
"""AWS does not allow it, or not yet; or AWS does it, and the answer is lost."""

_ERRORS = {
    "refused": ("AccessDeniedException", "User: me is not authorized to perform this"),
    "conflict": ("DeleteConflictException", "It is attached to one or more principals"),
}
# The CLI sets it when it is imported.
_OWN = {name: os.environ[name] for name in ("AWS_DATA_PATH",) if name in os.environ}
_AWS = """#!{python} -IS
import json, os, socket, sys
umask = os.umask(0)
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    call = {{"arguments": sys.argv[1:], "environ": dict(os.environ), "umask": umask}}
    server.sendall(json.dumps(call).encode() + b"\\n")
    answer = json.loads(server.makefile().readline())
sys.stdout.write(answer["stdout"])
sys.stderr.write(answer["stderr"])
sys.exit(answer["status"])
"""


class Account:
    """The account, seen from a test; `bin` has its `aws`."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self._path = directory / "socket"
        path = {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._path)], env=os.environ | path
        )
        self.bin.mkdir()
        program = self.bin / "aws"
        program.write_text(_AWS.format(python=sys.executable, path=str(self._path)))
        program.chmod(0o755)
        wait_for(self._listens, what="the account")

    def reset(self) -> None:
        """Empty the account, with no request to fail."""
        self._order(reset=True)

    def fail(self, operation: str, failure: Failure) -> None:
        """Let the next request of an operation fail, such as CreateThing."""
        self._order(operation=operation, failure=failure)

    def requests(self) -> list[str]:
        """The operations that were requested since the last time."""
        found: list[str] = self._order(requests=True)
        return found

    def state(self, region: str) -> dict[str, Any]:
        """Policies, things, certificates, enabled events, role aliases and roles of a region."""
        state: dict[str, Any] = self._order(state=region)
        return state

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)

    def _listens(self) -> bool:
        assert self._process.poll() is None
        try:
            return self._order(requests=True) == []
        except OSError:
            return False

    def _order(self, **order: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._path))
            server.sendall(json.dumps(order).encode() + b"\n")
            return json.loads(server.makefile().readline())


class Server:
    """What is behind `Account`: answers one call of `aws` or order of a test after another."""

    def __init__(self) -> None:
        self._mock = mock_aws()
        self._events: dict[str, dict[str, bool]] = {}
        self._requests: list[str] = []
        self._failing: tuple[str, Failure] | None = None
        self._loader: Any = None
        self._mock.start()

    def serve(self, path: str) -> None:
        """Answer until the process is ended."""
        gc.freeze()  # the libraries have many objects, which collections need not traverse
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            while True:
                connection, _ = server.accept()
                with connection, connection.makefile() as lines:
                    answer = self._answer(json.loads(lines.readline()))
                    connection.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, order: dict[str, Any]) -> Any:
        match order:
            case {"arguments": arguments}:
                os.umask(order["umask"])
                os.environ.clear()
                os.environ.update(order["environ"] | _OWN)
                return self._call(arguments)
            case {"operation": operation, "failure": failure}:
                self._failing = operation, failure
            case {"requests": _}:
                requests, self._requests = self._requests, []
                return requests
            case {"state": region}:
                return self._state(region)
            case {"reset": _}:
                self._mock.stop()
                self._mock = mock_aws()
                self._mock.start()
                self._events, self._requests, self._failing = {}, [], None
        return None

    def _call(self, arguments: list[str]) -> dict[str, Any]:
        driver = awscli.clidriver.create_clidriver()
        # Reading the descriptions of the services anew would take most of the time.
        self._loader = self._loader or driver.session.get_component("data_loader")
        driver.session.register_component("data_loader", self._loader)
        emitter = driver.session.get_component("event_emitter")
        emitter.register_first("before-call", self._before_call)
        emitter.register_last("after-call", self._after_call)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = driver.main(arguments)
        return {"status": status, "stdout": out.getvalue(), "stderr": err.getvalue()}

    def _before_call(
        self, event_name: str, params: dict[str, Any], **_: Any
    ) -> tuple[SimpleNamespace, Any] | None:
        """Answer what fails, and event configurations, which moto does not have."""
        operation = event_name.rpartition(".")[2]
        self._requests.append(operation)
        name, failure = self._failing or ("", "refused")
        if operation == name and failure != "unanswered":
            self._failing = None
            code, message = _ERRORS[failure]
            error = {
                "Error": {"Code": code, "Message": message},
                "ResponseMetadata": {"HTTPStatusCode": 400},
            }
            return SimpleNamespace(status_code=400), error
        if not operation.endswith("EventConfigurations"):
            return None
        region = os.environ["AWS_DEFAULT_REGION"]
        events = self._events.setdefault(region, {"POLICY": True, "THING": False})
        if operation == "UpdateEventConfigurations":
            changes = json.loads(params["body"])["eventConfigurations"]
            events |= {name: change["Enabled"] for name, change in changes.items()}
            return SimpleNamespace(status_code=200), {}
        shown = {name: {"Enabled": enabled} for name, enabled in events.items()}
        return SimpleNamespace(status_code=200), {"eventConfigurations": shown}

    def _after_call(self, event_name: str, **_: Any) -> None:
        """Lose an answer."""
        if self._failing == (event_name.rpartition(".")[2], "unanswered"):
            self._failing = None
            raise OSError("the connection was lost")

    def _state(self, region: str) -> dict[str, Any]:
        login = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        iot = boto3.client("iot", region_name=region, **login)
        iam = boto3.client("iam", region_name=region, **login)
        policies = [each["policyName"] for each in iot.list_policies()["policies"]]
        things = [each["thingName"] for each in iot.list_things()["things"]]
        return {
            "documents": {
                name: json.loads(iot.get_policy(policyName=name)["policyDocument"])
                for name in policies
            },
            "policies": {
                name: iot.list_targets_for_policy(policyName=name)["targets"] for name in policies
            },
            "things": {
                name: iot.list_thing_principals(thingName=name)["principals"] for name in things
            },
            "certificates": {
                each["certificateArn"]: each["status"]
                for each in iot.list_certificates()["certificates"]
            },
            "events": sorted(name for name, on in self._events.get(region, {}).items() if on),
            "aliases": {
                name: iot.describe_role_alias(roleAlias=name)["roleAliasDescription"]["roleArn"]
                for name in iot.list_role_aliases()["roleAliases"]
            },
            "roles": {
                each["Arn"]: {
                    "trust": each["AssumeRolePolicyDocument"],
                    "policies": {
                        name: iam.get_role_policy(RoleName=each["RoleName"], PolicyName=name)[
                            "PolicyDocument"
                        ]
                        for name in iam.list_role_policies(RoleName=each["RoleName"])["PolicyNames"]
                    },
                }
                for each in iam.list_roles()["Roles"]
            },
        }


if __name__ == "__main__":
    Server().serve(sys.argv[1])
