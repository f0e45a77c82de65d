"""A closer look at a connection that fails: which of its steps, and why.

awscrt tells only that TLS negotiation failed, and with TLS 1.3 a server rejects a client
certificate by closing a connection that looked established. So the daemon walks the same way once
more with the standard library, which names the cause.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Hashable

from presenced.sources.faults import Fault, FaultReason
from presenced.sources.mqtt.symptoms import network_fault
from presenced.sources.mqtt.tls import alpn_fault, client_context, examine_files, stamps, tls_fault
from presenced.sources.source import SourceOptions
from presenced.system.loop import in_thread

_STEP_TIMEOUT = 5.0
_ALERT_TIMEOUT = 1.0
_REPEAT_AFTER = 60.0


class Diagnostician:
    """Explains failures of one connection without blocking the loop.

    The broker is contacted for it at most once per `repeat_after` seconds, unless the kind of
    symptom or the certificate files change; in between the last finding stands.
    """

    def __init__(
        self,
        options: SourceOptions,
        *,
        examine: Callable[[SourceOptions], Fault | None] | None = None,
        repeat_after: float = _REPEAT_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._examine = examine or diagnose
        self._repeat_after = repeat_after
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: tuple[Hashable, float, Fault | None] | None = None

    async def explain(self, symptom: Fault) -> Fault:
        """The cause of a failure where one is found, else the symptom itself."""
        async with self._lock:
            key = (symptom.reason, stamps(self._options.tls))
            if self._last is None or self._last[0] != key or self._clock() >= self._last[1]:
                found = await in_thread(lambda: self._examine(self._options), name="diagnosis")
                self._last = (key, self._clock() + self._repeat_after, found)
            return self._last[2] or symptom


def diagnose(options: SourceOptions) -> Fault | None:
    """Walk the way to the broker up to the TLS handshake; None if nothing on it is wrong.

    Blocks for some seconds at most, apart from the resolution of the name, and sends no MQTT
    packet: a second connection under the same client ID would end the first.
    """
    if options.tls and (fault := examine_files(options.tls)):
        return fault
    try:
        connection = socket.create_connection(
            (options.endpoint, options.port), timeout=_STEP_TIMEOUT
        )
    except OSError as error:
        return network_fault(error, options)
    with connection:
        return handshake(connection, options) if options.tls else _is_tls(connection, options)


def handshake(
    connection: socket.socket,
    options: SourceOptions,
    *,
    met: Callable[[ssl.SSLSocket], None] = lambda _: None,
) -> Fault | None:
    """Negotiate TLS and wait for what the server says of our certificate; None if all is well.

    `met` is called between the two, when the server's certificate has been found good. Whatever
    comes of it, the connection cannot be used afterwards.
    """
    try:
        context = client_context(options)
        with context.wrap_socket(connection, server_hostname=options.endpoint) as secured:
            met(secured)
            if options.alpn and secured.selected_alpn_protocol() is None:
                return alpn_fault(options)
            return _verdict(secured, options)
    except TimeoutError:
        return Fault(
            FaultReason.TLS,
            f"the server at {options.address} did not finish the TLS handshake in time",
            "Check that mqtt.port is a TLS port and that nothing between here and there blocks it",
        )
    except OSError as error:
        return tls_fault(error, options)


def _verdict(secured: ssl.SSLSocket, options: SourceOptions) -> Fault | None:
    """Wait for what the server says of our certificate; silence means that it is content."""
    secured.settimeout(_ALERT_TIMEOUT)
    with contextlib.suppress(TimeoutError):
        if not secured.recv(1):
            return Fault(
                FaultReason.TLS_CLIENT_CERTIFICATE,
                f"the server at {options.address} closes the connection right after the TLS"
                " handshake",
                "On AWS, look whether the client certificate is active and has a policy:"
                " aws iot describe-certificate",
            )
    return None


def _is_tls(connection: socket.socket, options: SourceOptions) -> Fault | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Nothing is sent over it; the only question is whether the port speaks TLS.
    context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_socket(connection).close()
    except OSError:
        return None
    return Fault(
        FaultReason.TLS,
        f"the server at {options.address} expects TLS",
        "Give mqtt.tls its files instead of `false`, or use the plaintext port",
    )
