"""Grafana's dashboards as code. `make generate` writes the JSON under deploy/grafana/ and into the chart.

`model.py` says what a dashboard is, and `grafana.py` makes the JSON Grafana reads of it.
What is on them: `business.py`, `objectives.py`, `services.py`, `servers.py`. Expressions use metrics that exist.
"""

from deploy.dashboards import business, objectives, servers, services
from deploy.dashboards.model import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = (
    business.DASHBOARD,
    objectives.DASHBOARD,
    *services.DASHBOARDS,
    servers.DASHBOARD,
)
