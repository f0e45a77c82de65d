"""Tokens for Amazon MSK, compared with those of AWS's own signer."""

import asyncio
import base64
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import botocore.auth
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from aws_server import KEY_ID, SECRET, TOKEN, GivenCredentials
from presenced.aws.credentials import Credentials, CredentialsCache
from presenced.aws.errors import AwsError, Cause
from presenced.aws.msk_tokens import MskTokens
from presenced.system.loop import Clocks

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
CLOCKS = Clocks(lambda: 0.0, NOW.timestamp)


def signed_by_botocore(monkeypatch: pytest.MonkeyPatch, region: str) -> str:
    """The URL before the user agent is added, as aws-msk-iam-sasl-signer-python 1.0.2 has it."""
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    credentials = BotocoreCredentials(KEY_ID, SECRET, TOKEN)
    request = AWSRequest(
        method="GET",
        url=f"https://kafka.{region}.amazonaws.com/",
        params={"Action": "kafka-cluster:Connect"},
    )
    SigV4QueryAuth(credentials, "kafka-cluster", region, expires=900).add_auth(request)
    url: str = request.url
    return url


async def made() -> tuple[str, float]:
    credentials = CredentialsCache(GivenCredentials(CLOCKS), CLOCKS)
    return await MskTokens(credentials, "eu-west-1", CLOCKS).make()


def test_it_is_signed_as_the_signer_of_aws_does(monkeypatch: pytest.MonkeyPatch) -> None:
    token, expires = asyncio.run(made())
    assert "=" not in token
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    expected = urlsplit(signed_by_botocore(monkeypatch, "eu-west-1"))
    assert url[:3] == expected[:3]
    query = dict(parse_qsl(url.query))
    assert query.pop("User-Agent").startswith("presenced/")
    assert query == dict(parse_qsl(expected.query))
    assert expires == NOW.timestamp() + 900


def test_it_ends_with_its_credentials() -> None:
    async def scenario() -> None:
        given = GivenCredentials(CLOCKS)

        class Short:
            async def fetch(self) -> Credentials:
                held = await given.fetch()
                return Credentials(held.signer, "short", NOW.timestamp() + 60, NOW.timestamp())

        _, expires = await MskTokens(CredentialsCache(Short(), CLOCKS), "eu-west-1", CLOCKS).make()
        assert expires == NOW.timestamp() + 60

    asyncio.run(scenario())


def test_a_thread_gets_it_from_the_event_loop() -> None:
    async def scenario() -> None:
        tokens = MskTokens(CredentialsCache(GivenCredentials(CLOCKS), CLOCKS), "eu-west-1", CLOCKS)
        token, expires = await asyncio.to_thread(tokens)
        assert token
        assert expires == NOW.timestamp() + 900

    asyncio.run(scenario())


def test_without_credentials_there_is_none() -> None:
    class Nothing:
        async def fetch(self) -> Credentials:
            raise AwsError(Cause.CREDENTIALS, "GetCredentials", "there are none")

    async def scenario() -> None:
        tokens = MskTokens(CredentialsCache(Nothing(), CLOCKS), "eu-west-1", CLOCKS)
        with pytest.raises(AwsError, match="there are none"):
            await asyncio.to_thread(tokens)

    asyncio.run(scenario())
