"""One log line for each client that goes online or offline, even if thousands do in a second."""

import time
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted

from presenced.pipeline import Batch
from presenced.presence import Transition
from presenced.system import log

_COMPONENT = "presenced"


class TransitionLog:
    """Writes the transitions of each batch as the logger `presenced` would, at less cost.

    JSON lines are formatted here and written together, which costs 2 µs a line in place of 12. All
    other formats go through the logger.
    """

    def __init__(self) -> None:
        self._times, self._sinces = SecondFormatter(), SecondFormatter()
        self.use_configuration()

    def use_configuration(self) -> None:
        """Write as logs were last configured."""
        self._stream = log.json_stream()
        self._is_shown = log.shows("info")
        self._log = log.get_logger(_COMPONENT).bind()

    def observe(self, batch: Batch) -> None:
        """Log the transitions of a batch."""
        if not self._is_shown or not (transitions := batch.changes.transitions):
            return
        if self._stream is not None:
            log.write(self._stream, "".join(map(self._json_line, transitions)))
            return
        for transition in transitions:
            self._log.info(
                f"client went {transition.state}",
                client_id=transition.client_id,
                previous=str(transition.previous),
                since=self._sinces.milliseconds(transition.since),
                reason=transition.reason,
            )

    def _json_line(self, transition: Transition) -> str:
        reason = transition.reason
        return (
            f'{{"component": "{_COMPONENT}", "client_id": {quoted(transition.client_id)},'
            f' "previous": "{transition.previous}",'
            f' "since": "{self._sinces.milliseconds(transition.since)}",'
            f' "reason": {"null" if reason is None else quoted(reason)},'
            f' "event": "client went {transition.state}", "level": "info",'
            f' "timestamp": "{self._times.microseconds(time.time())}"}}\n'
        )


class SecondFormatter:
    """Formats times, most of which lie in the same second as the one before."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def milliseconds(self, at: float) -> str:
        """Return a time as `format_utc` does, rounded down to milliseconds."""
        second, micros = divmod(round(at * 1_000_000), 1_000_000)
        return f"{self._format(second)}.{micros // 1000:03}Z"

    def microseconds(self, at: float) -> str:
        """Return a time with microseconds and Z."""
        second, micros = divmod(round(at * 1_000_000), 1_000_000)
        return f"{self._format(second)}.{micros:06}Z"

    def _format(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return self._text
