"""The command line: usage, and what `check` and `run` refuse."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from certificates import Certificates
from command_line import run_here
from presenced import __version__
from presenced.cli import main
from presenced_emulator.daemon import clean_environment

EXAMPLE = Path(__file__).parents[1] / "config/presenced.yaml"


def presenced(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command; `run` in a process, which is ended where it refuses nothing."""
    if arguments[:1] != ("run",):
        return run_here(*arguments, **environ)
    return subprocess.run(
        [sys.executable, "-m", "presenced", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=clean_environment() | environ,
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
    commands = (
        "run",
        "reload",
        "check",
        "doctor",
        "demo",
        "record",
        "replay",
        "simulate",
        "state",
        "top",
    )
    for command in ([], *([each] for each in commands)):
        done = presenced(*command, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith("usage: presenced")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--fly"], ["replay"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = presenced(*arguments)
    assert done.returncode == 2
    assert "usage: presenced" in done.stderr


def test_check_accepts_a_valid_configuration(config: Path) -> None:
    done = presenced("check", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{config} is valid.\n"


def test_check_says_who_signs(config: Path) -> None:
    endpoint = "x-ats.iot.eu-west-1.amazonaws.com"
    config.write_text(yaml.safe_dump({"mqtt": {"endpoint": endpoint, "auth": "sigv4"}}))
    done = presenced("check", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")
    assert "uses no client certificate" in done.stdout
    assert "signed for eu-west-1 with credentials of the environment variables" in done.stdout


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


def test_check_names_files_that_do_not_match(config: Path, certificates: Certificates) -> None:
    settings = yaml.safe_load(config.read_text())
    settings["mqtt"]["tls"]["key"] = str(certificates.server_key)
    settings["mqtt"]["tls"]["ca"] = "/nowhere/ca.pem"
    config.write_text(yaml.safe_dump(settings))
    done = presenced("check", "--config", str(config))
    assert done.returncode == 2
    assert str(certificates.server_key) in done.stderr
    assert "/nowhere/ca.pem" in done.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_filter_that_no_event_matches_is_an_error(config: Path, command: str) -> None:
    filters = '[["$aws/events/presence/connected"], ["$aws/events/jobs/#"]]'
    done = presenced(command, "--config", str(config), PRESENCED_MQTT__CONNECTIONS=filters)
    assert done.returncode == 2
    for key, nearest in (("[0][0]", "presence/connected/#"), ("[1][0]", "job/#")):
        assert f"mqtt.connections{key} = " in done.stderr
        assert f"did you mean $aws/events/{nearest}?" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("directory", "is a directory"), ("", "is empty or not UTF-8 text")],
)
def test_check_reads_the_password_file_as_run_does(
    config: Path, content: str | None, message: str
) -> None:
    password = config.parent / "password"
    if content == "directory":
        password.mkdir()
    elif content is not None:
        password.write_text(content)
    settings = yaml.safe_load(config.read_text())
    settings["mqtt"] |= {"username": "u", "password_file": str(password)}
    settings["metrics"] = {"listen": "127.0.0.1:0"}
    config.write_text(yaml.safe_dump(settings))
    problem = f"mqtt.password_file = {password}: {message}"
    assert problem in presenced("run", "--config", str(config)).stderr
    wrong_cert = {"PRESENCED_MQTT__TLS__CERT": "/nowhere/cert.pem"}
    for environ in ({}, wrong_cert):
        done = presenced("check", "--config", str(config), **environ)
        assert done.returncode == 2
        assert f"error: {problem}" in done.stderr
        found = "mqtt.tls.cert = /nowhere/cert.pem: no such file" in done.stderr
        assert found is (environ is wrong_cert)


@pytest.mark.parametrize("command", ["check", "run", "doctor"])
def test_the_example_needs_an_endpoint(config: Path, command: str) -> None:
    done = presenced(command, "--config", str(EXAMPLE))
    assert done.returncode == 2
    assert "mqtt.endpoint" in done.stderr
    assert "is the placeholder of the example" in done.stderr


def test_check_warns_of_a_certificate_that_expires_soon(
    config: Path, certificates: Certificates
) -> None:
    soon = certificates.second_client
    soon.key.chmod(0o600)
    settings = yaml.safe_load(config.read_text())
    settings["mqtt"]["tls"] |= {"cert": str(soon.cert), "key": str(soon.key)}
    config.write_text(yaml.safe_dump(settings))
    done = presenced("check", "--config", str(config))
    assert done.returncode == 0
    warning = f"presenced: warning: mqtt.tls.cert = {soon.cert}: expires within 30 days, on "
    assert done.stderr.startswith(warning)


def test_check_of_a_missing_file() -> None:
    done = presenced("check", "--config", "/nowhere/presenced.yaml")
    assert done.returncode == 2
    assert "/nowhere/presenced.yaml" in done.stderr


def test_check_warns_of_a_missing_state_directory(config: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    for path, warnings in ((config.parent / "p.db", 0), (config.parent / "nowhere/p.db", 1)):
        config.write_text(yaml.safe_dump({**settings, "state": {"path": str(path)}}))
        done = presenced("check", "--config", str(config))
        assert done.returncode == 0
        assert done.stderr.count(f"there is no directory {path.parent}") == warnings


def test_check_warns_of_a_state_path_that_is_a_directory(config: Path) -> None:
    done = presenced("check", "--config", str(config), PRESENCED_STATE__PATH=str(config.parent))
    assert done.returncode == 0
    warning = f"warning: state.path = {config.parent}: is a directory: set state.path to a file"
    assert warning in done.stderr


def test_check_warns_of_a_state_path_that_leads_to_no_file(config: Path) -> None:
    loop, pipe = config.with_name("loop.db"), config.with_name("pipe.db")
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path, what in (
        (loop, "Too many levels of symbolic links"),
        (config.with_name("p" * 300), "File name too long"),
        (pipe, "is not a regular file"),
    ):
        done = presenced("check", "--config", str(config), PRESENCED_STATE__PATH=str(path))
        assert done.returncode == 0
        warning = f"warning: state.path = {path}: {what}: set state.path to a file"
        assert warning in done.stderr


@pytest.mark.parametrize("place", ["closed/p.db", "closed/nowhere/p.db"])
def test_check_warns_of_a_state_directory_that_it_may_not_write(
    open_directory: Path, place: str
) -> None:
    path = open_directory / place
    (open_directory / "closed").mkdir(mode=0)
    config = open_directory / "presenced.yaml"
    mqtt = {"endpoint": "broker.example", "tls": False}
    config.write_text(yaml.safe_dump({"mqtt": mqtt, "state": {"path": str(path)}}))
    # The first run imports all: the other user may not be let in where Python lies.
    code = (
        "import os, sys; from presenced.cli import main\n"
        "check = lambda: main(['check', '--config', sys.argv[1]])\n"
        "if os.geteuid() == 0: check(); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(check())"
    )
    command = [sys.executable, "-c", code, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    warning = f"warning: state.path = {path}: this user may not write the directory {path.parent}"
    assert warning in done.stderr


def test_state_names_a_directory(config: Path) -> None:
    for action in (["show"], ["show", "a"], ["forget", "a"], ["export"]):
        done = presenced("state", *action, "--file", str(config.parent))
        assert done.returncode == 1
        message = f"the state file {config.parent} is a directory: name the file in it\n"
        assert done.stderr == f"presenced: {message}"


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


@pytest.fixture
def web(config: Path, certificates: Certificates) -> Path:
    """A web configuration file that the configuration names."""
    path = config.parent / "web.yml"
    pair = {"cert_file": str(certificates.server_cert), "key_file": str(certificates.server_key)}
    path.write_text(yaml.safe_dump({"tls_server_config": pair}))
    settings = yaml.safe_load(config.read_text())
    settings["metrics"] = {"web_config": "web.yml", "listen": "127.0.0.1:0"}
    config.write_text(yaml.safe_dump(settings))
    return path


def test_check_validates_the_web_configuration(config: Path, web: Path) -> None:
    assert presenced("check", "--config", str(config)).returncode == 0
    web.write_text("tls_server_config:\n  cert_fil: x\nrate_limit: {interval: 1}\n")
    done = presenced("check", "--config", str(config))
    assert done.returncode == 2
    assert f"error: {web}:2: tls_server_config.cert_fil: unknown key" in done.stderr
    assert "did you mean tls_server_config.cert_file?" in done.stderr
    assert f"error: {web}:3: rate_limit.interval = 1: has no unit: write 1s" in done.stderr


def test_check_warns_of_a_listener_whose_certificate_expires_soon(
    config: Path, web: Path, certificates: Certificates
) -> None:
    soon = certificates.second_client
    pair = {"cert_file": str(soon.cert), "key_file": str(soon.key)}
    web.write_text(yaml.safe_dump({"tls_server_config": pair}))
    done = presenced("check", "--config", str(config))
    assert done.returncode == 0
    assert "warning: tls_server_config.cert_file" in done.stderr
    assert "expires within 30 days" in done.stderr


def test_check_refuses_yaml_that_aliases_make_huge(config: Path, web: Path) -> None:
    lines = (f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]\n" for n in range(1, 20))
    bomb = f"k0: &k0 [x]\n{''.join(lines)}"
    settings = config.read_text()
    for path in (web, config):
        path.write_text(bomb)
        done = presenced("check", "--config", str(config))
        assert done.returncode == 2
        assert f"{path}:5:35: contains more than 10,000 values" in done.stderr
        config.write_text(settings)


def test_check_warns_of_an_unsupported_web_setting(config: Path, web: Path) -> None:
    web.write_text(web.read_text() + "http_server_config: {http2: true}\n")
    done = presenced("check", "--config", str(config))
    assert done.returncode == 0
    assert "warning: http_server_config.http2 = true: is not supported" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls_server_config: {cert_file: a, key_file: b}\n", "tls_server_config.cert_file = "),
        ("tls_server_confg: {}\n", "did you mean tls_server_config?"),
        (None, "metrics.web_config = "),
    ],
)
def test_run_refuses_a_bad_web_configuration(
    config: Path, web: Path, text: str | None, message: str
) -> None:
    if text is None:
        web.unlink()
    else:
        web.write_text(text)
    done = presenced("run", "--config", str(config))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_command_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("presenced.commands.check.run", interrupted)
    assert main(["check"]) == 1
