{{/* What every pod of Deskbus has: security contexts, the connection to Kafka, mounted secrets. */}}

{{- define "deskbus.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.podSecurity }}
{{ toYaml . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "deskbus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Variables of the connection to Kafka. Takes root and name (a service, or topics). */}}
{{- define "deskbus.kafkaVariables" -}}
{{- $kafka := .root.Values.kafka -}}
{{- $auth := include "deskbus.kafkaAuth" .root -}}
DESKBUS_KAFKA: {{ include "deskbus.bootstrap" .root | quote }}
DESKBUS_TOPIC_PREFIX: {{ $kafka.topicPrefix | quote }}
{{- if ne $kafka.security "plaintext" }}
DESKBUS_KAFKA_SECURITY: {{ $kafka.security }}
{{- end }}
{{- if hasPrefix "sasl_" $kafka.security }}
DESKBUS_KAFKA_MECHANISM: {{ $kafka.mechanism }}
{{- end }}
{{- if eq $auth "password" }}
DESKBUS_KAFKA_USERNAME: {{ include "deskbus.kafkaUser" . | quote }}
DESKBUS_KAFKA_PASSWORD_FILE: /run/deskbus/kafka/password
{{- else if eq $auth "token" }}
DESKBUS_KAFKA_TOKEN_FILE: /run/deskbus/kafka/token
{{- end }}
{{- if $kafka.clientCertificate }}
DESKBUS_KAFKA_CERTIFICATE: /run/deskbus/kafka/user.crt
DESKBUS_KAFKA_KEY: /run/deskbus/kafka/user.key
{{- end }}
{{- if and $kafka.ca.secret (has $kafka.security (list "ssl" "sasl_ssl")) }}
DESKBUS_KAFKA_CA: /run/deskbus/kafka-ca/ca.crt
{{- end }}
{{- end -}}

{{/* Volumes of the connection to Kafka, and where they are mounted. Directories, so that changes reach the container. */}}
{{- define "deskbus.kafkaVolumes" -}}
{{- $kafka := .root.Values.kafka -}}
{{- $keys := $kafka.credentials -}}
{{- $auth := include "deskbus.kafkaAuth" .root -}}
{{- if or (ne $auth "none") $kafka.clientCertificate }}
- name: kafka
  secret:
    secretName: {{ include "deskbus.kafkaSecret" . }}
    defaultMode: 0440
    items:
      {{- if eq $auth "password" }}
      - {key: {{ ternary "password" $keys.passwordKey .root.Values.strimzi.users | quote }}, path: password}
      {{- else if eq $auth "token" }}
      - {key: {{ $keys.tokenKey | quote }}, path: token}
      {{- end }}
      {{- if $kafka.clientCertificate }}
      - {key: {{ $keys.certificateKey | quote }}, path: user.crt}
      - {key: {{ $keys.privateKeyKey | quote }}, path: user.key}
      {{- end }}
{{- end }}
{{- if and $kafka.ca.secret (has $kafka.security (list "ssl" "sasl_ssl")) }}
- name: kafka-ca
  secret:
    secretName: {{ $kafka.ca.secret }}
    defaultMode: 0440
    items: [{key: {{ $kafka.ca.key | quote }}, path: ca.crt}]
{{- end }}
{{- end -}}

{{- define "deskbus.kafkaMounts" -}}
{{- $kafka := .root.Values.kafka -}}
{{- if or (ne (include "deskbus.kafkaAuth" .root) "none") $kafka.clientCertificate }}
- {name: kafka, mountPath: /run/deskbus/kafka, readOnly: true}
{{- end }}
{{- if and $kafka.ca.secret (has $kafka.security (list "ssl" "sasl_ssl")) }}
- {name: kafka-ca, mountPath: /run/deskbus/kafka-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "deskbus.probe" -}}
httpGet: {path: {{ .path }}, port: operators, scheme: {{ ternary "HTTPS" "HTTP" .root.Values.tls.enabled }}}
{{- end -}}
