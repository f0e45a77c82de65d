"""What polls prove, against a model of a queue that knows where every message is."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from presenced.sources.sqs.marks import Marks

HIDDEN = 30.0
BATCH = 2


def marks(*receivers, now=0.0):
    """Marks of a process whose predecessor left nothing hidden."""
    made = Marks(now - HIDDEN, HIDDEN)
    for receiver in receivers:
        made.join(receiver)
    return made


def test_nothing_is_due_before_the_first_answer():
    assert marks().held_at == -math.inf
    assert marks("a").held_at == -math.inf


def test_an_empty_answer_proves_that_the_queue_was_empty_when_the_poll_began():
    both = marks("a")
    both.answered("a", 5.0, [], full=False)
    assert both.held_at == 5.0


def test_a_short_answer_proves_that_nothing_older_is_left():
    one = marks("a")
    arrival = one.answered("a", 5.0, [8.0, 7.0], full=False)
    one.finished(arrival)
    assert one.held_at == 7.0
    one.finished(arrival)
    assert one.held_at == 7.0


def test_a_full_answer_proves_nothing():
    one = marks("a")
    one.answered("a", 5.0, [], full=False)
    arrival = one.answered("a", 6.0, [6.5] * 10, full=True)
    for _ in range(10):
        one.finished(arrival)
    assert one.held_at == 5.0


def test_every_receiver_has_to_prove_it():
    two = marks("a", "b")
    two.answered("a", 5.0, [], full=False)
    assert two.held_at == -math.inf
    two.answered("b", 4.0, [], full=False)
    assert two.held_at == 4.0


def test_what_is_received_and_not_applied_holds():
    one = marks("a")
    arrival = one.answered("a", 1.0, [2.0], full=False)
    one.answered("a", 5.0, [], full=False)
    assert one.held_at == 2.0
    one.finished(arrival)
    assert one.held_at == 5.0


def test_a_receiver_joins_with_what_is_proved_and_leaves_without_proving_more():
    two = marks("a")
    two.answered("a", 5.0, [], full=False)
    two.join("b")
    two.answered("a", 9.0, [], full=False)
    assert two.held_at == 5.0
    two.answered("b", 8.0, [], full=False)
    two.leave("b")
    assert two.held_at == 9.0
    two.leave("a")
    assert two.held_at == 9.0


def test_messages_that_an_earlier_process_received_may_still_be_hidden():
    one = Marks(100.0, HIDDEN)
    one.join("a")
    one.answered("a", 129.0, [], full=False)
    assert one.held_at == -math.inf
    assert one.reached == 129.0
    one.answered("a", 130.0, [], full=False)
    assert one.held_at == 130.0


def test_messages_of_a_lost_answer_may_still_be_hidden():
    two = marks("a", "b")
    two.answered("a", 5.0, [], full=False)
    two.answered("b", 6.0, [], full=False)
    two.lost(10.0)
    two.leave("a")
    two.answered("b", 12.0, [], full=False)
    assert two.held_at == 5.0
    two.answered("b", 40.0, [], full=False)
    assert two.held_at == 40.0


class Model:
    """A queue, its receivers, and the wires between: time is a number that each step advances."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: dict[int, float] = {}
        self.waiting: set[int] = set()
        self.hidden: dict[int, float] = {}
        self.here: list[tuple[int, object]] = []
        self.unapplied: set[int] = set()
        self.polls: dict[str, tuple[float, list[int] | None]] = {}
        self.marks = Marks(-HIDDEN, HIDDEN)

    def send(self) -> None:
        number = len(self.sent)
        self.sent[number] = self.now
        self.waiting.add(number)
        self.unapplied.add(number)

    def join(self, name: str) -> None:
        if name not in self.polls:
            self.marks.join(name)
            self.polls[name] = (self.now, None)

    def serve(self, name: str, order) -> None:
        """The server hands a poll everything, or a batch of it, which are on their way then."""
        began, handed = self.polls.get(name, (0.0, []))
        if handed is None:
            found = order(sorted(self.waiting))[:BATCH]
            self.waiting -= set(found)
            self.polls[name] = (began, found)

    def arrive(self, name: str) -> None:
        began, handed = self.polls.get(name, (0.0, None))
        if handed is not None:
            moments = [self.sent[number] for number in handed]
            full = len(handed) == BATCH
            arrival = self.marks.answered(name, began, moments, full=full)
            self.here += [(number, arrival) for number in handed]
            self.polls[name] = (self.now, None)

    def lose(self, name: str) -> None:
        """The connection ends, before or after the server has answered."""
        if name in self.polls:
            _, handed = self.polls[name]
            self.hidden |= dict.fromkeys(handed or (), self.now + HIDDEN)
            self.marks.lost(self.now)
            self.polls[name] = (self.now, None)

    def poll(self, name: str) -> None:
        """A poll without delays."""
        self.join(name)
        self.serve(name, list)
        self.arrive(name)

    def leave(self, name: str) -> None:
        if name in self.polls:
            self.arrive(name)
            # A poll that the server has not seen takes nothing.
            self.marks.leave(name)
            del self.polls[name]

    def apply(self) -> None:
        if self.here:
            number, arrival = self.here.pop(0)
            self.unapplied.discard(number)
            self.marks.finished(arrival)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for number, until in list(self.hidden.items()):
            if until <= self.now:
                del self.hidden[number]
                self.waiting.add(number)

    def check(self) -> None:
        oldest = min((self.sent[number] for number in self.unapplied), default=math.inf)
        assert self.marks.held_at <= oldest
        assert self.marks.held_at <= self.now


NAMES = st.sampled_from("aab")


@settings(max_examples=300)
@given(st.data())
def test_nothing_older_than_held_at_is_left(data):
    model = Model()
    steps = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["send", "serve", "arrive", "poll", "apply"] * 3 + ["join", "lose", "leave"]
                ),
                NAMES,
                st.sampled_from([0.0, 0.1, 1.0, 29.0, 31.0]),
                st.booleans(),
            ),
            min_size=30,
            max_size=120,
        )
    )
    for step, name, seconds, backwards in steps:
        model.pass_time(seconds)
        match step:
            case "send":
                model.send()
            case "apply":
                model.apply()
            case "serve":
                model.serve(name, (lambda found: found[::-1]) if backwards else list)
            case _:
                getattr(model, step)(name)
        model.check()


@given(st.integers(1, 5), st.integers(0, 40))
def test_a_drained_queue_lets_all_deadlines_fire(receivers, messages):
    """However much there was: after one empty poll each, held_at is when those began."""
    model = Model()
    names = [str(number) for number in range(receivers)]
    for name in names:
        model.join(name)
    for _ in range(messages):
        model.send()
    model.pass_time(1.0)
    while model.waiting:
        for name in names:
            model.serve(name, list)
            model.arrive(name)
    while model.here:
        model.apply()
    model.pass_time(1.0)
    for name in names:
        model.polls[name] = (model.now, None)
        model.serve(name, list)
        model.arrive(name)
    assert model.marks.held_at == model.now
