"""The dashboard Fleet: how much of it is online, where, and why devices leave."""

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.models.dashboard import Dashboard, DataTransformerConfig

from boards.parts import (
    CHOSEN,
    GOOD_IF_MANY,
    GOOD_IF_NONE,
    KNOWN,
    NO_SERIES,
    ONLINE,
    SHARE_ONLINE,
    STATES,
    bars,
    board,
    coloured,
    device_link,
    heat,
    lines,
    listing,
    merged,
    number,
    query,
    stacked,
    words,
)

__all__ = ["dashboard"]


def dashboard() -> Dashboard:
    """The dashboard Fleet; only its last row needs series per client."""
    made = board(
        "presenced-fleet",
        "Fleet",
        "How much of an AWS IoT Core fleet is online, where, and why devices leave; by presenced.",
        span="6h",
    )
    _now(made)
    _over_time(made)
    _parts(made)
    _reasons(made)
    _durations(made)
    _devices(made)
    return made.build()


def _now(made: building.Dashboard) -> None:
    share = number(
        "Share online",
        "Clients that are online or pending, of all whose presence is known.",
        SHARE_ONLINE,
        "percentunit",
        GOOD_IF_MANY,
    )
    made.with_panel(share.decimals(1).span(5))
    for state, meaning in (
        ("online", "Connected."),
        ("pending", "Disconnected, and inside the offline delay."),
        ("offline", "Disconnected for longer than the offline delay."),
        ("unknown", "Known by the registry only: no connect or disconnect was seen yet."),
    ):
        steps = ((STATES[state], None),)
        chosen = f'iot_clients{{state="{state}",{CHOSEN}}}'
        count = f"sum({merged(chosen)})"
        made.with_panel(number(state.capitalize(), meaning, count, steps=steps).span(3))
    unverified = merged(f"iot_clients_unverified{{{CHOSEN}}}")
    made.with_panel(
        number(
            "Unverified",
            "Shown as online, but not heard of since events may have been lost.",
            f"sum({unverified})",
            steps=GOOD_IF_NONE,
        ).span(4)
    )
    made.with_panel(
        words(
            "presenced",
            "Whether every connection of the daemons is up and every filter granted.",
            f"min(presenced_mqtt_connected{{{CHOSEN}}})"
            f" * min(presenced_mqtt_subscription_granted{{{CHOSEN}}})",
            {"1": ("ready", "green"), "0": ("not ready", "red")},
        ).span(3)
    )


def _over_time(made: building.Dashboard) -> None:
    by_state = lines(
        "Clients by presence",
        "All clients, by presence.",
        "short",
        query(f"sum by (state) ({merged(f'iot_clients{{{CHOSEN}}}')})", "{{state}}"),
    )
    made.with_panel(coloured(stacked(by_state), STATES))
    transitions = merged(f"rate(iot_client_transitions_total{{{CHOSEN}}}[$__rate_interval])")
    made.with_panel(
        coloured(
            lines(
                "Transitions per minute",
                "Changes to online and to offline. A disconnect within the offline delay is none.",
                "cpm",
                query(f"sum by (to) ({transitions}) * 60", "to {{to}}"),
            ),
            {"to online": "green", "to offline": "red"},
        )
    )


def _parts(made: building.Dashboard) -> None:
    made.with_panel(
        lines(
            "Share online by thing type",
            "Of the clients of each thing type whose presence is known.",
            "percentunit",
            query(_share("thing_type"), "{{thing_type}}"),
        ).max(1)
    )
    made.with_panel(
        bars(
            "Thing groups with the lowest share online",
            "The 15 lowest of now; the members of subgroups are included.",
            "percentunit",
            GOOD_IF_MANY,
            query(f"sort(bottomk(15, {_share('thing_group')}))", "{{thing_group}}"),
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
                "Every disconnect, also those that came to nothing. The runbook tells what each "
                "reason points at.",
                "cpm",
                query(f"sum by (reason) ({rate}) * 60 and {seen}", "{{reason}}"),
            )
        )
    )
    made.with_panel(
        lines(
            "Flaps, replaced connections, refused connects per minute",
            "What is no transition: devices back within the offline delay, connects of clients "
            "that were online already, and connects that AWS IoT Core refused.",
            "cpm",
            query(_per_minute("iot_client_flaps_suppressed_total"), "flaps"),
            query(_per_minute("iot_client_connections_replaced_total"), "replaced"),
            query(_per_minute("iot_client_connect_failures_total"), "refused"),
        )
    )


def _durations(made: building.Dashboard) -> None:
    made.with_panel(
        heat(
            "Session lengths",
            "How long the connections that ended had lasted.",
            "s",
            _buckets("iot_client_session_duration_seconds"),
        )
    )
    away = _buckets("iot_client_offline_duration_seconds")
    made.with_panel(
        lines(
            "How long devices stay offline",
            "Of those that came back: half of them, and nine of ten, were away for less.",
            "s",
            query(f"histogram_quantile(0.5, {away})", "half"),
            query(f"histogram_quantile(0.9, {away})", "nine of ten"),
        )
    )


def _devices(made: building.Dashboard) -> None:
    made.with_row(building.Row("Single devices (need metrics.per_client)"))
    offline = f"{merged(f'iot_client_connected{{{CHOSEN}}}')} == 0"
    since = merged(f"iot_client_last_transition_timestamp_seconds{{{CHOSEN}}}")
    for title, description, unit, expression in (
        (
            "Went offline last",
            "The 20 clients that went offline last.",
            "dateTimeFromNow",
            f"topk(20, {since} and {offline}) * 1000",
        ),
        (
            "Offline for longest",
            "The 20 clients that have been offline for longest.",
            "s",
            f"topk(20, time() - ({since} and {offline}))",
        ),
    ):
        made.with_panel(
            listing(title, description, unit, query(expression).instant())
            .with_transformation(
                DataTransformerConfig(
                    id_val="filterFieldsByName",
                    options={"include": {"names": ["client_id", "Value"]}},
                )
            )
            .with_transformation(
                DataTransformerConfig(
                    id_val="organize",
                    options={"renameByName": {"client_id": "Client", "Value": title}},
                )
            )
            .with_transformation(
                DataTransformerConfig(
                    id_val="sortBy", options={"sort": [{"field": title, "desc": True}]}
                )
            )
            .data_links([device_link("Client")])
            .no_value(NO_SERIES)
        )


def _share(label: str) -> str:
    metric = f"iot_{label}_clients"

    def count(states: str) -> str:
        merged_count = merged(f"sum without (state) ({metric}{{{states},{CHOSEN}}})")
        return f"sum by ({label}) ({merged_count})"

    return f"{count(ONLINE)} / ({count(KNOWN)} > 0)"


def _per_minute(metric: str) -> str:
    return f"sum({merged(f'rate({metric}{{{CHOSEN}}}[$__rate_interval])')}) * 60"


def _buckets(metric: str) -> str:
    increase = merged(f"increase({metric}_bucket{{{CHOSEN}}}[$__rate_interval])")
    return f"sum by (le) ({increase})"
