{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "sluice.fullname" -}}
{{- $name := include "sluice.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What selects the pods of a component; never changes. Call with (list . "agent"). */}}
{{- define "sluice.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "sluice.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "sluice.labels" -}}
{{- $root := index . 0 -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Call with (list . .Values.image). */}}
{{- define "sluice.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest | quote }}
{{- else -}}
{{ printf "%s:%s" $image.repository (default (index . 0).Chart.AppVersion $image.tag) | quote }}
{{- end }}
{{- end }}

{{/* Where the agents answer Hubble's API, as a JSON list. */}}
{{- define "sluice.apiListen" -}}
{{- $given := dig "api" "listen" list .Values.config -}}
{{- if $given -}}
{{ toJson $given }}
{{- else if or .Values.relay.enabled .Values.tls.api.enabled -}}
{{ list "unix:///var/run/sluice/hubble.sock" ":4244" | toJson }}
{{- else -}}
{{ list "unix:///var/run/sluice/hubble.sock" "127.0.0.1:4244" | toJson }}
{{- end }}
{{- end }}

{{/* The first TCP address among them that other machines reach, or nothing. */}}
{{- define "sluice.apiReachable" -}}
{{- range $address := include "sluice.apiListen" . | fromJsonArray -}}
{{- if not (regexMatch "^(unix:|127\\.|localhost:|\\[::1\\])" $address) }}{{ $address }} {{ end -}}
{{- end -}}
{{- end }}

{{/* The number behind the last colon of an address. */}}
{{- define "sluice.port" -}}
{{- regexFind "[0-9]+$" (trim .) -}}
{{- end }}

{{- define "sluice.apiPort" -}}
{{- include "sluice.port" (include "sluice.apiReachable" . | trim | splitList " " | first) -}}
{{- end }}

{{- define "sluice.metricsPort" -}}
{{- include "sluice.port" (dig "metrics" "listen" ":9965" .Values.config) -}}
{{- end }}

{{- define "sluice.metricsOn" -}}
{{- if ne (dig "metrics" "enabled" true .Values.config) false }}true{{ end -}}
{{- end }}

{{- define "sluice.kubernetesOn" -}}
{{- if ne (dig "kubernetes" "enabled" "auto" .Values.config | toString) "false" }}true{{ end -}}
{{- end }}

{{- define "sluice.logDirectory" -}}
{{- if ne (dig "log" "enabled" "auto" .Values.config | toString) "false" -}}
{{- dir (dig "log" "path" "/var/log/acns/hubble/events.log" .Values.config) -}}
{{- end -}}
{{- end }}

{{- define "sluice.socketDirectory" -}}
{{- range $address := include "sluice.apiListen" . | fromJsonArray -}}
{{- if hasPrefix "unix:" $address }}{{ dir (trimPrefix "unix:" $address | trimPrefix "//") }} {{ end -}}
{{- end -}}
{{- end }}

{{/* Name of the cluster in certificates. */}}
{{- define "sluice.clusterInNames" -}}
{{- dig "node" "clusterName" "default" .Values.config | replace "." "-" -}}
{{- end }}

{{/* The agent's configuration: the values, and what other values of the chart mean for it. */}}
{{- define "sluice.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $api := default dict $config.api -}}
{{- $_ := set $api "listen" (include "sluice.apiListen" . | fromJsonArray) -}}
{{- if .Values.tls.api.enabled }}
{{- $_ := set $api "tls" (include "sluice.tlsFiles" (list "/etc/sluice/tls/api" .Values.tls.api.clientAuth) | fromYaml) -}}
{{- end }}
{{- $_ := set $config "api" $api -}}
{{- if .Values.tls.metrics.enabled }}
{{- $files := include "sluice.tlsFiles" (list "/etc/sluice/tls/metrics" .Values.tls.metrics.clientAuth) | fromYaml -}}
{{- $_ := set $config "metrics" (merge (dict "tls" $files) (default dict $config.metrics)) -}}
{{- end }}
{{- if .Values.dynamicMetrics }}
{{- $file := dict "dynamicConfig" "/etc/sluice/dynamic-metrics/dynamic-metrics.yaml" -}}
{{- $_ := set $config "metrics" (merge $file (default dict $config.metrics)) -}}
{{- end }}
{{- if .Values.filterFiles }}
{{- $_ := set $config "filters" (merge (dict "directory" "/etc/sluice/filters") (default dict $config.filters)) -}}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "sluice.tlsFiles" -}}
certFile: {{ index . 0 }}/tls.crt
keyFile: {{ index . 0 }}/tls.key
{{- if index . 1 }}
clientCaFile: {{ index . 0 }}/ca.crt
{{- end }}
{{- end }}

{{/* Combinations that could not work, each with its remedy. */}}
{{- define "sluice.check" -}}
{{- if and (ne (int .Values.runAsUser) 0) (or .Values.capabilities.sysAdmin .Values.capabilities.syslog) }}
{{- fail "capabilities.sysAdmin and capabilities.syslog need runAsUser: 0; another user gets only the capabilities that the image's node binary has" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: enable one of them, both would scrape every agent twice" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) }}
{{- fail "metrics.serviceMonitor.enabled needs metrics.service.enabled: true" }}
{{- end }}
{{- if and .Values.relay.enabled (not (include "sluice.apiReachable" . | trim)) }}
{{- fail "relay.enabled needs an address in config.api.listen that other nodes reach, for instance \":4244\"" }}
{{- end }}
{{- if and .Values.ui.enabled (not .Values.relay.enabled) }}
{{- fail "ui.enabled needs relay.enabled: true" }}
{{- end }}
{{- if and .Values.tls.relayServer.enabled (not .Values.relay.enabled) }}
{{- fail "tls.relayServer.enabled needs relay.enabled: true" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) }}
{{- fail "tls.certManager.enabled needs tls.certManager.issuerRef.name" }}
{{- end }}
{{- if hasPrefix "/sys/" (dig "kernel" "pinPath" "/sys/fs/bpf/sluice" .Values.config) }}
{{- fail "config.kernel.pinPath must not be below /sys: pinHostPath is mounted there, and container runtimes let nothing be mounted or written below /sys; the default /bpffs suits" }}
{{- end }}
{{- end }}
