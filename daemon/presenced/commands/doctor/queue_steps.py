"""The steps of a queue of Amazon SQS. No message is received: the daemon would lack it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from presenced.aws.client import AwsClient
from presenced.aws.errors import AwsError, Cause
from presenced.aws.operations import Request
from presenced.aws.queue import Queue, QueueAttributes
from presenced.commands.doctor.aws_findings import credentials_found
from presenced.commands.doctor.report import Finding, Status
from presenced.commands.output import counted
from presenced.settings import format_duration

_ATTEMPTS = 2
_DAY = 86_400
_LONGEST_RETENTION = 14 * _DAY
# A message is received once more after each crash of the daemon that held it.
_FEW_RECEIVES = 10
_NO_MESSAGE = "presenced-doctor"


class QueueProbe:
    """The requests that the daemon makes about its queue, in the order of the steps.

    The permissions are tried with requests about no message. Whether ReceiveMessage is allowed
    shows by a request that SQS refuses because it asks for too many messages.
    """

    def __init__(self, client: AwsClient, queue: Queue) -> None:
        self._client = client
        self._queue = queue
        self._attributes: QueueAttributes | None = None

    async def findings(self) -> AsyncIterator[tuple[str, Finding]]:
        """Make the requests, and yield each step with its finding.

        Without credentials, queue or server the later steps are skipped.
        """
        queue, skip = self._queue, False
        steps: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
            ("credentials", self._credentials),
            ("GetQueueAttributes", self._describe),
            ("retention", self._of(retention)),
            ("dead-letter queue", self._of(dead_letters)),
            ("encryption", self._of(encryption)),
            ("ReceiveMessage", partial(self._allowed, queue.receive_nothing())),
            ("DeleteMessage", partial(self._allowed, queue.delete([_NO_MESSAGE]))),
            (
                "ChangeMessageVisibility",
                partial(self._allowed, queue.change_visibility([_NO_MESSAGE], 0)),
            ),
        ]
        for name, check in steps:
            if skip:
                yield name, Finding(Status.SKIPPED)
                continue
            try:
                finding = await check()
            except AwsError as error:
                finding = Finding.of_aws(error)
                skip = error.cause is not Cause.DENIED
            yield name, finding

    async def _credentials(self) -> Finding:
        found = await self._client.credentials.get()
        return credentials_found(found.source, self._client.credentials.valid_for)

    async def _describe(self) -> Finding:
        answer = await self._client.send(self._queue.describe(), attempts=_ATTEMPTS)
        self._attributes = answer.value
        return kind(answer.value)

    def _of(self, check: Callable[[str, QueueAttributes], Finding]) -> Callable[[], Any]:
        async def find() -> Finding:
            if self._attributes is None:
                return Finding(Status.SKIPPED)
            return check(self._queue.url, self._attributes)

        return find

    async def _allowed(self, request: Request[object]) -> Finding:
        try:
            await self._client.send(request, attempts=_ATTEMPTS)
        except AwsError as error:
            if error.cause is not Cause.INVALID_REQUEST:
                raise
        return Finding(Status.OK, "allowed; no message was touched")


def kind(queue: QueueAttributes) -> Finding:
    """Return the finding for what a queue is and holds."""
    if queue.fifo:
        return Finding(
            Status.FAILED,
            "it is a FIFO queue, to which IoT rules cannot send",
            "Create a standard queue",
        )
    holds = (
        f"a standard queue with about {counted(queue.messages or 0, 'message')},"
        f" and {queue.in_flight or 0} received and not deleted"
    )
    if queue.delay:
        return Finding(
            Status.WARNING,
            f"{holds}; each message is withheld for {format_duration(queue.delay)} after it is"
            " sent, and so late clients go offline and online",
            "Set DelaySeconds of the queue to 0",
        )
    return Finding(Status.OK, holds)


def retention(url: str, queue: QueueAttributes) -> Finding:
    """Return the finding for how long messages wait for a daemon that is down."""
    if queue.retention is None:
        return Finding(Status.SKIPPED, "the queue does not say it")
    kept = f"messages are kept for {format_duration(queue.retention)}"
    if queue.retention >= _DAY:
        return Finding(Status.OK, kept)
    return Finding(
        Status.WARNING,
        f"{kept}: the events of a longer outage of the daemon are lost",
        f"aws sqs set-queue-attributes --queue-url {url}"
        f" --attributes MessageRetentionPeriod={_LONGEST_RETENTION}",
    )


def dead_letters(url: str, queue: QueueAttributes) -> Finding:
    """Return the finding for what happens to messages that are received again and again."""
    if queue.redrive is None:
        return Finding(Status.OK, "there is none: messages stay until they are applied")
    receives = queue.redrive.max_receive_count
    moved = f"a message that was received {counted(receives, 'time')} is moved there"
    if receives >= _FEW_RECEIVES:
        return Finding(Status.OK, moved)
    return Finding(
        Status.WARNING,
        f"{moved}, also if a crash of the daemon was the reason; its event is lost then",
        "Remove the redrive policy, which presenced does not need because it deletes what it"
        f" cannot read: aws sqs set-queue-attributes --queue-url {url}"
        " --attributes RedrivePolicy=",
    )


def encryption(url: str, queue: QueueAttributes) -> Finding:  # noqa: ARG001 - as the others
    """Return the finding for how messages are encrypted at rest."""
    if queue.kms_key is not None:
        return Finding(
            Status.OK,
            "by a key of AWS KMS: the daemon needs kms:Decrypt for it, and the role of the rule"
            " kms:Decrypt and kms:GenerateDataKey",
        )
    return Finding(Status.OK, "by SQS" if queue.encrypted_by_sqs else "none at rest")
