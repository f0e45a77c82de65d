"""The dashboard Fleet: share online, by type and group, and reasons of disconnects."""

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.models.dashboard import Dashboard

from boards.frame import board, console_link, device_link, in_runbook
from boards.parts import (
    GOOD_IF_FEW,
    GOOD_IF_MANY,
    GOOD_IF_NONE,
    NO_SERIES,
    STATES,
    bars,
    coloured,
    heat,
    lines,
    number,
    query,
    shares,
    stacked,
    table_of,
    words,
)
from boards.queries import (
    CHOSEN,
    KNOWN,
    ONLINE,
    current,
    merged,
    merged_client,
    readiness,
    share_online,
)


def dashboard() -> Dashboard:
    """Build the dashboard; only its last row requires the series of each client."""
    made = board(
        "presenced-fleet",
        "Fleet",
        "Presence of an AWS IoT Core fleet: share online, by type and group; disconnect reasons.",
        span="6h",
    )
    _now(made)
    _over_time(made)
    _parts(made)
    _reasons(made)
    _reason_table(made)
    _durations(made)
    _record(made)
    _devices(made)
    return made.build()


def _now(made: building.Dashboard) -> None:
    share = number(
        "Share online",
        "Online and pending clients as a share of all clients with known presence.",
        share_online(),
        "percentunit",
        GOOD_IF_MANY,
    )
    made.with_panel(share.decimals(1).span(5))
    for state, meaning in (
        ("online", "Connected."),
        ("pending", "Disconnected, within the offline delay."),
        ("offline", "Disconnected for longer than the offline delay."),
        ("unknown", "Known from the registry only: no connect or disconnect received yet."),
    ):
        steps = ((STATES[state], None),)
        chosen = f'iot_clients{{state="{state}",{CHOSEN}}}'
        count = f"sum({current(chosen)})"
        made.with_panel(number(state.capitalize(), meaning, count, steps=steps).span(3))
    unverified = merged(f"iot_clients_unverified{{{CHOSEN}}}")
    made.with_panel(
        number(
            "Unverified",
            "Reported online, but without an event since events may have been lost.",
            f"sum({unverified})",
            steps=GOOD_IF_NONE,
        ).span(4)
    )
    owned = merged(f"presenced_partition_owned{{{CHOSEN}}}")
    made.with_panel(
        words(
            "presenced",
            "Whether every daemon is ready, and with Kafka each partition has an owner.",
            f"min({readiness()} or {owned})",
            {"1": ("ready", "green"), "0": ("not ready", "red")},
        ).span(3)
    )


def _over_time(made: building.Dashboard) -> None:
    made.with_panel(
        shares(
            "Share online",
            "Online and pending clients as a share of those with known presence, and a day before.",
            query(share_online(), "now"),
            query(share_online(" offset 1d"), "a day before"),
        ).span(24)
    )
    by_state = lines(
        "Clients by presence",
        "All clients, by presence.",
        "short",
        query(f"sum by (state) ({current(f'iot_clients{{{CHOSEN}}}')})", "{{state}}"),
    )
    made.with_panel(coloured(stacked(by_state), STATES))
    transitions = merged(f"rate(iot_client_transitions_total{{{CHOSEN}}}[$__rate_interval])")
    made.with_panel(
        coloured(
            lines(
                "Transitions per minute",
                "Changes to online and offline. Flaps within the offline delay do not count.",
                "cpm",
                query(f"sum by (to) ({transitions}) * 60", "to {{to}}"),
            ),
            {"to online": "green", "to offline": "red"},
        )
    )


def _parts(made: building.Dashboard) -> None:
    made.with_panel(
        shares(
            "Share online by thing type",
            "Online and pending clients of each type, as a share of those with known presence.",
            query(_share("thing_type"), "{{thing_type}}"),
        )
    )
    made.with_panel(
        bars(
            "Thing groups with the largest share offline",
            "The 15 largest shares now. Groups include the members of their subgroups.",
            "percentunit",
            GOOD_IF_FEW,
            query(f"sort_desc(topk(15, 1 - {_share('thing_group')}))", "{{thing_group}}"),
        )
    )


def _reasons(made: building.Dashboard) -> None:
    counted = f"iot_client_disconnects_total{{{CHOSEN}}}"
    rate = merged(f"sum without (initiated_by) (rate({counted}[$__rate_interval]))")
    seen = f"sum by (reason) (increase({counted}[$__range])) > 0"
    made.with_panel(
        stacked(
            lines(
                "Disconnects per minute, by reason",
                "All disconnects, including those without effect. The runbook lists the usual "
                f"cause of each reason. {in_runbook('Disconnect reasons')}",
                "cpm",
                query(f"sum by (reason) ({rate}) * 60 and {seen}", "{{reason}}"),
            )
        )
    )
    made.with_panel(
        lines(
            "Reconnects, replaced connections, refused connects per minute",
            "Events that are not transitions: reconnects within the offline delay, connects of "
            "clients that were online, and connection attempts that AWS IoT Core refused.",
            "cpm",
            query(
                _per_minute("iot_client_flaps_suppressed_total"), "back within the offline delay"
            ),
            query(_per_minute("iot_client_connections_replaced_total"), "replaced"),
            query(_per_minute("iot_client_connect_failures_total"), "refused"),
        )
    )


def _reason_table(made: building.Dashboard) -> None:
    counted = f"increase(iot_client_disconnects_total{{{CHOSEN}}}[$__range])"
    by_reason = f"sum by (reason) ({merged(f'sum without (initiated_by) ({counted})')})"
    made.with_panel(
        table_of(
            "Reasons of disconnects",
            "Disconnects in the selected time by the reason that AWS names, most frequent first. "
            + in_runbook("Disconnect reasons"),
            "short",
            f"{by_reason} > 0",
            ("reason", "Reason"),
        )
        .decimals(0)
        .span(24)
    )


def _durations(made: building.Dashboard) -> None:
    made.with_panel(
        heat(
            "Session lengths",
            "Length of the connections that ended.",
            "s",
            _buckets("iot_client_session_duration_seconds"),
        )
    )
    away = _buckets("iot_client_offline_duration_seconds")
    made.with_panel(
        lines(
            "Time offline",
            "Time that devices were offline until they came back, p50 and p90.",
            "s",
            query(f"histogram_quantile(0.5, {away})", "p50"),
            query(f"histogram_quantile(0.9, {away})", "p90"),
        )
    )


def _record(made: building.Dashboard) -> None:
    online, offline = "iot_clients_unverified", "iot_clients_offline_unverified"
    made.with_panel(
        coloured(
            stacked(
                lines(
                    "Clients in doubt",
                    "Clients that are unverified: events may have been lost, or AWS did not "
                    "answer. An event, or AWS's record, verifies them.",
                    "short",
                    query(f"sum({merged(f'{online}{{{CHOSEN}}}')})", "online or pending"),
                    query(f"sum({merged(f'{offline}{{{CHOSEN}}}')})", "offline"),
                )
            ),
            {"online or pending": "green", "offline": "red"},
        )
    )
    corrections = f"increase(iot_client_corrections_total{{{CHOSEN}}}[$__rate_interval])"
    corrected = merged(f"sum without (operation) ({corrections})")
    prevented = merged(
        f"increase(iot_client_offline_prevented_total{{{CHOSEN}}}[$__rate_interval])"
    )
    made.with_panel(
        lines(
            "Corrections by AWS's record",
            "Clients whose state AWS's record corrected (reconcile.enabled). Many without a gap: "
            "events get lost. Kept online by a lookup: AWS still had the client as connected when "
            "it would have gone offline; that is a correction to online, too.",
            "short",
            query(f"sum by (to) ({corrected})", "to {{to}}"),
            query(f"sum({prevented})", "kept online by a lookup"),
        )
    )


def _devices(made: building.Dashboard) -> None:
    made.with_row(building.Row("Single devices (require metrics.per_client)"))
    offline = f"{merged_client(f'iot_client_connected{{{CHOSEN}}}')} == 0"
    since = merged_client(f"iot_client_last_transition_timestamp_seconds{{{CHOSEN}}}")
    for title, description, unit, expression in (
        (
            "Went offline last",
            "The 20 clients that went offline last.",
            "dateTimeFromNow",
            f"topk(20, {since} and {offline}) * 1000",
        ),
        (
            "Offline longest",
            "The 20 clients that have been offline longest, of those that were ever seen online.",
            "s",
            f"topk(20, time() - ({since} and {offline}))",
        ),
    ):
        made.with_panel(
            table_of(
                title,
                f"{description} {in_runbook('DeviceOffline')}",
                unit,
                expression,
                ("client_id", "Client"),
            )
            .data_links([console_link("Client"), device_link("Client")])
            .no_value(NO_SERIES)
        )


def _share(label: str) -> str:
    metric = f"iot_{label}_clients"

    def count(states: str) -> str:
        counted = current(f"sum without (state) ({metric}{{{states},{CHOSEN}}})")
        return f"sum by ({label}) ({counted})"

    return f"{count(ONLINE)} / ({count(KNOWN)} > 0)"


def _per_minute(metric: str) -> str:
    return f"sum({merged(f'rate({metric}{{{CHOSEN}}}[$__rate_interval])')}) * 60"


def _buckets(metric: str) -> str:
    increase = merged(f"increase({metric}_bucket{{{CHOSEN}}}[$__rate_interval])")
    return f"sum by (le) ({increase})"
