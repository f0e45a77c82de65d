"""The sections `aws` and `reconcile`: where AWS is asked, with which credentials, and how often.

Durations are read as seconds.
"""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, Strict, ValidationInfo, field_validator

from presenced.settings.partitions import is_region
from presenced.settings.problems import InvalidValue
from presenced.settings.proxy import ProxyUrl, check_password_file
from presenced.settings.values import (
    Duration,
    Flag,
    PathName,
    Section,
    file_default,
    is_host,
    is_loopback,
    split_host_port,
)

REGION_REQUIRED = (
    "is not set, and neither mqtt.endpoint nor sqs.queue_url names a region, as"
    " PREFIX-ats.iot.REGION.amazonaws.com does: set it to the region of the account"
)
"""What is wrong with `aws.region` if requests have to be signed."""

DATA_URL_REQUIRED = (
    "is not set, and there is no mqtt.endpoint: set it to https:// and the host name that"
    " `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints"
)
"""What is wrong with `aws.data_url` if clients have to be looked up."""

# "roleAlias" of CreateRoleAlias and "thingName" of CreateThing in the AWS IoT API reference.
_ROLE_ALIAS = re.compile(r"[\w=,@-]{1,128}", re.ASCII)
_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


def _check_region(text: str) -> str:
    if not is_region(text):
        lower = text.strip().lower()
        nearest = lower if is_region(lower) else None
        raise InvalidValue("is not a region of AWS, such as eu-west-1", nearest=nearest)
    return text


def _check_role_alias(text: str) -> str:
    if text.startswith("arn:"):
        raise InvalidValue(
            "must be the name of a role alias, not an ARN", nearest=text.rpartition("/")[2]
        )
    if _ROLE_ALIAS.fullmatch(text) is None:
        raise InvalidValue("is not a role alias: 1 to 128 of a-z A-Z 0-9 _=,@-")
    return text


def _check_thing_name(text: str) -> str:
    if _THING_NAME.fullmatch(text) is None:
        raise InvalidValue("is not a thing name of AWS IoT: 1 to 128 of a-z A-Z 0-9 :_-")
    return text


def _check_credentials_endpoint(text: str) -> str:
    if is_host(text):
        return text
    parts = split_host_port(text)
    if parts and is_loopback(parts[0]):
        return text
    raise InvalidValue(
        "must be a host name alone, as `aws iot describe-endpoint --endpoint-type"
        " iot:CredentialProvider` prints it; only localhost may have a port"
    )


def _check_url(text: str) -> str:
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        host = ""
    if not is_host(host) or text.rstrip("/") != f"{url.scheme}://{url.netloc}" or "@" in url.netloc:
        raise InvalidValue("must be https://HOST or https://HOST:PORT, without a path")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise InvalidValue(
            "must begin with https://, because requests carry a session token; only localhost may"
            " be asked by http://"
        )
    return text.rstrip("/")


Url = Annotated[str, AfterValidator(_check_url)]


class AwsSettings(Section):
    """Requests to AWS: their region, credentials and addresses.

    Only `reconcile`, `source: sqs` and the mechanism AWS_MSK_IAM of Kafka make any. They trust the
    authorities of the operating system and that of `mqtt.tls.ca`, with other sources than MQTT only
    if `role_alias` is set. `mqtt.auth: sigv4` signs for `region` if `mqtt.endpoint` names none.
    """

    region: Annotated[str, AfterValidator(_check_region)] | None = None
    """Region of the account. null is the one that `mqtt.endpoint` or else `sqs.queue_url` names; if
    neither does, as with a custom domain, it has to be set. The queue of `sqs` may be in another
    region, which its URL then names."""

    role_alias: Annotated[str, AfterValidator(_check_role_alias)] | None = None
    """AWS IoT role alias through which the client certificate (`mqtt.tls.cert`) gets credentials
    of a role. null takes those of the environment variables, the shared configuration files, the
    container or the EC2 instance, in this order."""

    credentials_endpoint: Annotated[str, AfterValidator(_check_credentials_endpoint)] | None = None
    """Host name of the credential provider, which `role_alias` needs:
    `aws iot describe-endpoint --endpoint-type iot:CredentialProvider` prints it. Only localhost,
    where an emulator may run, may have a port."""

    thing_name: Annotated[str, AfterValidator(_check_thing_name)] | None = None
    """The thing that the client certificate is attached to, which `role_alias` needs. AWS refuses
    credentials if it is another one's."""

    iot_url: Url | None = None
    """Address of the control plane. null is https://iot.REGION.amazonaws.com, or the like in other
    partitions and if `mqtt.endpoint` is dual-stack or for FIPS; set it for a VPC endpoint or an
    emulator."""

    data_url: Url | None = None
    """Address of the data plane. null is https:// and `mqtt.server_name` or else `mqtt.endpoint`;
    set it if there is neither, or if MQTT connects to a custom domain, a VPC endpoint or an
    emulator."""

    proxy: ProxyUrl | None = None
    """HTTP proxy for these requests: http://HOST:PORT or http://USER:PASSWORD@HOST:PORT. null is
    `mqtt.proxy`, or else the one that the environment variable HTTPS_PROXY names. No proxy is used
    for hosts that NO_PROXY lists."""

    proxy_password_file: PathName | None = None
    """File whose content, without the newline at its end, is the password for the user name in
    `proxy`."""

    @field_validator("proxy_password_file")
    @classmethod
    def _check_proxy_password(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if "proxy" in info.data:
            check_password_file(path, info.data["proxy"], "aws.proxy")
        return path

    @field_validator("credentials_endpoint", "thing_name")
    @classmethod
    def _check_together(cls, value: str | None, info: ValidationInfo) -> str | None:
        # A wrong role alias is reported by itself.
        if "role_alias" in info.data and (info.data["role_alias"] is None) != (value is None):
            if value is None:
                raise InvalidValue("is needed with aws.role_alias")
            raise InvalidValue("has no effect without aws.role_alias")
        return value


Rate = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]


class ReconcileSettings(Section):
    """Asking AWS who is connected: at start, after gaps, and before a client goes offline.

    Needs fleet indexing with connectivity, which costs money, and credentials (`aws`).
    """

    enabled: Flag = False
    """Whether presenced asks. Takes effect at the next start. With `source: kafka` set it on every
    worker."""

    snapshot_every: Duration = file_default("6h")
    """How often AWS's record of the whole fleet is read and compared. 0s reads it only at start
    and after events may have been lost; with `source: kafka` only the first start of all counts."""

    searches_per_second: Rate = 5
    """How many requests a second a snapshot makes. SearchIndex returns 100 things, a listing 250
    names, DescribeThingGroup one group. AWS allows 15 SearchIndex a second per account."""

    lookups_per_second: Rate = 50
    """How many single clients a second are looked up, with GetThingConnectivityData or
    GetConnection. AWS allows 350 a second of the first; of the second presenced never makes more
    than 100. With `source: kafka` this is for all workers together."""

    verify_offline: Literal["always", "unverified", "never"] = "always"
    """Whether AWS is asked about a client before it goes offline: every time, only about clients
    for which events may have been lost, or never. A client waits at most 2s for the answer. Clients
    beyond `lookups_per_second` go offline first and are looked up later."""

    seed_registry: Flag = True
    """Whether things, types, attributes and groups are read as well, so that they are known before
    their first event."""
