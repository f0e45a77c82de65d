"""What is reported about a connection."""

import pytest

from presenced.events.message import Message
from presenced.sources.mqtt.faults import Fault, FaultReason
from presenced.sources.mqtt.source import unreceived_of
from presenced.sources.mqtt.status import ConnectionStatus

LOST = Fault(FaultReason.CONNECTION_LOST, "the connection was closed")
ENDPOINT = "abc-ats.iot.eu-west-1.amazonaws.com"


@pytest.fixture
def status():
    return ConnectionStatus("presenced", ["a/#", "b/#"], endpoint=ENDPOINT)


def live_and_lose(status, at, *, granted=(), after=1.0, fault=LOST):
    """One connection that subscribes at a time and ends so long after."""
    status.up(resumed=False)
    status.subscribing(at)
    for topic_filter in granted:
        status.filter_granted(topic_filter, 1)
    status.lost(fault, at + after)


def count(status):
    return {reason.value: number for reason, number in status.failures.items() if number}


def test_from_start_to_ready(status):
    assert status.problem == f"connecting to {ENDPOINT}"
    status.up(resumed=False)
    assert status.connected
    assert status.problem == "waiting for the broker to grant a/#, b/#"
    status.filter_granted("a/#", 1)
    assert status.problem == "waiting for the broker to grant b/#"
    status.filter_granted("b/#", 1)
    assert status.problem is None
    assert status.granted == {"a/#": True, "b/#": True}
    assert status.connects == {"new": 1, "resumed": 0}


def test_all_reasons_are_there_from_the_start(status):
    assert status.failures == dict.fromkeys(FaultReason, 0)


def test_a_failed_attempt_is_counted_and_reported(status):
    status.failed(Fault(FaultReason.UNREACHABLE, "it does not answer", "Check the port"))
    assert count(status) == {"unreachable": 1}
    assert status.problem == "it does not answer. Check the port"


def test_a_late_failure_does_not_change_the_present_state(status):
    status.up(resumed=True)
    status.filter_granted("a/#", 1)
    status.filter_granted("b/#", 1)
    status.failed(Fault(FaultReason.TLS, "of an earlier attempt"))
    assert count(status) == {"tls": 1}
    assert status.connected
    assert status.problem is None


def test_a_lost_connection_grants_nothing(status):
    live_and_lose(status, 0.0, granted=["a/#", "b/#"], after=100.0)
    assert status.granted == {"a/#": False, "b/#": False}
    assert not status.connected
    assert status.problem == "the connection was closed"


def test_a_refused_filter_is_named_until_it_is_granted(status):
    status.up(resumed=False)
    status.filter_granted("a/#", 1)
    status.filter_refused("b/#", "not authorized, 135")
    assert "refused the subscription to b/# (not authorized, 135)" in status.problem
    assert "arn:aws:iot:eu-west-1:ACCOUNT:topicfilter/b/*" in status.problem
    assert count(status) == {"filter_refused": 1}
    status.filter_granted("b/#", 1)
    assert status.problem is None


CONNECTS, DISCONNECTS = "$aws/events/presence/connected/#", "$aws/events/presence/disconnected/#"
SHARED = "$share/presenced/$aws/events/presence/#"


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        ([], [CONNECTS], None),
        ([CONNECTS], [], None),
        ([CONNECTS], [DISCONNECTS], ([DISCONNECTS], False, True)),
        ([DISCONNECTS], [CONNECTS], ([CONNECTS], True, False)),
        (
            ["$aws/events/thing/#"],
            ["$aws/events/presence/#"],
            (["$aws/events/presence/#"], True, True),
        ),
        (
            ["$aws/events/presence/#"],
            ["$aws/events/thing/#"],
            (["$aws/events/thing/#"], False, False),
        ),
        (["$aws/events/presence/#"], ["state/#"], (["state/#"], True, True)),
        ([SHARED], [SHARED], ([f"a part of {SHARED}"], True, True)),
        (
            [CONNECTS],
            ["$aws/events/thing/#", DISCONNECTS],
            (["$aws/events/thing/#", DISCONNECTS], False, True),
        ),
    ],
)
def test_what_is_not_received_while_other_filters_are(up, down, expected):
    statuses = [ConnectionStatus("a", up), ConnectionStatus("b", down)]
    assert unreceived_of(statuses, {"state/#"}) is None, "nothing is received"
    statuses[0].up(resumed=False)
    for each in up:
        statuses[0].filter_granted(each, 1)
    found = unreceived_of(statuses, {"state/#"})
    assert (found and found[:3]) == expected
    statuses[1].up(resumed=False)
    assert unreceived_of(statuses, {"state/#"}) == found, "not granted yet"
    for each in down:
        statuses[1].filter_granted(each, 1)
    assert unreceived_of(statuses, {"state/#"}) is None


def test_in_a_loop_of_drops_no_filter_is_received(status):
    for at in (0.0, 10.0):
        live_and_lose(status, at)
    status.up(resumed=False)
    status.filter_granted("a/#", 1)
    assert status.unreceived == ["a/#", "b/#"]


def test_drops_right_after_subscribe_are_recognised_as_a_loop(status):
    live_and_lose(status, 0.0)
    assert count(status) == {"connection_lost": 1}
    live_and_lose(status, 10.0)
    assert count(status) == {"connection_lost": 1, "dropped_after_subscribe": 1}
    assert "right after SUBSCRIBE to a/#, b/#" in status.problem
    assert "iot:Subscribe" in status.problem
    status.up(resumed=False)  # up for a moment, as it is each time round
    assert "right after SUBSCRIBE" in status.problem


def test_granted_filters_end_the_loop(status):
    for at in (0.0, 10.0):
        live_and_lose(status, at)
    status.up(resumed=False)
    status.filter_granted("a/#", 1)
    status.filter_granted("b/#", 1)
    assert status.problem is None
    status.lost(LOST, 21.0)
    assert "right after" not in status.problem


def test_an_attempt_that_fails_otherwise_shows_its_own_cause(status):
    for at in (0.0, 10.0):
        live_and_lose(status, at)
    status.failed(Fault(FaultReason.UNREACHABLE, "it does not answer"))
    assert status.problem == "it does not answer"


@pytest.mark.parametrize(
    "life",
    [
        {"after": 60.0},
        {"granted": ["a/#", "b/#"]},
        {"fault": Fault(FaultReason.TAKEN_OVER, "another client")},
        {"fault": Fault(FaultReason.KEEP_ALIVE_TIMEOUT, "silence")},
    ],
    ids=["late", "granted", "taken over", "keep-alive"],
)
def test_other_losses_make_no_loop(status, life):
    for at in (0.0, 100.0, 200.0):
        live_and_lose(status, at, **life)
    assert "dropped_after_subscribe" not in count(status)


def test_a_partly_granted_subscription_still_makes_a_loop(status):
    for at in (0.0, 10.0):
        live_and_lose(status, at, granted=["a/#"])
    assert "dropped_after_subscribe" in count(status)


def test_closed_on_request(status):
    status.up(resumed=False)
    status.closed()
    assert not status.connected
    assert status.problem == "disconnected on request"
    assert count(status) == {}


def test_refused_messages_count_where_they_are_lost(status):
    for qos in (0, 0, 1):
        status.refused(Message("t", b"", qos, 0.0, 0.0))
    assert status.messages_dropped == 2


def test_repeated_faults_are_logged_once(status, capsys):
    for _ in range(50):
        status.failed(Fault(FaultReason.UNREACHABLE, "it does not answer"))
        status.refused(Message("t", b"", 0, 0.0, 0.0))
        status.callback_failed("on_publish", ValueError("the cause"))
    text = "".join(capsys.readouterr())
    assert text.count("it does not answer") == 1
    assert text.count("backlog is full") == 1
    assert text.count("ValueError: the cause") == 1
    assert count(status) == {"unreachable": 50}
    assert status.callback_errors == 50


def test_local_variables_of_a_failure_stay_out_of_the_log(status, capsys):
    def fail():
        secret = "payload of somebody"
        raise ValueError(len(secret))

    try:
        fail()
    except ValueError as error:
        status.callback_failed("on_publish", error)
    assert "somebody" not in "".join(capsys.readouterr()).replace('secret = "payload', "")


def test_the_text_of_the_broker_makes_no_new_fault():
    assert Fault(FaultReason.TLS, "a", said="x") == Fault(FaultReason.TLS, "a", said="y")
    assert str(Fault(FaultReason.TLS, "a", "b", "c")) == 'a (the broker said: "c"). b'
