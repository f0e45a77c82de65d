"""The rows of benchmarks about Kafka measure what they say, at the smallest size."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.figures import Bench
from benchmarks.rows import kafka, kafka_hand_over, kafka_restore
from java_server import need_java

SIZES: list[tuple[ModuleType, dict[str, Any]]] = [
    (kafka, {"EVENTS": 4_000, "CLIENTS": 400, "PARTITIONS": 4}),
    (kafka_restore, {"CLIENTS": 2_000, "PARTITIONS": 4}),
    (kafka_hand_over, {"CLIENTS": 2_000, "PARTITIONS": 4, "SESSION_TIMEOUT": 6}),
]


@pytest.mark.parametrize(("row", "sizes"), SIZES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_row_measures(
    row: ModuleType, sizes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_java("kafka")
    for name, size in sizes.items():
        monkeypatch.setattr(row, name, size)
    figures = row.measure(Bench(1, tmp_path))
    assert figures
    for figure in figures:
        assert all(value > 0 for value in [*figure.runs, *figure.against_runs]), figure
