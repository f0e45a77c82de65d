"""Credentials by a client certificate over mutual TLS, and from the default chain."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from aws_server import KEY_ID, SECRET, TOKEN, AwsServer, Says, date_of, error, run
from presenced.aws.client import RequestCounts
from presenced.aws.credentials import (
    ASSUME_ROLE,
    Credentials,
    CredentialsCache,
    DefaultChainProvider,
    RoleAliasProvider,
)
from presenced.aws.errors import AwsError, Cause
from presenced.sources.mqtt.connection_options import TlsFiles
from presenced.system.loop import Clocks
from waiting import until

CLOCKS = Clocks(time.monotonic, time.time)


class Clock:
    """Both clocks, moved by the test."""

    def __init__(self):
        self.now = 1_800_000_000.0

    @property
    def clocks(self):
        return Clocks(lambda: self.now, lambda: self.now)


def document(expires=None, **other):
    time_ = datetime.fromtimestamp(expires or time.time() + 3600, UTC)
    fields = {
        "accessKeyId": KEY_ID,
        "secretAccessKey": SECRET,
        "sessionToken": TOKEN,
        "expiration": time_.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return Says(body={"credentials": {**fields, **other}})


def server_tls(certificates):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca)
    return context


def provider_of(aws, files, clocks=CLOCKS, counts=None):
    counts = counts or RequestCounts()
    return RoleAliasProvider(
        f"{aws.url}/role-aliases/fleet/credentials",
        region="eu-west-1",
        role_alias="fleet",
        thing_name="presenced",
        files=files,
        load_proxy=lambda: None,
        clocks=clocks,
        count=lambda failure: counts.count(ASSUME_ROLE, failure),
    )


def fetch(certificates, answer, *, files=None, clocks=CLOCKS):
    """Fetch credentials once; return them or the error, what was asked, and the counts."""
    found = []

    async def scenario():
        counts = RequestCounts()
        async with AwsServer([answer], tls=server_tls(certificates)) as aws:
            provider = provider_of(aws, files or certificates.client, clocks, counts)
            try:
                result = await provider.fetch()
            except AwsError as failure:
                result = failure
            counted = {key[1]: n for key, n in counts.requests.items() if n}
            found.extend((result, aws.asked, counted))

    run(scenario)
    for text in (str(found[0]), repr(found[0])):
        for secret in (KEY_ID, SECRET, TOKEN):
            assert secret not in text
    return found


def keys_of(credentials):
    given = credentials.signer.get_credentials().result(5)
    return given.access_key_id, given.secret_access_key, given.session_token


def test_a_client_certificate_gets_credentials(certificates):
    credentials, (asked,), counted = fetch(certificates, document(1_900_000_000.0))
    assert keys_of(credentials) == (KEY_ID, SECRET, TOKEN)
    assert credentials.source == "role alias fleet"
    assert credentials.expires == 1_900_000_000
    assert credentials.renew_at == 1_900_000_000 - 300
    assert (asked.method, asked.path) == ("GET", "/role-aliases/fleet/credentials")
    assert asked.headers["x-amzn-iot-thingname"] == "presenced"
    assert "Authorization" not in asked.headers
    assert asked.certificate["subject"]
    assert counted == {"ok": 1}


def test_short_credentials_are_renewed_in_their_last_fifth(certificates):
    clock = Clock()
    expires = clock.now + 900
    credentials, *_ = fetch(certificates, document(expires), clocks=clock.clocks)
    assert credentials.renew_at == expires - 180


@pytest.mark.parametrize(
    ("answer", "cause", "result"),
    [
        (Says(403, {"message": f"Access denied {TOKEN}"}), Cause.CREDENTIALS, "denied"),
        (error(401, "UnauthorizedException"), Cause.CREDENTIALS, "denied"),
        (Says(404, {"message": "Role alias does not exist"}), Cause.CREDENTIALS, "denied"),
        (Says(400, {"message": "Invalid thing name passed"}), Cause.CREDENTIALS, "denied"),
        (Says(429, b""), Cause.THROTTLED, "throttled"),
        (Says(500, b"<html>"), Cause.UNAVAILABLE, "failed"),
        (Says(302, b"", None, {"Location": "/"}), Cause.UNREADABLE, "failed"),
        (Says(200, b"<html>"), Cause.UNREADABLE, "failed"),
        (Says(200, {"credentials": {"accessKeyId": KEY_ID}}), Cause.UNREADABLE, "failed"),
        (document(expiration=f"soon {SECRET}"), Cause.UNREADABLE, "failed"),
    ],
)
def test_refusals(certificates, answer, cause, result):
    failure, _, counted = fetch(certificates, answer)
    assert failure.cause is cause
    assert failure.operation == ASSUME_ROLE
    assert counted == {result: 1}


def test_a_refusal_names_all_that_can_be_wrong(certificates):
    failure, *_ = fetch(certificates, Says(403, {"message": "Access denied"}))
    assert failure.permission == "iot:AssumeRoleWithCertificate"
    assert "trusts credentials.iot.amazonaws.com" in failure.remedy
    assert "aws.thing_name" in failure.remedy
    statement = json.loads(failure.remedy[failure.remedy.index("{") :])
    assert statement["Resource"] == "arn:aws:iot:eu-west-1:ACCOUNT:rolealias/fleet"


def test_credentials_that_have_expired_on_arrival_are_the_clocks_fault(certificates):
    sent = time.time()
    clocks = Clocks(time.monotonic, lambda: sent + 7200)
    answer = document(sent + 3600)
    answer.headers.update(date_of(sent))
    failure, *_ = fetch(certificates, answer, clocks=clocks)
    assert failure.cause is Cause.CLOCK
    assert "2h" in failure.detail


@pytest.mark.parametrize("name", ["foreign_client", "expired_client", "no_client"])
def test_a_client_certificate_that_is_rejected(certificates, name):
    files = getattr(certificates, name, TlsFiles(None, None, certificates.ca))
    failure, asked, counted = fetch(certificates, document(), files=files)
    assert failure.cause is Cause.TLS
    assert "aws iot list-certificates" in failure.remedy
    assert asked == []
    assert counted == {"failed": 1}


def test_files_that_cannot_be_used(certificates, tmp_path):
    missing = TlsFiles(tmp_path / "c", tmp_path / "k", certificates.ca)
    for files in (missing, certificates.mismatched_key):
        failure, *_ = fetch(certificates, document(), files=files)
        assert failure.cause is Cause.TLS
        assert "the files of mqtt.tls cannot be used" in failure.detail


def test_a_renewed_certificate_is_used_at_the_next_fetch(certificates, tmp_path):
    cert, key = tmp_path / "cert", tmp_path / "key"
    files = TlsFiles(cert, key, certificates.ca)

    def install(pair):
        cert.write_bytes(pair.cert.read_bytes())
        key.write_bytes(pair.key.read_bytes())

    async def scenario():
        async with AwsServer([document()], tls=server_tls(certificates)) as aws:
            provider = provider_of(aws, files)
            for pair in (certificates.client, certificates.second_client):
                install(pair)
                await provider.fetch()
            first, second = (asked.certificate["serialNumber"] for asked in aws.asked)
            assert first != second

    run(scenario)


class Scripted:
    """A provider whose credentials are valid for an hour; an AwsError in `results` is raised."""

    def __init__(self, clock):
        self.clock = clock
        self.results = []
        self.fetched = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self):
        self.fetched += 1
        await self.gate.wait()
        if self.results and (result := self.results.pop(0)):
            raise result
        return Credentials(
            f"signer {self.fetched}", "x", self.clock.now + 3600, self.clock.now + 3300
        )


def with_cache(scenario):
    async def scene():
        clock = Clock()
        provider = Scripted(clock)
        cache = CredentialsCache(provider, clock.clocks)
        await scenario(clock, provider, cache)
        await cache.close()

    run(scene)


def refused():
    return AwsError(Cause.CREDENTIALS, ASSUME_ROLE, "refused", status=403)


def test_credentials_are_kept_and_renewed_while_the_old_ones_serve():
    async def scenario(clock, provider, cache):
        assert cache.valid_for is None
        assert (await cache.get()).signer == "signer 1"
        clock.now += 3299
        assert (await cache.get()).signer == "signer 1"
        assert (provider.fetched, cache.valid_for) == (1, 301)
        clock.now += 1
        provider.gate.clear()
        assert (await cache.get()).signer == "signer 1"
        assert (await cache.get()).signer == "signer 1"
        provider.gate.set()
        await until(lambda: cache.held.signer == "signer 2")
        assert provider.fetched == 2

    with_cache(scenario)


def test_one_request_serves_all_that_wait():
    async def scenario(clock, provider, cache):
        signers = {each.signer for each in await asyncio.gather(*(cache.get() for _ in range(50)))}
        assert signers == {"signer 1"}
        assert provider.fetched == 1

    with_cache(scenario)


def test_a_waiter_that_gives_up_does_not_stop_the_others():
    async def scenario(clock, provider, cache):
        provider.gate.clear()
        impatient, patient = (asyncio.create_task(cache.get()) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait([impatient])
        provider.gate.set()
        assert (await patient).signer == "signer 1"
        assert provider.fetched == 1

    with_cache(scenario)


def test_after_a_failure_the_provider_rests():
    async def scenario(clock, provider, cache):
        provider.results = [refused()]
        for _ in range(20):
            with pytest.raises(AwsError, match="refused"):
                await cache.get()
        assert provider.fetched == 1
        clock.now += 5
        assert (await cache.get()).signer == "signer 2"

    with_cache(scenario)


def test_a_failed_renewal_leaves_the_old_ones_until_they_expire(capsys):
    async def scenario(clock, provider, cache):
        await cache.get()
        provider.results = [refused(), refused()]
        clock.now += 3300
        assert (await cache.get()).signer == "signer 1"
        await until(lambda: provider.fetched == 2)
        await asyncio.sleep(0)
        assert (await cache.get()).signer == "signer 1"
        assert provider.fetched == 2
        clock.now += 300
        assert cache.held is None
        with pytest.raises(AwsError, match="refused"):
            await cache.get()
        clock.now += 5
        assert (await cache.get()).signer == "signer 4"

    with_cache(scenario)
    assert (
        "credentials not renewed; the present ones stay until they expire"
        in capsys.readouterr().out
    )


def test_discarded_credentials_are_replaced():
    async def scenario(clock, provider, cache):
        first = await cache.get()
        cache.discard(first)
        second = await cache.get()
        cache.discard(first)
        assert second.signer == (await cache.get()).signer == "signer 2"

    with_cache(scenario)


PROBE = """
import asyncio, json, time
from presenced.aws.credentials import DefaultChainProvider
from presenced.aws.errors import AwsError
from presenced.system.loop import Clocks
try:
    found = asyncio.run(DefaultChainProvider(Clocks(time.monotonic, time.time)).fetch())
except AwsError as error:
    print(json.dumps({"cause": error.cause, "text": str(error), "result": error.result}))
else:
    keys = found.signer.get_credentials().result(5)
    print(json.dumps({"source": found.source, "id": keys.access_key_id, "token": keys.session_token,
                      "expires": found.expires}))
"""


def chain(tmp_path, **environ):
    """What the default chain finds in a process of its own, without a metadata service."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=clean | nowhere | environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_the_chain_finds_environment_variables(tmp_path):
    keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    found = chain(tmp_path, **keys, AWS_SESSION_TOKEN=TOKEN)
    assert found == {
        "source": "environment variables",
        "id": KEY_ID,
        "token": TOKEN,
        "expires": None,
    }


def test_the_chain_finds_a_profile(tmp_path):
    text = f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(text)
    found = chain(tmp_path)
    assert found["id"] == KEY_ID
    assert found["source"] == "shared configuration files, container or instance"


def test_a_chain_that_finds_nothing_says_where_it_looked(tmp_path):
    found = chain(tmp_path)
    assert (found["cause"], found["result"]) == ("credentials", "failed")
    assert "no credentials were found in environment variables" in found["text"]
    assert "aws.role_alias" in found["text"]


def test_a_provider_shows_no_secret_of_its_own(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    found = asyncio.run(DefaultChainProvider(CLOCKS).fetch())
    assert repr(found).startswith("Credentials(source='environment variables'")
    assert SECRET not in repr(found)
