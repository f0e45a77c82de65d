"""The credential provider over mutual TLS, by the standard library and by awscrt."""

import errno
import json
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from awscrt.auth import AwsCredentialsProvider
from awscrt.io import ClientTlsContext, TlsContextOptions

from emulator_aws import NOW, Client, Fleet, in_thread
from presenced_emulator.aws.account import RoleAlias
from presenced_emulator.aws.credentials import Credentials
from presenced_emulator.aws.errors import CredentialsError
from presenced_emulator.aws.server import AwsServer
from presenced_emulator.certificates import Certificates, issue

HTTPS = 443
DEADLINE = 20.0


def request(
    server: AwsServer,
    certificates: Certificates,
    alias: str = "presenced",
    *,
    thing: str | None = "presenced",
    with_certificate: bool = True,
) -> tuple[int, dict[str, Any]]:
    """Ask for credentials, and return status and body."""
    files = certificates.daemon
    tls = ssl.create_default_context(cafile=files.ca)
    if with_certificate:
        assert files.cert is not None
        tls.load_cert_chain(files.cert, files.key)
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=tls), urllib.request.ProxyHandler({})
    )
    url = f"{server.https_url}/role-aliases/{alias}/credentials"
    headers = {"x-amzn-iot-thingname": thing} if thing else {}
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=DEADLINE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def moment(body: dict[str, Any]) -> float:
    expiration = body["credentials"]["expiration"]
    return datetime.strptime(expiration, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def test_fresh_credentials_that_work(
    client: Client, fleet: Fleet, server: AwsServer, certificates: Certificates
) -> None:
    status, body = request(server, certificates)
    assert status == 200
    assert set(body["credentials"]) == {
        "accessKeyId",
        "secretAccessKey",
        "sessionToken",
        "expiration",
    }
    assert moment(body) == int(NOW + 3600)
    keys = body["credentials"]
    by = Credentials(
        keys["accessKeyId"], keys["secretAccessKey"], keys["sessionToken"], 0.0, "presenced-role"
    )
    assert client("iot", by=by).describe_index(indexName="AWS_Things")["indexStatus"] == "ACTIVE"
    _, other = request(server, certificates, thing=None)
    assert not set(keys.values()) & {
        value for name, value in other["credentials"].items() if name != "expiration"
    }


def test_validity(fleet: Fleet, server: AwsServer, certificates: Certificates) -> None:
    fleet.account.role_aliases["brief"] = RoleAlias("presenced-role", validity=5)
    assert moment(request(server, certificates, "brief")[1]) == int(NOW + 5)


def test_refusals(server: AwsServer, certificates: Certificates) -> None:
    assert request(server, certificates, thing="other") == (
        403,
        {"message": "Invalid thing name passed"},
    )
    assert request(server, certificates, "none") == (404, {"message": "Role alias does not exist"})
    assert request(server, certificates, with_certificate=False) == (
        403,
        {"message": "Certificate is invalid on this endpoint"},
    )


@pytest.mark.parametrize("cause", CredentialsError)
def test_chosen_refusals(
    server: AwsServer, certificates: Certificates, cause: CredentialsError
) -> None:
    server.faults.credentials = cause
    assert request(server, certificates) == (cause.status, {"message": cause.message})


def test_certificate_of_another_authority(
    server: AwsServer, certificates: Certificates, tmp_path: Path
) -> None:
    foreign = replace(issue(tmp_path).daemon, ca=certificates.daemon.ca)
    with pytest.raises(OSError):
        request(server, certificates._replace(daemon=foreign))


def test_awscrt(fleet: Fleet, certificates: Certificates) -> None:
    """awscrt's provider, whose port is fixed."""
    files = certificates.daemon
    server = AwsServer(fleet.account, certificates.aws, seed=1, https_port=HTTPS)
    options = TlsContextOptions.create_client_with_mtls_from_path(str(files.cert), str(files.key))
    options.override_default_trust_store_from_path(None, str(files.ca))
    provider = AwsCredentialsProvider.new_x509(
        endpoint="localhost",
        thing_name="presenced",
        role_alias="presenced",
        tls_ctx=ClientTlsContext(options),
    )
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            with in_thread(server):
                credentials = provider.get_credentials().result(DEADLINE)
        except OSError as error:
            if error.errno == errno.EACCES:
                pytest.skip("only root may listen on port 443")
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            break
    assert credentials.access_key_id.startswith("ASIA")
    assert credentials.session_token
    (seen,) = server.requests
    assert (seen.operation, seen.status) == ("credentials", 200)
