"""AWS partitions, and which of them an endpoint of AWS IoT Core belongs to.

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

_DOMAINS = "|".join(re.escape(domain) for each in PARTITIONS for domain in each.domains)
# "iot-fips" for FIPS 140; "vpce" for names of VPC endpoints.
_ENDPOINT = re.compile(rf".\.iot(-fips)?\.(?P<region>[a-z0-9-]+)\.(vpce\.)?({_DOMAINS})\.?$")


def is_aws(host: str) -> bool:
    """Return whether a host name is an endpoint of AWS IoT Core, other than a custom domain."""
    return _region(host) is not None


def arn_prefix(host: str) -> str:
    """Return the start of the ARNs of AWS IoT Core behind an endpoint, up to the region.

    For other hosts, which may be custom domains of AWS, it contains REGION.
    """
    region = _region(host)
    if region is None:
        return "arn:aws:iot:REGION"
    partition = next(each for each in PARTITIONS if region.startswith(each.region_prefix))
    return f"arn:{partition.name}:iot:{region}"


def _region(host: str) -> str | None:
    found = _ENDPOINT.search(host.lower())
    return found["region"] if found else None
