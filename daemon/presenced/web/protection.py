"""How the listener is protected at this moment: the web configuration file, kept up to date.

The TLS of new connections, and why handshakes fail.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from presenced.settings import Problem, SettingsError
from presenced.settings.web import WebConfig, read_web_config
from presenced.system.log import ThrottledLogger, get_logger
from presenced.web.tls import LiveContext, build_context, read_material

_OLD_VERSIONS = ("TLS10", "TLS11")
Stamp = tuple[int, ...] | None
Stamps = dict[Path, Stamp]


@dataclass(frozen=True, slots=True, repr=False)
class Protection:
    """One consistent reading of the web configuration file and of the files that it names."""

    config: WebConfig
    context: ssl.SSLContext | None
    users: dict[str, str]
    warnings: tuple[Problem, ...]
    stamps: Stamps

    @property
    def summary(self) -> dict[str, str]:
        """What is on, in words for the log."""
        tls = self.config.tls_server_config
        limit = self.config.rate_limit
        return {
            "tls": f"{tls.min_version} to {tls.max_version}" if tls else "off",
            "client_certificates": tls.client_auth_type if tls else "off",
            "basic_auth": "on" if self.users else "off",
            "rate_limit": f"{limit.burst} at once" if limit.interval else "off",
        }


def read_protection(path: Path | None, seen: Stamps | None = None) -> Protection:
    """Read the file and what it names; without a file nothing is protected.

    `seen` is filled with the files as they were, before they are read: what changes meanwhile shows
    as another change. Raises SettingsError with everything that is wrong.
    """
    stamps: Stamps = {} if seen is None else seen
    if path is not None:
        stamps[path] = _stamp(path)
    config = read_web_config(path) if path is not None else WebConfig()
    warnings = _warnings(config)
    context = None
    if (tls := config.tls_server_config) is not None:
        named = (tls.cert_file, tls.key_file, tls.client_ca_file)
        stamps.update({file: _stamp(file) for file in named if file is not None})
        material = read_material(tls)
        context = build_context(tls, material)
        warnings += material.warnings
    users = {name: stored.get_secret_value() for name, stored in config.basic_auth_users.items()}
    return Protection(config, context, users, warnings, stamps)


def _warnings(config: WebConfig) -> tuple[Problem, ...]:
    found = []
    http, tls = config.http_server_config, config.tls_server_config
    if "http2" in http.model_fields_set and http.http2:
        message = "is not spoken: clients fall back to HTTP/1.1"
        found.append(("http_server_config.http2", "true", message))
    if tls and tls.min_version in _OLD_VERSIONS:
        message = "allows versions of TLS that are broken (RFC 8996)"
        found.append(("tls_server_config.min_version", tls.min_version, message))
    return tuple(
        Problem(key=key, value=value, message=message, severity="warning")
        for key, value, message in found
    )


class Watch:
    """Keeps a protection up to date with its files.

    Raises SettingsError when it cannot be read at first. Later a bad file, a pair of which one half
    is new, or the like, leaves what there was in place, which is logged once.
    """

    def __init__(self, path: Path | None) -> None:
        self._log = get_logger("presenced.http")
        self._path = path
        self._now = read_protection(path)
        self._seen = self._now.stamps
        self._warn()

    @property
    def current(self) -> Protection:
        """The protection, read anew if a file changed."""
        if any(_stamp(file) != stamp for file, stamp in self._seen.items()):
            self._renew()
        return self._now

    def follow(self, path: Path | None, protection: Protection) -> bool:
        """Take on what was read from a file, and watch that one.

        False, and nothing changes, where it would turn TLS on or off: that takes a restart.
        """
        if (protection.context is None) != (self._now.context is None):
            return False
        if protection.summary != self._now.summary:
            self._log.info("protection of the listener changed", **protection.summary)
        self._path, self._now, self._seen = path, protection, protection.stamps
        self._warn()
        return True

    def _renew(self) -> None:
        self._seen = {}
        try:
            protection = read_protection(self._path, self._seen)
        except SettingsError as error:
            self._log.error(
                "web configuration not reloaded; the running one stays",
                problems=[str(problem) for problem in error.problems],
            )
            return
        if self.follow(self._path, protection):
            self._log.info("web configuration reloaded", file=str(self._path))
        else:
            self._log.error(
                "web configuration not reloaded: turning TLS on or off takes a restart",
                file=str(self._path),
            )

    def _warn(self) -> None:
        for problem in self._now.warnings:
            self._log.warning("web configuration", problem=str(problem))


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    # The time of change, too: a copy may bring the modification time of its original.
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


_HINTS = {
    "HTTP_REQUEST": "the client speaks plain HTTP: set `scheme: https` in its scrape_config",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has no certificate, which client_auth_type"
    " demands: set cert_file and key_file in its tls_config",
    "CERTIFICATE_VERIFY_FAILED": "no authority of client_ca_file signed the client's certificate,"
    " or it is not valid now",
    "UNSUPPORTED_PROTOCOL": "the client's versions of TLS lie outside min_version to max_version",
    "NO_SHARED_CIPHER": "the client knows none of cipher_suites",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust our certificate: set ca_file in its"
    " tls_config",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
}


def live_context(watch: Watch) -> LiveContext | None:
    """A context that follows a watched protection; None where that has no TLS."""
    if watch.current.context is None:
        return None
    return LiveContext.of(lambda: watch.current.context, _Report())


class _Report:
    """Logs failed handshakes, each reason once in a while: whoever scans ports causes many."""

    def __init__(self) -> None:
        self._log = ThrottledLogger(get_logger("presenced.http"))

    def __call__(self, error: ssl.SSLError) -> None:
        reason = error.reason or type(error).__name__
        self._log.info("TLS handshake failed", key=reason, reason=reason, hint=_HINTS.get(reason))
