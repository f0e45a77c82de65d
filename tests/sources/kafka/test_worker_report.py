"""Partitions that are not shown, in the text of `/-/ready`."""

from presenced.sources.kafka.partition import Stage
from presenced.sources.kafka.worker_report import not_shown


def test_shown_partitions_are_not_named() -> None:
    assert not_shown({0: Stage.SHOWN, 1: Stage.SHOWN}) == []


def test_each_stage_is_one_text() -> None:
    stages = {4: Stage.CATCHING_UP, 0: Stage.SHOWN, 3: Stage.RESTORING, 2: Stage.RESTORING}
    assert not_shown(stages) == [
        "2 partitions are being restored: 2, 3",
        "partition 4 is catching up",
    ]


def test_many_partitions_are_counted() -> None:
    texts = not_shown(dict.fromkeys(range(24), Stage.RESTORING))
    assert texts == ["24 partitions are being restored: 0, 1, 2, 3, 4 and 19 more"]
