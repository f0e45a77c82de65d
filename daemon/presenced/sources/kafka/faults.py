"""What can go wrong between presenced and Kafka, and what to do about it."""

import ssl
from dataclasses import dataclass
from enum import StrEnum

from presenced.settings.kafka import IAM, KafkaSecurity
from presenced.sources.faults import (
    CLIENT_ALERTS,
    SourceFault,
    certificate_problem,
    certificate_remedy,
    trust_store,
)


class Cause(StrEnum):
    """Why a connection or a request failed."""

    NAME_RESOLUTION = "name_resolution"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    TLS_SERVER_CERTIFICATE = "tls_server_certificate"
    TLS_CLIENT_CERTIFICATE = "tls_client_certificate"
    TLS_FILES = "tls_files"
    CREDENTIALS = "credentials"
    """There are no credentials of AWS to make a token of."""
    AUTHENTICATION = "authentication"
    """The brokers do not accept the user name, password, token or mechanism."""
    DENIED = "denied"
    """The user is known, but lacks a permission."""
    TOPIC_MISSING = "topic_missing"
    TOPIC_WRONG = "topic_wrong"
    """The topic has another number of partitions, or a setting with which presenced cannot work."""
    SESSION_SHORT = "session_short"
    """The group may have given partitions to another worker before the lease is over."""
    NO_ANSWER = "no_answer"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class KafkaFault(SourceFault):
    """What went wrong with Kafka, and what to do about it."""

    reason: Cause


class KafkaFaultError(Exception):
    """A request to Kafka failed because of a fault."""

    def __init__(self, fault: KafkaFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


_ADVERTISED = (
    "The cluster gives this address to its clients: check advertised.listeners of the brokers, and"
    " that this machine can reach it"
)


def name_unknown(server: str, *, advertised: bool = False) -> KafkaFault:
    """Return the fault of a broker whose name has no address.

    `server` is HOST:PORT. An `advertised` one was named by the cluster, not by the settings.
    """
    host = server.rpartition(":")[0]
    remedy = "Check kafka.bootstrap_servers and the name servers of this machine"
    return KafkaFault(
        Cause.NAME_RESOLUTION,
        f"the name {host} cannot be resolved",
        _ADVERTISED if advertised else remedy,
    )


def unreachable(server: str, why: str, *, advertised: bool = False) -> KafkaFault:
    """Return the fault of a failed TCP connection; `why` continues "the broker at ..."."""
    remedy = "Check that the broker runs, its port in kafka.bootstrap_servers, and the firewalls"
    return KafkaFault(
        Cause.UNREACHABLE,
        f"the broker at {server} {why}",
        _ADVERTISED if advertised else remedy,
    )


def no_tls(server: str) -> KafkaFault:
    """Return the fault of a listener that does not speak TLS."""
    return KafkaFault(
        Cause.TLS,
        f"the broker at {server} does not speak TLS on this port",
        "Use the port of a listener with TLS, or set kafka.security.protocol: PLAINTEXT for a"
        " cluster on a trusted network",
    )


def no_answer(security: KafkaSecurity) -> KafkaFault:
    """Return the fault of brokers that accept connections and then answer nothing or close them."""
    return KafkaFault(
        Cause.NO_ANSWER,
        "the brokers accept connections, but answer no request with kafka.security.protocol:"
        f" {security.protocol}",
        "Check that this is the protocol of the port: a listener for SASL_SSL closes connections"
        " with SSL, and one with TLS those with PLAINTEXT",
    )


def late_answer(text: str) -> KafkaFault:
    """Return the fault of brokers that answered before, and do not answer in time now."""
    return KafkaFault(
        Cause.NO_ANSWER,
        f"the brokers do not answer in time ({text})",
        "`presenced doctor` tests the brokers, the topics and the permissions",
    )


def server_certificate(
    server: str, security: KafkaSecurity, error: ssl.SSLCertVerificationError | None = None
) -> KafkaFault:
    """Return the fault of a broker's certificate; `error` tells what is wrong with it, if known."""
    ca = "Set kafka.security.ca to the CA that signed the certificates of the brokers"
    certificate = f"the certificate of the broker at {server}"
    if error is None:
        return KafkaFault(
            Cause.TLS_SERVER_CERTIFICATE,
            f"{certificate} is not valid: it is not signed by {trust_store(security.ca)}, is for"
            " another name, or has expired",
            f"`presenced doctor` names the cause. {ca}",
        )
    name = (
        "Set kafka.bootstrap_servers and the brokers' advertised.listeners to names that the"
        " certificates hold"
    )
    return KafkaFault(
        Cause.TLS_SERVER_CERTIFICATE,
        f"{certificate} {certificate_problem(error, security.ca)}",
        certificate_remedy(error, server="broker", name=name, ca=ca),
    )


def client_certificate(server: str, security: KafkaSecurity, alert: str) -> KafkaFault:
    """Return the fault of a client certificate that a broker rejects by an alert."""
    if security.cert is None:
        return KafkaFault(
            Cause.TLS_CLIENT_CERTIFICATE,
            f"the broker at {server} rejects a connection without client certificate",
            "Set kafka.security.cert and kafka.security.key, or use the port of a listener that"
            " authenticates otherwise",
        )
    return KafkaFault(
        Cause.TLS_CLIENT_CERTIFICATE,
        f"the broker at {server} rejects the client certificate {security.cert}:"
        f" {CLIENT_ALERTS[alert]}",
        "Check that the certificate has not expired, and that its CA is in the truststore of the"
        " brokers (ssl.truststore.location)",
    )


def files_refused(reason: str) -> KafkaFault:
    """Return the fault of PEM files that the client does not load."""
    return KafkaFault(
        Cause.TLS_FILES,
        f"the client of Kafka does not load the files of kafka.security ({reason})",
        "`presenced check` names what is wrong with them",
    )


def not_authenticated(server: str, security: KafkaSecurity, said: str) -> KafkaFault:
    """Return the fault of a user whom the broker does not accept; `said` is its text."""
    if security.mechanism == IAM:
        return KafkaFault(
            Cause.AUTHENTICATION,
            f"the broker at {server} does not accept the credentials of AWS",
            "Check that IAM access control is on for the cluster, that aws.region is its region,"
            " the clock of this machine, and that the role allows kafka-cluster:Connect",
            said,
        )
    return KafkaFault(
        Cause.AUTHENTICATION,
        f"the broker at {server} does not accept the password of the user {security.username}"
        f" ({security.mechanism})",
        "Check kafka.security.username, the file kafka.security.password_file, and that the brokers"
        " know the user for this mechanism: a user of PLAIN is none of SCRAM",
    )


def mechanism_unsupported(server: str, security: KafkaSecurity, supported: str) -> KafkaFault:
    """Return the fault of a mechanism that the broker does not offer; `supported` are those."""
    offers = f"; it offers {supported}" if supported else ""
    return KafkaFault(
        Cause.AUTHENTICATION,
        f"the broker at {server} does not offer the mechanism {security.mechanism}{offers}",
        "Set kafka.security.mechanism to one that it offers",
    )


def no_token(why: str) -> KafkaFault:
    """Return the fault of a token that could not be made; `why` is a sentence."""
    return KafkaFault(
        Cause.CREDENTIALS,
        f"there is no token for {IAM}: {why}",
        "" if ". " in why else "Check the section aws, and the role of this machine",
    )


def topic_missing(topic: str) -> KafkaFault:
    """Return the fault of a topic that does not exist, or that this user may not see."""
    return KafkaFault(
        Cause.TOPIC_MISSING,
        f"the topic {topic} does not exist",
        "Create it with `presenced kafka create-topics`",
    )


def some_topic_missing(code: str) -> KafkaFault:
    """Return the fault of a topic that is gone; the error does not tell which one."""
    return KafkaFault(
        Cause.TOPIC_MISSING,
        f"a topic of the section kafka does not exist ({code})",
        "`presenced doctor` names it; `presenced kafka create-topics` creates what is missing",
    )


def no_leader(code: str) -> KafkaFault:
    """Return the fault of partitions without leader, which those of a deleted topic are, too."""
    return KafkaFault(
        Cause.TOPIC_MISSING,
        f"no broker leads the partitions of a topic, or the topic does not exist ({code})",
        "Check that all brokers run; `presenced doctor` tells if a topic is missing, and `presenced"
        " kafka create-topics` creates it",
    )


def new_leader(code: str) -> KafkaFault:
    """Return the fault of a partition of Kafka that another broker leads than before."""
    return KafkaFault(
        Cause.NO_ANSWER,
        f"the brokers are choosing the leader of a partition ({code})",
        "presenced tries again; if this stays, check that all brokers run",
    )


def too_few_brokers(text: str) -> KafkaFault:
    """Return the fault of a topic that is to have more replicas than there are brokers."""
    return KafkaFault(
        Cause.OTHER,
        f"the cluster has fewer brokers than the topic is to have replicas ({text})",
        "Use a smaller --replication-factor; 3 is for a cluster of three brokers or more",
    )
