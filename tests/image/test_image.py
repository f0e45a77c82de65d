"""The image as Docker would run it: what is in it, how it starts, answers and stops."""

import json
import os
import re
import shlex
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

import containers
import kubernetes_objects
from brokers import Mosquitto, free_port
from certificates import Certificates
from containers import STRICT, Container
from image_sbom import image_sbom
from presenced import __version__
from waiting import wait_for

USER = 65532
STATE = "/var/lib/presenced"
MEGABYTE = 1_000_000
# What the image adds to its base; 14 MB of it are Kafka's client.
MOST_BYTES, MOST_COMPRESSED = 80 * MEGABYTE, 30 * MEGABYTE


@pytest.fixture
def settings(tmp_path: Path, certificates: Certificates) -> Path:
    """A directory to mount at /etc/presenced, readable for the image's user only."""
    directory = tmp_path / "etc"
    (directory / "certs").mkdir(parents=True)
    tls = certificates.client
    for file, name in (
        (tls.cert, "certificate.pem.crt"),
        (tls.key, "private.pem.key"),
        (tls.ca, "AmazonRootCA1.pem"),
    ):
        copy = directory / "certs" / name
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o400)
        os.chown(copy, USER, USER)
    return directory


def configure(directory: Path, *, port: int, listen: str) -> str:
    """Write presenced.yaml; returns the option that mounts the directory."""
    tree = {
        "mqtt": {"endpoint": "localhost", "port": port},
        "metrics": {"listen": listen},
    }
    (directory / "presenced.yaml").write_text(yaml.safe_dump(tree))
    return f"--volume={directory}:/etc/presenced:ro"


def answer(port: int, path: str) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as page:
            return page.read().decode()
    except OSError:
        return None


def python(image: str, program: str, *options: str) -> str:
    """What a program prints that runs in the image."""
    done = containers.run(image, "-c", program, options=("--entrypoint=python3", *options))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_the_image_says_of_itself(image: str) -> None:
    found = containers.inspect(image)
    config = found["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["presenced"]
    assert config["Cmd"] == ["run"]
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert list(config["ExposedPorts"]) == ["9883/tcp"]
    assert list(config["Volumes"]) == [STATE]
    assert f"STATE_DIRECTORY={STATE}" in config["Env"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "presenced"
    assert labels["org.opencontainers.image.version"] == containers.VERSION
    assert labels["org.opencontainers.image.revision"] == containers.REVISION
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert found["Healthcheck"]["Test"] == [
        "CMD",
        "python3",
        "-m",
        "presenced.commands.healthcheck",
    ]


@pytest.mark.parametrize("user", [None, "12345:12345", "0:0"])
def test_it_runs_as_any_user(image: str, user: str | None) -> None:
    options = [*STRICT, f"--user={user}"] if user else STRICT
    done = containers.run(image, "--version", options=options)
    assert (done.stdout, done.returncode) == (f"presenced {__version__}\n", 0), done.stderr


def test_check_reads_mounted_files(image: str, settings: Path) -> None:
    mount = configure(settings, port=8883, listen=":9883")
    command = ("check", "--config", "/etc/presenced/presenced.yaml")
    done = containers.run(image, *command, options=(*STRICT, mount))
    assert (done.returncode, done.stderr) == (0, "")
    assert "is valid" in done.stdout

    done = containers.run(image, *command, options=(*STRICT, mount, "--user=12345"))
    assert done.returncode == 2
    assert "private.pem.key" in done.stderr


def test_without_configuration_it_says_what_is_missing(image: str) -> None:
    done = containers.run(image, options=STRICT)
    assert done.returncode == 2
    assert "mqtt.endpoint" in done.stderr


def test_life_on_a_broker(
    image: str, settings: Path, certificates: Certificates, broker_of: Any, container_of: Any
) -> None:
    """With mutual TLS, a read-only root and no capability: health, a hang, and the end."""
    broker: Mosquitto = broker_of(certificates=certificates)
    port = free_port()
    mount = configure(settings, port=broker.port, listen=f"127.0.0.1:{port}")
    container = container_of(image, options=(*STRICT, mount))
    container.wait_until_healthy()
    wait_for(lambda: answer(port, "/-/ready"), what=f"readiness: {container.log}")
    payload = json.dumps({"clientId": "pump", "versionNumber": 0}).encode()
    broker.publish([("$aws/events/presence/connected/pump", payload)])
    online = 'iot_client_connected{client_id="pump"} 1'
    wait_for(lambda: online in (answer(port, "/metrics") or ""), what="the client online")

    container.signal(signal.SIGSTOP)
    assert not container.healthy(), "it hangs"
    container.signal(signal.SIGCONT)
    container.wait_until_healthy()

    before = time.monotonic()
    container.signal(signal.SIGTERM)
    assert container.wait() == 0, container.log
    assert time.monotonic() - before < 5
    wait_for(lambda: broker.saw_disconnect("presenced"), what="a DISCONNECT")


def pod_options(kind: str, configuration: Path, secrets: Path) -> list[str]:
    """The container of a pod, as options of podman; its volumes are directories and a tmpfs."""
    of = kubernetes_objects.container(kind)
    security = kubernetes_objects.pod(kind)["spec"]["securityContext"]
    places = {"config": configuration, "certificates": secrets}
    assert of["securityContext"]["readOnlyRootFilesystem"]
    options = [*STRICT, f"--user={security['runAsUser']}:{security['runAsGroup']}"]
    for name, value in kubernetes_objects.environment(kind, "presenced-1").items():
        options.append(f"--env={name}={value}")
    for mount in of["volumeMounts"]:
        if mount["name"] == "state":
            options.append(f"--mount=type=tmpfs,dst={mount['mountPath']},tmpfs-mode=0777")
        else:
            source = places[mount["name"]] / mount.get("subPath", "")
            options.append(f"--volume={source}:{mount['mountPath']}:ro")
    return options


def test_the_pod_of_kubernetes_runs(
    image: str, settings: Path, certificates: Certificates, broker_of: Any, container_of: Any
) -> None:
    """As config/kubernetes/pair has it: the second pod, by its probe, on a broker with TLS."""
    broker: Mosquitto = broker_of(certificates=certificates)
    port, health = free_port(), free_port()
    text = kubernetes_objects.only("pair", "ConfigMap")["data"]["presenced.yaml"]
    tree = yaml.safe_load(
        text.replace("xxxxxxxxxxxxxx-ats.iot.eu-west-1.amazonaws.com", "localhost")
    )
    # The machine's own network has other ports.
    tree["mqtt"]["port"] = broker.port
    tree["metrics"] = {"listen": f":{port}", "health_listen": f":{health}"}
    (settings / "presenced.yaml").write_text(yaml.safe_dump(tree))
    options = pod_options("pair", settings, settings / "certs")
    arguments = kubernetes_objects.container("pair")["args"]
    container = container_of(image, *arguments, options=options)
    probe = kubernetes_objects.container("pair")["readinessProbe"]["httpGet"]["path"]
    wait_for(lambda: answer(health, probe), what=f"readiness: {container.log}")
    assert " as presenced-1 " in broker.log


def on_plain_broker(broker: Mosquitto, port: int) -> list[str]:
    """Options of a daemon on a broker without TLS, and without an offline delay."""
    environment = {
        "MQTT__ENDPOINT": "localhost",
        "MQTT__PORT": broker.port,
        "MQTT__TLS": "false",
        "METRICS__LISTEN": f"127.0.0.1:{port}",
        "PRESENCE__OFFLINE_DELAY": "0s",
    }
    return [*STRICT, *(f"--env=PRESENCED_{name}={value}" for name, value in environment.items())]


def publish(broker: Mosquitto, kind: str, *client_ids: str) -> None:
    events = [
        (f"$aws/events/presence/{kind}/{name}", json.dumps({"clientId": name, "versionNumber": 0}))
        for name in client_ids
    ]
    broker.publish([(topic, payload.encode()) for topic, payload in events])


def wait_for_presence(port: int, container: Container, wanted: dict[str, str]) -> None:
    """Wait until the daemon is ready and tells `wanted`: 1 or 0 for each client."""
    wait_for(lambda: answer(port, "/-/ready"), what=f"readiness: {container.log}")
    wait_for(lambda: presence(port) == wanted, what=f"{wanted}: {container.log}")


def presence(port: int) -> dict[str, str]:
    series = r'^iot_client_connected\{client_id="(.+)"\} (\d)'
    return dict(re.findall(series, answer(port, "/metrics") or "", re.MULTILINE))


@pytest.mark.parametrize("user", [USER, 12345, 0])
def test_presence_outlives_the_container(
    image: str, volume: str, broker_of: Any, container_of: Any, user: int
) -> None:
    """Killed, removed, and made anew with the same volume, whoever it runs as."""
    broker, port = broker_of(), free_port()
    options = [*on_plain_broker(broker, port), f"--user={user}", f"--volume={volume}:{STATE}"]
    first = container_of(image, options=options)
    wait_for_presence(port, first, {})
    publish(broker, "connected", "stays", "leaves")
    wait_for_presence(port, first, {"stays": "1", "leaves": "1"})
    first.remove()
    publish(broker, "disconnected", "leaves")
    second = container_of(image, options=options)
    wait_for_presence(port, second, {"stays": "1", "leaves": "0"})
    total = 'iot_client_transitions_total{to="online"} 2'
    assert total in (answer(port, "/metrics") or "")
    shown = containers.podman("exec", second.id, "presenced", "state", "show")
    assert shown.startswith(f"{STATE}/presenced.db: ")


def test_without_a_volume_of_a_name_presence_outlives_restarts(
    image: str, broker_of: Any, container_of: Any
) -> None:
    broker, port = broker_of(), free_port()
    container = container_of(image, options=on_plain_broker(broker, port))
    wait_for_presence(port, container, {})
    publish(broker, "connected", "stays")
    wait_for_presence(port, container, {"stays": "1"})
    container.restart()
    wait_for_presence(port, container, {"stays": "1"})


def test_any_user_may_write_to_a_new_volume(image: str) -> None:
    """It takes on the mode of the image's own directory."""
    program = f"import os; print(oct(os.stat('{STATE}').st_mode & 0o7777))"
    assert python(image, program, "--image-volume=ignore") == "0o777"


@pytest.mark.parametrize("how", ["flag", "environment", "file"])
def test_the_health_check_knows_where_it_listens(
    image: str, settings: Path, container_of: Any, how: str
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    mount = configure(settings, port=free_port(), listen=listen if how == "file" else ":1")
    options, arguments = [*STRICT, mount], ["run"]
    if how == "flag":
        arguments += ["--listen", listen]
    if how == "environment":
        options.append(f"--env=PRESENCED_METRICS__LISTEN={listen}")
    if how == "file":
        (settings / "presenced.yaml").rename(settings / "other.yaml")
        arguments += ["--config=/etc/presenced/other.yaml"]
    container_of(image, *arguments, options=options).wait_until_healthy()


def test_nothing_is_left_of_the_build(image: str) -> None:
    program = "import os; print(*(os.path.join(d, f) for d, _, fs in os.walk('/opt') for f in fs))"
    files = python(image, program).split()
    assert "/opt/presenced/bin/presenced" in files
    tools = re.compile(r"/(pip|setuptools|wheel|hatchling)(-[0-9.]+\.dist-info)?/|/bin/pip")
    assert [file for file in files if tools.search(file)] == []
    assert python(image, "import os; print(os.path.exists('/build'))") == "False"
    assert python(image, "import os; print(os.path.exists('/wheels'))") == "False"
    assert python(image, "import os; print(os.path.exists('/etc/pip.conf'))") == "False"
    history = containers.podman("history", "--no-trunc", "--format={{.CreatedBy}}", image)
    for text in (history, json.dumps(containers.inspect(image))):
        assert "find-links" not in text
        assert "index" not in text.replace("--no-index", "")


def test_what_is_installed_is_what_is_locked(image: str) -> None:
    program = (
        "import importlib.metadata as m; "
        "print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    )
    installed = {spelt(name) for name in python(image, program).split()}
    lock = (containers.PROJECT / "requirements.lock").read_text()
    locked = {spelt(name) for name in re.findall(r"^([\w.-]+==[\w.!+-]+)", lock, re.M)}
    assert installed - {f"presenced=={__version__}"} == locked


def spelt(pin: str) -> str:
    """A pin as every tool spells it."""
    name, _, version = pin.partition("==")
    return f"{re.sub('[-_.]+', '-', name).lower()}=={version}"


def test_the_list_of_components_has_all_that_is_installed(image: str) -> None:
    program = (containers.PROJECT / "config" / "sbom" / "list_components.py").read_text()
    listed = json.loads(python(image, program))
    found = {each["purl"] for each in json.loads(image_sbom(listed))["components"]}
    lock = (containers.PROJECT / "requirements.lock").read_text()
    locked = {spelt(name) for name in re.findall(r"^([\w.-]+==[\w.!+-]+)", lock, re.M)}
    names = {url.removeprefix("pkg:pypi/") for url in found if url.startswith("pkg:pypi/")}
    assert {spelt(name.replace("@", "==")) for name in names} == locked
    assert any(url.startswith("pkg:deb/debian/libc6@") for url in found)
    assert any(url.startswith("pkg:generic/python@") for url in found)


def test_podman_builds_an_image_with_its_health_check(base: str, tmp_path: Path) -> None:
    found = containers.inspect(containers.make_image(tmp_path))
    assert found["Healthcheck"]["Test"][-1] == "presenced.commands.healthcheck"


def test_two_builds_are_the_same_bytes(image: str, tmp_path: Path) -> None:
    again = containers.build("presenced", tmp_path, "--no-cache", tag="again")
    first, second = (containers.inspect(name)["RootFS"]["Layers"] for name in (image, again))
    assert first == second


def test_bytecode_is_there_and_nobody_can_write(image: str) -> None:
    program = """
import importlib.util, os
for directory, _, files in os.walk("/opt/presenced"):
    for file in files:
        path = os.path.join(directory, file)
        if path.endswith(".py") and not os.path.exists(importlib.util.cache_from_source(path)):
            print(path)
        status = os.lstat(path)
        if not os.path.islink(path) and (status.st_uid or status.st_mode & 0o022):
            print(path)
"""
    assert python(image, program) == ""


def test_it_is_small(image: str, base: str) -> None:
    added = containers.inspect(image)["Size"] - containers.inspect(base)["Size"]
    assert added < MOST_BYTES, added
    program = """
import io, tarfile
buffer = io.BytesIO()
with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
    archive.add("/opt/presenced")
print(buffer.tell())
"""
    compressed = int(python(image, program))
    assert compressed < MOST_COMPRESSED


def test_the_demo(demo_image: str, container_of: Any) -> None:
    port = free_port()
    options = [*STRICT, "--tmpfs=/tmp"]
    container = container_of(demo_image, "demo", "--listen", f"127.0.0.1:{port}", options=options)
    container.wait_until_healthy()
    wait_for(
        lambda: re.search(r'iot_clients{state="online"} [1-9]', answer(port, "/metrics") or ""),
        timeout=60,
        what=f"devices online: {container.log}",
    )
    container.signal(signal.SIGTERM)
    assert container.wait() == 0, container.log


def test_the_commands_of_the_documentation(
    image: str, settings: Path, certificates: Certificates, broker_of: Any
) -> None:
    """Word for word, but for the engine, the network, the directory and the image's name."""
    broker: Mosquitto = broker_of(certificates=certificates)
    port = free_port()
    configure(settings, port=broker.port, listen=f"127.0.0.1:{port}")
    start, check, show, health, reload, stop = documented_commands()
    assert start[:2] == ["docker", "run"]
    start[start.index("/etc/presenced:/etc/presenced:ro")] = f"{settings}:/etc/presenced:ro"
    try:
        container = Container(image, options=start[2:-1])
        container.wait_until_healthy()
        wait_for(lambda: answer(port, "/-/ready"), what=f"readiness: {container.log}")
        assert "is valid" in containers.podman(*check[1:])
        assert "/var/lib/presenced/presenced.db: format" in containers.podman(*show[1:])
        assert containers.podman(*health[1:]) == "healthy"
        containers.podman(*reload[1:])
        wait_for(lambda: "configuration reloaded" in container.log, what=container.log)
        containers.podman(*stop[1:])
        wait_for(lambda: broker.saw_disconnect("presenced"), what="a DISCONNECT")
        assert container.wait() == 0
    finally:
        containers.podman("rm", "--force", "--ignore", "--volumes", "--time=0", "presenced")


def documented_commands() -> list[list[str]]:
    """The lines of docs/how-to/run-in-a-container.md that start with `docker`, without Compose."""
    text = (
        (containers.PROJECT / "docs/how-to/run-in-a-container.md").read_text().replace("\\\n", " ")
    )
    lines = re.findall(r"^docker (?!compose).*$", text, re.MULTILINE)
    return [shlex.split(line) for line in lines]
