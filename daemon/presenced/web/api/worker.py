"""What a worker of Kafka says of the partitions that it has, and of the clients that it has not."""

from collections.abc import Callable, Sequence

from presenced.web.api import answers
from presenced.web.api.parts import FleetParts
from presenced.web.api.problems import ProblemError

_RETRY_AFTER = 5


def partitions_answer(parts: FleetParts, *, shown: bool) -> answers.Partitions | None:
    """Return the partitions that are shown; None if the fleet has no partitions."""
    owned = [part.partition for part in parts]
    if None in owned:
        return None
    numbers = sorted(partition.number for partition in owned if partition) if shown else []
    return answers.Partitions(owned=numbers, of=parts.partition_count, shown=shown)


def not_shown() -> ProblemError:
    """Return the error for a request while the partitions may not be shown."""
    detail = (
        "this worker shows no clients at present: Kafka has not confirmed for kafka.lease that it"
        " still has its partitions, and other workers may have taken them over; ask those, or try"
        " again"
    )
    return ProblemError(503, detail, retry_after=_RETRY_AFTER)


def unknown_client(
    client_id: str,
    partitions: answers.Partitions | None,
    partition_of: Callable[[str], int] | None,
) -> ProblemError:
    """Return the error for a client that is not known, with the place where it may be.

    `partition_of` returns the partition that the events of a client are in; None if that cannot be
    told.
    """
    detail = "the client is not known; it becomes known with the first event that names it"
    if partitions is not None:
        where = None if partition_of is None else partition_of(client_id)
        if where is None:
            detail = (
                f"the client is not known to this worker, which has {_owned(partitions)}; ask the"
                " other workers too"
            )
        elif where in partitions.owned:
            detail += f". Its events are in partition {where}, which this worker has"
        else:
            detail = (
                f"this worker has {_owned(partitions)}, and the events of this client are in"
                f" partition {where}; ask the worker on which"
                f' presenced_partition_owned{{partition="{where}"}} is 1'
            )
    return ProblemError(404, detail, parameter="client_id", value=client_id)


def _owned(partitions: answers.Partitions) -> str:
    owned = partitions.owned
    if not owned:
        return "no partition at present"
    plural = "s" * (len(owned) > 1)
    return f"partition{plural} {ranges(owned)} of {partitions.of}"


def ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers as text, three and more consecutive ones as a range: `0-2, 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = (
        [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(each) for each in run] for run in runs
    )
    return ", ".join(text for group in texts for text in group)
