{{/*
How credentials reach a process: as files that it follows, so that a changed Secret counts without a restart, or as
environment variables.
*/}}

{{- define "signalr-fanout.credentialsPath" -}}/etc/fanout/credentials{{- end -}}

{{/* One credential that is given: its variable, its Secret and the key inside. Takes root, variable and credential. */}}
{{- define "signalr-fanout.givenCredential" -}}
{{- if include "signalr-fanout.hasCredential" . }}
{{- $credential := index .root.Values.credentials .credential }}
- variable: {{ .variable }}
  secret: {{ default (include "signalr-fanout.secretName" .root) $credential.existingSecret | quote }}
  key: {{ $credential.key | quote }}
  file: {{ .credential | kebabcase }}
{{- end }}
{{- end -}}

{{/* All that a pod is given, as a list. Takes root and whether callers are served. */}}
{{- define "signalr-fanout.givenCredentials" -}}
{{- $root := .root -}}
{{- if not $root.Values.demo }}
{{- include "signalr-fanout.givenCredential" (dict "root" $root "variable" "AzureSignalRConnectionString" "credential" "connectionString") }}
{{- end }}
{{- range $root.Values.endpoints }}
- variable: Azure__SignalR__Endpoints__{{ .name }}{{ if .secondary }}__secondary{{ end }}
  secret: {{ .existingSecret | quote }}
  key: {{ .key | default "connection-string" | quote }}
  file: endpoint-{{ .name }}
{{- end }}
{{- if include "signalr-fanout.usesValkey" $root }}
- variable: FANOUT_REDIS_PASSWORD
  secret: {{ include "signalr-fanout.generatedName" $root }}
  key: valkey-password
  file: redis-password
{{- else }}
{{- include "signalr-fanout.givenCredential" (dict "root" $root "variable" "FANOUT_REDIS_URL" "credential" "redisUrl") }}
{{- include "signalr-fanout.givenCredential" (dict "root" $root "variable" "FANOUT_REDIS_PASSWORD" "credential" "redisPassword") }}
{{- end }}
{{- if .callers }}
{{- include "signalr-fanout.givenCredential" (dict "root" $root "variable" "FANOUT_SECOND_ACCESS_KEY" "credential" "secondAccessKey") }}
{{- with include "signalr-fanout.apiKeySource" $root | fromYaml }}
- variable: FANOUT_API_KEY
  secret: {{ .name }}
  key: {{ .key | quote }}
  file: api-key
{{- end }}
{{- include "signalr-fanout.givenCredential" (dict "root" $root "variable" "FANOUT_API_KEYS_FILE" "credential" "apiKeys") }}
{{- end }}
{{- end -}}

{{/* The environment variables for it. Takes root, callers and whether the pod has the files. */}}
{{- define "signalr-fanout.credentialVariables" -}}
{{- $root := .root -}}
{{- $path := include "signalr-fanout.credentialsPath" . -}}
{{- if $root.Values.demo }}
- name: AzureSignalRConnectionString
  # The emulator's own key, which every emulator of this kind has.
  value: Endpoint=http://{{ include "signalr-fanout.emulatorName" $root }}.{{ $root.Release.Namespace }};Port=8888;AccessKey=ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH;Version=1.0;
{{- end }}
{{- include "signalr-fanout.identityVariables" $root }}
{{- if include "signalr-fanout.usesValkey" $root }}
- name: FANOUT_REDIS_URL
  value: redis://{{ include "signalr-fanout.valkeyName" $root }}.{{ $root.Release.Namespace }}:6379/0
{{- end }}
{{- range include "signalr-fanout.givenCredentials" . | fromYamlArray }}
{{- if hasSuffix "_FILE" .variable }}
{{- if $.files }}
- name: {{ .variable }}
  value: {{ $path }}/{{ .file }}
{{- end }}
{{- else if and $.files $root.Values.mountCredentials }}
- name: {{ .variable }}_FILE
  value: {{ $path }}/{{ .file }}
{{- else }}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The sources of the volume with the files; empty where a pod has none. Takes root and callers. */}}
{{- define "signalr-fanout.credentialSources" -}}
{{- range include "signalr-fanout.givenCredentials" . | fromYamlArray }}
{{- if or $.root.Values.mountCredentials (hasSuffix "_FILE" .variable) }}
- secret:
    name: {{ .secret | quote }}
    items:
      - key: {{ .key | quote }}
        path: {{ .file }}
{{- end }}
{{- end }}
{{- end -}}
