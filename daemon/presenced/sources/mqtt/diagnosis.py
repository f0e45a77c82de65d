"""Find out which step of a connection fails, and why.

awscrt reports only that TLS negotiation failed, and with TLS 1.3 a server rejects a client
certificate by closing a connection that looked established. So the steps up to the TLS handshake
are repeated with the standard library, which names the cause.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Hashable
from functools import partial

from presenced.settings import SettingsError
from presenced.settings.files import FileSnapshot
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.link import ConnectError
from presenced.sources.mqtt.symptoms import alpn_fault, network_fault, tls_fault
from presenced.sources.mqtt.tls import client_context, examine_files, file_digests
from presenced.sources.mqtt.tunnel import open_connection
from presenced.system.loop import BoundedThread

_STEP_TIMEOUT = 5.0
# Name resolution and reading files have no limit of their own.
_TIME_LIMIT = 45.0
_REPEAT_AFTER = 60.0

AfterHandshake = Callable[[ssl.SSLSocket], Fault | None]
"""A step once the server's certificate has been verified; the fault that it returns ends it."""


class Diagnostician:
    """Explains failures of one connection without blocking the loop.

    It contacts the broker at most once in 60 seconds, unless the symptom, the certificate files or
    the credentials change; in between it returns the last finding.
    """

    def __init__(
        self, options: ConnectionOptions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._options = options
        self._clock = clock
        self._lock = asyncio.Lock()
        self._thread = BoundedThread("diagnosis", _TIME_LIMIT)
        self._last: tuple[Hashable, float, Fault | None] | None = None

    async def explain(self, symptom: Fault) -> Fault:
        """Return the cause of a failure, or the symptom itself if no cause is found."""
        async with self._lock:
            upgrade, expires = None, None
            try:
                if self._options.signing_region is not None:
                    upgrade, expires = await self._signed_upgrade()
                cause = await self._thread.run(lambda: self._find_cause(symptom, upgrade, expires))
            except ConnectError as error:
                cause = error.fault
            except TimeoutError:
                cause = None
            return cause or symptom

    async def _signed_upgrade(self) -> tuple[AfterHandshake, float | None]:
        """Return a signed WebSocket handshake, and when its credentials expire."""
        # It brings in awscrt, which the transport aiomqtt does without.
        from presenced.sources.mqtt.websocket import find_credentials, upgrade

        credentials = await find_credentials(self._options)
        step = partial(upgrade, options=self._options, credentials=credentials)
        return step, credentials.expires

    def _find_cause(
        self, symptom: Fault, upgrade: AfterHandshake | None, expires: float | None
    ) -> Fault | None:
        snapshot = FileSnapshot()
        key = (symptom, expires, *file_digests(self._options.tls, snapshot).values())
        if self._last is None or self._last[0] != key or self._clock() >= self._last[1]:
            found = diagnose(self._options, snapshot, upgrade)
            self._last = (key, self._clock() + _REPEAT_AFTER, found)
        return self._last[2]


def diagnose(
    options: ConnectionOptions, snapshot: FileSnapshot, upgrade: AfterHandshake | None = None
) -> Fault | None:
    """Repeat the steps up to the TLS handshake; return None if all succeed.

    `upgrade`, a WebSocket handshake, is the last step if there is one.

    Blocks for a few seconds at most, apart from name resolution and files. Sends no MQTT packet: a
    second connection with the same client ID would end the first.
    """
    if options.tls and (fault := examine_files(options.tls, snapshot=snapshot)):
        return fault
    try:
        connection = open_connection(options, _STEP_TIMEOUT)
    except OSError as error:
        return network_fault(error, options)
    with connection:
        if options.tls:
            return handshake(connection, options, snapshot, upgrade)
        return _expects_tls(connection, options)


def handshake(
    connection: socket.socket,
    options: ConnectionOptions,
    snapshot: FileSnapshot | None = None,
    after_handshake: AfterHandshake | None = None,
) -> Fault | None:
    """Negotiate TLS and wait for a rejection of the client certificate.

    Return None if the server accepts it. The connection cannot be used afterwards. With a WebSocket
    handshake to come there is no client certificate to wait for. A key in hardware cannot be used
    here, so a server that demands the client certificate is no fault.
    """
    fault = _negotiate(connection, options, snapshot, after_handshake)
    in_hardware = options.tls is not None and options.tls.pkcs11 is not None
    if fault and fault.reason is FaultReason.TLS_CLIENT_CERTIFICATE and in_hardware:
        return None
    return fault


def _negotiate(
    connection: socket.socket,
    options: ConnectionOptions,
    snapshot: FileSnapshot | None,
    after_handshake: AfterHandshake | None,
) -> Fault | None:
    try:
        context = client_context(options, snapshot)
        with context.wrap_socket(connection, server_hostname=options.certified_name) as secured:
            if after_handshake and (fault := after_handshake(secured)):
                return fault
            if options.signing_region is not None:
                return None
            if options.alpn and secured.selected_alpn_protocol() is None:
                return alpn_fault(options)
            secured.settimeout(options.alert_timeout)
            with contextlib.suppress(TimeoutError):  # silence: the server accepts the certificate
                if not secured.recv(1):
                    return Fault(
                        FaultReason.TLS_CLIENT_CERTIFICATE,
                        f"the server at {options.address} closes the connection right after the TLS"
                        " handshake",
                        "On AWS, check that the client certificate is active and has a policy:"
                        " aws iot describe-certificate"
                        if options.may_be_aws
                        else "Check that the broker accepts the client certificate",
                    )
            return None
    except SettingsError as error:
        return Fault(FaultReason.TLS_FILES, str(error))
    except TimeoutError:
        return Fault(
            FaultReason.TLS,
            f"the server at {options.address} did not finish the TLS handshake in time",
            "Check that mqtt.port is a TLS port and that nothing between here and there blocks it",
        )
    except OSError as error:
        return tls_fault(error, options)


def _expects_tls(connection: socket.socket, options: ConnectionOptions) -> Fault | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Nothing is sent: this only checks whether the port speaks TLS.
    context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_socket(connection).close()
    except OSError:
        return None
    return Fault(
        FaultReason.TLS,
        f"the server at {options.address} expects TLS",
        "Set the files of mqtt.tls instead of `false`, or use the plaintext port",
    )
