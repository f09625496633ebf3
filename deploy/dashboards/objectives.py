"""How much of each objective's error budget is left and how fast it goes, from the rules that deploy/slo/ generates."""

from __future__ import annotations

from deploy.dashboards.model import Dashboard, Panel, Row, graph, number
from deploy.slo.rules import BURNS, Burn, objectives

_NAMED = "{{slo}} {{service}}"
#: Some objectives tell services apart and some do not, so only their names are compared.
_BUDGET = "(1 - max by (slo) (slo:deskbus_objective:ratio))"


def _burning(burn: Burn) -> Panel:
    rate = f"slo:deskbus_errors:ratio_rate{burn.long} / on (slo) group_left () {_BUDGET}"
    raised = "a page" if burn.severity == "page" else "a ticket"
    return graph(
        f"Burn rate, last {burn.long}",
        (rate, _NAMED),
        (f"vector({burn.factor:g})", raised),
        about=f"At 1 the budget lasts its window. {burn.factor:g}, also in the last {burn.short}, raises {raised}.",
    )


_LEFT = Row(
    "Error budget left",
    (
        *(
            number(each.title, f'min(slo:deskbus_budget_left:ratio{{slo="{each.name}"}})', "percentunit",
                   about=f"{each.objective:g} % in {each.window}. Good are: {each.description}")
            for each in objectives()
        ),
        number("Alerts firing", 'count(ALERTS{alertname=~"DeskbusSlo.*", alertstate="firing"}) or vector(0)'),
    ),
)  # fmt: skip

DASHBOARD = Dashboard(
    "deskbus-slo",
    "Deskbus: objectives",
    "Error budgets and burn rates of the service level objectives; docs/slo.md explains them.",
    (
        _LEFT,
        Row("How fast it goes", tuple(_burning(burn) for burn in BURNS)),
        Row(
            "Events",
            (
                graph("Bad events, last 5m", ("slo:deskbus_errors:ratio_rate5m", _NAMED), unit="percentunit"),
                graph("Events, last 5m", ("slo:deskbus_events:rate5m", _NAMED), unit="per_second"),
                graph("Budget left", ("slo:deskbus_budget_left:ratio", _NAMED), unit="percentunit"),
            ),
        ),
    ),
)
