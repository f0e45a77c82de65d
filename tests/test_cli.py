"""The command line, as a person or a unit file calls it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from certificates import Certificates
from presenced import __version__


def presenced(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PRESENCED_")}
    return subprocess.run(
        [sys.executable, "-m", "presenced", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=clean | environ,
    )


@pytest.fixture
def config(tmp_path: Path, certificates: Certificates) -> Path:
    client = certificates.client
    client.key.chmod(0o600)
    path = tmp_path / "presenced.yaml"
    tls = {"cert": str(client.cert), "key": str(client.key), "ca": str(client.ca)}
    path.write_text(yaml.safe_dump({"mqtt": {"endpoint": "broker.example", "tls": tls}}))
    return path


def test_help_and_version() -> None:
    assert presenced("--version").stdout == f"presenced {__version__}\n"
    for command in ([], ["run"], ["check"], ["demo"], ["replay"]):
        done = presenced(*command, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith("usage: presenced")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--fly"], ["replay"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = presenced(*arguments)
    assert done.returncode == 2
    assert "usage: presenced" in done.stderr


def test_check_of_what_is_right(config: Path) -> None:
    done = presenced("check", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{config} is valid.\n"


def test_check_prints_every_error_with_its_key(config: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["mqtt"]["keep_alvie"] = "30s"
    settings["presence"] = {"offline_delay": "5"}
    config.write_text(yaml.safe_dump(settings))
    done = presenced("check", "--config", str(config))
    assert done.returncode == 2
    assert "mqtt.keep_alvie" in done.stderr
    assert "did you mean mqtt.keep_alive?" in done.stderr
    assert "presence.offline_delay" in done.stderr


def test_check_names_files_that_do_not_go_together(
    config: Path, certificates: Certificates
) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["mqtt"]["tls"]["key"] = str(certificates.server_key)
    settings["mqtt"]["tls"]["ca"] = "/nowhere/ca.pem"
    config.write_text(yaml.safe_dump(settings))
    done = presenced("check", "--config", str(config))
    assert done.returncode == 2
    assert str(certificates.server_key) in done.stderr
    assert "/nowhere/ca.pem" in done.stderr


def test_check_of_a_file_that_is_not_there() -> None:
    done = presenced("check", "--config", "/nowhere/presenced.yaml")
    assert done.returncode == 2
    assert "/nowhere/presenced.yaml" in done.stderr


def test_check_warns_of_what_has_no_effect(config: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**settings, "state": {"path": "/tmp/p.db"}}))
    done = presenced("check", "--config", str(config))
    assert done.returncode == 0
    assert "state.path has no effect" in done.stderr


def test_run_needs_an_endpoint() -> None:
    done = presenced("run", PRESENCED_MQTT__TLS="false")
    assert done.returncode == 2
    assert "mqtt.endpoint" in done.stderr


def test_run_needs_the_certificate_files(config: Path) -> None:
    done = presenced("run", "--config", str(config), "--cert", "/nowhere/cert.pem")
    assert done.returncode == 2
    assert "/nowhere/cert.pem" in done.stderr
    assert "--cert" in done.stderr or "mqtt.tls.cert" in done.stderr


def test_flags_override_the_environment_which_overrides_the_file(config: Path) -> None:
    wrong = "two words"
    done = presenced("run", "--config", str(config), PRESENCED_MQTT__ENDPOINT=wrong)
    assert (done.returncode, wrong in done.stderr) == (2, True)
    done = presenced(
        "run", "--config", str(config), "--endpoint", "a:b:c/d", PRESENCED_MQTT__ENDPOINT=wrong
    )
    assert (done.returncode, wrong in done.stderr) == (2, False)
    assert "--endpoint" in done.stderr
