"""The protected listener of `presenced run`, and a real Prometheus that scrapes it."""

import base64
import shutil
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import bcrypt
import trustme
import yaml

from brokers import free_port
from certificates import Certificates, issue
from daemons import Daemon
from listeners import client_context
from prometheus_server import Prometheus, tool
from waiting import wait_for

PASSWORD = "correct horse"


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(10)).decode()


def basic(password: str) -> dict[str, str]:
    return {
        "Authorization": "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode()
    }


def logged(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    return [line for line in daemon.log if line["event"] == event]


class Station:
    """A daemon with mutual TLS and a password, and a Prometheus that has both."""

    def __init__(self, directory: Path, daemon_of: Any, certificates: Certificates) -> None:
        self.authority = trustme.CA()
        self.directory = directory
        self.ca = directory / "listener-ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.web, self.password_file = directory / "web.yml", directory / "password"
        self.password_file.write_text(PASSWORD)
        self.renew("first")
        self.configure(PASSWORD, certificates)
        self.context = client_context(self.ca, certificates.client)
        client = certificates.client
        self.daemon: Daemon = daemon_of(
            metrics={
                "web_config": str(self.web),
                "health_listen": f"127.0.0.1:{free_port()}",
            }
        )
        self.prometheus = Prometheus(
            directory,
            self.daemon.port,
            scheme="https",
            basic_auth={"username": "prometheus", "password_file": str(self.password_file)},
            tls_config={
                "ca_file": str(self.ca),
                "cert_file": str(client.cert),
                "key_file": str(client.key),
            },
        )

    def configure(self, password: str, certificates: Certificates) -> None:
        tls = {
            "cert_file": "tls.crt",
            "key_file": "tls.key",
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": str(certificates.ca),
        }
        users = {"prometheus": hashed(password)}
        self.web.write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": users}))

    def renew(self, name: str) -> None:
        for file, new in zip(
            ("tls.crt", "tls.key"),
            issue(self.authority, self.directory, name, "127.0.0.1"),
            strict=True,
        ):
            shutil.copy(new, self.directory / file)

    @property
    def serial(self) -> str:
        with (
            socket.create_connection(("127.0.0.1", self.daemon.port)) as connection,
            self.context.wrap_socket(connection, server_hostname="127.0.0.1") as tls,
        ):
            return tls.getpeercert()["serialNumber"]

    def answer(self, context: ssl.SSLContext, password: str) -> str:
        """Version and status of the answer to a scrape, empty where there is none."""
        lines = ["GET /metrics HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in basic(password).items()]
        try:
            with (
                socket.create_connection(("127.0.0.1", self.daemon.port)) as connection,
                context.wrap_socket(connection, server_hostname="127.0.0.1") as tls,
            ):
                tls.sendall("\r\n".join([*lines, "", ""]).encode())
                return tls.recv(12).decode()
        except OSError:
            return ""


def test_prometheus_scrapes_over_mutual_tls_with_a_password(
    tmp_path: Path, daemon_of: Any, certificates: Certificates
) -> None:
    tool("prometheus")
    station = Station(tmp_path, daemon_of, certificates)
    daemon, prometheus = station.daemon, station.prometheus
    try:
        wait_for(lambda: prometheus.query("up") == 1, timeout=30, what="a scrape")
        assert prometheus.query('iot_clients{state="online"}') == 0
        (line,) = logged(daemon, "listening")
        assert line["tls"] == "TLS12 to TLS13"
        assert line["client_certificates"] == "RequireAndVerifyClientCert"
        assert line["basic_auth"] == "on"

        # Neither a certificate nor the password alone will do.
        assert station.answer(client_context(station.ca), PASSWORD) == ""
        assert station.answer(station.context, "wrong") == "HTTP/1.1 401"
        assert station.answer(station.context, PASSWORD) == "HTTP/1.1 200"

        # A new pair is served to new connections, and the scrapes go on.
        before = station.serial
        station.renew("second")
        wait_for(lambda: station.serial != before, what="the new certificate served")
        renewed = time.time()
        wait_for(lambda: prometheus.query("timestamp(up)") > renewed + 0.2)
        assert prometheus.query("up") == 1

        # Another password: refused until Prometheus has it, too.
        station.configure("battery staple", certificates)
        wait_for(lambda: prometheus.query("up") == 0, what="the old password refused")
        station.password_file.write_text("battery staple")
        wait_for(lambda: prometheus.query("up") == 1, timeout=60, what="the new password taken")
        assert PASSWORD not in daemon.log_file.read_text()
    finally:
        prometheus.stop()
    assert daemon.get("/-/healthy", daemon.health_port)[0] == 200
    assert daemon.get("/metrics", daemon.health_port)[0] == 404
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(timeout=5) == 0


def test_a_reload_takes_passwords_on_and_keeps_them_where_the_new_file_is_bad(
    tmp_path: Path, daemon_of: Any
) -> None:
    daemon: Daemon = daemon_of()
    assert daemon.get("/metrics")[0] == 200
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {"prometheus": hashed(PASSWORD)}}))
    daemon.settings["metrics"]["web_config"] = str(web)
    daemon.write()
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: daemon.get("/metrics")[0] == 401, what="a password wanted")
    assert daemon.get("/metrics", **basic(PASSWORD))[0] == 200
    (line,) = logged(daemon, "protection of the listener changed")
    assert line["basic_auth"] == "on"

    bad = tmp_path / "bad.yml"
    bad.write_text("basic_auth_users: {prometheus: hunter2}\n")
    daemon.settings["metrics"]["web_config"] = str(bad)
    daemon.write()
    daemon.signal(signal.SIGHUP)
    event = "configuration not reloaded; the running one stays"
    wait_for(lambda: logged(daemon, event), what="the bad file refused")
    (line,) = logged(daemon, event)
    assert "basic_auth_users.prometheus: is not a bcrypt hash" in line["problems"][0]
    assert daemon.get("/metrics")[0] == 401
    status, text = daemon.get("/metrics", **basic(PASSWORD))
    assert status == 200
    assert "presenced_config_last_reload_successful 0" in text
    assert "hunter2" not in daemon.log_file.read_text()


def test_a_reload_cannot_turn_tls_on(
    tmp_path: Path, daemon_of: Any, certificates: Certificates
) -> None:
    daemon: Daemon = daemon_of()
    web = tmp_path / "web.yml"
    pair = {"cert_file": str(certificates.server_cert), "key_file": str(certificates.server_key)}
    users = {"prometheus": hashed(PASSWORD)}
    web.write_text(yaml.safe_dump({"tls_server_config": pair, "basic_auth_users": users}))
    daemon.settings["metrics"]["web_config"] = str(web)
    daemon.write()
    daemon.signal(signal.SIGHUP)
    event = "metrics.web_config turns TLS on, which takes effect at the next start"
    wait_for(lambda: logged(daemon, event), what="being told so")
    # The password would travel in the clear.
    assert daemon.get("/metrics")[0] == 200
