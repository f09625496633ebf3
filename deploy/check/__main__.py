"""The table of all checks, in the order in which they run: what is quick and local first, what needs servers last.

A check names the tools it needs (`tools.TOOLS`). A slow one, which `--quick` leaves out, takes more than a minute or
changes more than files.
"""

import sys

from deploy.check import cluster, dashboards, files, images, live, rendered, server
from deploy.check.harness import Check, main

_CHART = ("helm", "kubeconform", "kubernetes-schemas", "crds")

CHECKS = (
    Check("hadolint", files.check_hadolint, ("hadolint",)),
    Check("compose", files.check_compose, ("check-jsonschema",)),
    Check("helm-lint", rendered.check_helm_lint, ("helm",)),
    Check("docs", files.check_docs),
    Check("kubeconform", rendered.check_kubeconform, _CHART),
    Check("kustomize", rendered.check_kustomize, ("kubectl", *_CHART)),
    Check("kube-score", rendered.check_kube_score, ("helm", "kube-score")),
    Check("policies", rendered.check_policies, ("helm", "kubectl")),
    Check("promtool", files.check_promtool, ("promtool",)),
    Check("amtool", files.check_amtool, ("amtool",)),
    Check("dashboards", dashboards.check_dashboards, ("prometheus",), slow=True),
    Check("dry-run", server.check_dry_run, cluster.NEEDS, slow=True),
    Check("install", server.check_install, cluster.NEEDS, slow=True),
    Check("bad", server.check_bad, cluster.NEEDS, slow=True),
    Check("images", images.check_images, ("buildah", "mmdebstrap", "bwrap"), slow=True),
    Check("live", live.check_live, ("prometheus", "alertmanager"), slow=True),
)


if __name__ == "__main__":
    sys.exit(main(CHECKS))
