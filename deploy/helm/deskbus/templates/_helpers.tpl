{{/* Names, labels and what is computed for a service. Objects are in the other files, checks of values in _checks.tpl. */}}

{{- define "deskbus.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects pods: never changed. Takes root and component. */}}
{{- define "deskbus.selector" -}}
app.kubernetes.io/name: deskbus
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels of an object. Takes root, component and, in `also`, further ones. */}}
{{- define "deskbus.labels" -}}
{{- $version := dict "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- merge (include "deskbus.podLabels" . | fromYaml) $version | toYaml -}}
{{- end -}}

{{/*
Without the chart's version: a new one would restart services whose image stays (docs/upgrade.md). No label is written
twice, which Helm would let pass and Kustomize would not; the operators' come before all but those that select pods.
*/}}
{{- define "deskbus.podLabels" -}}
{{- $ours := dict "app.kubernetes.io/part-of" "deskbus" "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $theirs := merge (deepCopy (.also | default dict)) (.root.Values.commonLabels | default dict) -}}
{{- merge (include "deskbus.selector" . | fromYaml) $theirs $ours | toYaml -}}
{{- end -}}

{{- define "deskbus.contracts" -}}
{{ .Files.Get "files/contracts.json" }}
{{- end -}}

{{/* The image of a service or of the tools. Takes root and image. */}}
{{- define "deskbus.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s-%s" $image.name .image -}}
{{- if $image.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" $image.registry) $name -}}{{- end -}}
{{- $digest := get $image.digests .image -}}
{{- if $digest -}}{{ $name }}@{{ $digest }}{{- else -}}{{ $name }}:{{ get $image.tags .image | default $image.tag | default .root.Chart.AppVersion }}{{- end -}}
{{- end -}}

{{/* Everything about a service as YAML: its values over the defaults, its part of the contracts, and what follows. */}}
{{- define "deskbus.service" -}}
{{- $root := .root -}}
{{- $name := .name -}}
{{- $fullname := printf "%s-%s" (include "deskbus.fullname" $root) $name -}}
{{- $fixed := index (include "deskbus.contracts" $root | fromJson).services $name -}}
{{- $s := mergeOverwrite (deepCopy $root.Values.defaults) (deepCopy (index $root.Values.services $name | default dict)) -}}
{{- $grace := get $s.settings "grace_seconds" | default $fixed.graceSeconds -}}
{{- $pause := ternary $s.preStopSeconds 0 $s.door.enabled -}}
{{- $_ := set $s "name" $name -}}
{{- $_ := set $s "fullname" $fullname -}}
{{- $_ := set $s "fixed" $fixed -}}
{{- $_ := set $s "preStopSeconds" $pause -}}
{{- $_ := set $s "terminationSeconds" (add (ceil $grace) $pause 10) -}}
{{- $_ := set $s "mail" (and (hasKey $s "smtp") (dig "smtp" "enabled" false $s)) -}}
{{- $_ := set $s.autoscaling "max" ($s.autoscaling.max | default $root.Values.kafka.partitions) -}}
{{- $_ := set $s "policyConfigMap" ($s.policyConfigMap | default (printf "%s-policy" $fullname)) -}}
{{- if $root.Values.trial.enabled -}}
{{- $_ := set $s "secretVariables" (concat $s.secretVariables $fixed.exampleSecrets | uniq) -}}
{{- end -}}
{{ toYaml $s }}
{{- end -}}

{{/* Names of the services that run, as a JSON array. */}}
{{- define "deskbus.running" -}}
{{- $found := list -}}
{{- range $name := keys (include "deskbus.contracts" . | fromJson).services | sortAlpha -}}
{{- $s := include "deskbus.service" (dict "root" $ "name" $name) | fromYaml -}}
{{- if $s.enabled -}}{{- $found = append $found $name -}}{{- end -}}
{{- end -}}
{{ toJson $found }}
{{- end -}}

{{/* A name in which {service} may stand for the service; empty: the name of the service's Deployment. */}}
{{- define "deskbus.named" -}}
{{- if .pattern -}}
{{- .pattern | replace "{service}" .name -}}
{{- else -}}
{{- printf "%s-%s" (include "deskbus.fullname" .root) .name -}}
{{- end -}}
{{- end -}}

{{- define "deskbus.secretName" -}}
{{- $default := printf "%s-{service}-credentials" (include "deskbus.fullname" .root) -}}
{{- include "deskbus.named" (dict "root" .root "name" .name "pattern" (.root.Values.secrets.name | default $default)) -}}
{{- end -}}

{{/* The Secret with a user's Kafka credentials. */}}
{{- define "deskbus.kafkaSecret" -}}
{{- $kafka := .root.Values.kafka -}}
{{- if .root.Values.strimzi.users -}}
{{- include "deskbus.kafkaUser" . -}}
{{- else if $kafka.credentials.secret -}}
{{- include "deskbus.named" (dict "root" .root "name" .name "pattern" $kafka.credentials.secret) -}}
{{- else -}}
{{- include "deskbus.secretName" . -}}
{{- end -}}
{{- end -}}

{{- define "deskbus.kafkaUser" -}}
{{- include "deskbus.named" (dict "root" .root "name" .name "pattern" .root.Values.kafka.username) -}}
{{- end -}}

{{- define "deskbus.bootstrap" -}}
{{- if .Values.trial.enabled -}}{{ include "deskbus.fullname" . }}-kafka:9092{{- else -}}{{ .Values.kafka.bootstrap }}{{- end -}}
{{- end -}}

{{/* How a client identifies itself to Kafka: none, password, token or certificate. */}}
{{- define "deskbus.kafkaAuth" -}}
{{- $kafka := .Values.kafka -}}
{{- if hasPrefix "sasl_" $kafka.security -}}
{{- ternary "token" "password" (eq $kafka.mechanism "oauthbearer") -}}
{{- else if $kafka.clientCertificate -}}certificate
{{- else -}}none
{{- end -}}
{{- end -}}
