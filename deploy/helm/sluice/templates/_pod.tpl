{{/* Mounts of the node's directories. Call with (list pinPath logDirectory socketDirectories). */}}
{{- define "sluice.hostMounts" -}}
- name: pins
  mountPath: {{ index . 0 }}
{{- with index . 1 }}
- name: log
  mountPath: {{ . }}
{{- end }}
{{- range $index, $directory := index . 2 }}
- name: socket-{{ $index }}
  mountPath: {{ $directory }}
{{- end }}
{{- end }}

{{/* Call with (list address host path). Without a host the kubelet asks the pod's address, which is the node's. */}}
{{- define "sluice.probe" -}}
httpGet:
  {{- with index . 1 }}
  host: {{ . | trimPrefix "[" | trimSuffix "]" | quote }}
  {{- end }}
  path: {{ index . 2 }}
  port: {{ include "sluice.port" (index . 0) }}
{{- end }}

{{- define "sluice.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ include "sluice.metricsPort" . | quote }}
prometheus.io/path: /metrics
{{- if .Values.tls.metrics.enabled }}
prometheus.io/scheme: https
{{- end }}
{{- end }}
