"""The hand-over from threads to the loop."""

import asyncio
import threading

from presenced.events.message import Message
from presenced.sources import inbox as inbox_module
from presenced.sources.inbox import Inbox
from waiting import until


def message(number=0, *, qos=1, moment=0.0, acknowledge=None):
    return Message(str(number), b"", qos, 0.0, moment, acknowledge=acknowledge)


class CountingLoop:
    """A loop of which only the wake-ups are of interest."""

    def __init__(self):
        self.wakeups = 0
        self.turns = []
        self.delays = []

    def is_closed(self):
        return False

    def call_soon_threadsafe(self, turn):
        self.wakeups += 1
        self.turns.append(turn)

    def call_soon(self, turn):
        self.turns.append(turn)

    def call_later(self, delay, turn):
        self.delays.append(delay)
        self.turns.append(turn)

    def run(self):
        turns, self.turns = self.turns, []
        for turn in turns:
            turn()


def test_many_messages_wake_the_loop_once():
    loop, batches = CountingLoop(), []
    inbox = Inbox(loop, batches.append)
    for number in range(100):
        assert inbox.put(message(number))
    assert (loop.wakeups, inbox.backlog) == (1, 100)
    loop.run()
    assert [len(batch) for batch in batches] == [100]
    assert inbox.backlog == 0
    loop.run()
    assert loop.turns == []
    inbox.put(message())
    assert loop.wakeups == 2


def test_a_busy_inbox_is_polled():
    loop, batches = CountingLoop(), []
    inbox = Inbox(loop, batches.append)
    for number in range(10):
        inbox.put(message(number))
        loop.run()
    assert [len(batch) for batch in batches] == [1] * 10
    assert loop.wakeups == 1
    assert all(0 < delay < 0.01 for delay in loop.delays), "soon"
    loop.run()
    assert loop.turns == [], "nothing has come any more"


def test_messages_not_taken_are_delivered_before_later_ones():
    loop, brought = CountingLoop(), []

    def deliver(batch):
        brought.append([m.topic for m in batch])
        return min(len(batch), 2)

    inbox = Inbox(loop, deliver, batch=3)
    for number in range(4):
        inbox.put(message(number, moment=float(number)))
    loop.run()
    assert inbox.oldest == 2.0
    inbox.put(message(4))
    while loop.turns:
        loop.run()
    assert brought == [["0", "1", "2"], ["2", "3", "4"], ["4"]]
    assert inbox.backlog == 0


def test_close_delivers_until_all_is_taken():
    taken = []

    def deliver(batch):
        if batch[0].topic in taken:
            return len(batch)
        taken.append(batch[0].topic)
        return 0  # deadlines first, for example

    inbox = Inbox(CountingLoop(), deliver)
    inbox.put(message(1))
    inbox.close()
    assert inbox.backlog == 0


def test_one_turn_takes_one_batch_and_lets_others_in_between():
    loop, batches = CountingLoop(), []
    inbox = Inbox(loop, batches.append, batch=40)
    for number in range(100):
        inbox.put(message(number))
    loop.run()
    assert [len(batch) for batch in batches] == [40]
    while loop.turns:
        loop.run()
    assert [len(batch) for batch in batches] == [40, 40, 20]
    assert [m.topic for batch in batches for m in batch] == [str(n) for n in range(100)]
    assert loop.wakeups == 1


def test_capacity_refuses_qos_0_and_never_qos_1():
    inbox = Inbox(CountingLoop(), lambda batch: None, capacity=3)
    assert [inbox.put(message(qos=0)) for _ in range(5)] == [True, True, True, False, False]
    assert inbox.put(message(qos=1))
    assert inbox.backlog == 4


def test_oldest_is_the_moment_of_the_first_that_waits():
    loop = CountingLoop()
    inbox = Inbox(loop, lambda batch: None, batch=1)
    assert inbox.oldest is None
    inbox.put(message(moment=5.0))
    inbox.put(message(moment=6.0))
    assert inbox.oldest == 5.0
    loop.run()
    assert inbox.oldest == 6.0


def test_close_delivers_the_rest_and_refuses_later_messages():
    loop, batches = CountingLoop(), []
    inbox = Inbox(loop, batches.append, batch=2)
    for number in range(5):
        inbox.put(message(number))
    inbox.close()
    assert [m for batch in batches for m in batch] == [message(n) for n in range(5)]
    assert not inbox.put(message())
    loop.run()  # the turn that was due finds nothing
    assert len(batches) == 3


def test_a_closed_loop_refuses_instead_of_raising():
    loop = asyncio.new_event_loop()
    inbox = Inbox(loop, lambda batch: None)
    loop.close()
    assert not inbox.put(message())
    assert not inbox.put(message())
    assert inbox.backlog == 0


def test_a_batch_that_fails_is_counted_acknowledged_and_logged(capsys):
    loop, acknowledged, applied = CountingLoop(), [], []

    def deliver(batch):
        if batch[0].topic == "0":
            raise ValueError("cannot apply")
        applied.extend(batch)

    inbox = Inbox(loop, deliver, batch=2)
    for number in range(4):
        inbox.put(message(number, acknowledge=lambda n=number: acknowledged.append(n)))
    while loop.turns:
        loop.run()
    assert inbox.undelivered == 2
    assert acknowledged == [0, 1]
    assert [m.topic for m in applied] == ["2", "3"]
    assert "ValueError: cannot apply" in "".join(capsys.readouterr())


def test_threads_lose_nothing_and_keep_their_order():
    threads, each = 8, 5_000
    received = []

    async def scenario():
        inbox = Inbox(asyncio.get_running_loop(), received.extend, batch=100)

        def work(thread):
            for number in range(each):
                assert inbox.put(message(f"{thread}/{number}"))

        workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        await until(lambda: len(received) == threads * each, 60)
        for worker in workers:
            worker.join()
        assert inbox.backlog == 0

    asyncio.run(scenario())
    for thread in range(threads):
        own = [m.topic for m in received if m.topic.startswith(f"{thread}/")]
        assert own == [f"{thread}/{number}" for number in range(each)]


def test_threads_that_outlive_the_loop_are_refused():
    accepted, refused = [], threading.Event()

    async def scenario():
        inbox = Inbox(asyncio.get_running_loop(), accepted.extend)

        def work():
            while inbox.put(message()):
                pass
            refused.set()

        threading.Thread(target=work, daemon=True).start()
        await until(lambda: accepted)
        # No close(): the loop simply ends.

    asyncio.run(scenario())
    assert refused.wait(20)


def settling(settled):
    """The sizes of the batches of three messages, by the time that `settle` returned."""
    batches, sizes = [], []

    async def scenario():
        inbox = Inbox(asyncio.get_running_loop(), batches.append, batch=2, settled=settled)
        for number in range(3):
            inbox.put(message(number))
        await inbox.settle()
        sizes.extend(len(batch) for batch in batches)
        assert inbox.put(message()), "it goes on"

    asyncio.run(scenario())
    return sizes


def test_settle_delivers_all_waiting_messages():
    assert settling(None) == [2, 1]


def test_settle_waits_until_all_is_acknowledged():
    waited = []

    async def settled():
        for _ in range(3):
            await asyncio.sleep(0)
        waited.append(True)

    assert settling(settled) == [2, 1]
    assert waited == [True]


def test_settle_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(inbox_module, "_SETTLE_TIMEOUT", 0.01)
    ended = []

    async def never():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    assert settling(never) == [2, 1]
    assert ended == [True]
