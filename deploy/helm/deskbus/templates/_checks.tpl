{{/* What a JSON schema cannot say about the values: each fault names the keys and what to do. */}}

{{- define "deskbus.check" -}}
{{- $v := .Values -}}
{{- $auth := include "deskbus.kafkaAuth" . -}}
{{- if has "latest" (append (values $v.image.tags) $v.image.tag) -}}
{{- fail "image.tag is latest: name a version, or the digests in image.digests" -}}
{{- end -}}
{{- if and $v.trial.enabled $v.kafka.bootstrap -}}
{{- fail "trial.enabled runs its own Kafka: leave kafka.bootstrap empty, or set trial.enabled to false" -}}
{{- end -}}
{{- if and $v.trial.enabled (ne $v.kafka.security "plaintext") -}}
{{- fail "trial.enabled runs a Kafka without TLS and SASL: kafka.security must be plaintext" -}}
{{- end -}}
{{- if and $v.trial.enabled (ne $v.topics.by "job") -}}
{{- fail "trial.enabled needs topics.by=job" -}}
{{- end -}}
{{- if not (or $v.trial.enabled $v.kafka.bootstrap) -}}
{{- fail "kafka.bootstrap is empty: name the brokers (host:port, separated by commas), or set trial.enabled" -}}
{{- end -}}
{{- if and $v.kafka.clientCertificate (not (has $v.kafka.security (list "ssl" "sasl_ssl"))) -}}
{{- fail "kafka.clientCertificate needs kafka.security=ssl or sasl_ssl" -}}
{{- end -}}
{{- if and (eq $v.secrets.source "external") (not $v.secrets.external.store) -}}
{{- fail "secrets.source=external needs secrets.external.store" -}}
{{- end -}}
{{- if and (or $v.strimzi.users (eq $v.topics.by "strimzi")) (not $v.strimzi.cluster) -}}
{{- fail "strimzi.cluster is empty: name the Kafka resource" -}}
{{- end -}}
{{- if and $v.strimzi.users (ne $auth (ternary "password" "certificate" (eq $v.strimzi.authentication "scram-sha-512"))) -}}
{{- fail (printf "strimzi.authentication=%s does not fit kafka.security=%s, kafka.mechanism=%s, kafka.clientCertificate=%t" $v.strimzi.authentication $v.kafka.security $v.kafka.mechanism $v.kafka.clientCertificate) -}}
{{- end -}}
{{- if and $v.strimzi.users $v.kafka.credentials.secret -}}
{{- fail "strimzi.users makes the Secrets: leave kafka.credentials.secret empty" -}}
{{- end -}}
{{- if and $v.strimzi.users (eq $v.topics.by "job") $v.topics.job.hook -}}
{{- fail "with strimzi.users the hook would wait for a user that is not made yet: set topics.by=strimzi or topics.job.hook=false" -}}
{{- end -}}
{{- range $key, $found := dict "operatorsFrom" $v.networkPolicy.operatorsFrom "dnsTo" $v.networkPolicy.dnsTo -}}
{{- if not $found -}}
{{- fail (printf "networkPolicy.%s is empty, which would mean anybody" $key) -}}
{{- end -}}
{{- end -}}
{{- include "deskbus.checkLabels" (dict "key" "commonLabels" "labels" $v.commonLabels) -}}
{{- include "deskbus.checkLabels" (dict "key" "topics.job.podLabels" "labels" $v.topics.job.podLabels) -}}
{{- if and $v.tls.enabled (not $v.tls.secret) -}}
{{- fail "tls.enabled needs tls.secret" -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parents) -}}
{{- fail "gateway.enabled needs gateway.parents" -}}
{{- end -}}
{{- if and $v.gateway.enabled $v.tls.enabled (not (and $v.gateway.caConfigMap $v.gateway.hostname)) -}}
{{- fail "gateway.enabled with tls.enabled needs gateway.caConfigMap and gateway.hostname, or the Gateway could not reach the pods" -}}
{{- end -}}
{{- if and $v.tracing.enabled (not $v.tracing.endpoint) -}}
{{- fail "tracing.enabled needs tracing.endpoint" -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (not $v.trial.enabled) -}}
{{- range $server := splitList "," $v.kafka.bootstrap -}}
{{- include "deskbus.checkPort" (dict "root" $ "key" "kafka.bootstrap" "port" (splitList ":" $server | last) "allowed" "kafkaPorts") -}}
{{- end -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled $v.tracing.enabled -}}
{{- $url := urlParse $v.tracing.endpoint -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- include "deskbus.checkPort" (dict "root" . "key" "tracing.endpoint" "port" $port "allowed" "tracingPorts") -}}
{{- end -}}
{{- range $name := keys (include "deskbus.contracts" . | fromJson).services | sortAlpha -}}
{{- include "deskbus.checkService" (dict "root" $ "name" $name "auth" $auth) -}}
{{- end -}}
{{- end -}}

{{/* A NetworkPolicy that forgets a port shows as timeouts only. Takes root, key, port and allowed. */}}
{{- define "deskbus.checkPort" -}}
{{- $ports := list -}}
{{- range get .root.Values.networkPolicy .allowed -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- if not (has (int .port) $ports) -}}
{{- fail (printf "%s has the port %s, which networkPolicy.%s does not allow: add it there" .key .port .allowed) -}}
{{- end -}}
{{- end -}}

{{/* Labels by which pods are found cannot be others. Takes key and labels. */}}
{{- define "deskbus.checkLabels" -}}
{{- $key := .key -}}
{{- range $label := list "name" "instance" "component" "managed-by" -}}
{{- if hasKey ($.labels | default dict) (printf "app.kubernetes.io/%s" $label) -}}
{{- fail (printf "%s: the chart sets app.kubernetes.io/%s itself, and objects are found by it" $key $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "deskbus.checkService" -}}
{{- $s := include "deskbus.service" . | fromYaml -}}
{{- $partitions := int .root.Values.kafka.partitions -}}
{{- $at := printf "services.%s" .name -}}
{{- include "deskbus.checkLabels" (dict "key" (printf "%s.podLabels" $at) "labels" $s.podLabels) -}}
{{- if gt (int $s.replicas) $partitions -}}
{{- fail (printf "%s.replicas is %d, more than kafka.partitions (%d): the rest would have nothing to do" $at (int $s.replicas) $partitions) -}}
{{- end -}}
{{- if gt (int $s.autoscaling.max) $partitions -}}
{{- fail (printf "%s.autoscaling.max is %d, more than kafka.partitions (%d): the rest would have nothing to do" $at (int $s.autoscaling.max) $partitions) -}}
{{- end -}}
{{- if and (ne $s.autoscaling.by "none") (gt (int $s.autoscaling.min) (int $s.autoscaling.max)) -}}
{{- fail (printf "%s.autoscaling.min is %d, more than its max (%d)" $at (int $s.autoscaling.min) (int $s.autoscaling.max)) -}}
{{- end -}}
{{- if and (eq $s.autoscaling.by "keda") (eq .auth "token") (not $s.autoscaling.authentication) -}}
{{- fail (printf "%s.autoscaling.authentication is empty: with kafka.mechanism=oauthbearer, name a TriggerAuthentication" $at) -}}
{{- end -}}
{{- if and .root.Values.strimzi.users (eq (include "deskbus.secretName" .) (include "deskbus.kafkaUser" .)) -}}
{{- fail (printf "secrets.name and the KafkaUser of %s have the same name, and both are Secrets: change secrets.name or kafka.username" .name) -}}
{{- end -}}
{{- $given := or $s.policy (ne $s.policyConfigMap (printf "%s-policy" $s.fullname)) .root.Values.trial.enabled -}}
{{- if and $s.enabled (not $given) -}}
{{- fail (printf "%s.policy is empty: give the file with --set-file %s.policy=%s.yaml, or name a ConfigMap in %s.policyConfigMap" $at $at .name $at) -}}
{{- end -}}
{{- end -}}
