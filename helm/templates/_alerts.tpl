{{/*
The chart's own alerts. Each one is described in docs/runbook.md under its name; its switch, threshold, duration and
severity are values. In an expression PODS stands for the labels that the Prometheus Operator puts on every sample of
this release, THRESHOLD for the value.
*/}}
{{- define "signalr-fanout.alerts" -}}
{{- include "signalr-fanout.scrapingAlerts" . }}
{{- include "signalr-fanout.queueAlerts" . }}
{{- include "signalr-fanout.deliveryAlerts" . }}
{{- include "signalr-fanout.redisAlerts" . }}
{{- include "signalr-fanout.budgetAlerts" . }}
{{- end -}}

{{/* One alert. Takes a dict of root, name, expr, summary and description. */}}
{{- define "signalr-fanout.alert" -}}
{{- $rules := .root.Values.metrics.prometheusRule -}}
{{- $values := index $rules.alerts (trimPrefix "Fanout" .name | untitle) -}}
{{- $pods := printf "namespace=%q,service=%q" .root.Release.Namespace (printf "%s-metrics" (include "signalr-fanout.fullname" .root)) -}}
{{- if $values.enabled }}
- alert: {{ .name }}
  expr: {{ .expr | replace "PODS" $pods | replace "THRESHOLD" (toString $values.threshold) | trim | toYaml | nindent 4 | trim }}
  {{- with $values.for }}
  for: {{ . }}
  {{- end }}
  labels:
    severity: {{ $values.severity }}
  annotations:
    summary: {{ .summary | quote }}
    description: {{ .description | quote }}
    runbook_url: {{ default (printf "%s#%s" $rules.runbookUrl (lower .name)) $values.runbookUrl | quote }}
{{- end }}
{{- end -}}

{{/* "true" when this release delivers. */}}
{{- define "signalr-fanout.delivers" -}}
{{- if or .Values.worker.enabled (eq .Values.mode "all") -}}true{{- end -}}
{{- end -}}

{{- define "signalr-fanout.scrapingAlerts" -}}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutNotScraped"
  "expr" "absent(up{PODS} == 1)"
  "summary" "Nothing is known of this release: no pod of it answers a scrape."
  "description" "Either no pod runs, or Prometheus does not find or reach them. No other alert of this release can fire meanwhile.") }}
{{- if include "signalr-fanout.delivers" . }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutWorkersNotScraped"
  "expr" "max(fanout_partitions{PODS,state=\"owned\"}) - (sum(fanout_leases{PODS}) or vector(0)) > THRESHOLD"
  "summary" "Workers run that are not scraped."
  "description" "{{ $value }} partitions have an owner that no scraped pod is. Messages are delivered; what these workers meet is not seen.") }}
{{- end }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutPodDown"
  "expr" "up{PODS} == 0"
  "summary" "A pod does not answer the scrape."
  "description" "{{ $labels.pod }} is there and does not answer.") }}
{{- end -}}

{{- define "signalr-fanout.queueAlerts" -}}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutPartitionsWithoutOwner"
  "expr" (printf "max(fanout_partitions{PODS,state=\"unowned\"}) > THRESHOLD%s" (include "signalr-fanout.whileWorkWaits" .))
  "summary" "Partitions of the queue have no owner."
  "description" "What is in {{ $value }} partitions is not delivered. Batches for them are still taken in.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutQueueTooOld"
  "expr" `
max by (destination) (fanout_oldest_age_seconds{PODS}) > THRESHOLD
and on ()
sum(max by (partition) (fanout_queue_depth{PODS}))
  > THRESHOLD * (sum(rate(fanout_delivered_total{PODS}[5m])) + sum(rate(fanout_gone_total{PODS}[5m])) or vector(0))`
  "summary" "Delivery is behind."
  "description" "The oldest entry for a {{ $labels.destination }} has waited for {{ $value | humanizeDuration }}, and the queue holds more than that of work.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutIngressRefusing"
  "expr" `
sum(rate(fanout_http_request_seconds_count{PODS,route="messages",status="5xx"}[2m]))
  / sum(rate(fanout_http_request_seconds_count{PODS,route="messages"}[2m])) > THRESHOLD`
  "summary" "Callers are refused because the queue is full or cannot be reached."
  "description" "{{ $value | humanizePercentage }} of the batches are answered 503 or another 5xx.") }}
{{- end -}}

{{/* Where workers are scaled to zero, a partition without an owner is no fault while nothing waits. */}}
{{- define "signalr-fanout.whileWorkWaits" -}}
{{- if and .Values.keda.enabled (eq (.Values.keda.minReplicas | int) 0) }} and on () sum(max by (partition) (fanout_queue_depth{PODS})) > 0{{ end -}}
{{- end -}}

{{- define "signalr-fanout.deliveryAlerts" -}}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutHeldBack"
  "expr" "max by (class) (fanout_breaker_open{PODS}) > THRESHOLD"
  "summary" "The service fails whatever it is asked."
  "description" "Calls of the class {{ $labels.class }} are held back for {{ $value }} hubs until the service answers. What is accepted waits.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutPaused"
  "expr" "max by (class) (fanout_pause_seconds{PODS}) > THRESHOLD or max(fanout_paused_hubs{PODS}) > 0"
  "summary" "Delivery is paused."
  "description" "{{ with $labels.class }}The class {{ . }} is{{ else }}Hubs are{{ end }} paused, by an operator or because the service asks for it again and again.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutCredentialsRefused"
  "expr" `
max(fanout_service_key_refused{PODS}) > 0
or
sum(rate(fanout_failed_attempts_total{PODS,failure=~"unauthorized|forbidden|noToken"}[5m]))
  / sum(rate(fanout_send_seconds_count{PODS}[5m])) > THRESHOLD`
  "summary" "The service refuses the access key or the identity, or there is no identity token."
  "description" "Check the connection string and the clock of the nodes; a rotated key has to reach credentials.connectionString. With Entra ID look at identity.failed in the log, and at the role of the identity.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutEndpointOffline"
  "expr" "1 - avg by (endpoint) (fanout_endpoint_online{PODS}) > THRESHOLD"
  "summary" "One of several endpoints does not answer."
  "description" "{{ $value | humanizePercentage }} of the pods get no answer from the endpoint {{ $labels.endpoint }}. They send clients elsewhere; what is queued for it waits.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutLeasesFlapping"
  "expr" "sum(increase(fanout_leases_lost_total{PODS}[10m])) > THRESHOLD"
  "summary" "Workers lose their partitions again and again."
  "description" "{{ $value | humanize }} leases were lost in ten minutes. Each loss repeats what was in flight.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutDeadLettersGrowing"
  "expr" "sum by (reason) (increase(fanout_dead_total{PODS}[1h])) > THRESHOLD"
  "summary" "Messages are given up."
  "description" "{{ $value | humanize }} entries became dead letters within an hour: {{ $labels.reason }}.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutDeadLettersKept"
  "expr" "max(fanout_dead_letters{PODS}) > THRESHOLD"
  "summary" "Dead letters wait for somebody."
  "description" "{{ $value }} dead letters are kept, and nobody replayed or deleted all of them for long.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutDeadLettersEnding"
  "expr" "max(fanout_oldest_dead_letter_age_seconds{PODS}) / max(fanout_dead_letter_age_limit_seconds{PODS}) > THRESHOLD"
  "summary" "Dead letters are about to be deleted because of their age."
  "description" "The oldest dead letter has reached {{ $value | humanizePercentage }} of FANOUT_MAX_DEAD_AGE, at which it is deleted.") }}
{{- end -}}

{{- define "signalr-fanout.redisAlerts" -}}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutRedisDown"
  "expr" "max(fanout_redis_up{PODS}) == 0"
  "summary" "No pod reaches Redis."
  "description" "Nothing is accepted and nothing delivered until Redis answers.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutRedisUnreachable"
  "expr" "fanout_redis_up{PODS} == 0 and on () max(fanout_redis_up{PODS}) == 1"
  "summary" "A pod does not reach Redis, and others do."
  "description" "{{ $labels.pod }} gets no answer from Redis.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutRedisMemory"
  "expr" "max(fanout_redis_memory_ratio{PODS}) > THRESHOLD"
  "summary" "Redis is near the end of its memory."
  "description" "{{ $value | humanizePercentage }} are used. At the end of it batches are refused.") }}
{{- include "signalr-fanout.alert" (dict "root" . "name" "FanoutRedisSlow"
  "expr" "max(fanout_redis_latency_seconds{PODS}) > THRESHOLD"
  "summary" "Redis answers slowly."
  "description" "Measuring the queue took {{ $value | humanizeDuration }}.") }}
{{- end -}}

{{/*
How fast the error budgets of metrics.prometheusRule.slo are used up. Each alert looks at a long window and at a short
one, so that it fires soon and ends soon, and asks for ten bad entries, because one of three says nothing.
*/}}
{{- define "signalr-fanout.budgetAlerts" -}}
{{- $slo := .Values.metrics.prometheusRule.slo -}}
{{- $le := eq (floor $slo.latency.seconds) (float64 $slo.latency.seconds) | ternary (printf "%.1f" (float64 $slo.latency.seconds)) (toString $slo.latency.seconds) -}}
{{- $late := printf `(sum(increase(fanout_delivery_seconds_count{PODS}[WINDOW])) - sum(increase(fanout_delivery_seconds_bucket{PODS,le=%q}[WINDOW])))` $le -}}
{{- $all := `sum(increase(fanout_delivery_seconds_count{PODS}[WINDOW]))` -}}
{{- $dead := `sum(increase(fanout_dead_total{PODS}[WINDOW]))` -}}
{{- $ended := `(sum(increase(fanout_delivered_total{PODS}[WINDOW])) + sum(increase(fanout_gone_total{PODS}[WINDOW])) + sum(increase(fanout_dead_total{PODS}[WINDOW])))` -}}
{{- range $speed, $windows := dict "Fast" (list "1h" "5m") "Slow" (list "6h" "30m") }}
{{- include "signalr-fanout.alert" (dict "root" $ "name" (printf "FanoutLatencyBurn%s" $speed)
  "expr" (include "signalr-fanout.burn" (dict "bad" $late "all" $all "objective" $slo.latency.objective "windows" $windows))
  "summary" "Too many messages are late."
  "description" (printf "{{ $value | humanizePercentage }} of the entries of the last %s took longer than %v s; the objective allows %v %%." (first $windows) $slo.latency.seconds (subf 100 $slo.latency.objective | printf "%.4g"))) }}
{{- include "signalr-fanout.alert" (dict "root" $ "name" (printf "FanoutErrorBurn%s" $speed)
  "expr" (include "signalr-fanout.burn" (dict "bad" $dead "all" $ended "objective" $slo.errors.objective "windows" $windows))
  "summary" "Too many messages are given up."
  "description" (printf "{{ $value | humanizePercentage }} of the entries of the last %s became dead letters; the objective allows %v %%." (first $windows) (subf 100 $slo.errors.objective | printf "%.4g"))) }}
{{- end }}
{{- end -}}

{{/* Takes a dict of bad, all, objective and windows (the long one and the short one). */}}
{{- define "signalr-fanout.burn" -}}
{{- range $place, $window := .windows -}}
{{- $bad := $.bad | replace "WINDOW" $window -}}
{{- $all := $.all | replace "WINDOW" $window -}}
{{- if $place }}
and{{ " " }}
{{- end }}
{{- printf "%s\n  / %s > THRESHOLD * (1 - %v / 100)" $bad $all $.objective }}
{{- end }}
and {{ .bad | replace "WINDOW" (first .windows) }} >= 10
{{- end -}}
