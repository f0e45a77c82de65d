"""Scraping time and again while something else happens."""

import threading
import time
from types import TracebackType
from typing import Self

from benchmarks.exporters import Server
from benchmarks.scraping import samples, scrape

__all__ = ["Poller"]


class Poller:
    """Scrapes as often as Prometheus might, `every` so many seconds, while it is entered.

    `highest` is the highest value that any sample of the metric `watched` had.
    """

    def __init__(self, server: Server, every: float, watched: str) -> None:
        self.scrapes = 0
        self.highest = 0.0
        self._server = server
        self._every = every
        self._watched = watched
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise SystemExit(f"{self._server.name} could not be scraped: {self._failure}")

    def _poll(self) -> None:
        try:
            due = time.monotonic()
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                text = scrape(self._server.port, zipped=True).text
                self.highest = max([self.highest, *samples(text, self._watched)])
                self.scrapes += 1
                due += self._every
        except (OSError, SystemExit) as failure:
            self._failure = failure
