"""The section `sqs`: the queue from which events are received."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from presenced.settings.partitions import is_region, partition_of
from presenced.settings.problems import InvalidValue
from presenced.settings.values import Number, Section, is_host, is_loopback

# "Queue and message identifiers" of the SQS developer guide: /ACCOUNT/NAME.
_QUEUE = re.compile(r"/[0-9]{12}/[a-zA-Z0-9_-]{1,80}")
_FIFO = ".fifo"
_ARN = re.compile(r"arn:[a-z-]+:sqs:(?P<region>[a-z0-9-]+):(?P<queue>[0-9]{12}:[a-zA-Z0-9_.-]+)")
MAX_RECEIVERS = 32
"""How many requests for messages may be open at the same time."""

_FORM = "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"


def _check_queue_url(text: str) -> str:
    if arn := _ARN.fullmatch(text):
        raise InvalidValue("must be the URL of the queue, not its ARN", nearest=_url_of(arn))
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        host = ""
    if not is_host(host) or "@" in url.netloc:
        raise InvalidValue(f"is not the URL of a queue, such as {_FORM}")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise InvalidValue(
            "must begin with https://, because requests carry a session token; only localhost may"
            " be asked by http://"
        )
    if url.path.endswith(_FIFO):
        raise InvalidValue(
            "is a FIFO queue, to which IoT rules cannot send: create a standard queue"
        )
    if _QUEUE.fullmatch(url.path) is None or text != f"{url.scheme}://{url.netloc}{url.path}":
        raise InvalidValue(f"must end with the account and the name of the queue, as {_FORM} does")
    return text


def _url_of(arn: re.Match[str]) -> str | None:
    region = arn["region"]
    if not is_region(region):
        return None
    domain = partition_of(region).domains[0]
    return f"https://sqs.{region}.{domain}/{arn['queue'].replace(':', '/')}"


class SqsSettings(Section):
    """The queue of Amazon SQS from which events are received, with `source: sqs`.

    An IoT rule sends the events there. The daemon deletes each message after its effect is kept,
    so a queue is for one daemon alone. Requests are signed with the credentials of the section
    `aws`.
    """

    queue_url: Annotated[str, AfterValidator(_check_queue_url)] | None = None
    """URL of the queue, a standard one: `aws sqs get-queue-url --queue-name NAME` prints it. It
    must begin with https://; only localhost, where an emulator may run, may be asked by http://.
    Required with `source: sqs`."""

    receivers: Annotated[Number, Field(ge=1, le=MAX_RECEIVERS)] = 4
    """How many requests for messages are open at the same time at most, from 1 to 32. Each gets up
    to 10 messages. There is one as long as the queue is short; more of them empty a long queue
    sooner."""
