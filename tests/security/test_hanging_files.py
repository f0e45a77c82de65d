"""Watched files that cannot be read to their end: FIFOs, devices, file systems that hang."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from brokers import free_port
from certificates import Certificates
from daemons import Daemon
from hung_files import hanging
from presenced.sources.mqtt.connection_options import TlsFiles
from waiting import wait_for

RELOADED = ("presenced.yaml", "password")
WATCHED = ("web.yml", "tls.crt", "tls.key", "clients.pem")
MQTT = ("mqtt.crt", "mqtt.key", "mqtt.pem")


class Files:
    """A daemon and all files that it may read again while it runs."""

    def __init__(self, directory: Path, daemon_of: Any, certificates: Certificates) -> None:
        self.directory = directory
        client = certificates.client
        sources = {
            "tls.crt": certificates.server_cert,
            "tls.key": certificates.server_key,
            "clients.pem": certificates.ca,
            "mqtt.crt": client.cert,
            "mqtt.key": client.key,
            "mqtt.pem": certificates.ca,
        }
        for name, source in sources.items():
            shutil.copy(source, directory / name)
        (directory / "password").write_text("secret")
        tls = {
            "cert_file": "tls.crt",
            "key_file": "tls.key",
            "client_ca_file": "clients.pem",
            "client_auth_type": "VerifyClientCertIfGiven",
        }
        hashed = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
        web = {"tls_server_config": tls, "basic_auth_users": {"alice": hashed}}
        (directory / "web.yml").write_text(yaml.safe_dump(web))
        self.daemon: Daemon = daemon_of(
            start=False,
            tls=TlsFiles(directory / "mqtt.crt", directory / "mqtt.key", directory / "mqtt.pem"),
            mqtt={
                "transport": "aiomqtt",
                "username": "user",
                "password_file": str(directory / "password"),
            },
            metrics={
                "web_config": str(directory / "web.yml"),
                "health_listen": f"127.0.0.1:{free_port()}",
            },
        )
        self.daemon.settings["mqtt"]["tls"]["refresh"] = "1s"
        self.daemon.write()
        self.daemon.start()

    def path(self, name: str) -> Path:
        return self.daemon.config if name == "presenced.yaml" else self.directory / name

    def said(self, text: str) -> bool:
        return text in self.daemon.log_file.read_text()

    def ends_when_asked(self) -> None:
        """It answers until then."""
        daemon = self.daemon
        assert daemon.get("/-/healthy", daemon.health_port)[0] == 200
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(timeout=5) == 0


@pytest.fixture
def files(tmp_path: Path, daemon_of: Any, certificates: Certificates) -> Files:
    return Files(tmp_path, daemon_of, certificates)


@pytest.mark.parametrize("name", [*WATCHED, *RELOADED, *MQTT])
def test_a_fifo_in_the_place_of_a_file_is_refused(files: Files, name: str) -> None:
    path = files.path(name)
    path.unlink()
    os.mkfifo(path)
    if name not in WATCHED:
        files.daemon.signal(signal.SIGHUP)
    wait_for(lambda: files.said("is a FIFO (named pipe), not a regular file"))
    files.ends_when_asked()


@pytest.mark.parametrize("name", [WATCHED[0], WATCHED[1], *RELOADED])
def test_a_device_without_end_is_refused(files: Files, name: str) -> None:
    path = files.path(name)
    path.unlink()
    path.symlink_to("/dev/zero")
    if name not in WATCHED:
        files.daemon.signal(signal.SIGHUP)
    wait_for(lambda: files.said("is a character device, not a regular file"))
    files.ends_when_asked()


@pytest.mark.parametrize("name", ["web.yml", "presenced.yaml", "password"])
def test_a_file_without_end_is_refused(files: Files, name: str) -> None:
    with files.path(name).open("ab") as file:
        file.truncate(2**40)
    if name not in WATCHED:
        files.daemon.signal(signal.SIGHUP)
    wait_for(lambda: files.said("is larger than 1 MiB"))
    files.ends_when_asked()


@pytest.mark.parametrize("name", [*WATCHED, *RELOADED, *MQTT])
def test_a_file_system_that_hangs_does_not_stop_the_daemon(files: Files, name: str) -> None:
    with hanging(files.path(name)) as hangs:
        if name in RELOADED:
            files.daemon.signal(signal.SIGHUP)
        wait_for(hangs, what=f"{name} being opened")
        files.ends_when_asked()


@pytest.mark.parametrize("name", ["web.yml", "presenced.yaml"])
def test_what_hangs_is_named_and_read_when_it_answers_again(files: Files, name: str) -> None:
    path = files.path(name)
    with hanging(path) as hangs:
        files.daemon.signal(signal.SIGHUP)
        wait_for(hangs, what=f"{name} being opened")
        wait_for(lambda: files.said(f"{path}: could not be read within 5 s"))
        assert files.daemon.get("/-/healthy", files.daemon.health_port)[0] == 200
    files.daemon.signal(signal.SIGHUP)
    wait_for(lambda: files.said("configuration reloaded"))
