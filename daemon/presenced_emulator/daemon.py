"""The daemon that the demo runs: its configuration file, and `presenced run` as a process."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Never, Self

import aiohttp

from presenced.commands.output import CommandError
from presenced.settings.values import ListenAddress, host_port
from presenced_emulator.certificates import HOST, Certificates
from presenced_emulator.truth import ATTRIBUTES, OFFLINE_DELAY

COMMAND = (sys.executable, "-m", "presenced")
READY_WITHIN = 30.0
STOP_WITHIN = 5.0
CLIENT_ID = "presenced"

_POLL_EVERY = 0.1
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=5)

_TEMPLATE = """\
# Written by `presenced demo` for its embedded broker; removed when the demo ends.
mqtt:
  transport: aiomqtt        # the embedded broker speaks MQTT 3.1.1, which awscrt does not
  protocol: "3.1.1"
  endpoint: {endpoint}
  port: {port}
  client_id: {client_id}
  tls:                      # mutual TLS, as with AWS IoT Core, from a temporary authority
    cert: {cert}
    key: {key}
    ca: {ca}
  connections: {connections}
  qos: 1
  keep_alive: 30s
  session_expiry: 0s
presence:
  offline_delay: {offline_delay:g}s
  timestamp_accuracy: 2s    # event times of the embedded broker are wrong by up to 1 s
  status_topics: {status_topics}
metrics:
  listen: {listen}
  thing_attributes: {attributes}
log:
  level: warning
"""


def configuration(
    certificates: Certificates,
    *,
    port: int,
    listen: str,
    sections: Mapping[str, Mapping[str, object]] | None = None,
    status_topics: Sequence[Mapping[str, str]] = (),
) -> str:
    """Return the file's text for a broker on this port and metrics on this address.

    `sections` are added to those that every demo needs. With `status_topics` the daemon subscribes
    to these instead of AWS's events.
    """
    values: dict[str, object] = {
        "endpoint": HOST,
        "client_id": CLIENT_ID,
        "cert": str(certificates.daemon.cert),
        "key": str(certificates.daemon.key),
        "ca": str(certificates.daemon.ca),
        "listen": listen,
        "attributes": ATTRIBUTES,
        "connections": [[] if status_topics else ["$aws/events/#"]],
        "status_topics": status_topics,
    }
    # JSON is YAML, whatever characters a path holds.
    quoted = {name: json.dumps(value) for name, value in values.items()}
    added = [f"{name}: {json.dumps(section)}\n" for name, section in (sections or {}).items()]
    text = _TEMPLATE.format(port=port, offline_delay=OFFLINE_DELAY, **quoted)
    return text + "".join(added)


def clean_environment() -> dict[str, str]:
    """Copy the environment without what would change the daemon's configuration.

    The demo must not touch a real fleet whose settings or credentials the user has exported.
    """
    ours = ("AWS_", "PRESENCED_", "NOTIFY_SOCKET", "WATCHDOG_", "STATE_DIRECTORY")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def url_of(address: ListenAddress) -> str:
    """Return the URL of a listen address, as this machine can reach it."""
    return f"http://{host_port(address.reachable_host, address.port)}"


class DemoError(CommandError):
    """The demo cannot go on."""


class DaemonProcess:
    """An async context manager: `presenced run` runs inside it and is stopped at its end.

    `url` is the root of its HTTP listener; `environment` are variables that it gets beside those of
    `clean_environment`.
    """

    def __init__(
        self, config: Path, url: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = (*COMMAND, "run", "--config", str(config))
        self._url = url
        self._environment = {**clean_environment(), **(environment or {})}
        self._process: Process
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Start the daemon; its log goes to standard error."""
        # In a session of its own it does not get the terminal's Ctrl-C, but our SIGTERM.
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, stdin=DEVNULL, start_new_session=True
        )
        self._http = aiohttp.ClientSession(self._url, timeout=_REQUEST_TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the daemon by SIGTERM, and by SIGKILL if it does not end in time."""
        await self._http.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._process.wait()

    async def ready(self) -> None:
        """Wait until the daemon has connected and subscribed."""
        reason = "no answer"
        try:
            async with asyncio.timeout(READY_WITHIN):
                while True:
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        async with self._http.get("/-/ready") as response:
                            reason = (await response.text()).strip()
                            if response.ok:
                                return
                    await asyncio.sleep(_POLL_EVERY)
        except TimeoutError:
            raise DemoError(f"presenced did not become ready: {reason}") from None

    async def metrics(self) -> str:
        """Return the text of one scrape."""
        try:
            async with self._http.get("/metrics", raise_for_status=True) as response:
                return await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoError(f"no metrics: {error or 'no answer'}") from error

    async def died(self) -> Never:
        """Wait until the daemon ends, which it should not do by itself, and raise DemoError."""
        status = await self._process.wait()
        raise DemoError(f"presenced ended with status {status}; see its log above")
