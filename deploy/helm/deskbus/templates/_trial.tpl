{{/* The environments of the two servers of a trial, and secrets that stay the same on upgrades. */}}

{{- define "deskbus.trial.kafka" -}}
{{- $address := printf "%s-kafka" (include "deskbus.fullname" .) -}}
env:
  {{- $settings := dict
    "KAFKA_NODE_ID" "1"
    "KAFKA_PROCESS_ROLES" "broker,controller"
    "KAFKA_LISTENERS" "PLAINTEXT://:9092,CONTROLLER://:9093"
    "KAFKA_ADVERTISED_LISTENERS" (printf "PLAINTEXT://%s:9092" $address)
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP" "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
    "KAFKA_CONTROLLER_LISTENER_NAMES" "CONTROLLER"
    "KAFKA_CONTROLLER_QUORUM_VOTERS" "1@localhost:9093"
    "KAFKA_LOG_DIRS" "/var/lib/kafka/data/logs"
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE" "false"
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR" "1"
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR" "1"
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR" "1"
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR" "1"
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR" "1"
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS" "0"
    "KAFKA_HEAP_OPTS" "-Xmx512m -Xms256m" }}
  {{- range $name, $value := $settings }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
{{- end -}}

{{- define "deskbus.trial.mongo" -}}
{{- $secret := printf "%s-mongo" (include "deskbus.fullname" .) -}}
args: [mongod, --bind_ip_all, --auth]
env:
  - {name: MONGO_INITDB_ROOT_USERNAME, value: root}
  - name: MONGO_INITDB_ROOT_PASSWORD
    valueFrom: {secretKeyRef: {name: {{ $secret }}, key: password}}
{{- end -}}

{{/* A secret of 32 characters: as it is in the cluster, else by the seed, else random. Takes root, secret and key. */}}
{{- define "deskbus.trial.secret" -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- $kept := get ($there.data | default dict) .key -}}
{{- if $kept -}}
{{- $kept | b64dec -}}
{{- else if .root.Values.trial.seed -}}
{{- printf "%s %s %s" .root.Values.trial.seed .secret .key | sha256sum | trunc 32 -}}
{{- else -}}
{{- randAlphaNum 32 -}}
{{- end -}}
{{- end -}}
