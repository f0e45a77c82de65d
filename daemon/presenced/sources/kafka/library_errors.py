"""What errors of librdkafka, the client of Kafka, mean.

A request that fails for want of a connection says only that it got no answer. Why there is no
connection is reported beside it, by the callback `error_cb`.
"""

import re
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from presenced.settings.kafka import IAM, KafkaSettings
from presenced.sources.faults import CLIENT_ALERTS
from presenced.sources.kafka import faults
from presenced.sources.kafka.errors import cause_among
from presenced.sources.kafka.faults import Cause, KafkaFault
from presenced.sources.kafka.permissions import (
    Permission,
    group_permission,
    refused,
    topic_permission,
    transaction_permission,
)

# PROTOCOL://HOST:PORT/BROKER: TEXT (after N ms in state STATE, ...)
_TEXT = re.compile(
    r"(?:[a-z_]+://)?(?P<server>\S+:\d+)/(?P<broker>bootstrap|\d+): (?P<text>.*?)"
    r"(?: \(after \d+ms in state (?P<state>\w+)[^()]*\))?$",
    re.DOTALL,
)
_CONNECT = re.compile(r"Connect to \S+ failed: (?P<why>.*)")
_ALERT = re.compile(r"alert ([a-z ]+)")
_MECHANISMS = re.compile(r"supported mechanisms: (?P<names>[\w,-]+)")
_TOKEN = "Failed to acquire SASL OAUTHBEARER token: "  # noqa: S105 -- what a text begins with
# Whatever may name a person or be a secret: ARNs, users, and long words without spaces.
_PRIVATE = re.compile(r"arn:\S+|User:\S+|[\w+/=-]{40,}|\d+(\.\d+){3}")
_MAX_SAID = 200
# The library repeats an error of a broker that stays away after 30 seconds.
_CURRENT_FOR = 60.0

_NO_ANSWER = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 -- the public names of local errors
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
    }
)
_NO_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
# Of ListOffsets, with "Failed to query partition leaders: No leaders found".
_NO_LEADER: int = KafkaError._NOENT  # noqa: SLF001
_NEW_LEADER = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
_DENIED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


class ConnectionErrors:
    """Collects why there are no connections; `report` is the callback `error_cb` of a client.

    It is called in the thread that polls the client, or in one of the library. A fault that is not
    reported again explains nothing after a minute: the broker can be reached by then. `region` is
    that of a cluster of Amazon MSK. A worker that `asks_aws` writes the answers as events.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        region: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        asks_aws: bool = False,
    ) -> None:
        self._kafka = kafka
        self._region = region
        self._asks_aws = asks_aws
        self._clock = clock
        self._by_server: dict[str, KafkaFault] = {}
        self._reported_at: dict[str, float] = {}

    @property
    def faults(self) -> list[KafkaFault]:
        """The last fault of each broker, in the order of their first."""
        return list(dict.fromkeys(self._by_server.values()))

    def report(self, error: KafkaError) -> None:
        """Take an error of a connection."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            return
        fault = connection_fault(error, self._kafka)
        if fault is None:
            return
        server = _server_of(error) or ""
        self._reported_at[server] = self._clock()
        # The second attempt may fail with less to say.
        if fault.reason is not Cause.OTHER or server not in self._by_server:
            self._by_server[server] = fault

    def explain(self, error: KafkaError, topic: str | None = None) -> KafkaFault:
        """Return the fault behind the error of a request, which may be about a topic."""
        needs_connection = error.code() in _NO_ANSWER or error.code() == _NO_LEADER
        if needs_connection and (current := self._current()):
            return current[-1]
        needed = self._needed(error, topic)
        if needed is not None:
            return refused(self._kafka, needed, self._region)
        return request_fault(error, self._kafka)

    def explain_of_member(self, error: KafkaError, topic: str | None = None) -> KafkaFault:
        """Return the fault behind the error of a client that has been answered before.

        So the protocol and the port are right.
        """
        if error.code() in _NO_ANSWER and not self._current():
            return faults.late_answer(printable(error.str()))
        return self.explain(error, topic)

    def _needed(self, error: KafkaError, topic: str | None) -> Permission | None:
        """Return what a worker needs if a request was denied; None if that is not the error."""
        match cause_among(_DENIED, error):
            case KafkaError.TOPIC_AUTHORIZATION_FAILED if topic is not None:
                return topic_permission(self._kafka, topic, asks_aws=self._asks_aws)
            case KafkaError.GROUP_AUTHORIZATION_FAILED:
                return group_permission(self._kafka)
            case KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                return transaction_permission(self._kafka)
            case KafkaError.CLUSTER_AUTHORIZATION_FAILED:
                return Permission("cluster", "", ("Describe",))
        return None

    def _current(self) -> list[KafkaFault]:
        since = self._clock() - _CURRENT_FOR
        reported_at = dict(self._reported_at)
        return [
            fault
            for server, fault in [*self._by_server.items()]
            if reported_at.get(server, since) > since
        ]


def error_of(exception: KafkaException) -> KafkaError:
    """Return the error of an exception."""
    error: KafkaError = exception.args[0]
    return error


def connection_fault(error: KafkaError, kafka: KafkaSettings) -> KafkaFault | None:
    """Return the fault of a connection; None if the error is not about one."""
    security = kafka.security
    text, server = error.str(), _server_of(error) or "?"
    if text.startswith(_TOKEN):
        return faults.no_token(text.removeprefix(_TOKEN))
    found = _TEXT.match(text)
    if found is None:
        return None
    text = found["text"]
    advertised = server not in kafka.bootstrap_servers
    if error.code() == KafkaError._RESOLVE:  # noqa: SLF001
        return faults.name_unknown(server, advertised=advertised)
    if connect := _CONNECT.search(text):
        why = _connect_verdict(connect["why"])
        return faults.unreachable(server, why, advertised=advertised)
    if error.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001
        if "Unsupported SASL mechanism" in text:
            names = _MECHANISMS.search(text)
            return faults.mechanism_unsupported(server, security, names["names"] if names else "")
        return faults.not_authenticated(server, security, printable(text))
    return _tls_fault(text, found["state"], server, kafka) or KafkaFault(
        Cause.OTHER, f"the connection to the broker at {server} failed ({printable(text)})"
    )


def _tls_fault(
    text: str, state: str | None, server: str, kafka: KafkaSettings
) -> KafkaFault | None:
    if "certificate verify failed" in text:
        return faults.server_certificate(server, kafka.security)
    alert = _ALERT.search(text)
    if alert and alert[1].strip() in CLIENT_ALERTS:
        return faults.client_certificate(server, kafka.security, alert[1].strip())
    if state == "SSL_HANDSHAKE" and ("PLAINTEXT" in text or "wrong version" in text):
        return faults.no_tls(server)
    return None


def _connect_verdict(why: str) -> str:
    if "refused" in why:
        return "refused the TCP connection"
    if "timed out" in why.lower():
        return "did not answer"
    return f"cannot be reached ({printable(why)})"


def request_fault(error: KafkaError, kafka: KafkaSettings) -> KafkaFault:
    """Return the fault of a request that failed, or of a client that could not be made."""
    code, text = error.code(), error.str()
    if cause_among(_DENIED, error) is not None:
        return KafkaFault(
            Cause.DENIED,
            "this user lacks a permission on a topic",
            "`presenced doctor` names it and the command that grants it",
        )
    if code == KafkaError.SASL_AUTHENTICATION_FAILED and kafka.security.mechanism == IAM:
        return faults.no_token("AWS gave no credentials in time")
    if code == KafkaError._INVALID_ARG and ".pem" in text:  # noqa: SLF001
        return faults.files_refused(printable(text.rpartition(":")[2].strip()))
    if code in _NO_ANSWER:
        return faults.no_answer(kafka.security)
    if code in _NO_TOPIC:
        return faults.some_topic_missing(error.name())
    if code == _NO_LEADER:
        return faults.no_leader(error.name())
    if code == KafkaError.INVALID_REPLICATION_FACTOR:
        return faults.too_few_brokers(f"{error.name()}: {printable(text)}")
    if code in _NEW_LEADER:
        return faults.new_leader(error.name())
    return KafkaFault(Cause.OTHER, f"Kafka refuses the request ({error.name()}: {printable(text)})")


def text_of(error: KafkaError) -> str:
    """Return the text of an error as a log may have it."""
    return printable(error.str())


def printable(text: str) -> str:
    """Return a text of the library or a broker without names, addresses and secrets."""
    shown = _PRIVATE.sub("***", text[: 4 * _MAX_SAID])
    return "".join(c for c in shown if c.isprintable())[:_MAX_SAID]


def _server_of(error: KafkaError) -> str | None:
    found = _TEXT.match(error.str())
    return found["server"] if found else None
