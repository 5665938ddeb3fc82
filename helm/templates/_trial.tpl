{{/*
What the chart brings along for trying it: a Valkey without a replica, the emulator in place of Azure SignalR Service, and
credentials that nobody gave. None of it is for production, and the notes say so.
*/}}

{{/* "true" where the bundled Valkey keeps the queue: when it is asked for, or no Redis is given. */}}
{{- define "signalr-fanout.usesValkey" -}}
{{- if eq (toString .Values.valkey.enabled) "true" -}}true
{{- else if and (kindIs "invalid" .Values.valkey.enabled) (not (include "signalr-fanout.hasCredential" (dict "root" . "credential" "redisUrl"))) -}}true
{{- end -}}
{{- end -}}

{{/* Labels of their own: no selector of the roles and of the metrics may take these pods. Takes root and part. */}}
{{- define "signalr-fanout.trialLabels" -}}
app.kubernetes.io/name: {{ include "signalr-fanout.name" .root }}-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* At most 52 characters: the cluster adds eleven to the name of a StatefulSet and makes a label of it. */}}
{{- define "signalr-fanout.valkeyName" -}}
{{- printf "%s-valkey" (include "signalr-fanout.fullname" . | trunc 45 | trimSuffix "-") -}}
{{- end -}}

{{- define "signalr-fanout.emulatorName" -}}
{{- printf "%s-emulator" (include "signalr-fanout.fullname" .) -}}
{{- end -}}

{{/* "true" where the chart makes the key of callers itself. */}}
{{- define "signalr-fanout.makesApiKey" -}}
{{- if and .Values.ingress.enabled (not (include "signalr-fanout.hasCredential" (dict "root" . "credential" "apiKey"))) -}}true{{- end -}}
{{- end -}}

{{- define "signalr-fanout.generatedName" -}}
{{- printf "%s-generated" (include "signalr-fanout.fullname" .) -}}
{{- end -}}

{{/* The Secret and the key inside it that hold the key of callers, as one line each; empty where there is none. */}}
{{- define "signalr-fanout.apiKeySource" -}}
{{- if include "signalr-fanout.makesApiKey" . -}}
name: {{ include "signalr-fanout.generatedName" . }}
key: api-key
{{- else if include "signalr-fanout.hasCredential" (dict "root" . "credential" "apiKey") -}}
name: {{ default (include "signalr-fanout.secretName" .) .Values.credentials.apiKey.existingSecret }}
key: {{ .Values.credentials.apiKey.key }}
{{- end -}}
{{- end -}}

{{/* A generated text that stays as it is once a cluster has it. Takes a dict of root and key. */}}
{{- define "signalr-fanout.kept" -}}
{{- $old := lookup "v1" "Secret" .root.Release.Namespace (include "signalr-fanout.generatedName" .root) -}}
{{- dig "data" .key (randAlphaNum 40 | b64enc) (default (dict) $old) -}}
{{- end -}}
