{{/* Egress rules that several NetworkPolicies share. */}}

{{- define "deskbus.egressRule" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "deskbus.dnsRule" -}}
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  to: {{- toYaml .Values.networkPolicy.dnsTo | nindent 4 }}
{{- end -}}

{{- define "deskbus.kafkaRule" -}}
{{- $trial := list (dict "podSelector" (dict "matchLabels" (include "deskbus.selector" (dict "root" $ "component" "kafka") | fromYaml))) -}}
{{- $values := .Values.networkPolicy -}}
{{- if .Values.trial.enabled -}}
{{- include "deskbus.egressRule" (dict "to" $trial "ports" (list 9092)) -}}
{{- else -}}
{{- include "deskbus.egressRule" (dict "to" $values.kafkaTo "ports" $values.kafkaPorts) -}}
{{- end -}}
{{- end -}}

{{- define "deskbus.mongoRule" -}}
{{- $trial := list (dict "podSelector" (dict "matchLabels" (include "deskbus.selector" (dict "root" $ "component" "mongo") | fromYaml))) -}}
{{- $values := .Values.networkPolicy -}}
{{- if .Values.trial.enabled -}}
{{- include "deskbus.egressRule" (dict "to" $trial "ports" (list 27017)) -}}
{{- else -}}
{{- include "deskbus.egressRule" (dict "to" $values.mongoTo "ports" $values.mongoPorts) -}}
{{- end -}}
{{- end -}}
