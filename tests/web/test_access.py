"""Access to the listener: passwords, limits, headers, and the address for health."""

import asyncio
import json
import threading

import bcrypt
import pytest
from aiohttp import web

from certificates import Certificates
from listeners import Client, Logged, client_context, listening, with_listener
from presenced.settings import ListenAddress, SettingsError
from presenced.web.passwords import PasswordCheck
from presenced.web.protection import ProtectionWatcher, read_protection
from waiting import until, until_async

PASSWORD = "wonderländ:x"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
USERS = {"basic_auth_users": {"alice": HASH}}
ALICE = ("alice", PASSWORD)
LOOPBACK = ListenAddress("127.0.0.1", 0)
PATHS = ["/", "/metrics", "/-/healthy", "/-/ready", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
def test_every_path_wants_a_password(tmp_path, path) -> None:
    async def use(client) -> None:
        answer = await client.get(path)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="presenced", charset="UTF-8"'
        assert await client.status(path, user=("alice", "wrong")) == 401
        assert await client.status(path, user=("carol", PASSWORD)) == 401
        assert await client.status(path, user=ALICE) == (404 if path == "/nothing" else 200)

    with_listener(tmp_path, USERS, use)


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Basic !", "Basic YWxpY2U=", "Bearer x", "Basic /w==", "basic " + "A" * 4000],
)
def test_strange_headers_are_no_password(tmp_path, header) -> None:
    async def use(client) -> None:
        assert await client.status(headers={"Authorization": header}) == 401

    with_listener(tmp_path, USERS, use)


def test_the_log_tells_of_refusals_but_not_what_was_sent(tmp_path, capsys) -> None:
    async def use(client) -> None:
        for _ in range(5):
            await client.get(user=("my-secret-name", "my-secret-word"))

    with_listener(tmp_path, USERS, use)
    logged = capsys.readouterr().out
    assert logged.count("wrong user or password") == 1
    assert "127.0.0.1" not in logged, "addresses stay out of logs"
    assert "my-secret" not in logged


def test_a_flood_does_not_flood_the_log(tmp_path, capsys, monkeypatch) -> None:
    addresses = iter(range(10_000))
    remote = property(lambda _: f"192.0.2.{next(addresses)}")
    monkeypatch.setattr(web.Request, "remote", remote)

    async def use(client) -> None:
        for _ in range(40):
            await client.get(user=("alice", "wrong"))

    with_listener(tmp_path, USERS, use)
    assert 5 <= capsys.readouterr().out.count("wrong user or password") <= 15


def test_too_many_wrong_passwords(tmp_path) -> None:
    async def use(client) -> None:
        assert await client.status(user=ALICE) == 200
        statuses = [await client.status(user=("alice", f"wrong-{n}")) for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        limited = await client.get(user=("alice", "wrong"))
        assert 1 <= int(limited.headers["Retry-After"]) <= 6
        # A scraper with a password that was right before is still served.
        assert await client.status(user=ALICE) == 200

    with_listener(tmp_path, USERS, use)


def test_the_loop_answers_others_while_bcrypt_works(tmp_path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(password: bytes, against: bytes) -> bool:
        entered.set()
        return leave.wait(30)

    async def run() -> None:
        check = PasswordCheck(verify=slow)
        async with listening(tmp_path, USERS, health=LOOPBACK, passwords=check) as client:
            scrape = asyncio.create_task(client.status(user=ALICE))
            await asyncio.to_thread(entered.wait, 30)
            assert await client.status("/-/healthy", port=client.listener.health_port) == 200
            assert await client.status() == 401
            assert not scrape.done()
            leave.set()
            assert await scrape == 200

    asyncio.run(run())


def test_users_change_without_a_restart(tmp_path) -> None:
    other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()

    async def use(client) -> None:
        assert await client.status(user=ALICE) == 200
        client.configure({"basic_auth_users": {"bob": other}})
        await client.becomes(401, user=ALICE)
        assert await client.status(user=("bob", "other")) == 200

    with_listener(tmp_path, USERS, use)


@pytest.mark.parametrize("content", ["", "# nothing\n", "basic_auth_users: {}\n", "rate_limit: {}"])
def test_removing_all_users_takes_a_restart(tmp_path, capsys, content) -> None:
    logged = Logged(capsys)

    async def use(client: Client) -> None:
        client.file.write_text(content)
        await until(lambda: logged.count("removes all users, which takes a restart"))
        assert await client.status() == 401
        assert await client.status(user=ALICE) == 200

    with_listener(tmp_path, USERS, use)
    assert logged.count("the running one stays") == 1


@pytest.mark.parametrize(
    "bad", ["basic_auth_users: {alice: x}", "basic_auth: {}", "[", "tls_server_config: {}", None]
)
def test_a_bad_file_keeps_the_protection_that_there_was(tmp_path, capsys, bad) -> None:
    logged = Logged(capsys)

    async def use(client: Client) -> None:
        whole = client.file.read_text()
        if bad is None:
            client.file.unlink()
        else:
            client.file.write_text(bad)
        await until(lambda: logged.count("the running one stays"))
        for _ in range(3):
            assert await client.status() == 401
            assert await client.status(user=ALICE) == 200
        client.file.write_text(whole + "rate_limit: {interval: 1h, burst: 1}\n")
        await client.becomes(429, user=ALICE)

    with_listener(tmp_path, USERS, use)
    assert logged.count("the running one stays") == 1


def test_a_file_that_is_written_in_place_again_and_again_never_opens_the_listener(
    tmp_path, capsys
) -> None:
    """Each time it is empty for a moment, and then the same."""

    async def use(client: Client) -> None:
        whole = client.file.read_text()
        for _ in range(40):
            client.file.write_text("")
            assert await client.status() == 401
            client.file.write_text(whole)
            assert await client.status() == 401

    with_listener(tmp_path, USERS, use)


def test_health_without_password_and_tls_at_an_address_of_its_own(
    tmp_path, certificates: Certificates
) -> None:
    config = USERS | {
        "tls_server_config": {
            "cert_file": str(certificates.server_cert),
            "key_file": str(certificates.server_key),
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": str(certificates.ca),
        },
        "rate_limit": {"interval": "1h", "burst": 1},
    }

    async def use(client) -> None:
        port = client.listener.health_port
        for _ in range(3):
            assert await client.status("/-/healthy", port=port) == 200
            assert await client.status("/-/ready", port=port) == 200
        for path in ("/", "/metrics", "/-/reload", "/nothing"):
            assert await client.status(path, port=port) == 404
        tls = client_context(certificates.ca, certificates.client)
        assert await client.status(tls=tls, user=ALICE) == 200

    with_listener(tmp_path, config, use, health=LOOPBACK)


def test_rate_limit(tmp_path) -> None:
    async def use(client) -> None:
        assert [await client.status() for _ in range(5)] == [200, 200, 200, 429, 429]
        answer = await client.get()
        assert 3590 <= int(answer.headers["Retry-After"]) <= 3600

    with_listener(tmp_path, {"rate_limit": {"interval": "1h", "burst": 3}}, use)


@pytest.mark.parametrize("limit", [{"interval": 0, "burst": 1}, {"interval": "0s"}, {"burst": 1}])
def test_no_rate_limit(tmp_path, limit) -> None:
    async def use(client) -> None:
        assert [await client.status() for _ in range(5)] == [200] * 5

    with_listener(tmp_path, {"rate_limit": limit}, use)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("user", [ALICE, None])
def test_headers_stand_on_every_answer(tmp_path, path, user) -> None:
    headers = {
        "X-Frame-Options": "deny",
        "Strict-Transport-Security": "max-age=60",
        "Content-Security-Policy": "frame-ancestors 'none'",
    }

    async def use(client) -> None:
        answer = await client.get(path, user=user)
        assert {name: answer.headers[name] for name in headers} == headers
        client.configure(USERS)

        async def without_headers() -> bool:
            return "X-Frame-Options" not in (await client.get(path, user=user)).headers

        await until_async(without_headers)

    with_listener(tmp_path, USERS | {"http_server_config": {"headers": headers}}, use)


def test_what_is_worth_a_warning(tmp_path, certificates: Certificates) -> None:
    file = tmp_path / "web.yml"
    key = tmp_path / "key.pem"
    key.write_bytes(certificates.expired_server[1].read_bytes())
    key.chmod(0o644)
    pair = {"cert_file": str(certificates.expired_server[0]), "key_file": "key.pem"}
    config = {
        "tls_server_config": pair | {"min_version": "TLS10"},
        "http_server_config": {"http2": True},
    }
    file.write_text(json.dumps(config))
    protection = read_protection(file)
    warnings = "\n".join(map(str, protection.warnings))
    assert (
        "http_server_config.http2 = true: is not supported: clients fall back to HTTP/1.1"
        in warnings
    )
    assert "tls_server_config.min_version = TLS10: allows TLS versions that are broken" in warnings
    assert f"tls_server_config.cert_file = {certificates.expired_server[0]}: expired on" in warnings
    assert f"(mode 644). Run chmod o-rwx {key}" in warnings
    assert {problem.severity for problem in protection.warnings} == {"warning"}
    file.write_text(json.dumps({"http_server_config": {"http2": False}}))
    assert read_protection(file).warnings == ()


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ({"cert_file": "nothing"}, "cert_file", "no such file"),
        ({"key_file": "nothing"}, "key_file", "no such file"),
        ({"key_file": "client.key"}, "key_file", "does not belong to the certificate"),
        ({"key_file": "server.crt"}, "key_file", "certificate and key are swapped"),
        ({"client_ca_file": "server.key"}, "client_ca_file", "private key, not a certificate"),
        ({"client_ca_file": "web.yml"}, "client_ca_file", "is not PEM"),
    ],
)
def test_files_that_cannot_be_served(
    tmp_path, certificates: Certificates, change, key, message
) -> None:
    for name in ("server.crt", "server.key", "client.key"):
        (tmp_path / name).write_bytes((certificates.ca.parent / name).read_bytes())
    tls = {
        "cert_file": "server.crt",
        "key_file": "server.key",
        "client_ca_file": str(certificates.ca),
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    file = tmp_path / "web.yml"
    file.write_text(json.dumps({"tls_server_config": tls | change}))
    with pytest.raises(SettingsError) as caught:
        read_protection(file)
    (problem,) = caught.value.problems
    assert problem.key == f"tls_server_config.{key}"
    assert message in str(problem)


def test_inline_secrets_are_not_shown_where_they_are_bad(tmp_path, certificates) -> None:
    file = tmp_path / "web.yml"
    pem = certificates.client.key.read_text()
    tls = {"cert": certificates.server_cert.read_text(), "key": pem}
    file.write_text(json.dumps({"tls_server_config": tls}))
    with pytest.raises(SettingsError) as caught:
        read_protection(file)
    (problem,) = caught.value.problems
    assert problem.key == "tls_server_config.key"
    assert pem.splitlines()[1] not in repr(problem)


def test_a_protection_says_what_is_on(tmp_path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(json.dumps(USERS | {"rate_limit": {"interval": "1s", "burst": 7}}))
    assert read_protection(file).summary == {
        "tls": "off",
        "client_certificates": "off",
        "basic_auth": "on",
        "rate_limit": "7 at once",
    }
    assert set(ProtectionWatcher(None).current.summary.values()) == {"off"}
    assert HASH not in repr(read_protection(file))
