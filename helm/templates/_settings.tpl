{{/*
From values to the environment of the process.
*/}}

{{/*
One value as the text its variable carries. A number that arrives as a float64 is written without an exponent:
1000000 would otherwise become 1e+06.
*/}}
{{- define "signalr-fanout.settingText" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if or (kindIs "string" .) (kindIs "bool" .) -}}
{{- . -}}
{{- else if eq (floor .) (float64 .) -}}
{{- printf "%.0f" (float64 .) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* The data of the ConfigMap: config.retryMaxAge becomes FANOUT_RETRY_MAX_AGE. A null means the default. */}}
{{- define "signalr-fanout.configData" -}}
{{- range $key, $value := .Values.config }}
{{- if not (kindIs "invalid" $value) }}
FANOUT_{{ $key | snakecase | upper }}: {{ include "signalr-fanout.settingText" $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The name of the ConfigMap, by its content: pods of the old and the new version, which may know different settings, each
find their own while a rollout is under way.
*/}}
{{- define "signalr-fanout.configName" -}}
{{- printf "%s-config-%s" (include "signalr-fanout.fullname" .) (include "signalr-fanout.configData" . | sha256sum | trunc 8) -}}
{{- end -}}

{{/*
A sum of what rolls the pods when it changes. As environment variables that is every credential. As files it is where
the service and Redis are, without key and password, because a process follows these and nothing else. derivePassword is
slow on purpose (scrypt), because the sum can be read by those who may read pods, and a credential must not be guessed
from it. It is computed once for all pods.
*/}}
{{- define "signalr-fanout.credentialSum" -}}
{{- if not (hasKey .Values "credentialSum") -}}
{{- $sum := "" -}}
{{- $summed := include (.Values.mountCredentials | ternary "signalr-fanout.credentialPlaces" "signalr-fanout.secretData") . -}}
{{- with $summed | trim -}}
{{- $sum = derivePassword 1 "maximum" . $.Release.Name $.Release.Namespace | sha256sum | trunc 16 -}}
{{- end -}}
{{- $_ := set .Values "credentialSum" $sum -}}
{{- end -}}
{{- .Values.credentialSum -}}
{{- end -}}

{{/* The connection string without its key, and the URL of Redis without its password. */}}
{{- define "signalr-fanout.credentialPlaces" -}}
{{- with .Values.credentials.connectionString.value }}{{ regexReplaceAll "(?i)(accesskey|clientsecret)\\s*=[^;]*" . "" }}{{ end }}
{{ with .Values.credentials.redisUrl.value }}{{ regexReplaceAll ":[^:/@]*@" . "@" }}{{ end }}
{{- end -}}

{{/* The data of the Secret: the credentials that were given as values. */}}
{{- define "signalr-fanout.secretData" -}}
{{- range $name, $credential := .Values.credentials }}
{{- if and $credential.value (not $credential.existingSecret) }}
{{ $credential.key }}: {{ $credential.value | b64enc | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* "true" when the credential comes from somewhere. Takes a dict of root and credential. */}}
{{- define "signalr-fanout.hasCredential" -}}
{{- $credential := index .root.Values.credentials .credential -}}
{{- if or $credential.value $credential.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* FANOUT_SHUTDOWN_GRACE in whole seconds; 25 is the default of the process. */}}
{{- define "signalr-fanout.shutdownGrace" -}}
{{- $grace := 25 -}}
{{- with .Values.config.shutdownGrace }}{{- $grace = . -}}{{- end -}}
{{- ceil $grace | int -}}
{{- end -}}

{{/* The shortest termination grace period that lets a pod of the role drain. Takes a dict of root and role. */}}
{{- define "signalr-fanout.neededGrace" -}}
{{- $role := index .root.Values .role -}}
{{- $serving := 0 -}}
{{- if eq .role "ingress" }}{{- $serving = add 5 (ceil (default 5 .root.Values.config.lameDuck) | int) -}}{{- end -}}
{{- add (max (include "signalr-fanout.shutdownGrace" .root | int) $serving) ($role.preStopSleepSeconds | int) ($role.terminationMarginSeconds | int) -}}
{{- end -}}

{{- define "signalr-fanout.grace" -}}
{{- $role := index .root.Values .role -}}
{{- default (include "signalr-fanout.neededGrace" . | int) ($role.terminationGracePeriodSeconds | int) -}}
{{- end -}}

{{/* The number of pods the role never falls below by its own doing. Takes a dict of root and role. */}}
{{- define "signalr-fanout.minimumReplicas" -}}
{{- $role := index .root.Values .role -}}
{{- if include "signalr-fanout.usesKeda" . -}}
{{- .root.Values.keda.minReplicas | int -}}
{{- else if $role.autoscaling.enabled -}}
{{- $role.autoscaling.minReplicas | int -}}
{{- else -}}
{{- $role.replicaCount | int -}}
{{- end -}}
{{- end -}}
