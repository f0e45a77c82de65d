"""The frame of each dashboard: variables, links, and marks of what the daemons did."""

import json
from string import ascii_uppercase

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from boards.parts import SOURCE
from boards.queries import CHOSEN

# Where links lead: a dashboard variable, so that an installation can set its own address.
_CONSOLE = "http://localhost:9883"

_DAEMONS = f'job=~"presenced.*",{CHOSEN}'
_SNAPSHOT = f"presenced_aws_last_snapshot_timestamp_seconds{{{CHOSEN}}}"
# Keys of interval variables, which the SDK writes into variables of all types.
_OF_INTERVALS = ("auto", "auto_min", "auto_count")


def as_json(made: Dashboard) -> str:
    """Return the JSON of a dashboard, with the panel and query IDs that Grafana requires."""
    document = json.loads(JSONEncoder().encode(made))
    for variable in document["templating"]["list"]:
        for key in _OF_INTERVALS:
            variable.pop(key, None)
    # The SDK knows the place that queries of marks had before Grafana 9.
    for mark in document["annotations"]["list"]:
        mark["target"] = {"refId": "Anno", "expr": mark.pop("expr")}
    for number, panel in enumerate(document["panels"], start=1):
        panel["id"] = number
        for letter, asked in zip(ascii_uppercase, panel.get("targets", ()), strict=False):
            asked["refId"] = asked["refId"] or letter
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def board(uid: str, title: str, description: str, *, span: str) -> dashboard.Dashboard:
    """Start a dashboard with the common variables, links and marks of what the daemons did.

    `span` is a time such as 6h.
    """
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["presenced"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time(f"now-{span}", "now")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("presenced")
            .type(DashboardLinkType.DASHBOARDS)
            .tooltip("Other dashboards of presenced")
            .tags(["presenced"])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .link(_link("Console", "${console}/"))
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(_choice("job", "Job", "label_values(presenced_build_info, job)"))
        .with_variable(
            _choice(
                "instance",
                "Instance",
                'label_values(presenced_build_info{job=~"$job"}, instance)',
            )
        )
        .with_variable(_address("console", "Console", "of presenced for browsers", _CONSOLE))
    )
    for name, colour, expression in (
        ("restart", "blue", f"changes(process_start_time_seconds{{{_DAEMONS}}}[$__rate_interval])"),
        ("gap", "red", f"increase(presenced_gaps_total{{{CHOSEN}}}[$__rate_interval])"),
        ("snapshot of AWS's record", "purple", f"changes({_SNAPSHOT}[$__rate_interval])"),
    ):
        made.annotation(
            dashboard.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .enable(enable=True)
            .icon_color(colour)
            .expr(f"{expression} > 0")
        )
    return made


def _link(title: str, url: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(title)
        .type(DashboardLinkType.LINK)
        .url(url)
        .target_blank(target_blank=True)
    )


def _address(name: str, label: str, what: str, default: str) -> dashboard.TextBoxVariable:
    return (
        dashboard.TextBoxVariable(name)
        .label(label)
        .description(f"Address {what}, for links; without a slash at its end.")
        .default_value(default)
    )


def _choice(name: str, label: str, asked: str) -> dashboard.QueryVariable:
    return (
        query_variable(name, label, asked)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(VariableOption(text=["All"], value=["$__all"]))
    )


def query_variable(name: str, label: str, asked: str) -> dashboard.QueryVariable:
    """Return a variable whose values come from Prometheus."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": asked, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


def device_link(column: str) -> dashboard.DashboardLink:
    """Return a link from a table row to the dashboard Device; `column` holds the client ID."""
    client = f"${{__data.fields.{column}:percentencode}}"
    chosen = "${datasource:queryparam}&${job:queryparam}"
    url = f"/d/presenced-device/device?var-client_id={client}&{chosen}"
    return dashboard.DashboardLink("Presence of this device over time").url(url)


def console_link(column: str) -> dashboard.DashboardLink:
    """Return a link from a table row to a client's page in the console."""
    client = f"${{__data.fields.{column}:percentencode}}"
    url = f"${{console}}/#/clients/{client}"
    return dashboard.DashboardLink("Why it is in this state (console)").url(url)


def in_runbook(section: str) -> str:
    """Return a sentence that names a section of the runbook.

    It is no link: where an installation has the documentation, if at all, a dashboard cannot know.
    """
    return f"Runbook: {section} in docs/how-to/runbook.md."
