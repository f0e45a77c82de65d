"""Check the PEM files of a TLS connection, load them, and load them again when they change."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from presenced.settings.certificates import check_tls_files, load_pair, verifying_context
from presenced.settings.file_access import FileAccess, Look
from presenced.settings.files import Digests, FileSnapshot
from presenced.sources.mqtt.connection_options import ConnectionOptions, TlsFiles
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.system.log import ThrottledLogger, get_logger

CERT, _KEY, _CA = "mqtt.tls.cert", "mqtt.tls.key", "mqtt.tls.ca"


def examine_files(
    tls: TlsFiles, now: datetime | None = None, snapshot: FileSnapshot | None = None
) -> Fault | None:
    """Return why the files cannot be used at `now`, by default the present; None if they can."""
    for problem in check_tls_files(tls, now=now or datetime.now(UTC), snapshot=snapshot):
        # A CA file without an authority may hold the server's certificate itself, which works.
        if problem.severity == "error" and problem.kind != "no_authority":
            if problem.kind not in ("expired", "not_yet_valid"):
                reason = FaultReason.TLS_FILES
            elif problem.key == CERT:
                reason = FaultReason.TLS_CLIENT_CERTIFICATE
            else:
                reason = FaultReason.TLS_SERVER_CERTIFICATE
            return Fault(reason, problem.summary, problem.remedy)
    return None


def read_pair(tls: TlsFiles, snapshot: FileSnapshot) -> tuple[bytes, bytes] | None:
    """Return the client certificate and its key, None if there is none. Raises SettingsError."""
    if tls.cert is None or tls.key is None:
        return None
    return snapshot.read(tls.cert, CERT), snapshot.read(tls.key, _KEY)


def read_authorities(tls: TlsFiles, snapshot: FileSnapshot) -> bytes | None:
    """Return the authorities to trust, None for those of the system. Raises SettingsError."""
    return snapshot.read(tls.ca, _CA) if tls.ca else None


def client_context(
    options: ConnectionOptions, snapshot: FileSnapshot | None = None
) -> ssl.SSLContext:
    """Return the standard library's TLS context for a connection.

    Raises SettingsError if a file cannot be read, and OSError, such as ssl.SSLError, if it cannot
    be used.
    """
    tls, snapshot = options.tls or TlsFiles(), snapshot or FileSnapshot()
    context = verifying_context(read_authorities(tls, snapshot))
    if (pair := read_pair(tls, snapshot)) is not None:
        load_pair(context, *pair)
    if options.alpn:
        context.set_alpn_protocols(options.alpn)
    return context


def file_digests(tls: TlsFiles | None, snapshot: FileSnapshot) -> Digests:
    """Return what differs if the content of a file has changed."""
    files = (tls.cert, tls.key, tls.ca, tls.pkcs11 and tls.pkcs11.pin_file) if tls else ()
    return {path: snapshot.digest(path) for path in files if path}


class LiveTls:
    """The TLS context of a connection, made again when its files have changed and can be used.

    `load` makes a context of the MQTT library; it is called in a thread.
    """

    def __init__(
        self, options: ConnectionOptions, load: Callable[[ConnectionOptions, FileSnapshot], Any]
    ) -> None:
        self.context: Any = None
        self._options = options
        self._load = load
        self._access = FileAccess("mqtt files")
        self._refreshing = asyncio.Lock()
        self._loaded: Digests = {}
        self._log = ThrottledLogger(get_logger("presenced.mqtt"))

    async def refresh(self) -> bool:
        """Read the files if they have changed, and return whether there is a new context.

        The first time any files are loaded, and what is wrong with them is raised. Later ones that
        are half written, do not match, are not valid now or cannot be read leave the context as it
        is.
        """
        if self._options.tls is None:
            return False
        async with self._refreshing:
            try:
                look = await self._look()
                context = look.value if look else None
            except Exception as error:
                if self.context is None:
                    raise
                problem = str(error)
                self._log.warning(
                    "changed certificate files not used", key=problem, problem=problem
                )
                return False
            if look is None or context is None:
                return False
            self.context, self._loaded = context, look.digests
            return True

    async def _look(self) -> Look[Any] | None:
        """Return what was found in the files, None if it is what has been loaded."""
        if self.context is None:
            return await self._access.look(self._load_context)
        if not await self._access.changed(self._loaded):
            return None
        return await self._access.look_until_settled(self._load_usable)

    def _load_usable(self, snapshot: FileSnapshot) -> Any:
        """Return a context if the files have changed and can be used, else None."""
        tls = self._options.tls or TlsFiles()
        if file_digests(tls, snapshot) == self._loaded or examine_files(tls, snapshot=snapshot):
            return None
        return self._load_context(snapshot)

    def _load_context(self, snapshot: FileSnapshot) -> Any:
        return self._load(self._options, snapshot)
