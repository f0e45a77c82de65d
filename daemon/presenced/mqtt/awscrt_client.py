"""The AWS Common Runtime's MQTT 5 client, set up from our options."""

from typing import Any

from awscrt import io, mqtt5
from awsiot import mqtt5_client_builder

from presenced.mqtt.source import SourceOptions

__all__ = ["build_client"]

# AWS IoT Core keeps at most this many QoS 1 messages unacknowledged on a connection.
_RECEIVE_MAXIMUM = 100
_PING_TIMEOUT = 10.0
_CONNACK_TIMEOUT = 10.0
_SUBACK_TIMEOUT = 20.0


def build_client(options: SourceOptions, **callbacks: Any) -> mqtt5.Client:
    """A client that is ready to start; `callbacks` are those of `mqtt5.ClientOptions`.

    Raises what the library raises for files that it cannot use.
    """
    settings = _settings(options, callbacks)
    if options.tls is None:
        return mqtt5.Client(settings)
    if options.tls.cert is None:
        settings.tls_ctx = io.ClientTlsContext(_server_tls(options))  # type: ignore[no-untyped-call]
        return mqtt5.Client(settings)
    # Chooses ALPN x-amzn-mqtt-ca by itself on port 443.
    return mqtt5_client_builder.mtls_from_path(
        cert_filepath=str(options.tls.cert),
        pri_key_filepath=str(options.tls.key),
        ca_filepath=str(options.tls.ca) if options.tls.ca else None,
        endpoint=options.endpoint,
        username=options.username,
        enable_metrics_collection=False,
        client_options=settings,
    )


def _server_tls(options: SourceOptions) -> Any:
    tls: Any = io.TlsContextOptions()  # type: ignore[no-untyped-call]
    if options.tls and options.tls.ca:
        tls.override_default_trust_store_from_path(ca_filepath=str(options.tls.ca))
    if options.alpn:
        tls.alpn_list = options.alpn
    return tls


def _settings(options: SourceOptions, callbacks: dict[str, Any]) -> mqtt5.ClientOptions:
    keep_alive = max(1, round(options.keep_alive))
    behavior = mqtt5.ClientSessionBehaviorType
    return mqtt5.ClientOptions(
        host_name=options.endpoint,
        port=options.port,
        connect_options=_connect(options, keep_alive),
        # Always: the session may be one that an earlier process of ours left behind.
        session_behavior=behavior.REJOIN_ALWAYS if options.session_kept else behavior.CLEAN,
        extended_validation_and_flow_control_options=(
            mqtt5.ExtendedValidationAndFlowControlOptions.NONE
        ),
        # A SUBSCRIBE belongs to one connection; the next one sends its own.
        offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
        retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.FULL,
        min_reconnect_delay_ms=_milliseconds(options.reconnect_min),
        max_reconnect_delay_ms=_milliseconds(options.reconnect_max),
        # The library demands that the keep-alive exceed the ping timeout.
        ping_timeout_ms=_milliseconds(min(_PING_TIMEOUT, keep_alive / 2)),
        connack_timeout_ms=_milliseconds(_CONNACK_TIMEOUT),
        ack_timeout_sec=round(_SUBACK_TIMEOUT),
        disable_metrics=True,
        **callbacks,
    )


def _connect(options: SourceOptions, keep_alive: int) -> mqtt5.ConnectPacket:
    packet = mqtt5.ConnectPacket(
        client_id=options.client_id,
        keep_alive_interval_sec=keep_alive,
        session_expiry_interval_sec=int(options.session_expiry) if options.session_kept else 0,
        request_problem_information=True,
        receive_maximum=_RECEIVE_MAXIMUM,
    )
    if options.username is not None:
        packet.username = options.username
    if options.password is not None:
        packet.password = options.password
    return packet


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
