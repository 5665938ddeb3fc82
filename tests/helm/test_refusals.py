"""What the chart refuses, and that it says why.

Rules guarded: a bad value is refused by its name, rules between values are checked before anything reaches a cluster,
and no refusal repeats a credential.
"""

import helm_python
import pytest

from tests.helm.release import Object, chart, example, install, merged, render

KEY = "bm90LWEtcmVhbC1rZXktanVzdC1hbi1leGFtcGxlLTAwMDA="


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replicas": 3}, "replicas"),
        ({"ingress": {"replicaCount": "three"}}, "replicaCount"),
        ({"ingress": {"replicaCount": -1}}, "replicaCount"),
        ({"worker": {"resource": {}}}, "resource"),
        ({"worker": {"resources": {"limits": {"memory": "1 gig"}}}}, "memory"),
        ({"worker": {"terminationGracePeriodSeconds": 0}}, "terminationGracePeriodSeconds"),
        ({"worker": {"preStopSleepSeconds": 1.5}}, "preStopSleepSeconds"),
        ({"worker": {"podDisruptionBudget": {"minAvailable": "half"}}}, "minAvailable"),
        ({"worker": {"extraEnv": [{"name": "N", "value": 1}]}}, "value"),
        ({"worker": {"extraEnv": [{"name": "N", "from": "x"}]}}, "from"),
        ({"worker": {"strategy": {"type": "Canary"}}}, "type"),
        ({"worker": {"strategy": {"rollingUpdate": {"maxSurge": "101%"}}}}, "maxSurge"),
        ({"worker": {"tolerations": [{"keys": "x"}]}}, "keys"),
        ({"worker": {"affinity": {"podAffinities": {}}}}, "podAffinities"),
        ({"worker": {"topologySpreadConstraints": [{"maxSkew": 1}]}}, "topologyKey"),
        ({"ingress": {"podAnnotations": {"a": 1}}}, "podAnnotations"),
        ({"config": {"partition": 8}}, "partition"),
        ({"config": {"partitions": 0}}, "partitions"),
        ({"config": {"partitions": 2.5}}, "partitions"),
        ({"config": {"logLevel": "verbose"}}, "logLevel"),
        ({"config": {"retryBase": 0}}, "retryBase"),
        ({"config": {"corsOrigins": "https://a.example"}}, "corsOrigins"),
        ({"config": {"apiKey": "x"}}, "apiKey"),
        ({"config": {"redisUrl": "x"}}, "redisUrl"),
        ({"credentials": {"apiKey": "plain"}}, "apiKey"),
        ({"credentials": {"password": {}}}, "password"),
        ({"image": {"tag": 1.2}}, "tag"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"containerPort": 80}, "containerPort"),
        ({"service": {"port": 70000}}, "port"),
        ({"service": {"type": "ExternalName"}}, "type"),
        ({"probes": {"liveness": {"path": "/healthz"}}}, "path"),
        ({"probes": {"readiness": {"periodSeconds": 0}}}, "periodSeconds"),
        ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
        ({"securityContext": {"readOnlyRootFileSystem": True}}, "readOnlyRootFileSystem"),
        ({"expose": {"ingress": {"hosts": ["fanout.example.com"]}}}, "hosts"),
        ({"expose": {"ingress": {"hosts": [{"paths": [{"path": "v1"}]}]}}}, "path"),
        ({"metrics": {"serviceMonitor": {"interval": "half a minute"}}}, "interval"),
        ({"networkPolicy": {"callers": [{"namespace": "x"}]}}, "namespace"),
        ({"fullnameOverride": "Not_A_Name"}, "fullnameOverride"),
    ],
)
def test_a_bad_value_is_refused_by_name(values: Object, named: str) -> None:
    everything = merged(example("minimal"), values)
    with pytest.raises(helm_python.HelmValuesError, match=named):
        chart().validate_schema(everything)
    with pytest.raises(helm_python.HelmError, match=named):
        render(everything)


# Rules between values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"credentials": {"connectionString": {"value": ""}}}, "credentials.connectionString is required"),
        ({"containerPort": 9090}, "containerPort and adminPort are both 9090"),
        ({"ingress": {"extraEnv": [{"name": "FANOUT_AUTH", "value": "none"}]}}, "FANOUT_AUTH"),
        (
            {"ingress": {"terminationGracePeriodSeconds": 60}, "config": {"lameDuck": 50}},
            "at least 70 is needed",
        ),
        (
            {"credentials": {"redisUrl": {"value": ""}}, "valkey": {"enabled": False}},
            "credentials.redisUrl is required with valkey.enabled: false",
        ),
        ({"valkey": {"enabled": True}}, "valkey.enabled: true installs a Valkey, and credentials.redisUrl"),
        ({"demo": True}, "demo: true delivers to the emulator, and credentials.connectionString"),
        ({"mode": "all", "ingress": {"enabled": False}}, "mode: all puts both roles into the pods of the ingress"),
        ({"mode": "all", "ingress": {"replicaCount": 17}}, "ingress.replicaCount is 17, but the queue has 16"),
        ({"ingress": {"resources": {"limits": {"memory": "128Mi"}}}}, "at least 192Mi is needed"),
        (
            {"config": {"maxBody": 256 << 20}, "ingress": {"resources": {"limits": {"memory": "512Mi"}}}},
            "ingress.resources.limits.memory is 512Mi, too little for a body of config.maxBody: at least 1632Mi",
        ),
        ({"mode": "all", "ingress": {"resources": {"limits": {"memory": "0.25Gi"}}}}, "at least 320Mi is needed"),
        ({"worker": {"resources": {"limits": {"memory": "200M"}}}}, "at least 251Mi is needed"),
        (
            {"config": {"readAheadBytes": 4 << 30}, "worker": {"resources": {"limits": {"memory": "768Mi"}}}},
            "worker.resources.limits.memory is 768Mi, too little",
        ),
        ({"credentials": {"apiKey": {"existingSecret": "x"}}}, "credentials.apiKey: give value or existingSecret"),
        ({"credentials": {"connectionString": {"value": KEY}}}, "credentials.connectionString.value is no connection"),
        ({"credentials": {"redisUrl": {"value": KEY}}}, "credentials.redisUrl.value is no URL"),
        ({"config": {"negotiateUser": ["query", "principal-id"]}}, "principal-id is a header that anybody can send"),
        (
            {"credentials": {"apiKeys": {"value": KEY}}, "config": {"apiKeysFile": "/keys"}},
            "config.apiKeysFile and credentials.apiKeys are both given",
        ),
        ({"credentials": {"redisUrl": {"value": ""}, "redisPassword": {"value": KEY}}}, "credentials.redisPassword is"),
        ({"ingress": {"enabled": False}, "worker": {"enabled": False}}, "nothing would run"),
        ({"ingress": {"terminationGracePeriodSeconds": 39}}, "ingress.terminationGracePeriodSeconds is 39"),
        ({"worker": {"terminationGracePeriodSeconds": 34}}, "at least 35 is needed"),
        (
            {"worker": {"terminationGracePeriodSeconds": 60}, "config": {"shutdownGrace": 50.5}},
            "at least 61 is needed .* config.shutdownGrace 51",
        ),
        (
            {"worker": {"autoscaling": {"enabled": True, "minReplicas": 9}}},
            "worker.autoscaling.maxReplicas 8 is smaller than minReplicas 9",
        ),
        (
            {"worker": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}},
            "worker.autoscaling has nothing to go by",
        ),
        (
            {"worker": {"autoscaling": {"enabled": True, "targetMemoryUtilizationPercentage": 80}, "resources": None}},
            "share of resources.requests.memory",
        ),
        (
            {"worker": {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}},
            "worker.podDisruptionBudget: give minAvailable or maxUnavailable",
        ),
        ({"worker": {"extraEnv": [{"name": "FANOUT_API_KEY", "value": KEY}]}}, "belongs in credentials"),
        ({"worker": {"extraEnv": [{"name": "FANOUT_API_KEY_FILE", "value": "/k"}]}}, "belongs in credentials"),
        ({"worker": {"extraEnv": [{"name": "fanout_redis_url", "value": KEY}]}}, "belongs in credentials"),
        ({"worker": {"extraEnv": [{"name": "AzureSignalRConnectionString", "value": KEY}]}}, "belongs in credentials"),
        (
            {"worker": {"extraEnv": [{"name": "FANOUT_PORT", "value": "1"}]}},
            "set by listenAddress, containerPort and adminPort",
        ),
        (
            {"worker": {"extraEnv": [{"name": "FANOUT_SHUTDOWN_GRACE", "value": "1"}]}},
            "belongs in config.shutdownGrace",
        ),
        (
            {"worker": {"extraEnv": [{"name": "FANOUT_PARTITIONS", "value": "64"}]}},
            "worker.extraEnv: FANOUT_PARTITIONS belongs in config.partitions",
        ),
        (
            {"ingress": {"extraEnv": [{"name": "FANOUT_MAX_BODY", "value": "64000000"}]}},
            "ingress.extraEnv: FANOUT_MAX_BODY belongs in config.maxBody",
        ),
        ({"worker": {"extraEnv": [{"name": "A", "value": "1"}] * 2}}, "worker.extraEnv: A is given twice"),
        ({"worker": {"extraEnv": [{"name": "FANOUT_PARTITION", "value": "1"}]}}, "FANOUT_PARTITION is no setting"),
        ({"worker": {"extraEnv": [{"name": "Fanout_Log_Level", "value": "info"}]}}, "is written FANOUT_LOG_LEVEL"),
        ({"worker": {"replicaCount": 40}}, "worker.replicaCount is 40, but the queue has 16 partitions"),
        ({"config": {"partitions": 4}, "worker": {"replicaCount": 6}}, "2 workers would have nothing to do"),
        (
            {"worker": {"autoscaling": {"enabled": True, "maxReplicas": 17}}},
            "worker.autoscaling.maxReplicas is 17, but the queue has 16 partitions",
        ),
        (
            {"keda": {"enabled": True}, "worker": {"autoscaling": {"enabled": True}}},
            "keda.enabled and worker.autoscaling.enabled would fight over the number of pods",
        ),
        (
            {"mode": "all", "keda": {"enabled": True}, "ingress": {"autoscaling": {"enabled": True}}},
            "keda.enabled and ingress.autoscaling.enabled would fight",
        ),
        ({"keda": {"enabled": True, "maxReplicas": 17}}, "keda.maxReplicas is 17, but the queue has 16 partitions"),
        ({"keda": {"enabled": True, "minReplicas": 9}}, "keda.maxReplicas 8 is smaller than minReplicas 9"),
        ({"keda": {"enabled": True, "fallbackReplicas": 9}}, "keda.fallbackReplicas 9 is greater than maxReplicas 8"),
        ({"mode": "all", "keda": {"enabled": True, "minReplicas": 0}}, "would take away the front door"),
        ({"keda": {"enabled": True, "entriesPerWorker": 0}}, "keda has nothing to go by"),
        ({"keda": {"enabled": True}, "worker": {"enabled": False}}, "keda.enabled scales the pods of worker"),
        ({"keda": {"enabled": True}, "metrics": {"enabled": False}}, "keda.enabled needs metrics.enabled"),
        (
            {"keda": {"enabled": True, "minReplicas": 0}, "ingress": {"enabled": False}},
            "nobody would say what waits",
        ),
        (
            {"keda": {"enabled": True}, "networkPolicy": {"enabled": True}},
            "networkPolicy.scrapers is empty, .* KEDA could not ask",
        ),
        (
            {"ingress": {"autoscaling": {"enabled": True, "targetQueueEntries": 5}}},
            "ingress.autoscaling.targetQueueEntries: these pods deliver nothing",
        ),
        ({"worker": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "worker.podDisruptionBudget lets no pod go"),
        ({"ingress": {"podDisruptionBudget": {"minAvailable": 2}}}, "ingress.podDisruptionBudget lets no pod go"),
        ({"ingress": {"podDisruptionBudget": {"minAvailable": "100%"}}}, "ingress.podDisruptionBudget lets no pod go"),
        ({"ingress": {"podDisruptionBudget": {"minAvailable": "51%"}}}, "ingress.podDisruptionBudget lets no pod go"),
        (
            {"worker": {"extraContainers": [{"name": "worker", "image": "x"}]}},
            "worker: two containers are named worker",
        ),
        (
            {"worker": {"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}},
            "worker.extraVolumes: two volumes are named tmp",
        ),
        (
            {"ingress": {"extraVolumeMounts": [{"name": "x", "mountPath": "/tmp"}]}},
            "ingress.extraVolumeMounts: two volumes are mounted at /tmp",
        ),
        (
            {"credentials": {"apiKey": {"key": "redis-url"}}},
            "credentials.redisUrl.key and credentials.apiKey.key are both redis-url",
        ),
        ({"worker": {"strategy": {"rollingUpdate": {"maxSurge": 0}}}}, "so no rollout could begin"),
        ({"securityContext": {"privileged": True}}, "securityContext.privileged"),
        ({"securityContext": {"allowPrivilegeEscalation": True}}, "securityContext.allowPrivilegeEscalation"),
        ({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}, "securityContext.capabilities.add"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "podSecurityContext.runAsNonRoot"),
        (
            {
                "networkPolicy": {"enabled": True, "redis": {"port": 6379}},
                "credentials": {"redisUrl": {"value": "rediss://u:p%40@redis.example:6380/0"}},
            },
            "networkPolicy.redis.port is 6379, but credentials.redisUrl.value names port 6380",
        ),
        (
            {
                "networkPolicy": {"enabled": True},
                "credentials": {"connectionString": {"value": f"Endpoint=http://x;Port=8888;AccessKey={KEY};"}},
            },
            "networkPolicy.service.port is 443, but credentials.connectionString.value names port 8888",
        ),
        (
            {
                "networkPolicy": {"enabled": True},
                "credentials": {
                    "connectionString": {"value": "Endpoint=https://x;Port=443;ServerEndpoint=https://y:8443/"}
                },
            },
            "names port 8443",
        ),
        (
            {"credentials": {"redisUrl": {"value": ""}}, "valkey": {"maxMemory": "450mb"}},
            "valkey.resources.limits.memory is 512Mi, too little for valkey.maxMemory 450mb",
        ),
        (
            {"networkPolicy": {"enabled": True}},
            "networkPolicy.scrapers is empty, so nobody could scrape the pods. .*metrics.enabled: false",
        ),
        (
            {
                "networkPolicy": {"enabled": True},
                "credentials": {"redisUrl": {"value": "", "existingSecret": "x"}},
            },
            "networkPolicy.redis.port is required with credentials.redisUrl.existingSecret",
        ),
        (
            {
                "networkPolicy": {"enabled": True, "redis": {"port": 7002}},
                "credentials": {"redisUrl": {"value": "redis://a:7000,b:7001/?cluster=true"}},
            },
            "names port 7000 7001",
        ),
        ({"ingress": {"podLabels": {"app.kubernetes.io/name": "x"}}}, "ingress.podLabels: app.kubernetes.io/name"),
        ({"commonLabels": {"app.kubernetes.io/instance": "x"}}, "commonLabels: app.kubernetes.io/instance"),
        ({"expose": {"ingress": {"enabled": True}}}, "expose.ingress.hosts is required"),
        ({"expose": {"httpRoute": {"enabled": True}}}, "expose.httpRoute.parentRefs is required"),
        (
            {"expose": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "x"}]}}, "ingress": {"enabled": False}},
            "expose.httpRoute.enabled needs ingress.enabled",
        ),
        (
            {"metrics": {"enabled": False, "serviceMonitor": {"enabled": True}}},
            "metrics.serviceMonitor.enabled needs metrics.enabled",
        ),
        (
            {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}},
            "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled would scrape every pod twice",
        ),
        (
            {"metrics": {"enabled": False, "podMonitor": {"enabled": True}}, "networkPolicy": {"enabled": True}},
            "networkPolicy.scrapers is empty",
        ),
    ],
)
def test_values_that_do_not_fit_together_are_refused_in_words(values: Object, message: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=message) as refusal:
        install(values)
    assert KEY not in str(refusal.value)


def test_one_value_is_asked_for_and_the_way_without_it_is_named() -> None:
    with pytest.raises(helm_python.HelmRenderError, match=r"credentials.connectionString is required.*demo: true"):
        render({})


def test_a_list_that_is_null_is_an_empty_one() -> None:
    lists = ("initContainers", "extraContainers", "extraVolumes", "extraVolumeMounts", "extraEnv", "extraEnvFrom")
    assert install({"worker": dict.fromkeys(lists)}).objects == install().objects


def test_workers_alone_need_no_key_for_callers() -> None:
    release = install({"ingress": {"enabled": False}, "credentials": {"apiKey": {"value": ""}}})
    assert [thing["kind"] for thing in release.objects].count("Deployment") == 1
