from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from presenced_emulator.truth import (
    Scrape,
    Truth,
    presence_agrees,
    report_line,
)

names = st.frozensets(st.sampled_from("abcdefgh"))

METRICS = """\
# HELP iot_clients Clients by state.
# TYPE iot_clients gauge
iot_clients{state="online"} 2
iot_clients{state="pending"} 1
iot_clients{state="offline"} 1
iot_clients{state="unknown"} 0
# TYPE iot_client_connected gauge
iot_client_connected{client_id="a"} 1
iot_client_connected{client_id="plant/\\"b\\""} 1
iot_client_connected{client_id="c"} 1
iot_client_connected{client_id="d"} 0
# TYPE iot_events_total counter
iot_events_total{family="presence",type="connected"} 9
"""


def scrape(online: set[str] | frozenset[str], pending: set[str] | None = None) -> Scrape:
    pending = pending or set()
    return Scrape(len(online), len(pending), 0, frozenset(online | pending), {}, {})


def truth(connected: set[str] | frozenset[str], in_flight: set[str] | None = None) -> Truth:
    return Truth(frozenset(connected), frozenset(in_flight or ()), {}, {}, frozenset())


def test_parse() -> None:
    assert Scrape.parse(METRICS) == Scrape(2, 1, 1, frozenset({"a", 'plant/"b"', "c"}), {}, {})


def test_with_losses_pending_clients_count_as_online_on_both_sides() -> None:
    now = truth({"a"})._replace(pending=frozenset("b"))

    def agrees(online: set[str], pending: set[str]) -> bool:
        return presence_agrees(scrape(online, pending), now, now, pending_is_online=True)

    assert agrees({"a"}, {"b"})
    assert agrees({"b"}, {"a"})
    assert agrees({"a"}, set())
    assert not agrees({"b"}, set()), "a is connected"
    assert not agrees({"a", "c"}, set()), "c is disconnected for longer"
    assert not agrees({"a"}, {"c"})


@given(names, names)
def test_the_exact_truth_agrees(connected: frozenset[str], gone: frozenset[str]) -> None:
    now = truth(connected)
    assert presence_agrees(scrape(connected, set(gone - connected)), now, now)


@given(names, names)
def test_another_number_disagrees(connected: frozenset[str], shown: frozenset[str]) -> None:
    now = truth(connected)
    assert presence_agrees(scrape(shown), now, now) is (shown == connected)


@given(names, names, names)
def test_what_is_in_flight_may_be_reported_either_way(
    before: frozenset[str], after: frozenset[str], shown: frozenset[str]
) -> None:
    changing = before ^ after
    reported = (before & after) | (shown & changing)
    assert presence_agrees(scrape(reported), truth(before), truth(after))
    assert presence_agrees(scrape(reported), truth(before), truth(before, set(changing)))


def test_pending_is_not_connected() -> None:
    now = truth({"a"})
    assert presence_agrees(scrape({"a"}, {"b"}), now, now)
    assert not presence_agrees(scrape({"a", "b"}), now, now)
    assert not presence_agrees(scrape(set(), {"a"}), now, now)


def test_two_mistakes_do_not_cancel_out() -> None:
    now = truth({"a", "b"})
    assert not presence_agrees(scrape({"a", "c"}), now, now)


def test_line() -> None:
    now = datetime(2026, 11, 21, 12, 0, 4, tzinfo=UTC)
    reported = scrape({"a", "b"}, {"c"})
    line = report_line(now, reported, truth({"a", "b"}, {"c"}), agreed=True)
    assert " ".join(line.split()) == (
        "12:00:04 presenced: online 2 pending 1 offline 0 | broker: connected 2 in flight 1 | agree"
    )
    assert report_line(now, reported, truth({"a"}), agreed=False).endswith("| settling")


def test_truth_without_the_daemon() -> None:
    whole = truth({"a", "presenced"}, {"presenced"})
    assert whole.without("presenced") == truth({"a"})


def test_truth_without_the_daemon_keeps_the_registry() -> None:
    whole = truth({"a", "presenced"})._replace(thing_of={"plant/a": "a"})
    assert whole.without("presenced") == truth({"a"})._replace(thing_of={"plant/a": "a"})


def test_parse_reads_the_breakdown() -> None:
    line = 'iot_thing_type_clients{thing_type="a",state="online"} 2\n'
    scrape = Scrape.parse(f"# TYPE iot_thing_type_clients gauge\n{line}{METRICS}")
    assert scrape.online == 2
    assert scrape.counts == {("thing_type", "a"): {"online": 2}}
