"""The operations of one Amazon SQS queue that presenced uses, and their answers.

Names, shapes and limits are those of the Amazon SQS API reference; the protocol is AWS JSON 1.0.
All requests go to the host of the queue's URL.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from presenced.aws.operations import Operation, Request

T = TypeVar("T")

BATCH = 10
"""The most messages of one request."""

LONGEST_WAIT = 20
"""The most seconds that a long poll waits."""

_ATTRIBUTES = ("SentTimestamp", "ApproximateReceiveCount")
OPERATIONS = (
    "ReceiveMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibilityBatch",
    "GetQueueAttributes",
)
"""The names of the operations."""

# The permission for a batch is that for the single operation ("Amazon SQS API permissions").
_PERMISSIONS = {
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}


class QueueMessage(msgspec.Struct, frozen=True, gc=False):
    """A received message.

    `sent` is when it entered the queue, in seconds since the epoch by AWS's clock; `receives` is
    about how often it was received. `topic` is its attribute of this name.
    """

    receipt_handle: str
    body: str
    sent: float
    receives: int
    topic: str | None


class EntryFailure(msgspec.Struct, frozen=True, rename="pascal"):
    """Why one message of a batch was not changed.

    `id` is its place in the batch. With `sender_fault` a repetition fails as well.
    """

    id: str
    code: str = ""
    sender_fault: bool = False


class RedrivePolicy(msgspec.Struct, frozen=True, rename="camel"):
    """After how many receives a message goes to a dead-letter queue, whose ARN is the target."""

    max_receive_count: int
    dead_letter_target_arn: str = ""


class QueueAttributes(msgspec.Struct, frozen=True):
    """What a queue is: counts of messages are approximate, times are in seconds."""

    messages: int | None
    in_flight: int | None
    retention: int | None
    delay: int | None
    redrive: RedrivePolicy | None
    kms_key: str | None
    encrypted_by_sqs: bool
    fifo: bool


class _Wire(msgspec.Struct, rename="pascal"):
    """An answer as AWS sends it."""


class _MessageAttribute(_Wire):
    string_value: str | None = None


class _SystemAttributes(_Wire):
    sent_timestamp: float
    approximate_receive_count: int = 1


class _Message(_Wire):
    receipt_handle: str
    attributes: _SystemAttributes
    body: str = ""
    message_attributes: dict[str, _MessageAttribute] | None = None


class _Messages(_Wire):
    messages: list[_Message] | None = None


class _BatchAnswer(_Wire):
    failed: tuple[EntryFailure, ...] | None = None


class _Attributes(_Wire):
    attributes: dict[str, str] = {}


def _decoder(shape: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(shape, strict=False).decode


_messages = _decoder(_Messages)
_batch_answer = _decoder(_BatchAnswer)
_attributes = _decoder(_Attributes)
_redrive = msgspec.json.Decoder(RedrivePolicy, strict=False).decode


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue by its URL, https://HOST/ACCOUNT/NAME, and the requests about it."""

    url: str

    @property
    def name(self) -> str:
        """The name, without the account."""
        return self.url.rpartition("/")[2]

    def receive(self, *, wait: int, visibility: int) -> Request[tuple[QueueMessage, ...]]:
        """Return the request for up to 10 messages, for which it waits up to `wait` seconds.

        Others do not receive them for `visibility` seconds. Only a poll that waits asks all servers
        of the queue ("Amazon SQS short and long polling").
        """
        content = {
            "MaxNumberOfMessages": BATCH,
            "WaitTimeSeconds": wait,
            "VisibilityTimeout": visibility,
            "MessageSystemAttributeNames": _ATTRIBUTES,
            "MessageAttributeNames": ["topic"],
        }
        return self._request("ReceiveMessage", content, received_messages)

    def receive_nothing(self) -> Request[tuple[QueueMessage, ...]]:
        """Return a request for too many messages, which SQS refuses if receiving is allowed."""
        content = {"MaxNumberOfMessages": BATCH + 1, "WaitTimeSeconds": 0, "VisibilityTimeout": 0}
        return self._request("ReceiveMessage", content, received_messages)

    def delete(self, receipt_handles: Sequence[str]) -> Request[tuple[EntryFailure, ...]]:
        """Return the request that deletes up to 10 messages."""
        return self._request("DeleteMessageBatch", _entries(receipt_handles), failures)

    def change_visibility(
        self, receipt_handles: Sequence[str], visibility: int
    ) -> Request[tuple[EntryFailure, ...]]:
        """Return the request that hides up to 10 messages for so many seconds from now.

        With 0 they are back in the queue.
        """
        content = _entries(receipt_handles, VisibilityTimeout=visibility)
        return self._request("ChangeMessageVisibilityBatch", content, failures)

    def describe(self) -> Request[QueueAttributes]:
        """Return the request for the queue's attributes."""
        # Some names are errors for some types of queues.
        return self._request("GetQueueAttributes", {"AttributeNames": ["All"]}, queue_attributes)

    def _request(
        self, name: str, content: Mapping[str, Any], read: Callable[[bytes], T]
    ) -> Request[T]:
        operation = Operation(name, "sqs", "POST", self.name, action=_PERMISSIONS.get(name, name))
        url = urlsplit(self.url)
        body = msgspec.json.encode({"QueueUrl": self.url, **content})
        return Request(operation, "/", read, body=body, base_url=f"{url.scheme}://{url.netloc}")


def _entries(receipt_handles: Iterable[str], **more: int) -> Mapping[str, Any]:
    entries = [
        {"Id": str(place), "ReceiptHandle": handle, **more}
        for place, handle in enumerate(receipt_handles)
    ]
    return {"Entries": entries}


def received_messages(body: bytes) -> tuple[QueueMessage, ...]:
    """Read an answer of ReceiveMessage."""
    return tuple(map(_message, _messages(body).messages or ()))


def _message(message: _Message) -> QueueMessage:
    topic = (message.message_attributes or {}).get("topic")
    return QueueMessage(
        receipt_handle=message.receipt_handle,
        body=message.body,
        sent=message.attributes.sent_timestamp / 1000,
        receives=message.attributes.approximate_receive_count,
        topic=topic.string_value if topic else None,
    )


def failures(body: bytes) -> tuple[EntryFailure, ...]:
    """Read an answer to a batch: what of it failed."""
    return _batch_answer(body).failed or ()


def queue_attributes(body: bytes) -> QueueAttributes:
    """Read an answer of GetQueueAttributes."""
    found = _attributes(body).attributes
    redrive = found.get("RedrivePolicy")
    return QueueAttributes(
        messages=_number(found.get("ApproximateNumberOfMessages")),
        in_flight=_number(found.get("ApproximateNumberOfMessagesNotVisible")),
        retention=_number(found.get("MessageRetentionPeriod")),
        delay=_number(found.get("DelaySeconds")),
        redrive=_redrive(redrive) if redrive else None,
        kms_key=found.get("KmsMasterKeyId") or None,
        encrypted_by_sqs=found.get("SqsManagedSseEnabled") == "true",
        fifo=found.get("FifoQueue") == "true",
    )


def _number(text: str | None) -> int | None:
    return msgspec.convert(text, int, strict=False) if text else None
