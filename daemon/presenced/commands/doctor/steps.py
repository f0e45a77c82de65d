"""The steps of MQTT, walked with the daemon's own transport: CONNACK, SUBACK, first message.

The first step: the certificate files, before anything is contacted.

The steps from the name to TLS, walked with the standard library, which names causes.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Literal, Self

from cryptography import x509
from cryptography.x509.oid import NameOID

from presenced.commands.doctor.report import (
    Finding,
    Status,
    came,
    dropped,
    granted,
    no_answer,
    refused,
    silent,
)
from presenced.events.message import Message
from presenced.settings import Problem, TlsSettings
from presenced.settings.certificates import certificate_expiries, check_tls_files
from presenced.sources.connections import build_source
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.diagnosis import handshake
from presenced.sources.mqtt.symptoms import network_fault
from presenced.sources.options import probe_client_id
from presenced.sources.source import Source, SourceOptions, Watch

Transport = Literal["awscrt", "aiomqtt"]

# Longer than any time-out of the transports, which then say themselves what did not come.
_PATIENCE = 40.0
_PROBE_PATIENCE = 10.0
# A busy fleet speaks by itself. AWS accepts one CONNECT per second and client ID.
_PROBE_AFTER = 1.0
_PROBE_EVERY = 3.0


class Session:
    """One connection and the steps on it, in order; to be left as a context manager.

    `stands_in_for` is the daemon's client ID where that of the options is another one, which a
    policy may not know.
    """

    def __init__(
        self, transport: Transport, options: SourceOptions, stands_in_for: str | None
    ) -> None:
        self._transport: Transport = transport
        self._options = options
        self._stands_in_for = stands_in_for
        self._watch = Watch(options)
        self._first: Message | None = None
        self._probed = False
        self._source = _source(transport, options, self._watch, self._deliver)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._source.stop()

    async def connect(self) -> Finding:
        """Send CONNECT and wait for the CONNACK."""
        watch = self._watch
        await self._source.start()
        await watch.until(lambda: watch.accepted, _PATIENCE)
        if watch.accepted:
            return Finding(Status.OK, f"{self._options.client_id} is accepted")
        return refused(watch.ended, self._options, self._stands_in_for)

    async def granted(self, topic_filter: str) -> Finding:
        """Wait for the SUBACK of one filter."""
        watch = self._watch
        await watch.until(lambda: topic_filter in watch.answers, _PATIENCE)
        answer = watch.answers.get(topic_filter)
        if isinstance(answer, int):
            return granted(answer, topic_filter, self._options)
        if answer is not None:
            return Finding.of(answer)
        if watch.ended is not None:
            return dropped(watch.ended, topic_filter, self._options)
        return no_answer(topic_filter, self._options)

    async def first_message(self, limit: float) -> Finding:
        """Wait so many seconds for any message, and meanwhile give AWS something to tell."""
        if not limit:
            return Finding(Status.SKIPPED, "not waited for")
        probing = asyncio.create_task(self._probe())
        try:
            await self._watch.until(lambda: self._first is not None, limit)
        finally:
            probing.cancel()
            await asyncio.wait({probing})
        if self._first is not None:
            return came(self._first, self._watch.answers, self._options)
        if self._watch.ended is not None:
            return Finding.of(self._watch.ended)
        return silent(self._options, limit, probed=self._probed)

    async def _probe(self) -> None:
        """Connect as another client, and again: AWS publishes an event of each connect.

        More than once, as the subscription may take a while to be active. A probe that is refused
        serves, too: AWS tells of failed connects.
        """
        client_id = probe_client_id(self._options.client_id)
        options = replace(self._options, client_id=client_id, filters=())
        await asyncio.sleep(_PROBE_AFTER)
        while True:
            self._probed |= await _visit(self._transport, options)
            await asyncio.sleep(_PROBE_EVERY)

    def _deliver(self, batch: list[Message]) -> None:
        self._first = self._first or batch[0]
        for message in batch:
            if message.acknowledge is not None:
                message.acknowledge()
        self._watch.wake()


async def _visit(transport: Transport, options: SourceOptions) -> bool:
    """Connect and go again; whether the broker accepted it."""
    watch = Watch(options)
    source = _source(transport, options, watch, lambda _: None)
    try:
        await source.start()
        await watch.until(lambda: watch.accepted, _PROBE_PATIENCE)
    finally:
        await source.stop()
    return watch.accepted


def _source(
    transport: Transport,
    options: SourceOptions,
    watch: Watch,
    deliver: Callable[[list[Message]], None],
) -> Source:
    return build_source(transport, options, Inbox(asyncio.get_running_loop(), deliver), watch)


SOON = timedelta(days=30)


def check_files(tls: TlsSettings | None, now: datetime) -> Finding:
    """Check that the files can be used: readable, valid `now`, and the key that of the certificate.

    Blocks only for reading files.
    """
    if tls is None:
        return Finding(Status.SKIPPED, "mqtt.tls is false: there are no files")
    problems = check_tls_files(tls, now=now)
    details = [problem.summary for problem in problems]
    if any(problem.severity == "error" for problem in problems):
        return Finding(Status.FAILED, "; ".join(details), _remedies(problems))
    expiring = [p for p in check_tls_files(tls, now=now + SOON) if p.kind == "expired"]
    details += [f"{p.key} = {p.value}: expires within {SOON.days} days" for p in expiring]
    status = Status.WARNING if details else Status.OK
    return Finding(status, "; ".join([*details, _validity(tls)]), _remedies(problems + expiring))


def _remedies(problems: list[Problem]) -> str:
    return ". ".join(dict.fromkeys(problem.remedy for problem in problems if problem.remedy))


def day(moment: datetime) -> str:
    """A date for people."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def _validity(tls: TlsSettings) -> str:
    """Return until when the certificates are valid."""
    titles = {"client": "client", "ca": "CA"}
    parts = [
        f"{titles[name]} certificate valid until {day(datetime.fromtimestamp(end, UTC))}"
        for name, end in certificate_expiries(tls).items()
    ]
    if tls.cert is not None:
        parts.insert(1, "the key belongs to it")
    return ", ".join(parts) or "no files are set: the system's trust store verifies the server"


_TIMEOUT = 5.0


class Road:
    """The way to the broker, one step after the other; each blocks for some seconds at most.

    No MQTT packet is sent on it.
    """

    def __init__(self, options: SourceOptions, now: datetime) -> None:
        self._options = options
        self._now = now
        self._connection: socket.socket | None = None
        self._certificate: bytes | None = None
        self._negotiated = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def resolve(self) -> Finding:
        """Look up the addresses of the endpoint."""
        options = self._options
        try:
            found = socket.getaddrinfo(options.endpoint, options.port, type=socket.SOCK_STREAM)
        except OSError as error:
            return Finding.of(network_fault(error, options))
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        return Finding(Status.OK, f"{options.endpoint} is {', '.join(addresses)}")

    def connect(self) -> Finding:
        """Open the TCP connection on which `secure` goes on."""
        options = self._options
        try:
            self._connection = socket.create_connection(
                (options.endpoint, options.port), timeout=_TIMEOUT
            )
        except OSError as error:
            return Finding.of(network_fault(error, options))
        host, port = self._connection.getpeername()[:2]
        return Finding(Status.OK, f"connected to {host} port {port}")

    def secure(self) -> Finding:
        """Negotiate TLS: each side judges the certificate of the other."""
        assert self._connection is not None  # noqa: S101 - `connect` has succeeded
        if self._options.tls is None:
            return Finding(Status.SKIPPED, "mqtt.tls is false: nothing is encrypted")
        fault = handshake(self._connection, self._options, met=self._meet)
        if fault is not None:
            return Finding.of(fault)
        return self._judge()

    def _meet(self, secured: ssl.SSLSocket) -> None:
        alpn = secured.selected_alpn_protocol()
        self._negotiated = f"{secured.version()}{f' with ALPN {alpn}' if alpn else ''}"
        self._certificate = secured.getpeercert(binary_form=True)

    def _judge(self) -> Finding:
        try:
            certificate = x509.load_der_x509_certificate(self._certificate or b"")
            end = certificate.not_valid_after_utc
            issuer = _name(certificate.issuer)
        except ValueError:
            # OpenSSL vouched for it; what this parser cannot read is left out.
            return Finding(Status.OK, f"{self._negotiated}, the server's certificate is trusted")
        told = (
            f"{self._negotiated}, the server's certificate is trusted, issued by {issuer} and"
            f" valid until {day(end)}"
        )
        if end - self._now < SOON:
            remedy = "Those who run the broker should renew it; AWS does so by itself"
            return Finding(Status.WARNING, told, remedy)
        return Finding(Status.OK, told)


def _name(name: x509.Name) -> str:
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
        if attributes := name.get_attributes_for_oid(oid):
            return str(attributes[0].value)
    return name.rfc4514_string()
