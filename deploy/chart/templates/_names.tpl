{{/* Names are fixed: a cluster has only one fedgate, because its definitions and peers are cluster-wide. */}}

{{- define "fedgate.gatewayNamespace" -}}
{{- .Values.gateway.namespace | default .Release.Namespace -}}
{{- end }}

{{- define "fedgate.importsNamespace" -}}
{{- .Values.imports.namespace | default .Release.Namespace -}}
{{- end }}

{{- define "fedgate.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* The labels that all objects have. */}}
{{- define "fedgate.labels" -}}
app.kubernetes.io/name: fedgate
app.kubernetes.io/part-of: fedgate
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "fedgate.controllerLabels" -}}
app.kubernetes.io/name: fedgate
app.kubernetes.io/component: controller
{{- end }}

{{- define "fedgate.dnsLabels" -}}
app.kubernetes.io/name: fedgate
app.kubernetes.io/component: dns
{{- end }}

{{/* The labels by which Istio's objects select the gateway. */}}
{{- define "fedgate.gatewaySelector" -}}
{{- toYaml .Values.gateway.labels -}}
{{- end }}

{{/* Places replicas on different nodes and in different zones if possible. */}}
{{- define "fedgate.placement" -}}
{{- with .settings.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
affinity:
{{- with .settings.affinity }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- .selector | nindent 14 }}
{{- end }}
topologySpreadConstraints:
{{- with .settings.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- .selector | nindent 8 }}
{{- end }}
{{- end }}

{{/* The requirements of the Pod Security level `restricted`. */}}
{{- define "fedgate.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
privileged: false
capabilities:
  drop: [ALL]
{{- end }}

{{- define "fedgate.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* What Istio merges into the bootstrap of the gateway's Envoy. */}}
{{- define "fedgate.gatewayBootstrap" -}}
{{- if or .Values.gateway.nativeFilter (eq .Values.delivery "DynamicModule") -}}
{{- merge (.Files.Get "files/gateway-bootstrap.json" | fromJson) (.Files.Get "files/gateway-runtime.json" | fromJson) | toPrettyJson -}}
{{- else -}}
{{- .Files.Get "files/gateway-bootstrap.json" | trim -}}
{{- end -}}
{{- end }}

{{- define "fedgate.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
