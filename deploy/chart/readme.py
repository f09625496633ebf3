"""Makes the chart's README from the comments of its values.yaml."""

import json

from deploy.chart.comments import Entry, entries

_INTRO = """# Helm chart

Generated from `values.yaml` by `python -m deploy.reference`; do not edit. How to install it:
[docs/install.md](../../../docs/install.md).

| values file | for |
|---|---|
| [`values.yaml`](values.yaml) | the defaults; `kafka.bootstrap` and the policies are required |
| [`ci/minimal.yaml`](ci/minimal.yaml) | the least that installs on a Kafka and a MongoDB of your own |
| [`ci/production.yaml`](ci/production.yaml) | Strimzi, External Secrets, KEDA, Gateway API, Prometheus operator |
| [`ci/try.yaml`](ci/try.yaml) | everything inside the release, on a laptop's cluster |

A key that is not listed here is refused (`values.schema.json`). Every key of `defaults` may be repeated below
`services.<service>`, for that service alone.
"""


def page(values: str) -> str:
    """Return the document for the text of values.yaml."""
    lines, chapter = [_INTRO], ""
    for entry in entries(values):
        if entry.is_group and not entry.description:
            continue
        group = entry.path[0] if len(entry.path) > 1 else "General"
        if group != chapter:
            chapter = group
            lines += [
                *([""] if len(lines) > 1 else []),
                f"## {group}",
                "",
                "| key | default | meaning |",
                "|---|---|---|",
            ]
        lines.append(_row(entry))
    return "\n".join(lines) + "\n"


def _row(entry: Entry) -> str:
    default = json.dumps(entry.default, ensure_ascii=False)
    return f"| `{'.'.join(entry.path)}` | `{default}` | {entry.description.replace('|', chr(92) + '|')} |"
