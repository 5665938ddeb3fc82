{{/*
What ServiceMonitor and PodMonitor have in common, because both find the same pods. Each takes a dict of root, kind and
values.
*/}}
{{- define "signalr-fanout.monitorMetadata" -}}
apiVersion: monitoring.coreos.com/v1
kind: {{ .kind }}
metadata:
  name: {{ include "signalr-fanout.fullname" .root }}
  namespace: {{ default .root.Release.Namespace .values.namespace }}
  labels:
    {{- include "signalr-fanout.labels" (dict "root" .root "component" "metrics") | nindent 4 }}
    {{- with .values.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* How a pod is scraped, from its path on. */}}
{{- define "signalr-fanout.scrape" -}}
path: /metrics
{{- with .values.interval }}
interval: {{ . }}
{{- end }}
{{- with .values.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- $relabelings := .values.relabelings }}
{{- if eq .kind "PodMonitor" }}
{{- /* The alerts, the dashboard and KEDA's query tell the release by this label, which only a Service would bring. */}}
{{- $service := printf "%s-metrics" (include "signalr-fanout.fullname" .root) }}
{{- $relabelings = prepend $relabelings (dict "targetLabel" "service" "replacement" $service) }}
{{- end }}
{{- with $relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
