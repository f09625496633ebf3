"""An upgrade never gives existing topics another number of partitions; a server stands in for the cluster's API."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deploy.chart import CHART
from tests.deploy.chart.rendering import NAMESPACE, attempt

GROUP = "/apis/kafka.strimzi.io/v1"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "kafka.strimzi.io/v1",
    "resources": [
        {
            "name": "kafkatopics",
            "singularName": "kafkatopic",
            "namespaced": True,
            "kind": "KafkaTopic",
            "verbs": ["get"],
        }
    ],
}


@contextmanager
def cluster(topic: str, partitions: int) -> Iterator[str]:
    """Serve one KafkaTopic."""
    found = {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic", "spec": {"partitions": partitions}}
    answers: dict[str, Any] = {GROUP: RESOURCES, f"{GROUP}/namespaces/{NAMESPACE}/kafkatopics/{topic}": found}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = answers.get(self.path.partition("?")[0])
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(known or missing).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("needs_helm")
@pytest.mark.parametrize(
    ("topic", "partitions", "accepted"),
    [("deskbus.tickets.v1", 12, True), ("deskbus.tickets.v1", 6, False), ("eu.deskbus.tickets.v1", 6, True)],
)
def test_another_number_of_partitions_needs_another_prefix(topic: str, partitions: int, accepted: bool) -> None:
    with cluster(topic, partitions) as address:
        done = attempt(CHART / "ci" / "production.yaml", "--dry-run=server", "--kube-apiserver", address)
    assert (done.returncode == 0) is accepted, done.stderr
    if not accepted:
        assert f"kafka.partitions is 12, but the topic {topic} has {partitions}" in done.stderr
        assert "docs/rebuild.md" in done.stderr
