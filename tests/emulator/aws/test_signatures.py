"""The verification against two signers that are not ours: botocore's in Python, and awscrt's."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator_aws import NOW
from presenced_emulator.aws.credentials import Credentials
from presenced_emulator.aws.errors import AwsError
from presenced_emulator.aws.signatures import Scope, SignedRequest, verify

HOST = "iot.eu-west-1.amazonaws.com"
SCOPE = Scope("eu-west-1", "iotdata")
KNOWN = Credentials("ASIAEXAMPLE", "secret/key+1", "token/+=", NOW + 60, "role")

client_ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)


def find(access_key_id: str, session_token: str) -> Credentials:
    assert (access_key_id, session_token) == (KNOWN.access_key_id, KNOWN.session_token)
    return KNOWN


def target_of(client_id: str) -> str:
    return f"/connections/{quote(client_id, safe='')}?maxResults=20&nextToken=a%2Fb%3D"


def by_botocore(target: str, body: bytes = b"", scope: Scope = SCOPE) -> SignedRequest:
    request = AWSRequest("GET", f"https://{HOST}{target}", data=body)
    keys = BotoCredentials(KNOWN.access_key_id, KNOWN.secret_access_key, KNOWN.session_token)
    with pytest.MonkeyPatch.context() as patch:
        now = datetime.fromtimestamp(NOW, UTC)
        patch.setattr("botocore.auth.get_current_datetime", lambda **_: now.replace(tzinfo=None))
        SigV4Auth(keys, scope.service, scope.region).add_auth(request)
    return SignedRequest("GET", target, {"Host": HOST, **dict(request.headers)}, body)


def by_awscrt(target: str, scope: Scope = SCOPE) -> SignedRequest:
    keys = (KNOWN.access_key_id, KNOWN.secret_access_key, KNOWN.session_token)
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4,
        credentials_provider=AwsCredentialsProvider.new_static(*keys),
        region=scope.region,
        service=scope.service,
        date=datetime.fromtimestamp(NOW, UTC),
    )
    request = HttpRequest("GET", target, HttpHeaders([("Host", HOST)]))
    signed = aws_sign_request(request, config).result(20)
    return SignedRequest("GET", target, dict(signed.headers), b"")


@pytest.mark.parametrize("sign", [by_botocore, by_awscrt])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(client_id=client_ids | st.sampled_from([".", "..", "...", "%2F", "a/../b"]))
def test_any_client_id(sign: Any, client_id: str) -> None:
    assert verify(sign(target_of(client_id)), SCOPE, find, NOW) is KNOWN


def refusal(request: SignedRequest, *, now: float = NOW, scope: Scope = SCOPE) -> str:
    with pytest.raises(AwsError) as raised:
        verify(request, scope, find, now)
    return f"{raised.value.kind}: {raised.value.message}"


GOOD = by_botocore(target_of("a/b"), json.dumps({"a": 1}).encode())


@pytest.mark.parametrize(
    "changed",
    [
        GOOD._replace(body=b"{}"),
        GOOD._replace(method="POST"),
        GOOD._replace(target=target_of("a/c")),
        GOOD._replace(target=GOOD.target + "&recursive=true"),
        GOOD._replace(headers={**GOOD.headers, "Host": "localhost"}),
    ],
    ids=["body", "method", "path", "query", "host"],
)
def test_a_change_after_signing_is_noticed(changed: SignedRequest) -> None:
    verify(GOOD, SCOPE, find, NOW)
    text = "InvalidSignatureException: The request signature we calculated does not match"
    assert refusal(changed).startswith(text)


def test_time() -> None:
    for seconds in (-299, 299):
        verify(GOOD, SCOPE, find, NOW + seconds)
    assert refusal(GOOD, now=NOW + 301) == (
        "InvalidSignatureException: Signature expired: 20251126T233320Z is now earlier than"
        " 20251126T233321Z (20251126T233821Z - 5 min.)"
    )
    assert refusal(GOOD, now=NOW - 301) == (
        "InvalidSignatureException: Signature not yet current: 20251126T233320Z is still later than"
        " 20251126T233319Z (20251126T232819Z + 5 min.)"
    )


def test_service_and_region() -> None:
    other = by_botocore(target_of("a"), scope=Scope("eu-west-1", "iot"))
    assert "correct service: 'iotdata'" in refusal(other)
    other = by_botocore(target_of("a"), scope=Scope("us-east-1", "iotdata"))
    assert "not 'us-east-1'" in refusal(other)


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, "MissingAuthenticationTokenException"),
        ({"Authorization": "Basic eDp5"}, "IncompleteSignatureException"),
        ({"Authorization": GOOD.headers["Authorization"]}, "IncompleteSignatureException"),
        (GOOD.headers | {"X-Amz-Date": "Wed, 26 Nov 2025"}, "IncompleteSignatureException"),
    ],
)
def test_incomplete(headers: dict[str, str], kind: str) -> None:
    request = GOOD._replace(headers={"Host": HOST, **headers})
    assert refusal(request).partition(":")[0] == kind
