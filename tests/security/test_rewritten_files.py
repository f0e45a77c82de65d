"""Files of the web configuration that are rewritten in place, or lose a part, under a daemon."""

import base64
import shutil
import signal
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from brokers import free_port
from certificates import Certificates
from daemons import Daemon
from listeners import client_context
from waiting import wait_for

PASSWORD = "correct horse"
RESTART = "which takes a restart"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()}


def users(*names: str) -> dict[str, Any]:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    return {"basic_auth_users": dict.fromkeys(names, hashed)}


def problems(daemon: Daemon) -> str:
    """What the log says is wrong with the web configuration or the whole configuration."""
    return "\n".join(str(line["problems"]) for line in daemon.log if "problems" in line)


@contextmanager
def in_parallel(work: Any) -> Iterator[None]:
    """Repeat `work` in a thread for the length of the block."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(0.001):
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def web(tmp_path: Path) -> Path:
    return tmp_path / "web.yml"


def protected(web: Path, daemon_of: Any) -> Daemon:
    """A daemon with this web configuration."""
    health = f"127.0.0.1:{free_port()}"
    return daemon_of(metrics={"web_config": str(web), "health_listen": health})


def test_copies_in_place_of_valid_files_open_nothing(web: Path, daemon_of: Any) -> None:
    """`cp` empties its target first. Requests come faster than the daemon looks at the file."""
    contents = [web.with_name(f"web-{number}.yml") for number in range(2)]
    contents[0].write_text(yaml.safe_dump(users("alice")))
    contents[1].write_text(yaml.safe_dump(users("alice", "bob")))
    shutil.copyfile(contents[0], web)
    daemon = protected(web, daemon_of)
    turn = iter(range(1_000_000))

    def rewrite() -> None:
        web.write_text("# is being written\n")
        shutil.copyfile(contents[next(turn) % 2], web)

    with in_parallel(rewrite):
        for _ in range(700):
            assert daemon.get("/metrics")[0] == 401
            assert daemon.get("/metrics", **BASIC)[0] == 200
    wait_for(lambda: daemon.get("/metrics", **BASIC)[0] == 200)


@pytest.mark.parametrize("content", ["", "# all users are commented out\n", "basic_auth_users:\n"])
def test_a_file_that_stays_empty_opens_nothing(web: Path, daemon_of: Any, content: str) -> None:
    web.write_text(yaml.safe_dump(users("alice")))
    daemon = protected(web, daemon_of)
    web.write_text(content)
    wait_for(lambda: f"removes all users, {RESTART}" in problems(daemon))
    assert daemon.get("/metrics")[0] == 401
    assert daemon.get("/metrics", **BASIC)[0] == 200
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: problems(daemon).count(RESTART) == 2, what="the reload refused")
    assert daemon.get("/metrics")[0] == 401
    assert "presenced_config_last_reload_successful 0" in daemon.get("/metrics", **BASIC)[1]
    # After a restart the file applies as it is.
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(timeout=5) == 0
    daemon.start()
    assert daemon.get("/metrics")[0] == 200


def test_a_reload_without_web_configuration_opens_nothing(web: Path, daemon_of: Any) -> None:
    web.write_text(yaml.safe_dump(users("alice")))
    daemon = protected(web, daemon_of)
    del daemon.settings["metrics"]["web_config"]
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: f"metrics.web_config = null: removes all users, {RESTART}" in problems(daemon))
    assert daemon.get("/metrics")[0] == 401
    assert daemon.get("/metrics", **BASIC)[0] == 200


def answers(daemon: Daemon, context: ssl.SSLContext) -> bool:
    """Whether a client with this certificate, or without, gets the metrics over TLS."""
    url = f"https://127.0.0.1:{daemon.port}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.parametrize("loss", ["client_auth_type", "client_allowed_sans", "tls_server_config"])
def test_client_certificates_stay_required(
    web: Path, daemon_of: Any, certificates: Certificates, loss: str
) -> None:
    tls = {
        "cert_file": str(certificates.server_cert),
        "key_file": str(certificates.server_key),
        "client_ca_file": str(certificates.ca),
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_allowed_sans": ["client"],
    }
    web.write_text(yaml.safe_dump({"tls_server_config": tls}))
    daemon = protected(web, daemon_of)
    stranger = client_context(certificates.ca)
    ours = client_context(certificates.ca, certificates.client)
    assert answers(daemon, ours)
    lost = {
        "client_auth_type": {"cert_file": tls["cert_file"], "key_file": tls["key_file"]},
        "client_allowed_sans": {k: v for k, v in tls.items() if k != "client_allowed_sans"},
    }
    web.write_text(yaml.safe_dump({"tls_server_config": lost[loss]} if loss in lost else {}))
    wait_for(lambda: RESTART in problems(daemon))
    assert not answers(daemon, stranger)
    assert answers(daemon, ours)
    with pytest.raises(OSError):
        daemon.get("/metrics")


def test_pairs_that_are_rewritten_in_place_serve_every_scrape(
    web: Path, daemon_of: Any, certificates: Certificates
) -> None:
    directory = web.parent
    pair = {"cert_file": "tls.crt", "key_file": "tls.key"}
    web.write_text(yaml.safe_dump({"tls_server_config": pair}))

    def rewrite() -> None:
        shutil.copyfile(certificates.server_cert, directory / "tls.crt")
        shutil.copyfile(certificates.server_key, directory / "tls.key")

    rewrite()
    (directory / "tls.key").chmod(0o600)
    daemon = protected(web, daemon_of)
    context = client_context(certificates.ca)
    with in_parallel(rewrite):
        for _ in range(150):
            assert answers(daemon, context)
