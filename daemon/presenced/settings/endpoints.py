"""The addresses and regions of requests to AWS, from the settings and their defaults."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from presenced.settings.aws import REGION_REQUIRED, AwsSettings
from presenced.settings.partitions import (
    control_plane_of,
    region_of_broker,
    region_of_endpoint,
    region_of_queue,
)
from presenced.settings.problems import Problem, SettingsError
from presenced.settings.values import bracketed, split_host_port


@dataclass(frozen=True, slots=True)
class AwsEndpoints:
    """Where requests go: base addresses, without a slash at the end; `region` is signed.

    `data_url` is None if there is neither `aws.data_url` nor `mqtt.endpoint`. `credentials_url` is
    the complete address for the role alias, None without one.
    """

    region: str
    iot_url: str
    data_url: str | None
    credentials_url: str | None = None


def region_of(aws: AwsSettings, mqtt_endpoint: str, queue_url: str | None = None) -> str | None:
    """Return the region of AWS IoT: that which is set, or else named by an address.

    None if neither names one.
    """
    return aws.region or region_of_endpoint(mqtt_endpoint) or _named_by_queue(queue_url)


def queue_region_of(aws: AwsSettings, mqtt_endpoint: str, queue_url: str | None) -> str | None:
    """Return the region of a queue: that which its URL names, or else that of AWS IoT."""
    return _named_by_queue(queue_url) or region_of(aws, mqtt_endpoint)


def brokers_region_of(aws: AwsSettings, bootstrap_servers: Iterable[str]) -> str | None:
    """Return the region of a cluster of Amazon MSK: that which a broker names, or `aws.region`."""
    parts = filter(None, map(split_host_port, bootstrap_servers))
    return next(filter(None, (region_of_broker(host) for host, _ in parts)), aws.region)


def _named_by_queue(queue_url: str | None) -> str | None:
    return region_of_queue(urlsplit(queue_url).hostname or "") if queue_url else None


def aws_endpoints(
    aws: AwsSettings, mqtt_endpoint: str, queue_url: str | None = None
) -> AwsEndpoints:
    """Return the addresses from the settings and their defaults.

    `mqtt_endpoint` is empty without a section `mqtt`. Raises SettingsError if the region is
    unknown.
    """
    region = region_of(aws, mqtt_endpoint, queue_url)
    if region is None:
        raise SettingsError([Problem(key="aws.region", message=REGION_REQUIRED)])
    data_host = bracketed(mqtt_endpoint)
    credentials_url = None
    if aws.role_alias is not None:
        alias = quote(aws.role_alias, safe="")
        credentials_url = f"https://{aws.credentials_endpoint}/role-aliases/{alias}/credentials"
    return AwsEndpoints(
        region=region,
        iot_url=aws.iot_url or f"https://{control_plane_of(region, mqtt_endpoint)}",
        data_url=aws.data_url or (f"https://{data_host}" if data_host else None),
        credentials_url=credentials_url,
    )
