"""The steps of MQTT over WebSocket: the credentials, and the handshake signed with them."""

import time
from functools import partial

from presenced.aws.credentials import Credentials
from presenced.commands.doctor.aws_findings import credentials_found
from presenced.commands.doctor.report import Finding, Status
from presenced.settings.files import FileSnapshot
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.diagnosis import diagnose
from presenced.sources.mqtt.link import ConnectError
from presenced.sources.mqtt.websocket import find_credentials, upgrade


class WebSocketProbe:
    """The steps of one connection, in this order. No MQTT packet is sent."""

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self._credentials: Credentials | None = None

    async def credentials(self) -> Finding:
        """Look up the credentials as the daemon does before each connection."""
        try:
            found = self._credentials = await find_credentials(self._options)
        except ConnectError as error:
            return Finding.of(error.fault)
        return credentials_found(
            found.source, found.expires - time.time() if found.expires is not None else None
        )

    def handshake(self) -> Finding:
        """Send the signed handshake; blocks for some seconds at most."""
        assert self._credentials is not None  # noqa: S101 - the step before has found them
        step = partial(upgrade, options=self._options, credentials=self._credentials)
        if fault := diagnose(self._options, FileSnapshot(), step):
            return Finding.of(fault)
        return Finding(Status.OK, f"accepted, signed for {self._options.signing_region}")
