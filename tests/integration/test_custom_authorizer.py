"""What a broker gets of a client with a custom authorizer: ALPN protocol, user name, password."""

import asyncio
import json
import ssl
import struct

import pytest

from presenced.cli import main
from presenced.settings import load_settings
from presenced.sources.mqtt.connection_options import TlsFiles
from presenced.sources.mqtt.options import source_options
from scripted_broker import CONNECT, SUBSCRIBE, scripted_broker
from source_harness import KINDS, running
from waiting import until

SIGNATURE = "c2ln/bmF0+dXJl=="
AUTHORIZER = """
auth: custom
username: fleet
password_file: password
authorizer:
  name: DoorKeeper
  token_key_name: presenced-token
  token_file: token
  signature_file: signature
"""
USER_NAME = (
    "fleet?x-amz-customauthorizer-name=DoorKeeper&presenced-token=t0ken.part-2_"
    "&x-amz-customauthorizer-signature=c2ln%2FbmF0%2BdXJl%3D%3D"
)


def options_of(settings):
    return source_options(settings, settings.mqtt)


@pytest.fixture
def config(tmp_path):
    """A configuration with an authorizer, whose secrets are in files."""
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "token").write_text("t0ken.part-2_\n")
    (tmp_path / "signature").write_text(f"{SIGNATURE}\n")
    path = tmp_path / "presenced.yaml"

    def write(*changes):
        text = AUTHORIZER
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        lines = ["endpoint: a1-ats.iot.eu-west-1.amazonaws.com", *text.strip().splitlines()]
        path.write_text("mqtt:\n" + "".join(f"  {line}\n" for line in lines))
        return path

    return write


def server_tls(certificates, *alpn):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    context.set_alpn_protocols(list(alpn))
    return context


def texts_of(connect):
    """The client ID, the user name and the password of a CONNECT."""
    version, flags = connect[6], connect[7]
    assert flags & 0xC0 == 0xC0, "it has a user name and a password"
    place = 10
    if version == 5:
        place += 1 + connect[place]
    texts = []
    while place < len(connect):
        (length,) = struct.unpack_from("!H", connect, place)
        texts.append(connect[place + 2 : place + 2 + length].decode())
        place += 2 + length
    return texts


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_alpn_and_the_connect_packet(kind, config, certificates):
    [options] = options_of(load_settings(config(), environ={}))
    got = []

    async def script(peer):
        got.append((peer.alpn, *texts_of(await peer.expect(CONNECT))))
        peer.connack()
        peer.suback(await peer.expect(SUBSCRIBE), 1)
        await peer.until_closed()

    async def scenario():
        tls = server_tls(certificates, "mqtt", "x-amzn-mqtt-ca")
        async with scripted_broker(script, tls) as port:
            login = {"username": options.username, "password": options.password}
            settings = {"auth": options.auth, "alpn_port": port, **login}
            files = TlsFiles(ca=certificates.ca)
            async with running(kind, port, tls=files, **settings) as harness:
                await until(lambda: harness.ready)

    asyncio.run(scenario())
    assert got == [("mqtt", "presenced", USER_NAME, "hunter2")]


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_a_refusal_names_the_authorizer(kind, certificates):
    async def script(peer):
        await peer.expect(CONNECT)
        peer.connack(135 if peer.version == 5 else 5)

    async def scenario():
        tls = server_tls(certificates, "mqtt")
        async with scripted_broker(script, tls) as port:
            files = TlsFiles(ca=certificates.ca)
            login = {"username": USER_NAME, "auth": "custom", "alpn_port": port}
            async with running(kind, port, tls=files, **login) as harness:
                await until(harness.failures)
                return harness.failures(), harness.status.problem

    failures, problem = asyncio.run(scenario())
    assert set(failures) == {"not_authorized"}
    assert "aws iot test-invoke-authorizer" in problem
    assert "t0ken" not in problem


def test_check_says_what_is_sent_without_the_secrets(config, capsys):
    assert main(["check", "--config", str(config())]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "the ALPN protocol mqtt to a1-ats.iot.eu-west-1.amazonaws.com:443" in said.out
    shown = (
        "the user name fleet?x-amz-customauthorizer-name=DoorKeeper&presenced-token=***"
        "&x-amz-customauthorizer-signature=*** and a password."
    )
    assert shown in said.out


def test_check_doubts_other_ports(config, capsys):
    assert (
        main(["check", "--config", str(config(("username: fleet", "port: 8883\nusername: fleet")))])
        == 0
    )
    said = capsys.readouterr()
    assert "warning: mqtt.port = 8883: is not 443" in said.err
    assert "CUSTOM_AUTH" in said.err
    assert "It sends no ALPN protocol to" in said.out


def test_check_names_a_file_that_cannot_be_used(config, tmp_path, capsys):
    (tmp_path / "token").write_text("two words")
    (tmp_path / "signature").unlink()
    assert main(["check", "--config", str(config())]) == 2
    error = capsys.readouterr().err
    assert "mqtt.authorizer.token_file" in error
    assert "URL-encode" in error
    assert "two words" not in error


def test_a_default_authorizer_gets_the_users_own_query(config):
    """The user name may hold everything, as for other clients."""
    path = config(("username: fleet", 'username: "u?token=abc"'), ("name: DoorKeeper", "name:"))
    [options] = options_of(load_settings(path, environ={}))
    assert options.username.startswith("u?token=abc&presenced-token=t0ken")
    assert "token=abc" not in repr(options)


def test_an_authorizer_in_the_user_name_alone_is_told_what_to_set(tmp_path, capsys):
    """Such a configuration was called valid, and AWS waited for a client certificate."""
    path = tmp_path / "presenced.yaml"
    mqtt = {
        "endpoint": "a1b2c3-ats.iot.eu-west-1.amazonaws.com",
        "port": 443,
        "username": "u?x-amz-customauthorizer-name=auth&token=s3cret",
        "password": "p",
        "tls": {"cert": None, "key": None, "ca": None},
    }
    path.write_text(json.dumps({"mqtt": mqtt}))
    assert main(["check", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert "mqtt.username" in error
    assert "set that" in error
    assert "mqtt.auth: custom" in error
    assert "s3cret" not in error
    mqtt["auth"] = "custom"
    path.write_text(json.dumps({"mqtt": mqtt}))
    assert main(["check", "--config", str(path)]) == 0
    assert "u?x-amz-customauthorizer-name=auth&token=***" in capsys.readouterr().out
