{{/* The environment of a service, without secrets; the operators' variables come before ours. Takes root and s. */}}
{{- define "deskbus.environment" -}}
{{- merge (deepCopy (.s.variables | default dict)) (include "deskbus.settings" . | fromYaml) | toYaml -}}
{{- end -}}

{{- define "deskbus.settings" -}}
{{- $values := .root.Values -}}
{{- $s := .s -}}
{{- $prefix := printf "DESKBUS_%s_" (upper $s.name) -}}
{{ include "deskbus.kafkaVariables" (dict "root" .root "name" $s.name) }}
DESKBUS_HOST: 0.0.0.0
DESKBUS_MONGO_FILE: {{ printf "/run/deskbus/secret/%s" $values.mongo.urlKey | quote }}
DESKBUS_MONGO_PREFIX: {{ $values.mongo.databasePrefix | quote }}
DESKBUS_TOKENS: /run/deskbus/secret/tokens
DESKBUS_SECRETS_DIR: /run/deskbus/secret
{{ $prefix }}POLICY: /etc/deskbus/{{ $s.name }}.yaml
{{ $prefix }}PORT: {{ $s.fixed.port | quote }}
{{ $prefix }}OPS_PORT: {{ $s.fixed.opsPort | quote }}
{{- if $values.tls.enabled }}
DESKBUS_TLS_CERTIFICATE: /run/deskbus/tls/tls.crt
DESKBUS_TLS_KEY: /run/deskbus/tls/tls.key
{{- end }}
{{- if hasKey $s "smtp" }}
{{ $prefix }}SMTP_ENABLED: {{ $s.smtp.enabled | quote }}
{{- if $s.mail }}
{{ $prefix }}SMTP_PORT: {{ $s.fixed.smtpPort | quote }}
{{- if $s.smtp.tlsSecret }}
{{ $prefix }}SMTP_CERTIFICATE: /run/deskbus/smtp-tls/tls.crt
{{ $prefix }}SMTP_KEY: /run/deskbus/smtp-tls/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- if $values.tracing.enabled }}
DESKBUS_TRACING: "true"
OTEL_SERVICE_NAME: deskbus-{{ $s.name }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ $values.tracing.endpoint | quote }}
{{- range $variable, $value := $values.tracing.variables }}
{{ $variable }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- range $setting, $value := $s.settings }}
{{ $prefix }}{{ upper $setting }}: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end -}}
