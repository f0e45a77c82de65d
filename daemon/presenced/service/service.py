"""The daemon: builds the river, runs it, reloads it, stops it."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from presenced.fleet import Fleet
from presenced.metrics.collector import MetricSources
from presenced.metrics.exposition import Exposition
from presenced.metrics.series import ClassCounts
from presenced.pipeline import Pipeline, Traffic
from presenced.presence import Client, Transition
from presenced.service.build import (
    certificate_expiries,
    client_filter,
    client_series,
    left_out,
    presence_rules,
    source_options,
    state_store,
)
from presenced.service.delivery import Delivery
from presenced.service.observers import Audience, TransitionLog
from presenced.settings import MetricsSettings, MqttSettings, Settings, SettingsError
from presenced.settings.pem import check_tls_files
from presenced.sources.connections import Connections
from presenced.sources.gap_detector import GapDetector
from presenced.sources.source import SourceOptions
from presenced.store.errors import StateUnusableError
from presenced.system import log
from presenced.system.loop import Clocks
from presenced.system.supervision import Readiness, Supervision, status_line
from presenced.web.api.application import Api, Sources
from presenced.web.protection import Protection, Watch, read_protection
from presenced.web.server import Listener

_LOOK_AGAIN_AFTER = 300.0
_LOOK_FOR_GAPS_EVERY = 0.25
_ALIVE_EVERY = 10.0
_DISCONNECT_WITHIN = 3.5
_SERIES_KEYS = ("per_client", "max_clients", "client_id_pattern", "thing_attributes")


class Service:
    """One daemon, to be built and run on the event loop.

    `load` reads the settings anew for a reload; it raises SettingsError where they are wrong.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._log = log.get_logger("presenced")
        self._loop = asyncio.get_running_loop()
        self._transitions = TransitionLog(self._loop)
        self._stopping = False
        self._changing = asyncio.Lock()
        self._reloading: asyncio.Future[list[str]] | None = None
        metrics = settings.metrics
        self._audience = Audience()
        self._fleet = Fleet(
            presence_rules(settings.presence),
            on_transition=self._transition,
            on_enter=self._audience.enter,
            on_forget=self._audience.forget,
            on_describe=self._audience.describe,
        )
        self._presence = self._fleet.presence
        self._pipeline = Pipeline(self._fleet, client_filter(settings))
        self._clocks = Clocks(time.monotonic, time.time)
        self._gap_detector = GapDetector(
            self._presence, self._clocks, on_hold=lambda held_at: self._delivery.hold(held_at)
        )
        self._store = state_store(settings.state, self._pipeline, self._gap_detector, self._clocks)
        self._delivery = Delivery(self._loop, self._pipeline, self._gap_detector, self._store)
        self._connections = Connections(self._delivery.inbox, self._gap_detector)
        self._view = MetricSources(
            pipeline=self._pipeline,
            series=client_series(metrics, self._fleet),
            classes=ClassCounts(metrics.client_id_pattern),
            transport=settings.mqtt.transport,
            backlog=lambda: self._delivery.inbox.backlog,
            gaps=self._gap_detector.gaps,
        )
        if self._store is not None:
            self._view.state = self._store.counts
        sources = Sources(self._pipeline, self._gap_detector, self._clocks, self._readiness)
        self._api = Api(sources, metrics, settings.history) if metrics.api else None
        self._audience.join(self._fleet, self._view, self._api)
        self._supervision = Supervision(lambda: self._readiness().ready, self._status)
        self._watch = Watch(metrics.web_config)
        self._listener = Listener(
            *metrics.listen_address,
            Exposition(self._view),
            self._readiness,
            watch=self._watch,
            health=metrics.health_address,
            reload=self.reload if metrics.enable_reload_endpoint else None,
            api=self._api.application() if self._api else None,
        )

    def restore(self) -> None:
        """Take on what an earlier process kept, where there is a state file.

        Raises StateError where the file cannot or must not be used, StateDamagedError where it was
        damaged and has been moved aside. Another service is to be built in place of this one then.
        """
        if self._store is not None:
            self._store.open()
            self._show_clients(self._settings.metrics)
            if self._api is not None:
                self._api.restored()

    def run_from_memory(self, error: StateUnusableError) -> None:
        """Keep no state, because the state file cannot be used; in place of `restore`."""
        if self._store is not None:
            self._store.run_from_memory(error)

    async def run(self, stop: asyncio.Event) -> None:
        """Listen, connect, and serve until `stop` is set; then disconnect cleanly.

        Raises ListenerError when the address of the listener is not to be had, SettingsError when
        the password file cannot be read. A broker that is down is neither: metrics tell it.
        """
        options = source_options(self._settings.mqtt)
        await self._listener.open()
        self._tell_listener()
        self._warn_of_settings(self._settings)
        if self._store is not None:
            self._store.start()
        watches = [
            asyncio.create_task(self._watch_certificates()),
            asyncio.create_task(self._watch_for_gaps()),
        ]
        try:
            await self._connect(self._settings.mqtt, options)
            self._supervision.start()
            await stop.wait()
        finally:
            self._stopping = True
            self._supervision.stop()
            self._log.info("stopping")
            for watch in watches:
                watch.cancel()
            # From here on nothing is taken that could not be acknowledged any more.
            self._delivery.close()
            await self._disconnect()
            if self._store is not None:
                await self._store.close()
            await self._listener.close()
            self._transitions.flush()
            self._log.info("stopped")

    async def _disconnect(self) -> None:
        """Stop the connections in time, also when a reload is in the middle of changing them."""
        if self._reloading is not None:
            self._reloading.cancel()
        try:
            async with asyncio.timeout(_DISCONNECT_WITHIN), self._changing:
                await self._connections.stop()
        except TimeoutError:
            self._log.warning("the connections did not stop in time")

    async def reload(self) -> list[str]:
        """Read the settings anew and take them on; wrong ones leave everything as it is.

        Returns what is wrong with them. Presence is kept. Only connections whose own options
        changed, or whose certificate files did, reconnect.
        """
        async with self._changing:
            if self._stopping:
                return ["presenced is stopping"]
            with self._supervision.reloading():
                self._reloading = asyncio.ensure_future(self._reload())
                await asyncio.wait([self._reloading])
                if self._reloading.cancelled():
                    return ["presenced is stopping"]
                return self._reloading.result()

    async def _reload(self) -> list[str]:
        try:
            settings = self._load()
            options = source_options(settings.mqtt)
            protection = read_protection(settings.metrics.web_config)
        except SettingsError as error:
            self._view.reload_successful = False
            problems = [str(problem) for problem in error.problems]
            self._log.error("configuration not reloaded; the running one stays", problems=problems)
            return problems
        self._take_on(settings, protection)
        reconnected = await self._connect(settings.mqtt, options)
        reconnected += await self._connections.renew()
        self._log.info("configuration reloaded", reconnected=reconnected)
        return []

    def _take_on(self, settings: Settings, protection: Protection) -> None:
        metrics, before = settings.metrics, self._settings.metrics
        for key in ("listen", "health_listen", "api"):
            if getattr(metrics, key) != getattr(before, key):
                self._log.warning("a change takes effect at the next start", key=f"metrics.{key}")
        for section in ("history", "state"):
            if getattr(settings, section) != getattr(self._settings, section):
                self._log.warning("a change takes effect at the next start", key=section)
        if any(getattr(metrics, key) != getattr(before, key) for key in _SERIES_KEYS):
            self._show_clients(metrics)
            if self._api is not None:
                self._api.use(metrics)
        self._listener.reload = self.reload if metrics.enable_reload_endpoint else None
        if not self._watch.follow(settings.metrics.web_config, protection):
            self._log.warning(
                "metrics.web_config turns TLS on or off, which takes effect at the next start"
            )
        log.configure(settings.log.level, settings.log.format)
        self._transitions.follow()
        self._presence.rules = presence_rules(settings.presence)
        if left_out(settings) != left_out(self._settings):
            self._pipeline.use_filter(client_filter(settings))
        self._settings = settings
        self._view.reload_successful = True
        self._view.reloaded_at = time.time()
        self._warn_of_settings(settings)

    def _show_clients(self, metrics: MetricsSettings) -> None:
        """Give all clients series and classes anew."""
        series = client_series(metrics, self._fleet)
        classes = ClassCounts(metrics.client_id_pattern)
        self._view.series, self._view.classes = series, classes
        for client in self._presence.clients.values():
            if client.transition is not None:
                series.show(client)
            classes.count(client, client.state, 1)
        self._audience.listen()

    async def _connect(self, mqtt: MqttSettings, options: list[SourceOptions]) -> int:
        before = self._pipeline.traffic
        self._pipeline.traffic = {
            client_id: before.get(client_id) or Traffic() for client_id in mqtt.client_ids
        }
        for traffic in self._pipeline.traffic.values():
            traffic.max_message_rate = mqtt.message_rate_limit
        self._gap_detector.expect(options)
        # Also for clients that were restored; not before it is known what may still come for them.
        self._delivery.timer.arm()
        begun = await self._connections.use(mqtt.transport, options)
        self._view.transport = mqtt.transport
        self._view.connections = self._connections.statuses
        self._view.certificate_expiry = certificate_expiries(mqtt)
        return begun

    async def _watch_certificates(self) -> None:
        """Take renewed certificate files within `mqtt.tls.refresh` of their appearing."""
        while True:
            tls = self._settings.mqtt.tls
            await asyncio.sleep(tls.refresh if tls else _LOOK_AGAIN_AFTER)
            try:
                async with self._changing:
                    if await self._connections.renew():
                        self._log.info("certificate files renewed")
                    self._view.certificate_expiry = certificate_expiries(self._settings.mqtt)
            except Exception:  # noqa: BLE001 - the next look may go better
                self._log.exception("could not look for renewed certificate files")

    async def _watch_for_gaps(self) -> None:
        alive_at = self._loop.time()
        while True:
            await asyncio.sleep(_LOOK_FOR_GAPS_EVERY)
            try:
                self._delivery.look(self._connections.statuses)
                if self._loop.time() - alive_at >= _ALIVE_EVERY:
                    alive_at = self._loop.time()
                    self._delivery.flush()
            except Exception:  # noqa: BLE001 - the next look may go better
                self._log.exception("could not look for gaps")

    def _transition(self, client: Client, transition: Transition) -> None:
        self._audience.transition(client, transition)
        self._transitions.add(transition)

    def _status(self) -> str:
        status = status_line(self._presence.counts.clients, self._view.connections)
        if not self._view.reload_successful:
            status += "; the last reload failed and changed nothing"
        return status

    def _readiness(self) -> Readiness:
        if self._stopping:
            return Readiness(ready=False, text="stopping")
        if not self._connections.statuses:
            return Readiness(ready=False, text="starting")
        if problems := self._connections.problems:
            return Readiness(ready=False, text="\n".join(problems))
        if catching_up := self._gap_detector.catching_up:
            text = f"catching up with what was published meanwhile: {', '.join(catching_up)}"
            return Readiness(ready=False, text=text)
        lines = ["ready: every connection is up, every filter granted"]
        lines += self._gap_detector.warnings
        if self._store is not None and (unusable := self._store.unusable):
            lines.append(
                f"the state file cannot be used ({unusable.cause}): presenced runs from memory "
                "until its next start"
            )
        return Readiness(ready=True, text="\n".join(lines))

    def _tell_listener(self) -> None:
        metrics, listener = self._settings.metrics, self._listener
        self._log.info(
            "listening",
            address=metrics.listen,
            port=listener.port,
            health_port=listener.health_port,
            **self._watch.current.summary,
        )

    def _warn_of_settings(self, settings: Settings) -> None:
        if settings.mqtt.tls:
            for problem in check_tls_files(settings.mqtt.tls, now=datetime.now(UTC)):
                self._log.warning("certificate files", problem=str(problem))
