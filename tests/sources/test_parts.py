"""The small parts that both transports are made of."""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import threading

import pytest

from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connection import backoff, subscribe_until_granted
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.connections import build_source
from presenced.sources.mqtt.status import ConnectionStatus
from presenced.sources.mqtt.symptoms import is_refusal, reason_name
from presenced.system.loop import Tasks, in_thread
from scripted_broker import CONNECT, SUBSCRIBE, scripted_broker
from source_harness import KINDS, KeptSession, SourceHarness


def test_backoff_doubles_up_to_its_maximum():
    waits = backoff(1.0, 10.0, uniform=lambda _, high: high)
    assert list(itertools.islice(waits, 6)) == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_backoff_has_full_jitter():
    bounds = []
    waits = backoff(1.0, 4.0, uniform=lambda low, high: bounds.append((low, high)) or low)
    assert list(itertools.islice(waits, 4)) == [0.0] * 4
    assert bounds == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 4.0)]


def test_in_thread_returns_and_raises():
    def fail():
        raise ValueError("from the thread")

    async def scenario():
        assert await in_thread(threading.get_ident, name="x") != threading.get_ident()
        with pytest.raises(ValueError, match="from the thread"):
            await in_thread(fail, name="x")

    asyncio.run(scenario())


def test_a_hanging_thread_holds_up_neither_cancellation_nor_exit():
    code = """
import asyncio, threading
from presenced.system.loop import in_thread

async def main():
    with_thread = asyncio.ensure_future(in_thread(threading.Event().wait, name="hangs"))
    await asyncio.sleep(0)
    with_thread.cancel()

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_tasks_report_what_they_raise_and_are_cancelled_together():
    seen = []

    async def fail():
        raise ValueError("cause")

    async def scenario():
        tasks = Tasks(lambda name, error: seen.append((name, str(error))))
        await asyncio.gather(tasks.spawn(fail(), "first"), return_exceptions=True)
        endless = tasks.spawn(asyncio.Event().wait(), "second")
        await tasks.cancel()
        assert endless.cancelled()

    asyncio.run(scenario())
    assert seen == [("first", "cause")]


def test_a_task_that_swallows_its_cancellation_is_cancelled_again(monkeypatch):
    monkeypatch.setattr("presenced.system.loop._CANCEL_AGAIN_AFTER", 0.01)

    async def stubborn():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def scenario():
        tasks = Tasks(lambda name, error: None)
        task = tasks.spawn(stubborn(), "stubborn")
        await asyncio.sleep(0)
        await tasks.cancel()
        assert task.cancelled()

    asyncio.run(scenario())


def test_reason_names():
    assert reason_name(135) == "not authorized, 135"
    assert reason_name(199) == "unknown reason, 199"
    assert [is_refusal(code) for code in (0, 1, 2, 127, 128, 135)] == [False] * 4 + [True] * 2


class ScriptedLink:
    """Answers what is sent with the given reason codes, or raises the given exceptions."""

    ended = False

    def __init__(self, answers):
        self.answers = answers
        self.sent = []

    async def subscribe(self, filters):
        return self.answer(filters)

    async def unsubscribe(self, filters):
        return self.answer(("no more", *filters))

    def answer(self, sent):
        self.sent.append(sent)
        if not self.answers:
            pytest.fail(f"asked once too often: {self.sent}")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def subscribe_with(answers, filters=("a", "b"), *, held=()):
    """Run a subscriber against scripted answers; returns its status and what was sent."""
    status, link = (
        ConnectionStatus("c", filters, listener=KeptSession(*held)),
        ScriptedLink(answers),
    )
    status.up(resumed=True)
    asyncio.run(subscribe_until_granted(link, status, backoff(0.0, 0.0)))
    return status, link.sent


def test_only_refused_filters_are_requested_again():
    status, sent = subscribe_with([[0, 135], [128], [1]])
    assert sent == [["a", "b"], ["b"], ["b"]]
    assert status.granted == {"a": True, "b": True}
    assert status.failures["filter_refused"] == 2


def test_missing_and_short_answers_are_requested_again():
    status, sent = subscribe_with([TimeoutError("no SUBACK"), [1], [1]])
    assert sent == [["a", "b"], ["a", "b"], ["b"]]
    assert status.granted == {"a": True, "b": True}
    assert status.failures["filter_refused"] == 0


def test_an_answer_after_the_end_of_the_connection_ends_the_retries():
    """aiomqtt can lose the cancellation that comes with the end."""
    status, link = ConnectionStatus("c", ["a"], listener=KeptSession("old")), ScriptedLink([[1]])
    status.up(resumed=True)

    async def answer_late(filters):
        status.closed()
        return link.answer(filters)

    link.subscribe = answer_late
    asyncio.run(asyncio.wait_for(subscribe_until_granted(link, status, backoff(60.0, 60.0)), 5))
    assert link.sent == [["a"]]
    assert status.granted == {"a": False}


def test_nine_filters_make_two_packets():
    filters = [str(number) for number in range(9)]
    _, sent = subscribe_with([[1] * 8, [1]], filters)
    assert sent == [filters[:8], filters[8:]]


def test_unwanted_filters_end_after_new_ones_are_granted():
    _, sent = subscribe_with([[1, 1], [0, 17]], held=("old", "unknown to the broker"))
    assert sent == [["a", "b"], ("no more", "old", "unknown to the broker")]


@pytest.mark.parametrize("refusal", [[1, 135], [1], TimeoutError("no SUBACK")])
def test_nothing_ends_while_a_new_filter_is_not_granted(refusal):
    """The old one may bring what the new one does not yet."""
    _, sent = subscribe_with([refusal, [1, 1], [0]], held=["old"])
    again = ["a", "b"] if isinstance(refusal, Exception) else ["b"]
    assert sent == [["a", "b"], again, ("no more", "old")]


def test_a_refused_unsubscribe_is_repeated_and_logged(capsys):
    _, sent = subscribe_with([[1, 1], [0, 135], [0]], held=["old", "older"])
    assert sent == [["a", "b"], ("no more", "old", "older"), ("no more", "older")]
    told = capsys.readouterr().out
    assert "the session still holds filters that are not configured" in told
    assert "not authorized, 135" in told


def test_nine_filters_end_in_two_packets():
    held = [str(number) for number in range(9)]
    _, sent = subscribe_with([[1, 1], [0] * 8, [0]], held=held)
    assert sent[1:] == [("no more", *held[:8]), ("no more", *held[8:])]


@pytest.mark.parametrize("transport", ["awscrt", "aiomqtt"])
def test_build_source_imports_only_what_it_builds(transport):
    other = {"awscrt": "aiomqtt", "aiomqtt": "awscrt"}[transport]
    code = f"""
import asyncio, sys
from presenced.sources.inbox import Inbox
from presenced.sources.mqtt.connection_options import ConnectionOptions
from presenced.sources.mqtt.connections import build_source

async def main():
    options = ConnectionOptions(endpoint="h", port=1, client_id="c", filters=["f"], tls=None)
    source = build_source({transport!r}, options, Inbox(asyncio.get_running_loop(), print))
    assert source.status.client_id == "c"

asyncio.run(main())
assert {transport!r} in sys.modules and {other!r} not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def hang_up(peer):
    await peer.expect(CONNECT)


async def welcome(peer):
    await peer.expect(CONNECT)
    peer.connack()
    peer.suback(await peer.expect(SUBSCRIBE), 1)
    await peer.until_closed()


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("script", [hang_up, welcome])
def test_stop_at_any_moment_ends_soon(kind, script, caplog):
    """Cancellation must not be lost, whichever step of connecting it meets."""

    async def stop_after(turns, port):
        harness = SourceHarness(kind, port)
        await harness.source.start()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(2.5):  # less than the patience of Tasks.cancel
            await harness.source.stop()
        assert harness.status.callback_errors == 0
        assert not harness.status.connected

    async def scenario():
        async with scripted_broker(script) as port:
            for turns in range(0, 150, 3):
                await stop_after(turns, port)

    asyncio.run(scenario())
    assert not caplog.records  # asyncio logs what went wrong in its callbacks


@pytest.mark.parametrize("transport", ["awscrt", "aiomqtt"])
def test_stop_without_start_and_twice(transport):
    async def scenario():
        options = ConnectionOptions(endpoint="h", port=1, client_id="c", filters=["f"], tls=None)
        source = build_source(transport, options, Inbox(asyncio.get_running_loop(), print))
        await source.stop()
        await source.start()
        await source.stop()
        await source.stop()

    asyncio.run(scenario())


def test_secrets_stay_out_of_the_options_text():
    options = ConnectionOptions(
        endpoint="h", port=1, client_id="c", filters=["f"], tls=None, password="hidden"
    )
    assert "hidden" not in repr(options)
    assert options.address == "h:1"
