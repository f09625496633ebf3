"""Service level objectives: a YAML file each, and what makes Prometheus rules of them. See docs/slo.md."""
