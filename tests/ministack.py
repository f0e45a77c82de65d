"""ministack, an emulator of AWS that others write, with its MQTT broker."""

import os
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Self

import boto3
from paho.mqtt.client import CallbackAPIVersion, Client

from brokers import missing
from presenced.sources.mqtt.connection_options import TlsFiles
from waiting import wait_for

REGION = "us-east-1"
"""The region of its broker's certificate."""

MQTT_PORT = 8883
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
"""Those of its default account; it checks no signature."""

_PORT = 4566
_HOME = Path(__file__).parent.parent / "build/ministack/bin"


def need_ministack() -> str:
    """The path of ministack; skips the test without it, and fails it in CI.

    It has an environment of its own: it needs another botocore than boto3 in the tests.
    """
    path = shutil.which("ministack", path=f"{_HOME}:{os.environ.get('PATH', '')}")
    if path is None:
        missing("ministack is not installed: make build/ministack/.done")
    return path


class Ministack:
    """A context manager: ministack runs inside it, on the ports that it always has.

    It listens on every address: run it in a network of its own.
    """

    url = f"http://127.0.0.1:{_PORT}"

    def __init__(self, command: str, directory: Path) -> None:
        self._command = command
        self._directory = directory
        self._log = directory / "ministack.log"

    def __enter__(self) -> Self:
        environment = {**os.environ, "MINISTACK_REGION": REGION, "GATEWAY_PORT": str(_PORT)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._command], stdout=log, stderr=log, env=environment, cwd=self._directory
            )
        try:
            wait_for(self._is_ready, timeout=60, what="ministack")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, f"ministack ended: {self._log.read_text()}"
        try:
            return bool(self._get("/_ministack/ready"))
        except OSError:
            return False

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
            body: bytes = answer.read()
        return body

    @property
    def iot(self) -> Any:
        """boto3's client."""
        return boto3.client(
            "iot",
            REGION,
            endpoint_url=self.url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def issue(self, name: str) -> TlsFiles:
        """Create a client certificate that may do everything, and the files to connect with it."""
        made = self.iot.create_keys_and_certificate(setAsActive=True)
        files = TlsFiles(*(self._directory / f"{name}.{kind}" for kind in ("crt", "key", "ca")))
        files.cert.write_text(made["certificatePem"])
        files.key.touch(0o600)
        files.key.write_text(made["keyPair"]["PrivateKey"])
        assert files.ca is not None
        files.ca.write_bytes(self._get("/_ministack/iot/ca.pem"))
        return files


def connect(client_id: str, tls: TlsFiles) -> Client:
    """Connect an MQTT client to ministack's broker; its thread is running."""
    client = Client(CallbackAPIVersion.VERSION2, client_id)
    client.tls_set(str(tls.ca), str(tls.cert), str(tls.key), cert_reqs=ssl.CERT_REQUIRED)
    client.connect("127.0.0.1", MQTT_PORT)
    client.loop_start()
    wait_for(client.is_connected, what=f"{client_id} to connect")
    return client
