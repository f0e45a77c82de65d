"""The server of a fleet's account, and boto3 as a client of it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.model import OperationModel

from emulator_aws import Client, Fleet, in_thread
from presenced_emulator.aws.credentials import Credentials
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import Certificates
from presenced_emulator.registry import REGION

SESSION = boto3.Session(region_name=REGION)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
def server(fleet: Fleet, certificates: Certificates) -> Iterator[AwsServer]:
    """The server, whose clock is the fleet's."""
    server = AwsServer(fleet.account, certificates.aws, seed=1, clock=lambda: fleet.now)
    with in_thread(server):
        yield server


@pytest.fixture
def client(
    fleet: Fleet, server: AwsServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Client:
    """Make a boto3 client with the fleet's clock, and one attempt for each request."""

    def get_current_datetime(remove_tzinfo: bool = True) -> datetime:
        now = datetime.fromtimestamp(fleet.now, UTC)
        return now.replace(tzinfo=None) if remove_tzinfo else now

    # botocore signs by awscrt where that is installed.
    for module in ("botocore.auth", "botocore.crt.auth"):
        monkeypatch.setattr(f"{module}.get_current_datetime", get_current_datetime)
    credentials = server.issue("presenced-role", 86400)

    def make(service: str, *, url: str = server.https_url, by: Credentials = credentials) -> Any:
        made = SESSION.client(
            service,
            endpoint_url=url,
            verify=str(certificates.daemon.ca),
            aws_access_key_id=by.access_key_id,
            aws_secret_access_key=by.secret_access_key,
            aws_session_token=by.session_token,
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )
        made.meta.events.register("after-call", check_answer)
        return made

    return make


JSON_TYPES = {
    "boolean": bool,
    "integer": int,
    "list": list,
    "long": int,
    "map": dict,
    "string": str,
    "structure": dict,
    "timestamp": float,
}


def check_answer(http_response: Any, model: OperationModel, **_: Any) -> None:
    """Compare an answer with AWS's model: botocore itself overlooks members that it lacks."""
    if http_response.status_code == 200:
        check_shape(json.loads(http_response.content), model.output_shape)


def check_shape(value: Any, shape: Any) -> None:
    if value is None:
        return  # as if it were absent
    assert isinstance(value, JSON_TYPES[shape.type_name]), (value, shape)
    if shape.type_name == "structure":
        for name, member in value.items():
            check_shape(member, shape.members[name])
    elif shape.type_name == "list":
        for member in value:
            check_shape(member, shape.member)
    elif shape.type_name == "map":
        for member in value.values():
            check_shape(member, shape.value)
    elif shape.type_name == "string" and shape.enum:
        assert value in shape.enum
