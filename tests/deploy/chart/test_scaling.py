"""One scaler at most, within the partitions, slow to remove; topics and users as in the contracts."""

import pytest

from contracts.access import USERS, access
from contracts.topics import CONSUMES, SERVICES, TOPICS, group_name, settings, topic_name
from tests.deploy.chart.rendering import Object, Variant, component, environment, name, of, one, pod

PREFIXES = {"certificates": "eu."}
SCALERS = ("ScaledObject", "HorizontalPodAutoscaler")


@pytest.fixture
def prefix(variant: Variant) -> str:
    return PREFIXES.get(variant.name, "")


def partitions(variant: Variant) -> int:
    return {"production": 12, "certificates": 6}.get(variant.name, 4)


def test_a_deployment_has_one_scaler_or_a_number_of_replicas(objects: list[Object], variant: Variant) -> None:
    targets = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in of(objects, *SCALERS)]
    for deployment in of(objects, "Deployment"):
        assert targets.count(name(deployment)) == ("replicas" not in deployment["spec"])
        assert 2 <= deployment["spec"].get("replicas", 2) <= partitions(variant)
    assert set(targets) <= {name(deployment) for deployment in of(objects, "Deployment")}


def test_scalers_stay_between_two_and_the_partitions_and_wait_before_they_remove(
    objects: list[Object], variant: Variant
) -> None:
    for scaler in of(objects, *SCALERS):
        spec = scaler["spec"]
        if scaler["kind"] == "ScaledObject":
            bounds = spec["minReplicaCount"], spec["maxReplicaCount"]
            behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        else:
            bounds, behavior = (spec["minReplicas"], spec["maxReplicas"]), spec["behavior"]
        assert 2 <= bounds[0] <= bounds[1] <= partitions(variant)
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300
        assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_the_kinds_of_scalers_are_those_that_were_asked_for(objects: list[Object], variant: Variant) -> None:
    wanted = {each: {"ScaledObject"} for each in ("production", "passwords", "private-ca")} | {
        "certificates": {SCALERS[1]}
    }
    assert {found["kind"] for found in of(objects, *SCALERS)} == wanted.get(variant.name, set())


def test_keda_asks_for_the_lag_of_what_the_service_reads_with_rights_it_has(objects: list[Object], prefix: str) -> None:
    for scaler in of(objects, "ScaledObject"):
        service = component(scaler)
        asked = [trigger["metadata"] for trigger in scaler["spec"]["triggers"]]
        assert [each["topic"] for each in asked] == [topic_name(topic, prefix) for topic in CONSUMES[service]]
        assert {each["consumerGroup"] for each in asked} == {group_name(service, prefix)}
        rights = {(each.resource, each.name) for each in access(service, prefix) if "Describe" in each.operations}
        assert {("topic", each["topic"]) for each in asked} | {("group", group_name(service, prefix))} <= rights


def test_keda_identifies_itself_as_the_service_does(objects: list[Object]) -> None:
    for scaler in of(objects, "ScaledObject"):
        deployment = one(objects, "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        variables = environment(objects, deployment)
        for trigger in scaler["spec"]["triggers"]:
            wanted = one(objects, "TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]
            login = [
                one(objects, "ConfigMap", user["name"])["data"][user["key"]]
                for user in wanted.get("configMapTargetRef", ())
            ]
            assert login == [variables[each] for each in ("DESKBUS_KAFKA_USERNAME",) if each in variables]
            password = [each for each in wanted["secretTargetRef"] if each["parameter"] == "password"]
            assert bool(password) is ("DESKBUS_KAFKA_PASSWORD_FILE" in variables)
            assert ("sasl" in trigger["metadata"]) is variables["DESKBUS_KAFKA_SECURITY"].startswith("sasl")
            mechanism = {"scram_sha512": "scram-sha-512", "plaintext": "plain"}.get(trigger["metadata"].get("sasl"))
            assert mechanism == variables.get("DESKBUS_KAFKA_MECHANISM")
            assert ("tls" in trigger["metadata"]) is variables["DESKBUS_KAFKA_SECURITY"].endswith("ssl")


def test_keda_trusts_the_ca_that_the_service_trusts(objects: list[Object]) -> None:
    for scaler in of(objects, "ScaledObject"):
        deployment = one(objects, "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        trusted = [each["secret"] for each in pod(deployment)["spec"]["volumes"] if each["name"] == "kafka-ca"]
        for trigger in scaler["spec"]["triggers"]:
            reference = trigger.get("authenticationRef")
            targets = one(objects, "TriggerAuthentication", reference["name"])["spec"] if reference else {}
            given = [each for each in targets.get("secretTargetRef", ()) if each["parameter"] == "ca"]
            assert [(each["name"], each["key"]) for each in given] == [
                (each["secretName"], each["items"][0]["key"]) for each in trusted
            ]


def test_users_may_do_what_the_contracts_say_and_nothing_else(objects: list[Object], prefix: str) -> None:
    users = of(objects, "KafkaUser")
    assert {component(user) for user in users} in ({*USERS}, set())
    for user in users:
        acls = user["spec"]["authorization"]["acls"]
        assert {(acl["resource"]["patternType"], acl["host"]) for acl in acls} == {("literal", "*")}
        found = {(acl["resource"]["type"], acl["resource"]["name"], tuple(acl["operations"])) for acl in acls}
        assert found == {(each.resource, each.name, each.operations) for each in access(component(user), prefix)}


def test_a_service_logs_in_as_its_user(objects: list[Object], variant: Variant) -> None:
    users = {component(user): user for user in of(objects, "KafkaUser")}
    kinds = {user["spec"]["authentication"]["type"] for user in users.values()}
    assert kinds <= {"tls" if variant.name == "certificates" else "scram-sha-512"}
    for service, user in users.items():
        deployments = [each for each in of(objects, "Deployment") if component(each) == service]
        for deployment in deployments:
            login = environment(objects, deployment).get("DESKBUS_KAFKA_USERNAME", name(user))
            assert login == name(user)
            volumes = deployment["spec"]["template"]["spec"]["volumes"]
            assert [each["secret"]["secretName"] for each in volumes if each["name"] == "kafka"] == [name(user)]


def test_the_example_declares_topics_and_users_where_its_kafka_is(objects: list[Object], variant: Variant) -> None:
    """Strimzi's operators of topics and users watch the namespace of the Kafka, and write the users' Secrets there."""
    if variant.name != "production":
        return
    declared = of(objects, "KafkaTopic", "KafkaUser")
    (place,) = {(each["metadata"]["labels"]["strimzi.io/cluster"], each["metadata"]["namespace"]) for each in declared}
    cluster, namespace = place
    for deployment in of(objects, "Deployment"):
        assert deployment["metadata"]["namespace"] == namespace
        bootstrap = environment(objects, deployment)["DESKBUS_KAFKA"]
        assert bootstrap == f"{cluster}-kafka-bootstrap.{namespace}:9093"
        allowed = one(objects, "NetworkPolicy", f"{name(deployment)}-servers")["spec"]["egress"]
        assert [{"podSelector": {"matchLabels": {"strimzi.io/cluster": cluster}}}] in [rule["to"] for rule in allowed]


def test_topics_are_those_of_the_contracts_and_outlive_the_release(
    objects: list[Object], variant: Variant, prefix: str
) -> None:
    found = {topic["spec"]["topicName"]: topic for topic in of(objects, "KafkaTopic")}
    by_job = [each for each in of(objects, "Job") if component(each) == "topics"]
    assert bool(found) is not bool(by_job)
    if found:
        assert found.keys() == {topic_name(topic.name, prefix) for topic in TOPICS}
    for topic in TOPICS if found else ():
        made = found[topic_name(topic.name, prefix)]
        copies = made["spec"]["replicas"]
        assert copies == (3 if variant.name == "production" else 1)
        assert made["spec"]["config"] == settings(topic) | {"min.insync.replicas": str(copies // 2 + 1)}
        assert made["spec"]["partitions"] == partitions(variant)
        assert made["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_job_creates_as_many_partitions_as_scalers_count_on(objects: list[Object], variant: Variant) -> None:
    for job in of(objects, "Job"):
        words = job["spec"]["template"]["spec"]["containers"][0]["args"]
        assert words[:3] == ["topics", "--partitions", str(partitions(variant))]
        hook = job["metadata"].get("annotations", {}).get("helm.sh/hook", "")
        # The trial's Kafka comes with the release, so that a hook before it would wait forever.
        assert bool(hook) is (variant.name != "try")


def test_every_service_survives_the_loss_of_one_pod(objects: list[Object]) -> None:
    budgets = {component(budget): budget["spec"] for budget in of(objects, "PodDisruptionBudget")}
    for deployment in of(objects, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        assert budgets[component(deployment)]["maxUnavailable"] == 1
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        keys = {each["topologyKey"] for each in spec["topologySpreadConstraints"]}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert budgets.keys() <= set(SERVICES)
