{{/*
Names and labels. Every object of a release starts with the same fullname, cut so that the longest suffix still fits
into the 63 characters of a DNS label.
*/}}
{{- define "signalr-fanout.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "signalr-fanout.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "signalr-fanout.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "signalr-fanout.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Where the credentials given as values are kept; the ones in existing Secrets stay where they are. */}}
{{- define "signalr-fanout.secretName" -}}
{{- printf "%s-credentials" (include "signalr-fanout.fullname" .) -}}
{{- end -}}

{{- define "signalr-fanout.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change while a release lives: the only ones a selector may hold. */}}
{{- define "signalr-fanout.selectorLabels" -}}
app.kubernetes.io/name: {{ include "signalr-fanout.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of one role's pods. Takes a dict of root and role. */}}
{{- define "signalr-fanout.roleSelectorLabels" -}}
{{ include "signalr-fanout.selectorLabels" .root }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{/* Labels that tell about the release and change with it; never part of a selector. */}}
{{- define "signalr-fanout.releaseLabels" -}}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: signalr-fanout
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels of a role's pods; without the chart's version, which alone is no reason to roll them. */}}
{{- define "signalr-fanout.podLabels" -}}
{{- $role := index .root.Values .role -}}
{{ include "signalr-fanout.roleSelectorLabels" . }}
{{ omit (include "signalr-fanout.releaseLabels" .root | fromYaml) "helm.sh/chart" "app.kubernetes.io/managed-by" | toYaml }}
{{- with include "signalr-fanout.identityLabel" (dict "root" .root "labels" $role.podLabels) }}
{{ . }}
{{- end }}
{{- with $role.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels of an object's metadata. Takes a dict of root and component (which may be empty). */}}
{{- define "signalr-fanout.labels" -}}
{{ include "signalr-fanout.selectorLabels" .root }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{ include "signalr-fanout.releaseLabels" .root }}
{{- end -}}
