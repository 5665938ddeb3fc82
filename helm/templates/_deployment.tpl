{{/*
The Deployment of one role. Both roles run the same image and differ in `--role`, in their credentials and in their
values. Takes a dict of root and role.
*/}}
{{- define "signalr-fanout.deployment" -}}
{{- $root := .root -}}
{{- $role := index $root.Values .role -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "signalr-fanout.fullname" $root }}-{{ .role }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "signalr-fanout.labels" (dict "root" $root "component" .role) | nindent 4 }}
  {{- with $role.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if not (or $role.autoscaling.enabled (include "signalr-fanout.usesKeda" .)) }}
  replicas: {{ $role.replicaCount }}
  {{- end }}
  minReadySeconds: {{ $role.minReadySeconds }}
  revisionHistoryLimit: {{ $root.Values.revisionHistoryLimit }}
  strategy:
    {{- eq $role.strategy.type "Recreate" | ternary (dict "type" "Recreate") $role.strategy | toYaml | nindent 4 }}
  selector:
    matchLabels:
      {{- include "signalr-fanout.roleSelectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "signalr-fanout.podLabels" . | nindent 8 }}
      annotations:
        # Changes with what a process does not follow by itself, and so rolls the pods: see credentialSum. Settings do it
        # by the name of their ConfigMap.
        checksum/credentials: {{ include "signalr-fanout.credentialSum" $root | quote }}
        {{- with $role.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "signalr-fanout.podSpec" . | nindent 6 }}
{{- end -}}

{{- define "signalr-fanout.podSpec" -}}
{{- $root := .root -}}
{{- $role := index $root.Values .role -}}
serviceAccountName: {{ include "signalr-fanout.serviceAccountName" $root }}
# The process never talks to the Kubernetes API.
automountServiceAccountToken: false
# Without this, a Service whose name starts with "fanout" would put FANOUT_PORT=tcp://... and the like into the
# environment, and the process refuses to start on FANOUT_ names and values it does not know.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "signalr-fanout.grace" . }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $role.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $role.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .role }}
    {{- include "signalr-fanout.container" . | nindent 4 }}
  {{- with $role.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  # The root file system is read-only; this is the only place to write to.
  - name: tmp
    emptyDir:
      sizeLimit: {{ $root.Values.tmpSizeLimit }}
  {{- with include "signalr-fanout.credentialSources" (dict "root" $root "callers" (eq .role "ingress")) | trim }}
  - name: fanout-credentials
    projected:
      sources:
        {{- . | nindent 8 }}
  {{- end }}
  {{- with $role.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $role.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $role.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $role.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range $role.topologySpreadConstraints }}
  - {{ omit . "labelSelector" | toYaml | nindent 4 | trim }}
    labelSelector:
      {{- if .labelSelector }}
      {{- toYaml .labelSelector | nindent 6 }}
      {{- else }}
      matchLabels:
        {{- include "signalr-fanout.roleSelectorLabels" $ | nindent 8 }}
      {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "signalr-fanout.container" -}}
{{- $root := .root -}}
{{- $role := index $root.Values .role -}}
image: {{ include "signalr-fanout.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args:
  - serve
  - --role
  - {{ and (eq $root.Values.mode "all") (eq .role "ingress") | ternary "all" .role }}
  - --host
  - {{ $root.Values.listenAddress | quote }}
  - --port
  - {{ $root.Values.containerPort | quote }}
env:
  {{- include "signalr-fanout.credentialVariables" (dict "root" $root "callers" (eq .role "ingress") "files" true) | trim | nindent 2 }}
  - name: FANOUT_ADMIN_PORT
    value: {{ $root.Values.adminPort | quote }}
  {{- with $role.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
envFrom:
  - configMapRef:
      name: {{ include "signalr-fanout.configName" $root }}
  {{- with $role.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- if eq .role "ingress" }}
  - name: http
    containerPort: {{ $root.Values.containerPort }}
    protocol: TCP
  {{- end }}
  - name: admin
    containerPort: {{ $root.Values.adminPort }}
    protocol: TCP
{{- if $role.preStopSleepSeconds }}
lifecycle:
  preStop:
    # SIGTERM waits until the endpoint is gone from every proxy, so no connection is refused while pods roll.
    # An exec, because the sleep action is on by default only from Kubernetes 1.30.
    exec:
      command: ["sleep", {{ $role.preStopSleepSeconds | quote }}]
{{- end }}
{{- with $root.Values.probes }}
startupProbe:
  {{- include "signalr-fanout.probe" (dict "path" "/livez" "timing" .startup) | nindent 2 }}
livenessProbe:
  {{- include "signalr-fanout.probe" (dict "path" "/livez" "timing" .liveness) | nindent 2 }}
readinessProbe:
  {{- include "signalr-fanout.probe" (dict "path" "/readyz" "timing" .readiness) | nindent 2 }}
{{- end }}
{{- with include "signalr-fanout.resources" . | fromYaml }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.securityContext | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if include "signalr-fanout.credentialSources" (dict "root" $root "callers" (eq .role "ingress")) | trim }}
  - name: fanout-credentials
    # The whole directory: a file that is mounted by itself (subPath) never changes.
    mountPath: {{ include "signalr-fanout.credentialsPath" . }}
    readOnly: true
  {{- end }}
  {{- with $role.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "signalr-fanout.probe" -}}
httpGet:
  path: {{ .path }}
  port: admin
{{ toYaml .timing }}
{{- end -}}
