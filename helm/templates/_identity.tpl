{{/*
Microsoft Entra ID in place of keys: how the service is named without a connection string, and how Kubernetes gives the
pods a token of their own (workload identity).
*/}}

{{/* "true" when there is a service to deliver to: by a connection string or by identity. */}}
{{- define "signalr-fanout.hasService" -}}
{{- if or .Values.identity.serviceUri (include "signalr-fanout.hasCredential" (dict "root" . "credential" "connectionString")) -}}true{{- end -}}
{{- end -}}

{{/* "true" when the values say that calls are made by identity; a connection string in an existing Secret is not seen. */}}
{{- define "signalr-fanout.usesIdentity" -}}
{{- $byString := regexMatch "(?i)(^|;)\\s*authtype\\s*=\\s*(azure|aad)" .Values.credentials.connectionString.value -}}
{{- if or .Values.identity.serviceUri (eq (toString .Values.config.redisAuth) "entra") $byString -}}true{{- end -}}
{{- end -}}

{{- define "signalr-fanout.identityVariables" -}}
{{- with .Values.identity -}}
{{- if .serviceUri }}
- name: AzureSignalRConnectionString__serviceUri
  value: {{ .serviceUri | quote }}
- name: AzureSignalRConnectionString__credential
  value: {{ .workload | ternary "workloadidentity" "managedidentity" }}
{{- with .clientId }}
- name: AzureSignalRConnectionString__clientId
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "signalr-fanout.serviceAccountAnnotations" -}}
{{- $annotations := deepCopy .Values.serviceAccount.annotations -}}
{{- if .Values.identity.workload -}}
{{- range $name, $value := dict "client-id" .Values.identity.clientId "tenant-id" .Values.identity.tenantId -}}
{{- if $value -}}
{{- $_ := set $annotations (printf "azure.workload.identity/%s" $name) $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $annotations -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/* The label by which the cluster gives a pod the token of its ServiceAccount. Takes root and the pod's other labels. */}}
{{- define "signalr-fanout.identityLabel" -}}
{{- if and .root.Values.identity.workload (not (hasKey (.labels | default dict) "azure.workload.identity/use")) -}}
azure.workload.identity/use: "true"
{{- end -}}
{{- end -}}

{{- define "signalr-fanout.identityProblems" -}}
{{- $annotated := index .Values.serviceAccount.annotations "azure.workload.identity/client-id" }}
{{- $string := .Values.credentials.connectionString }}
{{- with .Values.identity }}
{{- if and .serviceUri (or $string.value $string.existingSecret) }}
- identity.serviceUri and credentials.connectionString both name the service to deliver to: choose one.
{{- end }}
{{- if and .serviceUri $.Values.demo }}
- demo: true delivers to the emulator, and identity.serviceUri names a service: choose one.
{{- end }}
{{- if and (or .workload .tenantId .clientId) (not (include "signalr-fanout.usesIdentity" $)) (not $string.existingSecret) (not $.Values.endpoints) }}
- identity: nothing is called by identity. Set identity.serviceUri in place of credentials.connectionString, write AuthType=azure; in place of AccessKey= there, or set config.redisAuth: entra.
{{- end }}
{{- if and .workload $.Values.serviceAccount.create (not .clientId) (not $annotated) }}
- identity.workload: true needs identity.clientId: the client id of the managed identity whose federated credential names the ServiceAccount.
{{- end }}
{{- if and .clientId $annotated (ne .clientId $annotated) }}
- identity.clientId and the annotation azure.workload.identity/client-id of serviceAccount.annotations name different identities.
{{- end }}
{{- end }}
{{- if eq (toString .Values.config.redisAuth) "entra" }}
{{- if include "signalr-fanout.usesValkey" . }}
- config.redisAuth: entra logs in to Azure Managed Redis: name it by credentials.redisUrl. The bundled Valkey takes passwords.
{{- end }}
{{- if include "signalr-fanout.hasCredential" (dict "root" . "credential" "redisPassword") }}
- config.redisAuth: entra logs in with a token: remove credentials.redisPassword.
{{- end }}
{{- with .Values.credentials.redisUrl.value }}
{{- if not (hasPrefix "rediss" .) }}
- config.redisAuth: entra would send tokens in clear text: credentials.redisUrl.value has to begin with rediss://.
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
