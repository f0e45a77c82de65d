"""From messages to what they change: one batch after the other, in the order of arrival."""

from presenced.pipeline.batch import Answers, Batch, Observer, SnapshotRecords
from presenced.pipeline.event_counts import EventCounts
from presenced.pipeline.pipeline import Pipeline

__all__ = ["Answers", "Batch", "EventCounts", "Observer", "Pipeline", "SnapshotRecords"]
