"""What the aiomqtt transport takes from aiomqtt and paho-mqtt beyond aiomqtt's public interface."""

import asyncio
import importlib.metadata
import inspect
import tomllib
from pathlib import Path

import aiomqtt
import paho.mqtt.client
import pytest
from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

# What paho_socket.py and aiomqtt_link.py set or call.
PAHO_CALLBACKS = [
    "on_connect",
    "on_disconnect",
    "on_message",
    "on_unsubscribe",
    "on_publish",
    "on_socket_open",
    "on_socket_close",
    "on_socket_register_write",
    "on_socket_unregister_write",
]
PAHO_METHODS = {
    "ack": ["mid", "qos"],
    "connect": ["host", "port", "keepalive", "clean_start", "properties"],
    "disconnect": [],
    "loop_misc": [],
    "loop_read": [],
    "loop_write": [],
    "manual_ack_set": ["on"],
    "socket": [],
}


def paho_client_of(client: aiomqtt.Client) -> object:
    return vars(client).get("_client")


def test_aiomqtt_has_the_paho_client() -> None:
    async def scenario() -> None:
        client = aiomqtt.Client("localhost")
        assert isinstance(paho_client_of(client), paho.mqtt.client.Client), "aiomqtt.Client._client"

    asyncio.run(scenario())


@pytest.mark.parametrize("name", PAHO_CALLBACKS)
def test_paho_has_the_callback(name: str) -> None:
    found = inspect.getattr_static(paho.mqtt.client.Client, name, None)
    assert isinstance(found, property), f"paho.mqtt.client.Client.{name}"
    assert found.fset is not None, f"paho.mqtt.client.Client.{name} cannot be set"


@pytest.mark.parametrize("name", ["on_unsubscribe", "on_publish"])
def test_aiomqtt_uses_the_callbacks_that_are_passed_on_to_it(name: str) -> None:
    async def scenario() -> None:
        assert getattr(paho_client_of(aiomqtt.Client("localhost")), name) is not None

    asyncio.run(scenario())


@pytest.mark.parametrize("name", PAHO_METHODS)
def test_paho_has_the_method(name: str) -> None:
    method = getattr(paho.mqtt.client.Client, name, None)
    assert method is not None, f"paho.mqtt.client.Client.{name}"
    parameters = inspect.signature(method).parameters
    missing = [each for each in PAHO_METHODS[name] if each not in parameters]
    assert not missing, f"paho.mqtt.client.Client.{name} has no parameter {missing}"


def test_paho_has_the_keep_alive_that_applies() -> None:
    found = inspect.getattr_static(paho.mqtt.client.Client, "keepalive", None)
    assert isinstance(found, property), "paho.mqtt.client.Client.keepalive"


@pytest.mark.parametrize("package", ["aiomqtt", "paho-mqtt"])
def test_only_tested_releases_are_allowed(package: str) -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    (pin,) = (r for r in map(Requirement, project["dependencies"]) if r.name == package)
    assert importlib.metadata.version(package) in pin.specifier
    assert any(clause.operator in ("<", "==") for clause in pin.specifier), "an upper bound"
