{{/*
The chart's own alerts, one per way in which messages stop to arrive. Takes a dict of root and maxQueueAgeSeconds.
The labels namespace and service are put on every sample by the Prometheus Operator.
*/}}
{{- define "signalr-fanout.alerts" -}}
{{- $pods := printf "namespace=%q,service=%q" .root.Release.Namespace (printf "%s-metrics" (include "signalr-fanout.fullname" .root)) -}}
- alert: FanoutPodDown
  expr: up{ {{- $pods -}} } == 0
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A pod does not answer the scrape.
    description: {{ `"{{ $labels.pod }} has not answered for five minutes."` }}
{{- if or .root.Values.worker.enabled (eq .root.Values.mode "all") }}
- alert: FanoutNoWorker
  expr: (sum(fanout_leases{ {{- $pods -}} }) or vector(0)) == 0
  for: 2m
  labels:
    severity: critical
  annotations:
    summary: No worker owns a partition of the queue.
    description: Batches are still taken in, but nothing is delivered.
{{- end }}
- alert: FanoutQueueTooOld
  expr: max(fanout_oldest_age_seconds{ {{- $pods -}} }) > {{ .maxQueueAgeSeconds | int }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Messages wait too long in the queue.
    description: {{ `"The oldest entry has waited for {{ $value | humanizeDuration }}."` }}
- alert: FanoutBackpressure
  expr: sum(rate(fanout_backpressure_total{ {{- $pods -}} }[5m])) > 0
  for: 5m
  labels:
    severity: critical
  annotations:
    summary: Callers are refused because the queue is full or cannot be reached.
    description: {{ `"{{ $value | humanize }} requests a second are answered 503."` }}
- alert: FanoutCredentialsRefused
  expr: sum(rate(fanout_failed_attempts_total{ {{- $pods -}} ,failure=~"unauthorized|forbidden"}[5m])) > 0
  for: 5m
  labels:
    severity: critical
  annotations:
    summary: The service refuses the access key.
    description: Check the connection string and the clock of the nodes; a rotated key has to reach credentials.connectionString.
- alert: FanoutDeadLetters
  expr: sum by (reason) (increase(fanout_dead_total{ {{- $pods -}} }[15m])) > 0
  labels:
    severity: warning
  annotations:
    summary: Messages could not be delivered and were parked.
    description: {{ `"{{ $value | humanize }} entries were parked within 15 minutes: {{ $labels.reason }}. fanout dead-letters list shows them."` }}
{{- end -}}
