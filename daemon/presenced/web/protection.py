"""The protection of the listener: the web configuration file, applied again when it changes."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from presenced.settings import Problem, SettingsError
from presenced.settings.file_access import FileAccess, Look
from presenced.settings.files import Digests, FileSnapshot
from presenced.settings.web import CLIENT_AUTH_TYPES, WEB_CONFIG_KEY, WebConfig, read_web_config
from presenced.system.log import ThrottledLogger, get_logger
from presenced.web.tls import load_context


@dataclass(frozen=True, slots=True, repr=False)
class Protection:
    """The content of the web configuration file and of the files that it names."""

    config: WebConfig
    context: ssl.SSLContext | None
    users: dict[str, str]
    warnings: tuple[Problem, ...]
    files: Digests

    @property
    def client_auth_type(self) -> str:
        """Which certificates clients must have, as the file names it."""
        tls = self.config.tls_server_config
        return tls.client_auth_type if tls else CLIENT_AUTH_TYPES[0]

    @property
    def client_allowed_sans(self) -> tuple[str, ...]:
        """Names of which client certificates must have one; empty for no restriction."""
        tls = self.config.tls_server_config
        return tls.client_allowed_sans if tls else ()

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

    def check_successor(self, new: "Protection", path: Path | None) -> None:
        """Raise SettingsError if `new`, read from `path`, would let in more than this one.

        A file that has lost a part, by mistake or because it is being written, must not open the
        listener. A restart shows intent.
        """
        strength = CLIENT_AUTH_TYPES.index
        weaker = {
            "turns TLS off": self.context and not new.context,
            "removes all users": self.users and not new.users,
            f"weakens client_auth_type from {self.client_auth_type} to {new.client_auth_type}": (
                strength(new.client_auth_type) < strength(self.client_auth_type)
            ),
            "removes client_allowed_sans": self.client_allowed_sans and not new.client_allowed_sans,
        }
        if changes := [change for change, applies in weaker.items() if applies]:
            problem = Problem(
                key=WEB_CONFIG_KEY,
                value=str(path) if path else "null",
                message=f"{' and '.join(changes)}, which takes a restart",
                remedy="Restart presenced if that is intended",
            )
            raise SettingsError([problem])


def read_protection(path: Path | None, snapshot: FileSnapshot | None = None) -> Protection:
    """Read the file and the files that it names; without a path, nothing is protected.

    They are read from `snapshot`, by default a new one. Raises SettingsError with everything that
    is wrong.
    """
    snapshot = snapshot or FileSnapshot()
    config = read_web_config(path, snapshot) if path is not None else WebConfig()
    warnings, context = _warnings(config), None
    named = [path]
    if (tls := config.tls_server_config) is not None:
        context, certificate_warnings = load_context(tls, snapshot)
        warnings += certificate_warnings
        named += [tls.cert_file, tls.key_file, tls.client_ca_file]
    users = {name: stored.get_secret_value() for name, stored in config.basic_auth_users.items()}
    files = {file: snapshot.digest(file) for file in named if file is not None}
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
    """The current protection. `watch` looks at its files every `interval` seconds.

    Raises SettingsError if they cannot be used at first. If they cannot be used later, for example
    because only the certificate has been replaced but not its key, or if they would let in more
    than before, the previous protection stays and one line is logged.
    """

    def __init__(self, path: Path | None, *, interval: float = 1.0) -> None:
        log = get_logger("presenced.http")
        self._log = log
        self._throttled = ThrottledLogger(log)
        self._path = path
        self._interval = interval
        self._access = FileAccess("web configuration", pause=interval)
        self._current = read_protection(path)
        # Of the last files that were read, which may have been refused.
        self._files = self._current.files

    @property
    def current(self) -> Protection:
        """The protection that applies now."""
        return self._current

    async def watch(self) -> None:
        """Apply changes of the files once two looks have found the same, until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._look()
            except SettingsError as error:
                # Throttled: while a file system hangs, every look ends like this.
                self._throttled.error(
                    "web configuration cannot be checked; the running one stays",
                    problems=[str(problem) for problem in error.problems],
                )
            except Exception:  # noqa: BLE001 - the next look may succeed
                self._throttled.exception("could not check for changes of the web configuration")

    def use(self, path: Path | None, protection: Protection) -> bool:
        """Use a protection that was read from a file, and watch that file.

        Return False and change nothing if it would turn TLS on, which takes a restart. Raises
        SettingsError if it would let in more than the current one.
        """
        self._current.check_successor(protection, path)
        if protection.context is not None and self._current.context is None:
            return False
        if protection.summary != self._current.summary:
            self._log.info("protection of the listener changed", **protection.summary)
        self._path, self._current, self._files = path, protection, protection.files
        self.log_warnings()
        return True

    def log_warnings(self) -> None:
        """Log what is doubtful about the current protection."""
        for problem in self._current.warnings:
            self._log.warning("web configuration", problem=str(problem))

    async def _look(self) -> None:
        path, files = self._path, self._files
        if not await self._access.changed(files):
            return
        look = await self._access.look_until_settled(
            lambda snapshot: read_protection(path, snapshot)
        )
        # Not if a reload has applied other files meanwhile, or if the change has been undone.
        if self._files is files and look.digests != files:
            self._files = look.digests
            self._apply_change(path, look)

    def _apply_change(self, path: Path | None, look: Look[Protection]) -> None:
        try:
            used = self.use(path, look.value)
        except SettingsError as error:
            problems = [str(problem) for problem in error.problems]
            self._log.error(
                "web configuration not reloaded; the running one stays", problems=problems
            )
            return
        if used:
            self._log.info("web configuration reloaded", file=str(path))
        else:
            self._log.error(
                "web configuration not reloaded: turning TLS on takes a restart", file=str(path)
            )
