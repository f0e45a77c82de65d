"""What the errors of Amazon SQS mean, and their remedies.

Names of errors are those of the Amazon SQS API reference ("Common Errors", and of each operation).
"""

from presenced.aws.errors import Cause, policy_statement
from presenced.aws.operations import Operation

_NO_QUEUE = {"QueueDoesNotExist", "NonExistentQueue", "QueueDeletedRecently", "InvalidAddress"}
_DENIED = {"AccessDenied", "AccessDeniedException"}
_THROTTLED = {"RequestThrottled", "OverLimit", "KmsThrottled"}
_KEY_DENIED = "KmsAccessDenied"


def queue_cause(kind: str) -> Cause | None:
    """Return the cause of an error that only SQS has; None for one that all of AWS has."""
    if kind in _NO_QUEUE:
        return Cause.NO_QUEUE
    if kind in _DENIED:
        return Cause.DENIED
    if kind in _THROTTLED:
        return Cause.THROTTLED
    return Cause.KEY if kind.startswith("Kms") else None


def queue_texts(
    cause: Cause, operation: Operation, kind: str, region: str
) -> tuple[str, str] | None:
    """Return what is wrong with a queue, and the remedy; None if it is nothing of the queue's."""
    name = operation.resource
    if cause is Cause.NO_QUEUE:
        detail = f"there is no queue {name} in {region} and the account of sqs.queue_url ({kind})"
        get_url = f"aws sqs get-queue-url --region {region} --queue-name {name}"
        return detail, f"Check sqs.queue_url: {get_url} prints it"
    if cause is Cause.KEY and kind == _KEY_DENIED:
        statement = policy_statement("kms:Decrypt", "key/KEY", region=region)
        remedy = f"Add to the policies of their role: {statement}"
        detail = f"the credentials may not use the key that encrypts the queue {name}"
        return detail, f"{remedy}. The policy of the key has to allow it too"
    if cause is Cause.KEY:
        detail = f"the key that encrypts the queue {name} cannot be used ({kind})"
        return detail, "Check the key's state: aws kms describe-key --key-id KEY"
    if kind == "OverLimit":
        detail = f"too many messages of the queue {name} are received and not deleted ({kind})"
        return detail, "Stop other programs that receive from this queue"
    if cause is Cause.THROTTLED:
        detail = f"AWS allows no more requests at the moment ({kind or 'throttled'})"
        return detail, "Lower sqs.receivers if this lasts"
    return None
