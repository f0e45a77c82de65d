"""The daemon: builds the river, runs it, reloads it, stops it."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from presenced import log
from presenced.build import client_filter, presence_rules, source_options
from presenced.certificates import certificate_expiry, check_tls_files
from presenced.http.server import Listener, Readiness
from presenced.metrics.exposition import Exposition, View
from presenced.metrics.series import ClientSeries
from presenced.mqtt.inbox import Inbox
from presenced.mqtt.message import Message
from presenced.mqtt.source import Source
from presenced.mqtt.sources import build_source
from presenced.pipeline import Pipeline, Traffic
from presenced.presence import Client, Presence, Transition
from presenced.settings import Settings, SettingsError
from presenced.timer import DeadlineTimer

__all__ = ["Service"]

_STOP_SOURCES_WITHIN = 3.0


class Service:
    """One daemon, to be built and run on the event loop.

    `load` reads the settings anew for a reload; it raises SettingsError where they are wrong.
    """

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._log = log.get_logger("presenced")
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._sources: list[Source] = []
        metrics = settings.metrics
        self._series = ClientSeries(
            enabled=metrics.per_client,
            max_clients=metrics.max_clients,
            pattern=metrics.client_id_pattern,
        )
        self._presence = Presence(
            presence_rules(settings.presence),
            on_transition=self._transition,
            on_forget=self._series.drop,
        )
        self._pipeline = Pipeline(self._presence, client_filter(settings))
        self._inbox = Inbox(self._loop, self._deliver)
        self._timer = DeadlineTimer(self._loop, lambda: self._presence.next_deadline, self._fire)
        self._view = View(
            pipeline=self._pipeline,
            series=self._series,
            transport=settings.mqtt.transport,
            backlog=lambda: self._inbox.backlog,
        )
        address = metrics.listen_address
        self._listener = Listener(
            address.host, address.port, Exposition(self._view), self._readiness
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Listen, connect, and serve until `stop` is set; then disconnect cleanly.

        Raises ListenerError when the address of the listener is not to be had, SettingsError when
        the password file cannot be read. A broker that is down is neither: metrics tell it.
        """
        sources = self._build_sources(self._settings)
        await self._listener.open()
        self._log.info("listening", address=self._settings.metrics.listen, port=self._listener.port)
        self._warn_of_settings(self._settings)
        try:
            await self._start(sources)
            await stop.wait()
        finally:
            self._stopping = True
            self._log.info("stopping")
            await self._stop_sources()
            self._inbox.close()
            self._timer.stop()
            await self._listener.close()
            self._log.info("stopped")

    async def reload(self) -> None:
        """Read the settings anew and take them on; wrong ones leave everything as it is."""
        try:
            settings = self._load()
            sources = (
                self._build_sources(settings) if settings.mqtt != self._settings.mqtt else None
            )
        except SettingsError as error:
            self._view.reload_successful = False
            self._log.error(
                "configuration not reloaded; the running one stays",
                problems=[str(problem) for problem in error.problems],
            )
            return
        self._take_on(settings)
        if sources is not None and not self._stopping:
            await self._stop_sources()
            await self._start(sources)
        self._log.info("configuration reloaded", reconnected=sources is not None)

    def _take_on(self, settings: Settings) -> None:
        if settings.metrics != self._settings.metrics:
            self._log.warning("changes below metrics take effect at the next start")
        log.configure(settings.log.level, settings.log.format)
        self._presence.rules = presence_rules(settings.presence)
        self._pipeline.client_filter = client_filter(settings)
        self._settings = settings
        self._view.reload_successful = True
        self._view.reloaded_at = time.time()
        self._warn_of_settings(settings)

    def _build_sources(self, settings: Settings) -> list[Source]:
        return [
            build_source(settings.mqtt.transport, options, self._inbox)
            for options in source_options(settings.mqtt)
        ]

    async def _start(self, sources: list[Source]) -> None:
        self._sources = sources
        mqtt = self._settings.mqtt
        before = self._pipeline.traffic
        self._pipeline.traffic = {
            client_id: before.get(client_id) or Traffic() for client_id in mqtt.client_ids
        }
        for traffic in self._pipeline.traffic.values():
            traffic.max_message_rate = mqtt.max_message_rate
        self._view.transport = mqtt.transport
        self._view.connections = [source.status for source in sources]
        self._view.certificate_expiry = _certificate_expiry(self._settings)
        await asyncio.gather(*(source.start() for source in sources))

    async def _stop_sources(self) -> None:
        stops = [asyncio.ensure_future(source.stop()) for source in self._sources]
        if not stops:
            return
        done, late = await asyncio.wait(stops, timeout=_STOP_SOURCES_WITHIN)
        for stop in late:
            stop.cancel()
        for stop in done:
            if (error := stop.exception()) is not None:
                self._log.error("a connection did not stop cleanly", error=repr(error))
        if late:
            self._log.warning("a connection did not stop in time", connections=len(late))

    def _deliver(self, batch: list[Message]) -> None:
        self._pipeline.process(batch)
        for message in batch:
            if message.acknowledge is not None:
                message.acknowledge()
        self._timer.arm()

    def _fire(self) -> None:
        now = time.monotonic()
        offset = time.time() - now
        # A message that waits may be the connect that comes in time for a deadline.
        oldest = self._inbox.oldest
        self._pipeline.advance(now if oldest is None else min(now, oldest), offset)

    def _transition(self, client: Client, transition: Transition) -> None:
        self._series.show(client)
        self._log.info(
            "client went " + transition.state,
            client_id=transition.client_id,
            previous=str(transition.previous),
            since=datetime.fromtimestamp(transition.since, UTC).isoformat(timespec="milliseconds"),
            reason=transition.reason,
        )

    def _readiness(self) -> Readiness:
        if self._stopping:
            return Readiness(ready=False, text="stopping")
        statuses = [source.status for source in self._sources]
        problems = [(s.client_id, s.problem) for s in statuses if s.problem is not None]
        if problems:
            return Readiness(
                ready=False, text="\n".join(f"{client_id}: {why}" for client_id, why in problems)
            )
        if not statuses:
            return Readiness(ready=False, text="starting")
        return Readiness(ready=True, text="ready: every connection is up, every filter granted")

    def _warn_of_settings(self, settings: Settings) -> None:
        if settings.mqtt.tls:
            for problem in check_tls_files(settings.mqtt.tls, now=datetime.now(UTC)):
                self._log.warning("certificate files", problem=str(problem))
        for key in settings_without_effect(settings):
            self._log.warning("a setting has no effect in this version", key=key)


def settings_without_effect(settings: Settings) -> list[str]:
    """Keys that are set but that this version does not act on yet."""
    keys = []
    if settings.state.path is not None:
        keys.append("state.path")
    if settings.metrics.thing_attributes:
        keys.append("metrics.thing_attributes")
    return keys


def _certificate_expiry(settings: Settings) -> dict[str, float]:
    """When the certificates expire; those that cannot be read are left out."""
    tls = settings.mqtt.tls
    paths = {"client": tls.cert, "ca": tls.ca} if tls else {}
    expiry = {}
    for name, path in paths.items():
        # The connection tells what is wrong with a file that cannot be read.
        with suppress(OSError, ValueError):
            if path is not None:
                expiry[name] = certificate_expiry(path, bundle=name == "ca")
    return expiry
