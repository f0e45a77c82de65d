"""The daemon as a process of its own, started as anyone would start it.

The daemon's configuration file for the embedded broker.
"""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Never, Self

import aiohttp

from presenced.settings.values import ListenAddress
from presenced_emulator.certificates import HOST, Certificates
from presenced_emulator.truth import ATTRIBUTES

COMMAND = (sys.executable, "-m", "presenced")
READY_WITHIN = 30.0
STOP_WITHIN = 5.0
POLL_EVERY = 0.1
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=5)


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def clean_environment() -> dict[str, str]:
    """Copy the environment without what would change the daemon's configuration.

    A user who has settings of a real fleet exported must not have the demo meddle with it.
    """
    ours = ("PRESENCED_", "NOTIFY_SOCKET", "WATCHDOG_", "STATE_DIRECTORY")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def url_of(address: ListenAddress) -> str:
    """Where something that listens there can be reached from this machine."""
    reachable = {None: "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # not bound
    host = str(reachable.get(address.host, address.host))
    return f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"


class Daemon:
    """An async context manager: `presenced run` works inside it and is stopped at its end.

    `url` is where its HTTP listener can be reached.
    """

    def __init__(self, config: Path, url: str) -> None:
        self._config = config
        self._url = url
        self._process: Process
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Start the daemon; what it logs goes where the demo's own errors go."""
        # In a session of its own it does not get the terminal's Ctrl-C, but our SIGTERM.
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("run", "--config", str(self._config)),
            env=clean_environment(),
            stdin=DEVNULL,
            start_new_session=True,
        )
        self._http = aiohttp.ClientSession(self._url, timeout=REQUEST_TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask the daemon to stop, and kill it if it does not."""
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
                    await asyncio.sleep(POLL_EVERY)
        except TimeoutError:
            raise DemoError(f"presenced did not get ready: {reason}") from None

    async def metrics(self) -> str:
        """Scrape the daemon once."""
        try:
            async with self._http.get("/metrics", raise_for_status=True) as response:
                return await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoError(f"no metrics: {error or 'no answer'}") from error

    async def died(self) -> Never:
        """Wait for the daemon to end by itself, which it should not."""
        status = await self._process.wait()
        raise DemoError(f"presenced ended by itself with status {status}; its log is above")


CLIENT_ID = "presenced"

TEMPLATE = """\
# Written by `presenced demo` for its embedded broker; it is removed when the demo ends.
mqtt:
  transport: aiomqtt        # the embedded broker speaks MQTT 3.1.1, which awscrt does not
  protocol: "3.1.1"
  endpoint: {endpoint}
  port: {port}
  client_id: {client_id}
  tls:                      # mutual TLS, as with AWS IoT Core, from a throw-away authority
    cert: {cert}
    key: {key}
    ca: {ca}
  connections:
    - ["$aws/events/#"]
  qos: 1
  keep_alive: 30s
  session_expiry: 0s
  max_message_rate: null    # only AWS discards what comes faster than 100 messages a second
presence:
  offline_delay: 5s
metrics:
  listen: {listen}
  thing_attributes: {attributes}
log:
  level: warning
"""


def configuration(certificates: Certificates, *, port: int, listen: str) -> str:
    """Write the file's text for a broker on this port and metrics on this address."""
    pair = certificates.daemon
    values: dict[str, str | tuple[str, ...]] = {
        "endpoint": HOST,
        "client_id": CLIENT_ID,
        "cert": str(pair.cert),
        "key": str(pair.key),
        "ca": str(certificates.ca),
        "listen": listen,
        "attributes": ATTRIBUTES,
    }
    # JSON is YAML, whatever characters a path holds.
    quoted = {name: json.dumps(value) for name, value in values.items()}
    return TEMPLATE.format(port=port, **quoted)
