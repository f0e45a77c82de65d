"""The protection of the listener: the web configuration file, reloaded when a file changes."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from presenced.settings import Problem, SettingsError
from presenced.settings.web import WebConfig, read_web_config
from presenced.system.log import get_logger
from presenced.web.tls import load_context

FileStates = dict[Path, tuple[int, ...] | None]
"""What differs if a file has changed; None for a file that cannot be read."""


@dataclass(frozen=True, slots=True, repr=False)
class Protection:
    """The content of the web configuration file and of the files that it names."""

    config: WebConfig
    context: ssl.SSLContext | None
    users: dict[str, str]
    warnings: tuple[Problem, ...]
    files: FileStates

    @property
    def summary(self) -> dict[str, str]:
        """What is enabled, in words for the log."""
        tls = self.config.tls_server_config
        limit = self.config.rate_limit
        return {
            "tls": f"{tls.min_version} to {tls.max_version}" if tls else "off",
            "client_certificates": tls.client_auth_type if tls else "off",
            "basic_auth": "on" if self.users else "off",
            "rate_limit": f"{limit.burst} at once" if limit.interval else "off",
        }


def read_protection(path: Path | None, files: FileStates | None = None) -> Protection:
    """Read the file and the files that it names; without a path, nothing is protected.

    `files` receives the state that each file has before it is read, so that a change while it is
    read counts as another change. Raises SettingsError with everything that is wrong.
    """
    files = {} if files is None else files
    if path is not None:
        files[path] = _file_state(path)
    config = read_web_config(path) if path is not None else WebConfig()
    warnings, context = _warnings(config), None
    if (tls := config.tls_server_config) is not None:
        for named in (tls.cert_file, tls.key_file, tls.client_ca_file):
            if named is not None:
                files[named] = _file_state(named)
        context, certificate_warnings = load_context(tls)
        warnings += certificate_warnings
    users = {name: stored.get_secret_value() for name, stored in config.basic_auth_users.items()}
    return Protection(config, context, users, warnings, files)


def _warnings(config: WebConfig) -> tuple[Problem, ...]:
    found = []
    http, tls = config.http_server_config, config.tls_server_config
    if "http2" in http.model_fields_set and http.http2:
        message = "is not supported: clients fall back to HTTP/1.1"
        found.append(("http_server_config.http2", "true", message))
    if tls and tls.min_version in ("TLS10", "TLS11"):
        message = "allows TLS versions that are broken (RFC 8996)"
        found.append(("tls_server_config.min_version", tls.min_version, message))
    return tuple(
        Problem(key=key, value=value, message=message, severity="warning")
        for key, value, message in found
    )


class ProtectionWatcher:
    """The current protection, kept up to date with its files.

    Raises SettingsError if they cannot be used at first. If they cannot be used later, for example
    because only the certificate has been replaced but not its key, the previous protection stays
    and one line is logged.
    """

    def __init__(self, path: Path | None) -> None:
        self._log = get_logger("presenced.http")
        self._path = path
        self._current = read_protection(path)
        self._files = self._current.files

    @property
    def current(self) -> Protection:
        """The protection, read again if a file has changed."""
        if any(_file_state(file) != state for file, state in self._files.items()):
            self._reload()
        return self._current

    def use(self, path: Path | None, protection: Protection) -> bool:
        """Use a protection that was read from a file, and watch that file.

        Return False and change nothing if it would turn TLS on or off, which takes a restart.
        """
        if (protection.context is None) != (self._current.context is None):
            return False
        if protection.summary != self._current.summary:
            self._log.info("protection of the listener changed", **protection.summary)
        self._path, self._current, self._files = path, protection, protection.files
        self.log_warnings()
        return True

    def _reload(self) -> None:
        self._files = {}
        try:
            protection = read_protection(self._path, self._files)
        except SettingsError as error:
            self._log.error(
                "web configuration not reloaded; the running one stays",
                problems=[str(problem) for problem in error.problems],
            )
            return
        if self.use(self._path, protection):
            self._log.info("web configuration reloaded", file=str(self._path))
        else:
            self._log.error(
                "web configuration not reloaded: turning TLS on or off takes a restart",
                file=str(self._path),
            )

    def log_warnings(self) -> None:
        """Log what is doubtful about the current protection."""
        for problem in self._current.warnings:
            self._log.warning("web configuration", problem=str(problem))


def _file_state(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    # With the change time: a copy may have the modification time of its original.
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
