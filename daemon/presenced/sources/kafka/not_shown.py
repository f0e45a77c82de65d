"""Which partitions are not shown yet, in few words however many there are."""

from collections.abc import Mapping

from presenced.sources.kafka.partition import Stage

_NAMED = 5
_STAGES = {
    Stage.RESTORING: "being restored",
    Stage.CATCHING_UP: "catching up",
    Stage.REVOKED: "being handed over",
    Stage.LOST: "lost",
}


def not_shown(stages: Mapping[int, Stage]) -> list[str]:
    """Return a text for each stage but `SHOWN` that partitions are in, by their numbers."""
    return [
        text
        for stage, state in _STAGES.items()
        if (text := _text(sorted(n for n, each in stages.items() if each is stage), state))
    ]


def _text(numbers: list[int], state: str) -> str:
    if len(numbers) <= 1:
        return "".join(f"partition {number} is {state}" for number in numbers)
    named = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"{len(numbers)} partitions are {state}: {named}{more}"
