"""AWS partitions, and which region the host name of an endpoint belongs to.

Names, regions and domains are those of `partitions.json` in botocore 1.43.11. Domains are those of
endpoints for IPv4 and of endpoints for IPv4 and IPv6.
"""

import re
from typing import NamedTuple


class Partition(NamedTuple):
    """A group of regions whose ARNs begin with `arn:NAME:`.

    Names of regions begin with `region_prefix`.
    """

    name: str
    region_prefix: str
    domains: tuple[str, ...]


PARTITIONS = (
    Partition("aws-cn", "cn-", ("amazonaws.com.cn", "api.amazonwebservices.com.cn")),
    Partition("aws-us-gov", "us-gov-", ("amazonaws.com", "api.aws")),
    Partition("aws-eusc", "eusc-", ("amazonaws.eu", "api.amazonwebservices.eu")),
    Partition("aws-iso", "us-iso-", ("c2s.ic.gov", "api.aws.ic.gov")),
    Partition("aws-iso-b", "us-isob-", ("sc2s.sgov.gov", "api.aws.scloud")),
    Partition("aws-iso-e", "eu-isoe-", ("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk")),
    Partition("aws-iso-f", "us-isof-", ("csp.hci.ic.gov", "api.aws.hci.ic.gov")),
    # All other regions.
    Partition("aws", "", ("amazonaws.com", "api.aws")),
)
"""Every partition. A region belongs to the first one whose prefix it has."""

_REGION = r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}"
_DOMAINS = "|".join(re.escape(domain) for each in PARTITIONS for domain in each.domains)
# "iot-fips" for FIPS 140; "vpce" for names of VPC endpoints.
_ENDPOINT = re.compile(
    rf".\.(?P<service>iot(-fips)?)\.(?P<region>{_REGION})\.(vpce\.)?(?P<domain>{_DOMAINS})\.?$"
)
# The second form is the older one.
_QUEUE_HOST = re.compile(
    rf"(.+\.)?sqs(-fips)?\.(?P<region>{_REGION})\.(vpce\.)?({_DOMAINS})"
    rf"|(?P<older>{_REGION})\.queue\.({_DOMAINS})"
)
_KAFKA_HOST = re.compile(rf".\.kafka(-serverless)?\.(?P<region>{_REGION})\.({_DOMAINS})$")


def is_aws(host: str) -> bool:
    """Return whether a host name is an endpoint of AWS IoT Core, other than a custom domain."""
    return region_of_endpoint(host) is not None


def is_region(text: str) -> bool:
    """Return whether a text has the form of a region's name."""
    return re.fullmatch(_REGION, text) is not None


def region_of_endpoint(host: str) -> str | None:
    """Return the region that an endpoint of AWS IoT Core names; None for other hosts.

    Those may be custom domains of AWS.
    """
    found = _ENDPOINT.search(host.lower())
    return found["region"] if found else None


def control_plane_of(region: str, endpoint: str) -> str:
    """Return the host of AWS IoT's control plane in a region, of the same kind as an endpoint.

    The host of a FIPS endpoint is one for FIPS, and that of a dual-stack endpoint is dual-stack:
    a machine with IPv6 alone reaches no other. For VPC endpoints and other hosts it is the public
    one.
    """
    partition, found = partition_of(region), _ENDPOINT.search(endpoint.lower())
    if found and found["region"] == region and found["domain"] in partition.domains:
        return f"{found['service']}.{region}.{found['domain']}"
    return f"iot.{region}.{partition.domains[0]}"


def region_of_queue(host: str) -> str | None:
    """Return the region that the host of a queue's URL names; None for other hosts."""
    found = _QUEUE_HOST.fullmatch(host.lower())
    return (found["region"] or found["older"]) if found else None


def region_of_broker(host: str) -> str | None:
    """Return the region that a broker of Amazon MSK names; None for other hosts."""
    found = _KAFKA_HOST.search(host.lower())
    return found["region"] if found else None


def partition_of(region: str) -> Partition:
    """Return the partition of a region."""
    return next(each for each in PARTITIONS if region.startswith(each.region_prefix))


def arn_prefix(region: str | None) -> str:
    """Return the start of the ARNs of AWS IoT Core in a region, up to the region.

    If the region is not known it contains REGION.
    """
    if region is None:
        return "arn:aws:iot:REGION"
    return f"arn:{partition_of(region).name}:iot:{region}"
