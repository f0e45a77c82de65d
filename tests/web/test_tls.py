"""TLS of the listener, by real handshakes."""

import asyncio
import logging
import os
import shutil
import socket
import ssl
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from certificates import Certificates, issue
from listeners import Client, Logged, client_context, with_listener
from presenced.sources.mqtt.connection_options import TlsFiles
from waiting import until, until_async

NO_CERT, IF_GIVEN, REQUIRED = (
    "NoClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)


@pytest.fixture
def tls(certificates: Certificates) -> dict:
    return {"cert_file": str(certificates.server_cert), "key_file": str(certificates.server_key)}


@pytest.mark.parametrize(
    ("auth", "shown", "allowed"),
    [
        (NO_CERT, None, True),
        (NO_CERT, "client", True),
        (NO_CERT, "foreign_client", True),
        (IF_GIVEN, None, True),
        (IF_GIVEN, "client", True),
        (IF_GIVEN, "foreign_client", False),
        (IF_GIVEN, "expired_client", False),
        (REQUIRED, None, False),
        (REQUIRED, "client", True),
        (REQUIRED, "foreign_client", False),
        (REQUIRED, "expired_client", False),
        (REQUIRED, "future_client", False),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates(tmp_path, certificates, tls, auth, shown, allowed, version) -> None:
    if auth != NO_CERT:
        tls |= {"client_auth_type": auth, "client_ca_file": str(certificates.ca)}
    pair = getattr(certificates, shown) if shown else None
    context = client_context(certificates.ca, pair, maximum_version=version)

    async def use(client: Client) -> None:
        if allowed:
            assert await client.status() == 200
        else:
            assert await client.refused()
            # Nothing that is refused harms those that are not.
            good = client_context(certificates.ca, certificates.client)
            assert await client.status(tls=good) == 200

    with_listener(tmp_path, {"tls_server_config": tls}, use, tls=context)


def test_plain_http_is_refused_on_a_tls_listener(tmp_path, certificates, tls, capsys) -> None:
    async def use(client: Client) -> None:
        assert await client.refused()

    with_listener(tmp_path, {"tls_server_config": tls}, use)
    logged = capsys.readouterr().out + capsys.readouterr().err
    assert "TLS handshake failed" in logged
    assert "set `scheme: https`" in logged


@pytest.mark.parametrize(
    ("client", "hint"),
    [
        ({}, "set cert_file and key_file in its tls_config"),
        ({"pair": "foreign_client"}, "no authority of client_ca_file signed"),
        ({"pair": "client", "ciphers": "ECDHE-RSA-AES128-SHA"}, "supports none of cipher_suites"),
        ({"pair": "client", "maximum_version": ssl.TLSVersion.TLSv1_1}, "TLS versions are outside"),
    ],
)
def test_the_log_says_why_a_handshake_failed(
    tmp_path, certificates, tls, capsys, client, hint
) -> None:
    tls |= {
        "client_auth_type": REQUIRED,
        "client_ca_file": str(certificates.ca),
        "max_version": "TLS12",
    }
    context = client_context(certificates.ca, getattr(certificates, client.get("pair", ""), None))
    if "ciphers" in client:
        context.set_ciphers(client["ciphers"])
    if "maximum_version" in client:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = client["maximum_version"]
        context.set_ciphers("DEFAULT:@SECLEVEL=0")

    async def use(client: Client) -> None:
        assert await client.refused()
        assert await client.refused()

    with_listener(tmp_path, {"tls_server_config": tls}, use, tls=context)
    logged = capsys.readouterr().out
    assert logged.count("TLS handshake failed") == 1
    assert hint in logged


def test_the_log_reports_clients_that_do_not_trust_the_listener(
    tmp_path, certificates, tls, capsys
) -> None:
    context = client_context(certificates.wrong_ca.ca)

    def shake_hands(port: int) -> None:
        # asyncio's clients leave without a word; others send an alert.
        with socket.create_connection(("127.0.0.1", port)) as connection, suppress(ssl.SSLError):
            context.wrap_socket(connection, server_hostname="127.0.0.1")

    logged = Logged(capsys)

    async def use(client: Client) -> None:
        await asyncio.to_thread(shake_hands, client.listener.port)
        await until(lambda: logged.count("set ca_file in its tls_config"))

    with_listener(tmp_path, {"tls_server_config": tls}, use)


@pytest.mark.parametrize(
    ("settings", "client", "allowed"),
    [
        ({}, "TLSv1_2", True),
        ({}, "TLSv1_3", True),
        ({}, "TLSv1_1", False),
        ({"min_version": "TLS13"}, "TLSv1_2", False),
        ({"min_version": "TLS13"}, "TLSv1_3", True),
        ({"max_version": "TLS12"}, "TLSv1_3", False),
        ({"max_version": "TLS12"}, "TLSv1_2", True),
        ({"min_version": "TLS11"}, "TLSv1_1", True),
        ({"min_version": "TLS11"}, "TLSv1", False),
        ({"min_version": "TLS10"}, "TLSv1", True),
    ],
)
def test_versions(tmp_path, certificates, tls, settings, client, allowed) -> None:
    version = ssl.TLSVersion[client]
    context = client_context(certificates.ca)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")

    async def use(client: Client) -> None:
        assert await client.refused() is not allowed

    with_listener(tmp_path, {"tls_server_config": tls | settings}, use, tls=context)


AES_GCM, CHACHA = (
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
)


async def negotiated(client: Client, context: ssl.SSLContext) -> tuple[str, str, str | None]:
    _, writer = await asyncio.open_connection("127.0.0.1", client.listener.port, ssl=context)
    connection = writer.get_extra_info("ssl_object")
    found = (*connection.cipher()[:2], connection.selected_alpn_protocol())
    writer.close()
    return found


@pytest.mark.parametrize(
    ("prefer", "chosen"),
    [(True, "ECDHE-ECDSA-CHACHA20-POLY1305"), (False, "ECDHE-ECDSA-AES128-GCM-SHA256")],
)
def test_cipher_suites_and_their_order(tmp_path, certificates, tls, prefer, chosen) -> None:
    tls |= {
        "cipher_suites": [CHACHA, AES_GCM],
        "prefer_server_cipher_suites": prefer,
        "max_version": "TLS12",
    }
    context = client_context(certificates.ca)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305")
    other = client_context(certificates.ca)
    other.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")

    async def use(client: Client) -> None:
        assert (await negotiated(client, context))[0] == chosen
        assert await client.refused(tls=other)

    with_listener(tmp_path, {"tls_server_config": tls}, use)


@pytest.mark.parametrize(("ours", "theirs"), [("CurveP384", "secp384r1"), ("X25519", "X25519")])
def test_curve(tmp_path, certificates, tls, ours, theirs) -> None:
    same, other = client_context(certificates.ca), client_context(certificates.ca)
    same.set_ecdh_curve(theirs)
    other.set_ecdh_curve("secp521r1")

    async def use(client: Client) -> None:
        assert await client.status(tls=same) == 200
        assert await client.refused(tls=other)

    with_listener(tmp_path, {"tls_server_config": tls | {"curve_preferences": [ours]}}, use)


def test_clients_that_offer_http2_get_http1(tmp_path, certificates, tls) -> None:
    context = client_context(certificates.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def use(client: Client) -> None:
        assert (await negotiated(client, context))[2] == "http/1.1"

    with_listener(tmp_path, {"tls_server_config": tls}, use)


def test_inline_certificate_key_and_authority(tmp_path, certificates) -> None:
    inline = {
        "cert": certificates.server_cert.read_text(),
        "key": certificates.server_key.read_text(),
        "client_ca": certificates.ca.read_text(),
        "client_auth_type": REQUIRED,
    }

    async def use(client: Client) -> None:
        good = client_context(certificates.ca, certificates.client)
        assert await client.status(tls=good) == 200
        assert await client.refused(tls=client_context(certificates.ca))

    with_listener(tmp_path, {"tls_server_config": inline}, use)


def test_the_whole_chain_is_sent(tmp_path) -> None:
    root = trustme.CA()
    intermediate = root.create_child_ca()
    pair = intermediate.issue_cert("127.0.0.1")
    root.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    cert, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    pair.private_key_pem.write_to_path(str(key))

    async def use(client: Client) -> None:
        assert await client.status(tls=client_context(tmp_path / "ca.pem")) == 200

    with_listener(
        tmp_path, {"tls_server_config": {"cert_file": "chain.pem", "key_file": "key.pem"}}, use
    )


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["client"], 200),
        (["other", "client"], 200),
        (["other"], 403),
        (["clien"], 403),
        (["192.0.2.1"], 403),
    ],
)
def test_names_of_client_certificates(tmp_path, certificates, tls, names, status) -> None:
    tls |= {
        "client_auth_type": REQUIRED,
        "client_ca_file": str(certificates.ca),
        "client_allowed_sans": names,
    }
    context = client_context(certificates.ca, certificates.client)

    async def use(client: Client) -> None:
        assert await client.status() == status

    with_listener(tmp_path, {"tls_server_config": tls}, use, tls=context)


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:DB8:0::1"), ("a@b.example", "a@b.example")],
)
def test_names_may_be_addresses(tmp_path, tls, identity, allowed) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    pair = issue(ca, tmp_path, "client", identity)
    server = issue(ca, tmp_path, "server", "127.0.0.1")
    config = {
        "cert_file": str(server[0]),
        "key_file": str(server[1]),
        "client_auth_type": REQUIRED,
        "client_ca_file": "ca.pem",
        "client_allowed_sans": [allowed],
    }
    context = client_context(tmp_path / "ca.pem", TlsFiles(*pair, tmp_path / "ca.pem"))

    async def use(client: Client) -> None:
        assert await client.status() == 200

    with_listener(tmp_path, {"tls_server_config": config}, use, tls=context)


class Rotation:
    """A pair on disk that can be replaced, by halves too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.ca = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.cert, self.key = directory / "tls.crt", directory / "tls.key"
        self.count = 0
        self.replace()
        self.context = client_context(self.ca)

    def new_pair(self) -> tuple[Path, Path]:
        self.count += 1
        return issue(self.authority, self.directory, f"pair-{self.count}", "127.0.0.1")

    def replace(self) -> None:
        cert, key = self.new_pair()
        shutil.copy(cert, self.cert)
        shutil.copy(key, self.key)

    @property
    def config(self) -> dict:
        return {"tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"}}

    async def serves_another(self, client: Client, than: int) -> None:
        """Wait until a new connection is shown another certificate."""

        async def served() -> bool:
            return await client.served_serial(self.context) != than

        await until_async(served, what="another certificate")


def test_certificates_are_renewed_without_a_restart(tmp_path, capsys) -> None:
    rotation = Rotation(tmp_path)

    async def use(client: Client) -> None:
        before = await client.served_serial(rotation.context)
        assert await client.served_serial(rotation.context) == before
        rotation.replace()
        await rotation.serves_another(client, before)

    with_listener(tmp_path, rotation.config, use)
    assert capsys.readouterr().out.count("web configuration reloaded") == 1


@pytest.mark.parametrize("half", ["cert", "key"])
def test_half_a_new_pair_keeps_the_old_one_until_the_other_half_comes(
    tmp_path, capsys, half
) -> None:
    rotation, logged = Rotation(tmp_path), Logged(capsys)

    async def use(client: Client) -> None:
        before = await client.served_serial(rotation.context)
        cert, key = rotation.new_pair()
        halves = [(cert, rotation.cert), (key, rotation.key)]
        if half == "key":
            halves.reverse()
        shutil.copy(*halves[0])
        await until(lambda: logged.count("the running one stays"))
        assert await client.served_serial(rotation.context) == before
        shutil.copy(*halves[1])
        await rotation.serves_another(client, before)

    with_listener(tmp_path, rotation.config, use)
    assert logged.count("the running one stays") == 1
    assert logged.count("does not belong to the certificate")


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "fifo", "directory", "huge"])
@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
def test_a_damaged_file_keeps_the_old_pair(tmp_path, capsys, damage, name) -> None:
    rotation, logged = Rotation(tmp_path), Logged(capsys)

    async def use(client: Client) -> None:
        before = await client.served_serial(rotation.context)
        file = tmp_path / name
        whole = file.read_bytes()
        file.unlink()
        if damage == "fifo":
            os.mkfifo(file)
        elif damage == "directory":
            file.mkdir()
        elif damage != "missing":
            contents = {"cut": whole[:-50], "empty": b"", "huge": whole + b"\n" * 1024 * 1024}
            file.write_bytes(contents[damage])
        await until(lambda: logged.count("the running one stays"))
        assert await client.served_serial(rotation.context) == before
        if damage == "directory":
            file.rmdir()
        else:
            file.unlink(missing_ok=True)
        rotation.replace()
        await rotation.serves_another(client, before)

    with_listener(tmp_path, rotation.config, use)
    assert logged.count("the running one stays") == 1


def test_what_is_required_of_clients_changes_without_a_restart(tmp_path, certificates) -> None:
    rotation = Rotation(tmp_path)
    foreign = certificates.foreign_client

    async def use(client: Client) -> None:
        without_certificate = rotation.context
        assert await client.status(tls=without_certificate) == 200
        shutil.copy(certificates.ca, tmp_path / "clients.pem")
        config = rotation.config
        config["tls_server_config"] |= {
            "client_auth_type": REQUIRED,
            "client_ca_file": "clients.pem",
        }
        client.configure(config)
        await client.becomes_refused(tls=without_certificate)
        ours = client_context(rotation.ca, certificates.client)
        theirs = client_context(rotation.ca, foreign)
        assert await client.status(tls=ours) == 200
        assert await client.refused(tls=theirs)
        shutil.copy(certificates.wrong_ca.ca, tmp_path / "clients.pem")
        await client.becomes(200, tls=theirs)
        assert await client.refused(tls=ours)

    with_listener(tmp_path, rotation.config, use)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "turns TLS off and weakens client_auth_type from Require"),
        ({"client_auth_type": NO_CERT}, "weakens client_auth_type from"),
        ({"client_auth_type": IF_GIVEN}, f"from {REQUIRED} to {IF_GIVEN}"),
        ({"client_auth_type": REQUIRED}, "removes client_allowed_sans, which takes a restart"),
    ],
)
def test_what_is_required_of_clients_is_not_weakened_without_a_restart(
    tmp_path, capsys, certificates, change, reason
) -> None:
    rotation, logged = Rotation(tmp_path), Logged(capsys)
    pair = rotation.config["tls_server_config"]
    authority = {"client_ca_file": str(certificates.ca)}
    required = {"client_auth_type": REQUIRED, "client_allowed_sans": ["client"]}

    async def use(client: Client) -> None:
        if not change:
            client.configure({})
        elif change["client_auth_type"] == NO_CERT:
            client.configure({"tls_server_config": pair})
        else:
            client.configure({"tls_server_config": pair | authority | change})
        await until(lambda: logged.count(reason))
        assert await client.refused(tls=rotation.context)
        assert await client.refused()
        ours = client_context(rotation.ca, certificates.client)
        assert await client.status(tls=ours) == 200

    with_listener(tmp_path, {"tls_server_config": pair | authority | required}, use)
    assert logged.count("the running one stays") == 1


def test_turning_tls_on_takes_a_restart(tmp_path, capsys) -> None:
    rotation, logged = Rotation(tmp_path), Logged(capsys)

    async def use(client: Client) -> None:
        client.configure(rotation.config)
        await until(lambda: logged.count("turning TLS on takes a restart"))
        assert await client.status() == 200

    with_listener(tmp_path, {}, use)


def test_authorities_may_have_comments_that_are_not_ascii(tmp_path, certificates) -> None:
    rotation = Rotation(tmp_path)
    comment = "# Főtanúsítvány\n".encode()
    (tmp_path / "clients.pem").write_bytes(comment + certificates.ca.read_bytes())
    tls = rotation.config["tls_server_config"]
    tls |= {"client_auth_type": REQUIRED, "client_ca_file": "clients.pem"}

    async def use(client: Client) -> None:
        assert await client.status(tls=client_context(rotation.ca, certificates.client)) == 200

    with_listener(tmp_path, {"tls_server_config": tls}, use)


def test_a_client_that_never_finishes_its_handshake_blocks_no_other(
    tmp_path, certificates, tls
) -> None:
    async def use(client: Client) -> None:
        _, silent = await asyncio.open_connection("127.0.0.1", client.listener.port)
        assert await client.status(tls=client_context(certificates.ca)) == 200
        silent.close()

    with_listener(tmp_path, {"tls_server_config": tls}, use)


def test_asyncio_logs_nothing_about_failed_handshakes(tmp_path, certificates, tls, caplog) -> None:
    async def use(client: Client) -> None:
        assert await client.refused()

    with caplog.at_level(logging.WARNING):
        with_listener(tmp_path, {"tls_server_config": tls}, use)
    assert not caplog.records
