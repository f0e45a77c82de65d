"""presenced as an installed service on a machine: what is put where, and by which commands."""

import shutil
from pathlib import Path

from certificates import Certificates
from debian import PROJECT, call
from documentation import blocks
from machines import Machine

WORK = PROJECT / "build" / "system"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "procps", "curl", "make"),
    *("python3", "python3-venv", "mosquitto", "mosquitto-clients", "softhsm2", "openssl"),
)
SOURCE, WHEELS = "/mnt/source", "/mnt/wheels"
# In the home of root, as an administrator has it; the service can read nothing there.
CLONE = "~/clone"
MOSQUITTO = """\
per_listener_settings true
log_type all
listener 8883
allow_anonymous true
cafile /etc/mosquitto/certs/ca.pem
certfile /etc/mosquitto/certs/server.crt
keyfile /etc/mosquitto/certs/server.key
require_certificate true
listener 1883 127.0.0.1
allow_anonymous true
"""
SETTINGS = "mqtt:\n  endpoint: localhost\n"
# Nothing ever listens on this port.
NO_BROKER = "mqtt:\n  endpoint: localhost\n  port: 9\nmetrics:\n  listen: 127.0.0.1:9890\n"


def documented_blocks(language: str) -> list[str]:
    """The blocks in one language of docs/how-to/run-with-systemd.md."""
    return blocks("docs/how-to/run-with-systemd.md", language)


def in_clone(script: str) -> str:
    """The script as a user runs it, with pip led to the wheels that were carried in."""
    pip = f"export PIP_NO_INDEX=1 PIP_FIND_LINKS={WHEELS} PIP_DISABLE_PIP_VERSION_CHECK=1"
    return f"{pip} PIP_ROOT_USER_ACTION=ignore\ncd {CLONE}\n{script}"


def copy_clone(directory: Path) -> Path:
    """Copy what the project consists of, committed or not yet."""
    names = call("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=PROJECT)
    for name in names.splitlines():
        if (PROJECT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, directory / name)
    return directory


def configure(machine: Machine, certificates: Certificates) -> None:
    """Put certificates and configuration where the documentation says."""
    for name, file in (
        ("ca.pem", certificates.ca),
        ("server.crt", certificates.server_cert),
        ("server.key", certificates.server_key),
    ):
        machine.write(f"/etc/mosquitto/certs/{name}", file.read_text())
    machine.write("/etc/mosquitto/conf.d/presenced.conf", MOSQUITTO)
    client = certificates.client
    for fleet in ("", "late/", "second/"):
        place = f"/etc/presenced/certs/{fleet}"
        machine.write(f"{place}certificate.pem.crt", client.cert.read_text())
        machine.write(f"{place}private.pem.key", client.key.read_text(), mode=0o600)
        machine.write(f"{place}AmazonRootCA1.pem", client.ca.read_text())
    # A tree has none, as the installer of a machine writes it.
    machine.write("/etc/hosts", "127.0.0.1 localhost\n")
    machine.write("/etc/presenced/presenced.yaml", SETTINGS)
    machine.write("/etc/presenced/late.yaml", NO_BROKER)
    machine.write("/home/somebody/secret", "not for daemons\n")


def files(machine: Machine) -> set[str]:
    """All files of the machine that installing may touch."""
    return set(machine.run("find /usr /etc /opt -not -type d | grep -v __pycache__").splitlines())
