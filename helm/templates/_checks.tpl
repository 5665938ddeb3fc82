{{/*
What the schema cannot say: rules between values. All of them are checked before anything is rendered, and one message
lists every broken one. No message repeats a credential.
*/}}
{{- define "signalr-fanout.checks" -}}
{{- $problems := list -}}
{{- range list "credentialProblems" "identityProblems" "roleProblems" "kedaProblems" "hardeningProblems" "objectProblems" -}}
{{- $found := include (printf "signalr-fanout.%s" .) $ | trim -}}
{{- if $found -}}
{{- $problems = append $problems $found -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\nsignalr-fanout cannot be installed with these values:\n%s\n" (join "\n" $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "signalr-fanout.credentialProblems" -}}
{{- $keys := dict }}
{{- range $name, $credential := .Values.credentials }}
{{- if and $credential.value (not $credential.existingSecret) }}
{{- if hasKey $keys $credential.key }}
- credentials.{{ $name }}.key and credentials.{{ get $keys $credential.key }}.key are both {{ $credential.key }}: in the Secret that the chart makes each needs its own.
{{- end }}
{{- $_ := set $keys $credential.key $name }}
{{- end }}
{{- if and $credential.value $credential.existingSecret }}
- credentials.{{ $name }}: give value or existingSecret, not both.
{{- end }}
{{- end }}
{{- if .Values.demo }}
{{- if include "signalr-fanout.hasCredential" (dict "root" . "credential" "connectionString") }}
- demo: true delivers to the emulator, and credentials.connectionString names a service: choose one.
{{- end }}
{{- if .Values.endpoints }}
- demo: true delivers to the emulator alone, and endpoints name further services: remove one of the two.
{{- end }}
{{- else if not (include "signalr-fanout.hasService" .) }}
- credentials.connectionString is required: the Azure SignalR Service to deliver to, as value or as the name of an existingSecret; or identity.serviceUri, to call it by identity; or demo: true to try it with an emulator.
{{- end }}
{{- with .Values.credentials.connectionString.value }}
{{- if not (regexMatch "(?i)(^|;)\\s*endpoint\\s*=" .) }}
- credentials.connectionString.value is no connection string: it has no Endpoint=.
{{- end }}
{{- end }}
{{- $hasRedis := include "signalr-fanout.hasCredential" (dict "root" . "credential" "redisUrl") }}
{{- if and (eq (toString .Values.valkey.enabled) "false") (not $hasRedis) }}
- credentials.redisUrl is required with valkey.enabled: false: the Redis 7.0+ or Valkey that keeps the queue, as value or as the name of an existingSecret.
{{- end }}
{{- if and (eq (toString .Values.valkey.enabled) "true") $hasRedis }}
- valkey.enabled: true installs a Valkey, and credentials.redisUrl names another Redis: choose one.
{{- end }}
{{- if and (include "signalr-fanout.usesValkey" .) (include "signalr-fanout.hasCredential" (dict "root" . "credential" "redisPassword")) }}
- credentials.redisPassword is that of the Redis in credentials.redisUrl, which is not given: the bundled Valkey makes its own.
{{- end }}
{{- with .Values.credentials.redisUrl.value }}
{{- if not (contains "://" .) }}
- credentials.redisUrl.value is no URL: it starts with redis://, rediss:// or unix://.
{{- end }}
{{- end }}
{{- range .Values.config.negotiateUser }}
{{- if and (not (regexMatch "^(query|token)" .)) (not $.Values.config.negotiatePeers) }}
- config.negotiateUser: {{ . }} is a header that anybody can send: config.negotiatePeers lists the gateways whose headers are believed.
{{- end }}
{{- end }}
{{- if and .Values.config.apiKeysFile (include "signalr-fanout.hasCredential" (dict "root" . "credential" "apiKeys")) }}
- config.apiKeysFile and credentials.apiKeys are both given: choose one.
{{- end }}
{{- $names := dict }}
{{- range .Values.endpoints }}
{{- if hasKey $names (lower .name) }}
- endpoints: two are named {{ .name }}, or differ in upper and lower case alone: give each a name of its own.
{{- end }}
{{- $_ := set $names (lower .name) true }}
{{- end }}
{{- if eq (.Values.containerPort | int) (.Values.adminPort | int) }}
- containerPort and adminPort are both {{ .Values.adminPort | int }}: give each its own.
{{- end }}
{{- end -}}

{{- define "signalr-fanout.roleProblems" -}}
{{- if not (or .Values.ingress.enabled .Values.worker.enabled) }}
- ingress.enabled and worker.enabled are both false: nothing would run.
{{- end }}
{{- if and (eq .Values.mode "all") (not .Values.ingress.enabled) }}
- mode: all puts both roles into the pods of the ingress, so ingress.enabled has to be true.
{{- end }}
{{- range $role := list "ingress" "worker" }}
{{- $values := index $.Values $role }}
{{- if include "signalr-fanout.runs" (dict "root" $ "role" $role) }}
{{- include "signalr-fanout.memoryProblems" (dict "root" $ "role" $role) }}
{{- $needed := include "signalr-fanout.neededGrace" (dict "root" $ "role" $role) | int }}
{{- if lt (include "signalr-fanout.grace" (dict "root" $ "role" $role) | int) $needed }}
- {{ $role }}.terminationGracePeriodSeconds is {{ $values.terminationGracePeriodSeconds | int }}, too short to drain: at least {{ $needed }} is needed (preStopSleepSeconds {{ $values.preStopSleepSeconds | int }} + config.shutdownGrace {{ include "signalr-fanout.shutdownGrace" $ }} + terminationMarginSeconds {{ $values.terminationMarginSeconds | int }}).
{{- end }}
{{- include "signalr-fanout.autoscalingProblems" (dict "root" $ "role" $role "values" $values) }}
{{- include "signalr-fanout.environmentProblems" (dict "role" $role "values" $values) }}
{{- include "signalr-fanout.nameProblems" (dict "role" $role "values" $values) }}
{{- include "signalr-fanout.labelProblems" (dict "where" (printf "%s.podLabels" $role) "labels" $values.podLabels) }}
{{- if include "signalr-fanout.allowsNoDisruption" (dict "root" $ "role" $role) }}
- {{ $role }}.podDisruptionBudget lets no pod go: a node could not be drained. Set maxUnavailable to 1 or more, or minAvailable below the number of pods.
{{- end }}
{{- with $values.strategy.rollingUpdate }}
{{- if and (has (toString .maxSurge) (list "0" "0%")) (has (toString .maxUnavailable) (list "0" "0%")) (ne $values.strategy.type "Recreate") }}
- {{ $role }}.strategy.rollingUpdate: maxSurge and maxUnavailable are both 0, so no rollout could begin.
{{- end }}
{{- end }}
{{- if and (not (kindIs "invalid" $values.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" $values.podDisruptionBudget.maxUnavailable)) }}
- {{ $role }}.podDisruptionBudget: give minAvailable or maxUnavailable, not both.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* "true" when a disruption budget lets no pod go. Takes root and role. */}}
{{- define "signalr-fanout.allowsNoDisruption" -}}
{{- with (index .root.Values .role).podDisruptionBudget -}}
{{- if .enabled -}}
{{- $pods := include "signalr-fanout.minimumReplicas" $ | int -}}
{{- if has (toString .maxUnavailable) (list "0" "0%") -}}true
{{- else if eq (toString .minAvailable) "100%" -}}true
{{- else if and (gt $pods 1) (not (kindIs "invalid" .minAvailable)) -}}
{{- $staying := .minAvailable | int -}}
{{- if hasSuffix "%" (toString .minAvailable) -}}
{{- $staying = divf (mul $pods (trimSuffix "%" .minAvailable | int)) 100 | ceil | int -}}
{{- end -}}
{{- if ge $staying $pods -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A partition has one owner, so a worker beyond their number has nothing to do. */}}
{{- define "signalr-fanout.partitions" -}}
{{- .Values.config.partitions | default 16 | int -}}
{{- end -}}

{{- define "signalr-fanout.workerProblems" -}}
{{- $partitions := include "signalr-fanout.partitions" . | int -}}
{{- $role := include "signalr-fanout.deliveringRole" . -}}
{{- if include "signalr-fanout.runs" (dict "root" . "role" $role) }}
{{- with index .Values $role }}
{{- if and (not .autoscaling.enabled) (not $.Values.keda.enabled) (gt (.replicaCount | int) $partitions) }}
- {{ $role }}.replicaCount is {{ .replicaCount | int }}, but the queue has {{ $partitions }} partitions (config.partitions): {{ sub (.replicaCount | int) $partitions }} workers would have nothing to do.
{{- end }}
{{- if and .autoscaling.enabled (gt (.autoscaling.maxReplicas | int) $partitions) }}
- {{ $role }}.autoscaling.maxReplicas is {{ .autoscaling.maxReplicas | int }}, but the queue has {{ $partitions }} partitions (config.partitions), one for each worker at most.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A quantity of memory in bytes, such as 512Mi. */}}
{{- define "signalr-fanout.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "K" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := toString . -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (dig (regexFind "[A-Za-z]*$" $text) 1 $units) | floor | int64 -}}
{{- end -}}

{{/*
The least memory limit of a role. A process takes about 96 MiB before the first request, 128 MiB with a worker in it. An
ingress needs six times the largest body, and in mode "all" may use only half of what is left; a worker needs each of its
calls in flight to have a message of the largest size.
*/}}
{{- define "signalr-fanout.neededMemory" -}}
{{- $config := .root.Values.config -}}
{{- $body := mul 6 ($config.maxBody | default 16777216 | int64) -}}
{{- if eq .role "worker" -}}
{{- $calls := mul ($config.concurrency | default 128 | int64) ($config.maxMessage | default 1000000 | int64) -}}
{{- add 134217728 (max $calls (mul 2 ($config.readAheadBytes | default 0 | int64))) -}}
{{- else if eq .root.Values.mode "all" -}}
{{- add 134217728 (mul 2 $body) -}}
{{- else -}}
{{- add 100663296 $body -}}
{{- end -}}
{{- end -}}

{{/*
What a pod of a role asks for and may take. Limits without one for memory get the least that the sizes in config need, in
steps of 64 MiB, and not less than is good for an installation of any size. Without limits there is none.
*/}}
{{- define "signalr-fanout.resources" -}}
{{- $resources := deepCopy ((index .root.Values .role).resources | default dict) -}}
{{- if kindIs "map" $resources.limits -}}
{{- if not $resources.limits.memory -}}
{{- $steps := divf (include "signalr-fanout.neededMemory" . | int64) 67108864 | ceil | int -}}
{{- $usual := eq .role "worker" | ternary 768 512 -}}
{{- $_ := set $resources.limits "memory" (printf "%dMi" (max $usual (mul 64 $steps))) -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "signalr-fanout.memoryProblems" -}}
{{- with dig "limits" "memory" "" ((index .root.Values .role).resources | default dict) -}}
{{- $given := include "signalr-fanout.bytes" . | int64 -}}
{{- $needed := include "signalr-fanout.neededMemory" $ | int64 -}}
{{- if lt $given $needed }}
- {{ $.role }}.resources.limits.memory is {{ . }}, too little for {{ eq $.role "worker" | ternary "config.concurrency messages of config.maxMessage, or config.readAheadBytes twice" "a body of config.maxBody" }}: at least {{ divf $needed 1048576 | ceil | int }}Mi is needed.
{{- end }}
{{- end -}}
{{- end -}}

{{/* What would take back the hardening of the pods, which the image does not need. */}}
{{- define "signalr-fanout.hardeningProblems" -}}
{{- with .Values.securityContext }}
{{- if .privileged }}
- securityContext.privileged: true gives a pod the node; the process needs nothing of it.
{{- end }}
{{- if .allowPrivilegeEscalation }}
- securityContext.allowPrivilegeEscalation: true is not needed; the process starts no other.
{{- end }}
{{- with .capabilities }}
{{- if .add }}
- securityContext.capabilities.add: the process needs no capability (it listens on containerPort, which is above 1023).
{{- end }}
{{- end }}
{{- end }}
{{- if and (kindIs "bool" .Values.podSecurityContext.runAsNonRoot) (not .Values.podSecurityContext.runAsNonRoot) }}
- podSecurityContext.runAsNonRoot: false is not needed; the image runs as user 10001.
{{- end }}
{{- end -}}

{{- define "signalr-fanout.autoscalingProblems" -}}
{{- with .values.autoscaling }}
{{- if .enabled }}
{{- if lt (.maxReplicas | int) (.minReplicas | int) }}
- {{ $.role }}.autoscaling.maxReplicas {{ .maxReplicas | int }} is smaller than minReplicas {{ .minReplicas | int }}.
{{- end }}
{{- if not (or .targetCPUUtilizationPercentage .targetMemoryUtilizationPercentage .targetQueueEntries .metrics) }}
- {{ $.role }}.autoscaling has nothing to go by: set targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage, targetQueueEntries or metrics.
{{- end }}
{{- if and .targetQueueEntries (ne $.role (include "signalr-fanout.deliveringRole" $.root)) }}
- {{ $.role }}.autoscaling.targetQueueEntries: these pods deliver nothing, so more of them would not shorten the queue. It belongs to worker.autoscaling.
{{- end }}
{{- if and .targetCPUUtilizationPercentage (not (dig "requests" "cpu" "" ($.values.resources | default dict))) }}
- {{ $.role }}.autoscaling.targetCPUUtilizationPercentage is a share of resources.requests.cpu, which is not set.
{{- end }}
{{- if and .targetMemoryUtilizationPercentage (not (dig "requests" "memory" "" ($.values.resources | default dict))) }}
- {{ $.role }}.autoscaling.targetMemoryUtilizationPercentage is a share of resources.requests.memory, which is not set.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What KEDA could not do. */}}
{{- define "signalr-fanout.kedaProblems" -}}
{{- with .Values.keda }}
{{- if .enabled }}
{{- $role := include "signalr-fanout.deliveringRole" $ }}
{{- $partitions := include "signalr-fanout.partitions" $ | int }}
{{- if not (include "signalr-fanout.runs" (dict "root" $ "role" $role)) }}
- keda.enabled scales the pods of {{ $role }}, and {{ $role }}.enabled is false.
{{- end }}
{{- if (index $.Values $role).autoscaling.enabled }}
- keda.enabled and {{ $role }}.autoscaling.enabled would fight over the number of pods: choose one.
{{- end }}
{{- if gt (.maxReplicas | int) $partitions }}
- keda.maxReplicas is {{ .maxReplicas | int }}, but the queue has {{ $partitions }} partitions (config.partitions), one for each worker at most.
{{- end }}
{{- if lt (.maxReplicas | int) (max 1 (.minReplicas | int)) }}
- keda.maxReplicas {{ .maxReplicas | int }} is smaller than minReplicas {{ .minReplicas | int }}.
{{- end }}
{{- if gt (.fallbackReplicas | default 0 | int) (.maxReplicas | int) }}
- keda.fallbackReplicas {{ .fallbackReplicas | int }} is greater than maxReplicas {{ .maxReplicas | int }}.
{{- end }}
{{- if and (eq (.minReplicas | int) 0) (eq $.Values.mode "all") }}
- keda.minReplicas: 0 with mode: all would take away the front door while nothing waits.
{{- end }}
{{- if not (or .entriesPerWorker (and .prometheus.serverAddress .ageSecondsPerWorker)) }}
- keda has nothing to go by: set entriesPerWorker, or ageSecondsPerWorker with prometheus.serverAddress.
{{- end }}
{{- if not $.Values.metrics.enabled }}
- keda.enabled needs metrics.enabled: the numbers come from the pods behind the metrics Service.
{{- end }}
{{- if not .prometheus.serverAddress }}
{{- if and (eq (.minReplicas | int) 0) (not $.Values.ingress.enabled) }}
- keda.minReplicas: 0 without prometheus.serverAddress needs ingress.enabled: with no worker left, nobody would say what waits.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* extraEnv may not bring in a credential in clear, nor a second opinion on what the chart already sets. */}}
{{- define "signalr-fanout.environmentProblems" -}}
{{- range .values.extraEnv }}
{{- $name := upper .name }}
{{- if has $name (list "AZURESIGNALRCONNECTIONSTRING" "FANOUT_REDIS_URL" "FANOUT_REDIS_PASSWORD" "FANOUT_API_KEY" "FANOUT_SECOND_ACCESS_KEY" "AZURESIGNALRCONNECTIONSTRING_FILE" "FANOUT_REDIS_URL_FILE" "FANOUT_REDIS_PASSWORD_FILE" "FANOUT_API_KEY_FILE" "FANOUT_SECOND_ACCESS_KEY_FILE") }}
- {{ $.role }}.extraEnv: {{ .name }} is a credential and belongs in credentials, which keeps it in a Secret.
{{- else if has $name (list "FANOUT_HOST" "FANOUT_PORT" "FANOUT_ADMIN_PORT") }}
- {{ $.role }}.extraEnv: {{ .name }} is set by listenAddress, containerPort and adminPort.
{{- else if eq $name "FANOUT_AUTH" }}
- {{ $.role }}.extraEnv: FANOUT_AUTH=none serves the loopback interface only; callers of a cluster need credentials.apiKey.
{{- else if eq $name "FANOUT_SHUTDOWN_GRACE" }}
- {{ $.role }}.extraEnv: {{ .name }} belongs in config.shutdownGrace, from which the termination grace period follows.
{{- else if has $name (list "FANOUT_PARTITIONS" "FANOUT_NAMESPACE" "FANOUT_LAME_DUCK" "FANOUT_MAX_BODY" "FANOUT_MAX_MESSAGE" "FANOUT_CONCURRENCY" "FANOUT_READ_AHEAD_BYTES") }}
- {{ $.role }}.extraEnv: {{ .name }} belongs in config.{{ $name | trimPrefix "FANOUT_" | lower | camelcase | untitle }}: both roles need the same, or the limits of the pods follow from it.
{{- else if and (hasPrefix "FANOUT_" $name) (ne .name $name) }}
- {{ $.role }}.extraEnv: {{ .name }} is written {{ $name }}.
{{- else if and (hasPrefix "FANOUT_" $name) (not (has $name (include "signalr-fanout.knownSettings" $ | replace "\n" " " | splitList " "))) }}
- {{ $.role }}.extraEnv: {{ .name }} is no setting, and a process that finds it refuses to start. The README lists all of them.
{{- end }}
{{- end }}
{{- end -}}

{{/* The port of the REST calls that a connection string leads to. */}}
{{- define "signalr-fanout.portOfService" -}}
{{- $server := regexFind "(?i)(^|;)\\s*serverendpoint\\s*=[^;]*" . -}}
{{- $url := $server | default (regexFind "(?i)(^|;)\\s*endpoint\\s*=[^;]*" .) -}}
{{- $written := regexFind ":[0-9]+/?\\s*$" $url | regexFind "[0-9]+" -}}
{{- if not $server -}}
{{- $written = regexFind "(?i)(^|;)\\s*port\\s*=\\s*[0-9]+" . | regexFind "[0-9]+$" | default $written -}}
{{- end -}}
{{- $written | default (regexMatch "(?i)=\\s*http:" $url | ternary "80" "443") -}}
{{- end -}}

{{/* Names that a pod may have once, and that the chart or another entry has taken. A cluster's own refusal is hard to read. */}}
{{- define "signalr-fanout.nameProblems" -}}
{{- $containers := concat (list (dict "name" .role)) (.values.initContainers | default list) (.values.extraContainers | default list) -}}
{{- range $name := include "signalr-fanout.twice" (dict "things" $containers "key" "name") | fromJsonArray }}
- {{ $.role }}: two containers are named {{ $name }}; the name {{ $.role }} is that of the process.
{{- end }}
{{- range $name := include "signalr-fanout.twice" (dict "things" (concat (list (dict "name" "tmp") (dict "name" "fanout-credentials")) (.values.extraVolumes | default list)) "key" "name") | fromJsonArray }}
- {{ $.role }}.extraVolumes: two volumes are named {{ $name }}; tmp and fanout-credentials are the chart's own.
{{- end }}
{{- range $path := include "signalr-fanout.twice" (dict "things" (concat (list (dict "mountPath" "/tmp") (dict "mountPath" (include "signalr-fanout.credentialsPath" .))) (.values.extraVolumeMounts | default list)) "key" "mountPath") | fromJsonArray }}
- {{ $.role }}.extraVolumeMounts: two volumes are mounted at {{ $path }}; there is one of the chart's own, or another of yours.
{{- end }}
{{- range $name := include "signalr-fanout.twice" (dict "things" .values.extraEnv "key" "name") | fromJsonArray }}
- {{ $.role }}.extraEnv: {{ $name }} is given twice.
{{- end }}
{{- end -}}

{{/* What several things have under one key, as a JSON array. Takes a dict of things and key. */}}
{{- define "signalr-fanout.twice" -}}
{{- $seen := dict -}}
{{- $twice := list -}}
{{- range .things -}}
{{- $value := index . $.key | toString -}}
{{- if hasKey $seen $value -}}{{- $twice = append $twice $value -}}{{- end -}}
{{- $_ := set $seen $value true -}}
{{- end -}}
{{- uniq $twice | toJson -}}
{{- end -}}

{{/* A label of the chart given twice would take pods out of the reach of their selectors. */}}
{{- define "signalr-fanout.labelProblems" -}}
{{- range $name, $text := .labels }}
{{- if or (hasPrefix "app.kubernetes.io/" $name) (hasPrefix "helm.sh/" $name) }}
- {{ $.where }}: {{ $name }} is the chart's own label; choose another name.
{{- end }}
{{- end }}
{{- end -}}

{{/*
The ports in the URL of Redis, with spaces between; empty where the chart does not see the URL, or it is a socket. Behind
Sentinels stand servers, whose ports are not in it: networkPolicy.redis.port, or 6379.
*/}}
{{- define "signalr-fanout.redisPorts" -}}
{{- if include "signalr-fanout.usesValkey" . -}}6379
{{- else -}}
{{- with .Values.credentials.redisUrl -}}
{{- if and .value (not .existingSecret) (regexMatch "^rediss?([+]sentinel)?://" .value) -}}
{{- $sentinel := contains "+sentinel://" .value -}}
{{- $ports := list -}}
{{- $hosts := regexReplaceAll "^.*@" (regexFind "://[^/?]*" .value | trimPrefix "://") "" -}}
{{- range splitList "," $hosts -}}
{{- $ports = append $ports (default ($sentinel | ternary "26379" "6379") (regexFind ":[0-9]+$" . | trimPrefix ":")) -}}
{{- end -}}
{{- if $sentinel -}}
{{- $ports = append $ports (default 6379 $.Values.networkPolicy.redis.port | int | toString) -}}
{{- end -}}
{{- uniq $ports | join " " -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "signalr-fanout.objectProblems" -}}
{{- include "signalr-fanout.workerProblems" . }}
{{- if include "signalr-fanout.usesValkey" . }}
{{- with dig "limits" "memory" "" (.Values.valkey.resources | default dict) }}
{{- $queue := $.Values.valkey.maxMemory | trimSuffix "b" | upper | replace "K" "Ki" | replace "M" "Mi" | replace "G" "Gi" }}
{{- if lt (include "signalr-fanout.bytes" . | float64) (mulf 1.25 (include "signalr-fanout.bytes" $queue | float64)) }}
- valkey.resources.limits.memory is {{ . }}, too little for valkey.maxMemory {{ $.Values.valkey.maxMemory }} and a quarter more: it would be killed before it refuses.
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.networkPolicy.enabled }}
{{- $ports := include "signalr-fanout.redisPorts" . }}
{{- if and $ports .Values.networkPolicy.redis.port (not (has (toString (.Values.networkPolicy.redis.port | int)) (splitList " " $ports))) }}
- networkPolicy.redis.port is {{ .Values.networkPolicy.redis.port | int }}, but credentials.redisUrl.value names port {{ $ports }}: the pods could not reach Redis.
{{- end }}
{{- if and .Values.credentials.redisUrl.existingSecret (not .Values.networkPolicy.redis.port) }}
- networkPolicy.redis.port is required with credentials.redisUrl.existingSecret, because the chart does not see the port in that URL.
{{- end }}
{{- with .Values.credentials.connectionString.value }}
{{- $named := include "signalr-fanout.portOfService" . }}
{{- if ne ($named | int) ($.Values.networkPolicy.service.port | int) }}
- networkPolicy.service.port is {{ $.Values.networkPolicy.service.port | int }}, but credentials.connectionString.value names port {{ $named }}: the pods could not reach the service.
{{- end }}
{{- end }}
{{- if and (or .Values.metrics.enabled .Values.metrics.podMonitor.enabled) (not .Values.networkPolicy.scrapers) }}
- networkPolicy.scrapers is empty, so nobody could scrape the pods{{ if .Values.keda.enabled }} and KEDA could not ask them what waits{{ end }}. Name the pods of Prometheus there, or set metrics.enabled: false.
{{- end }}
{{- end }}
{{- include "signalr-fanout.labelProblems" (dict "where" "commonLabels" "labels" .Values.commonLabels) }}
{{- range $kind := list "ingress" "httpRoute" }}
{{- if (index $.Values.expose $kind).enabled }}
{{- if not $.Values.ingress.enabled }}
- expose.{{ $kind }}.enabled needs ingress.enabled: there is no front door to expose.
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.expose.ingress.enabled (not .Values.expose.ingress.hosts) }}
- expose.ingress.hosts is required when expose.ingress.enabled is true.
{{- end }}
{{- if and .Values.expose.httpRoute.enabled (not .Values.expose.httpRoute.parentRefs) }}
- expose.httpRoute.parentRefs is required when expose.httpRoute.enabled is true: the Gateway to attach to.
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
- metrics.serviceMonitor.enabled needs metrics.enabled: it finds the pods through the metrics Service.
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled }}
- metrics.serviceMonitor.enabled and metrics.podMonitor.enabled would scrape every pod twice: choose one.
{{- end }}
{{- end -}}
