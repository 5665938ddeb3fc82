{{/* "true" when a role has pods of its own: in mode "all" the pods of the ingress are workers too. Takes root and role. */}}
{{- define "signalr-fanout.runs" -}}
{{- if eq .role "ingress" -}}
{{- if .root.Values.ingress.enabled -}}true{{- end -}}
{{- else if and .root.Values.worker.enabled (ne .root.Values.mode "all") -}}true{{- end -}}
{{- end -}}

{{/* The role whose pods deliver. */}}
{{- define "signalr-fanout.deliveringRole" -}}
{{- eq .Values.mode "all" | ternary "ingress" "worker" -}}
{{- end -}}

{{/* "true" when KEDA owns the number of a role's pods. Takes root and role. */}}
{{- define "signalr-fanout.usesKeda" -}}
{{- if and .root.Values.keda.enabled (eq .role (include "signalr-fanout.deliveringRole" .root)) -}}true{{- end -}}
{{- end -}}

{{/*
How many pods of a role there are, and how many may go at once. Both take a dict of root and role.
*/}}
{{- define "signalr-fanout.autoscaler" -}}
{{- $root := .root -}}
{{- $role := index $root.Values .role -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "signalr-fanout.fullname" $root }}-{{ .role }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "signalr-fanout.labels" (dict "root" $root "component" .role) | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "signalr-fanout.fullname" $root }}-{{ .role }}
  {{- with $role.autoscaling }}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    {{- with .targetCPUUtilizationPercentage }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ . }}
    {{- end }}
    {{- with .targetMemoryUtilizationPercentage }}
    - type: Resource
      resource:
        name: memory
        target:
          type: Utilization
          averageUtilization: {{ . }}
    {{- end }}
    {{- if .targetQueueEntries }}
    - type: External
      external:
        metric:
          name: {{ .queueMetric }}
          selector:
            matchLabels:
              service: {{ include "signalr-fanout.fullname" $root }}-metrics
        target:
          type: AverageValue
          averageValue: {{ .targetQueueEntries | int | quote }}
    {{- end }}
    {{- with .metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* Only where a second pod keeps the work going: with one pod a budget would just block every node drain. */}}
{{- define "signalr-fanout.disruptionBudget" -}}
{{- $root := .root -}}
{{- $role := index $root.Values .role -}}
{{- if and $role.podDisruptionBudget.enabled (gt (include "signalr-fanout.minimumReplicas" . | int) 1) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "signalr-fanout.fullname" $root }}-{{ .role }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "signalr-fanout.labels" (dict "root" $root "component" .role) | nindent 4 }}
spec:
  {{- with $role.podDisruptionBudget }}
  {{- if not (kindIs "invalid" .minAvailable) }}
  minAvailable: {{ .minAvailable }}
  {{- else }}
  maxUnavailable: {{ kindIs "invalid" .maxUnavailable | ternary 1 .maxUnavailable }}
  {{- end }}
  {{- with .unhealthyPodEvictionPolicy }}
  unhealthyPodEvictionPolicy: {{ . }}
  {{- end }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "signalr-fanout.roleSelectorLabels" . | nindent 6 }}
{{- end -}}
{{- end -}}
