"""The life of the daemon: restore, run, reload, watch, stop."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from presenced.events.message import Message
from presenced.metrics.exposition import Exposition
from presenced.presence import Client
from presenced.service.build import read_source_files
from presenced.service.shard import Shard
from presenced.service.stages import Stages
from presenced.service.status_line import status_line
from presenced.settings import Problem, Settings, SettingsError
from presenced.settings.credential_files import expiries
from presenced.settings.file_access import FileAccess
from presenced.settings.files import FileSnapshot
from presenced.sources.source import SourceFiles
from presenced.store.errors import StateDamagedError, StateUnusableError
from presenced.system import log
from presenced.system.supervision import Readiness, Supervision
from presenced.web.connections import connection_limit
from presenced.web.protection import Protection, ProtectionWatcher, read_protection
from presenced.web.server import Listener

_CHECK_CERTIFICATES_EVERY = 300.0
_CHECK_FOR_GAPS_EVERY = 0.25
# Between the two looks of a reload.
_RELOAD_PAUSE = 0.2
_STORE_ALIVE_EVERY = 10.0
_DISCONNECT_TIMEOUT = 3.5
_SERIES_KEYS = (
    "per_client",
    "max_clients",
    "client_id_pattern",
    "thing_attributes",
    "thing_groups",
)


class Service:
    """One daemon, built and run on the event loop.

    `load` reads the settings for a reload, in a thread; it raises SettingsError if they are wrong.
    """

    def __init__(self, settings: Settings, load: Callable[[FileSnapshot], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._log = log.get_logger("presenced")
        self._throttled_log = log.ThrottledLogger(self._log)
        self._files = FileAccess("configuration", pause=_RELOAD_PAUSE)
        self._stopping = False
        self._changing = asyncio.Lock()
        self._reloading: asyncio.Future[list[str]] | None = None
        metrics, limit = settings.metrics, connection_limit()
        self._stages = stages = Stages(settings, self.readiness, limit)
        self._supervision = Supervision(lambda: self.readiness().ready, self._status)
        self._watcher = ProtectionWatcher(metrics.web_config)
        self._listener = Listener(
            *metrics.listen_address,
            Exposition(stages.metric_sources),
            self.readiness,
            watcher=self._watcher,
            health=metrics.health_address,
            reload=self.reload if metrics.enable_reload_endpoint else None,
            api=stages.api.application() if stages.api else None,
            allowed_hosts=metrics.allowed_hosts,
            max_connections=limit,
        )

    def restore(self, damage: StateDamagedError | None = None) -> None:
        """Take over what an earlier process stored, if there is a state file.

        `damage` is that of a file that has been moved aside. Raises StateError if the file cannot
        or must not be used, StateDamagedError if it was damaged and has been moved aside. Another
        service must then be built in place of this one.
        """
        if self._stages.store is not None:
            self._stages.store.open(damage)
            for shard in self._stages.shards:
                shard.clients.restored()

    def run_from_memory(self, error: StateUnusableError) -> None:
        """Keep no state, because the state file cannot be used; in place of `restore`."""
        if self._stages.store is not None:
            self._stages.store.run_from_memory(error)

    async def run(self, stop: asyncio.Event) -> None:
        """Listen, connect, and serve until `stop` is set; then disconnect cleanly.

        Raises ListenerError if the address of the listener is taken, SettingsError if the password
        file cannot be read. A broker that is down raises nothing: metrics show it.
        """
        settings = self._settings
        files = (
            await self._files.look(lambda snapshot: read_source_files(settings, snapshot))
        ).value
        await self._listener.open()
        self._log_listener()
        self._log_certificate_problems(files.problems)
        if self._stages.store is not None:
            self._stages.store.start()
        watches = [
            asyncio.create_task(self._watcher.watch()),
            asyncio.create_task(self._watch_certificates()),
            asyncio.create_task(self._watch_for_gaps()),
        ]
        try:
            await self._connect(settings, files)
            if self._stages.reconciler is not None:
                self._stages.reconciler.start()
            self._supervision.start()
            await stop.wait()
        finally:
            self._stopping = True
            self._supervision.stop()
            self._log.info("stopping")
            for watch in watches:
                watch.cancel()
            # From here on no message is taken that could not be acknowledged any more.
            self._stages.shards.close()
            await self._disconnect()
            # After a reload that was under way has ended, which could start it again.
            if self._stages.reconciler is not None:
                await self._stages.reconciler.stop()
            if self._stages.store is not None:
                await self._stages.store.close()
            await self._listener.close()
            self._log.info("stopped")

    def ingest(self, message: Message) -> bool:
        """Take a message as if it came over a connection; False if it is refused."""
        return self._only_shard.delivery.inbox.put(message)

    @property
    def _only_shard(self) -> Shard:
        (shard,) = self._stages.shards
        return shard

    @property
    def port(self) -> int:
        """The port that the listener has; of the kernel's choice if port 0 was asked for."""
        return self._listener.port

    @property
    def clients(self) -> Mapping[str, Client]:
        """The clients that are known, by client ID."""
        return self._only_shard.fleet.presence.clients

    def readiness(self) -> Readiness:
        """Return whether the daemon is ready, or why not."""
        if self._stopping:
            return Readiness(ready=False, text="stopping")
        stages, source = self._stages, self._stages.source
        mqtt = stages.metric_sources.mqtt
        if not source.started:
            return Readiness(ready=False, text="starting")
        # Under `stall` a file that cannot be written is what keeps presence behind.
        state = stages.store.problems if stages.store is not None else []
        if problems := source.problems:
            return Readiness(
                ready=False,
                text="\n".join([*state, *problems]),
                catching_up=source.catching_up,
                missing_since=mqtt.missing_since if mqtt else None,
                unreceived=mqtt.unreceived if mqtt else None,
            )
        what = "every connection is up, every filter granted" if mqtt else source.summary
        lines = [f"ready: {what}", *source.warnings, *state]
        if mqtt:  # messages of queues and topics have the clock of AWS, or of the brokers
            lines += self._only_shard.warnings
        if stages.reconciler is not None:
            lines += stages.reconciler.problems
        return Readiness(ready=True, text="\n".join(lines))

    async def reload(self) -> list[str]:
        """Read the settings again and apply them; wrong ones change nothing.

        Returns what is wrong with them or with the files that they name. Presence is kept. Only
        connections whose own options, or whose certificate files, changed reconnect.
        """
        async with self._changing:
            if self._stopping:
                return ["presenced is stopping"]
            with self._supervision.reloading():
                self._reloading = asyncio.ensure_future(self._reload())
                await asyncio.wait([self._reloading])
            if self._reloading.cancelled():
                return ["presenced is stopping"]
            try:
                problems = self._reloading.result()
            except Exception as error:  # noqa: BLE001 - reported; nothing else reads it
                problems = self._reload_failed(error)
            if self._stages.store is not None:
                self._stages.store.note_reload(problems)
            return problems

    async def _reload(self) -> list[str]:
        try:
            look = await self._files.look_until_settled(self._read_all)
            settings, files, protection = look.value
            self._watcher.current.check_successor(protection, settings.metrics.web_config)
            if self._stages.trial is not None:
                await self._stages.trial.try_settings(settings)
        except SettingsError as error:
            self._stages.metric_sources.reload_successful = False
            problems = [str(problem) for problem in error.problems]
            self._log.error("configuration not reloaded; the running one stays", problems=problems)
            return problems
        self._apply(settings, protection)
        self._log_certificate_problems(files.problems)
        reconnected = await self._connect(settings, files)
        reconnected += await self._stages.source.renew()
        if self._stages.reconciler is not None:
            self._stages.reconciler.use(settings)
        self._log.info("configuration reloaded", reconnected=reconnected)
        return []

    def _reload_failed(self, error: Exception) -> list[str]:
        """Report a reload that failed, perhaps half-way; the next one applies everything again."""
        self._stages.metric_sources.reload_successful = False
        if isinstance(error, SettingsError):
            problems = [str(problem) for problem in error.problems]
            self._log.error("configuration not reloaded completely", problems=problems)
            return problems
        self._log.exception("configuration not reloaded completely, by an error in presenced")
        return ["an error in presenced, which its log has; some settings may be used: reload again"]

    def _read_all(self, snapshot: FileSnapshot) -> tuple[Settings, SourceFiles, Protection]:
        """Read the settings and all files that they name; raises SettingsError."""
        settings = self._load(snapshot)
        return (
            settings,
            read_source_files(settings, snapshot),
            read_protection(settings.metrics.web_config, snapshot),
        )

    def _apply(self, settings: Settings, protection: Protection) -> None:
        before, metrics = self._settings, settings.metrics
        for key in _changed_for_next_start(before, settings):
            self._log.warning("a change takes effect at the next start", key=key)
        if any(getattr(metrics, key) != getattr(before.metrics, key) for key in _SERIES_KEYS):
            self._stages.shards.use_metrics(metrics)
            if self._stages.api is not None:
                self._stages.api.use(metrics)
        self._listener.reload = self.reload if metrics.enable_reload_endpoint else None
        self._listener.cross_site.allowed_hosts = metrics.allowed_hosts
        if not self._watcher.use(metrics.web_config, protection):
            self._log.warning(
                "metrics.web_config turns TLS on, which takes effect at the next start"
            )
        log.configure(settings.log.level, settings.log.format)
        self._stages.transitions.use_configuration()
        self._stages.shards.use(settings)
        # Last: after a failure half-way the next reload applies everything again.
        self._settings = settings
        self._stages.metric_sources.reload_successful = True
        self._stages.metric_sources.reloaded_at = time.time()

    async def _connect(self, settings: Settings, files: SourceFiles) -> int:
        started = await self._stages.source.use(settings, files)
        # Deadlines of restored clients waited until it was known which messages may still come.
        self._stages.shards.arm()
        self._stages.metric_sources.transport = settings.transport
        self._stages.metric_sources.certificate_expiry = dict(files.expiries)
        return started

    async def _disconnect(self) -> None:
        """Stop the connections in time, even if a reload is changing them."""
        if self._reloading is not None:
            self._reloading.cancel()
        try:
            async with asyncio.timeout(_DISCONNECT_TIMEOUT), self._changing:
                await self._stages.source.stop()
        except TimeoutError:
            self._log.warning("the connections did not stop in time")

    async def _watch_certificates(self) -> None:
        """Take renewed certificate files within `mqtt.tls.refresh` of their appearing."""
        while True:
            tls = self._settings.tls_files
            await asyncio.sleep(tls.refresh if tls else _CHECK_CERTIFICATES_EVERY)
            try:
                async with self._changing:
                    if await self._stages.source.renew():
                        self._log.info("certificate files renewed")
                    look = await self._files.look(partial(expiries, self._settings))
                    self._stages.metric_sources.certificate_expiry = look.value
            except SettingsError as error:
                self._throttled_log.warning("certificate files not checked", problem=str(error))
            except Exception:  # noqa: BLE001 - the next check may succeed
                self._log.exception("could not check for renewed certificate files")

    async def _watch_for_gaps(self) -> None:
        loop = asyncio.get_running_loop()
        alive_at = loop.time()
        while True:
            await asyncio.sleep(_CHECK_FOR_GAPS_EVERY)
            try:
                self._stages.check()
                if loop.time() - alive_at >= _STORE_ALIVE_EVERY:
                    alive_at = loop.time()
                    self._stages.shards.flush()
            except Exception:  # noqa: BLE001 - the next check may succeed
                self._log.exception("could not check for gaps")

    def _status(self) -> str:
        status = status_line(self._stages.shards.clients, self._stages.source.summary)
        if not self._stages.metric_sources.reload_successful:
            status += "; the last reload failed and changed nothing"
        return status

    def _log_listener(self) -> None:
        self._log.info(
            "listening",
            address=self._settings.metrics.listen,
            port=self._listener.port,
            health_port=self._listener.health_port,
            **self._watcher.current.summary,
        )
        self._watcher.log_warnings()

    def _log_certificate_problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._log.warning("certificate files", problem=str(problem))


def _changed_for_next_start(before: Settings, after: Settings) -> list[str]:
    """Return the keys that differ and take effect at the next start only."""
    keys = [
        f"metrics.{key}"
        for key in ("listen", "health_listen", "api")
        if getattr(after.metrics, key) != getattr(before.metrics, key)
    ]
    sections = ("source", "history", "state")
    keys += [key for key in sections if getattr(after, key) != getattr(before, key)]
    if after.reconcile.enabled != before.reconcile.enabled:
        keys.append("reconcile.enabled")
    return keys
