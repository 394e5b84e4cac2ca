{{/* The settings that identify this installation; all commands of the controller get the same ones. */}}
{{- define "fedgate.environment" -}}
{{- $v := .Values }}
- name: FEDGATE_NAMESPACE
  value: {{ .Release.Namespace | quote }}
- name: FEDGATE_GATEWAY_NAMESPACE
  value: {{ include "fedgate.gatewayNamespace" . | quote }}
- name: FEDGATE_IMPORTS_NAMESPACE
  value: {{ include "fedgate.importsNamespace" . | quote }}
- name: FEDGATE_ROOT_NAMESPACE
  value: {{ $v.istio.rootNamespace | quote }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: FEDGATE_LOG
  value: {{ $v.controller.logLevel | quote }}
{{- end }}

{{/* A setting that is passed only if its value is not empty; otherwise the controller's own default applies. */}}
{{- define "fedgate.optional" -}}
{{- if .value }}
- name: {{ .name }}
  value: {{ .value | quote }}
{{- end }}
{{- end }}

{{/* Not empty if there is a client certificate for a peer. */}}
{{- define "fedgate.hasClientTLS" -}}
{{- if or .Values.peers.clientTLS.secretName .Values.peers.clientTLS.byPeer }}true{{ end }}
{{- end }}

{{- define "fedgate.controllerEnvironment" -}}
{{- $v := .Values }}
{{- $selector := list }}
{{- range $key, $value := $v.gateway.labels }}
{{- $selector = append $selector (printf "%s=%s" $key $value) }}
{{- end }}
- name: FEDGATE_TRUST_DOMAIN
  value: {{ $v.trustDomain | quote }}
{{- include "fedgate.environment" . }}
- name: FEDGATE_DELIVERY
  value: {{ $v.delivery | quote }}
- name: FEDGATE_GATEWAY_SERVICE
  value: {{ $v.gateway.service.name | quote }}
- name: FEDGATE_GATEWAY_PORT
  value: {{ $v.gateway.port | quote }}
- name: FEDGATE_GATEWAY_SELECTOR
  value: {{ join "," $selector | quote }}
- name: FEDGATE_GATEWAY_SERVICE_ACCOUNT
  value: {{ $v.gateway.serviceAccount | quote }}
- name: FEDGATE_FILTER_FOLDER
  value: {{ $v.gateway.filterFolder | quote }}
- name: FEDGATE_NATIVE_FILTER_FOLDER
  value: {{ $v.gateway.nativeFilterFolder | quote }}
- name: FEDGATE_TRUST_FOLDER
  value: {{ $v.gateway.trustFolder | quote }}
- name: FEDGATE_GATEWAY_ACCESS_LOG
  value: {{ $v.gateway.accessLog | quote }}
- name: FEDGATE_GATEWAY_PROXY_PROTOCOL
  value: {{ $v.gateway.proxyProtocol | quote }}
- name: FEDGATE_METADATA_PROXY_PROTOCOL
  value: {{ $v.metadata.proxyProtocol | quote }}
- name: FEDGATE_METADATA_LISTEN
  value: {{ printf "0.0.0.0:%d" (int $v.metadata.port) | quote }}
- name: FEDGATE_PROBES_LISTEN
  value: {{ printf "0.0.0.0:%d" (int $v.controller.probesPort) | quote }}
{{- if $v.metadata.plain }}
- name: FEDGATE_METADATA_PLAIN
  value: "true"
{{- else }}
- name: FEDGATE_METADATA_TLS
  value: /etc/fedgate/tls
{{- end }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_CLUSTER_UUID" "value" $v.clusterUUID) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_METADATA_PATH" "value" $v.metadata.path) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_ROOTS_CONFIGMAP" "value" $v.metadata.rootsConfigMap) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_ADVERTISE" "value" (join "," $v.gateway.advertise)) }}
{{- $advertiseTo := list }}
{{- range $peer, $addresses := $v.gateway.advertiseTo }}
{{- range $addresses }}
{{- $advertiseTo = append $advertiseTo (printf "%s=%s" $peer .) }}
{{- end }}
{{- end }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_ADVERTISE_TO" "value" (join "," $advertiseTo)) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_FILTER_MODULE" "value" $v.gateway.filterModule) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_FILTER_FILE" "value" $v.controller.filterFile) }}
- name: FEDGATE_HEALTH_NAME
  value: {{ $v.gateway.healthName | quote }}
{{- if $v.gateway.namedCallers }}
- name: FEDGATE_NAMED_CALLERS
  value: {{ $v.gateway.namedCallers | quote }}
{{- end }}
- name: FEDGATE_PASSTHROUGH
  value: {{ $v.gateway.passthrough | quote }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_CONNECTION_LIFETIME" "value" $v.imports.connectionLifetime) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_KEEPALIVE" "value" $v.connections.keepalive) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_IDLE_TIMEOUT" "value" $v.connections.idleTimeout) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_IMPORT_ADDRESSES" "value" $v.imports.addresses) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_EXPORT_TO" "value" (join "," $v.imports.exportTo)) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_FEDERATED_SUFFIX" "value" $v.federatedServices.suffix) }}
- name: FEDGATE_MCS_EXPORTS
  value: {{ $v.mcs.exports | quote }}
- name: FEDGATE_MCS_IMPORTS
  value: {{ $v.mcs.imports | quote }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_TRACING_OTLP_ENDPOINT" "value" $v.tracing.otlpEndpoint) }}
{{- if $v.tracing.caConfigMap }}
- name: OTEL_EXPORTER_OTLP_CERTIFICATE
  value: /etc/fedgate/tracing-ca/ca.crt
{{- end }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_NETWORK" "value" $v.network.name) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_POD_CIDRS" "value" (join "," $v.network.podCIDRs)) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_SERVICE_CIDRS" "value" (join "," $v.network.serviceCIDRs)) }}
{{- if $v.peers.proxySecret }}
- name: FEDGATE_PROXY
  valueFrom:
    secretKeyRef:
      name: {{ $v.peers.proxySecret }}
      key: proxy
{{- else }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_PROXY" "value" $v.peers.proxy) }}
{{- end }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_NO_PROXY" "value" (join "," $v.peers.noProxy)) }}
{{- if include "fedgate.hasClientTLS" . }}
- name: FEDGATE_CLIENT_TLS
  value: /etc/fedgate/client-tls
{{- end }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_POLL" "value" $v.times.poll) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_PROBE" "value" $v.times.probe) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_TIMEOUT" "value" $v.times.timeout) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_STALE_AFTER" "value" $v.times.staleAfter) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_STALENESS_LIMIT" "value" $v.times.stalenessLimit) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_AT_EXPIRY" "value" $v.times.atExpiry) }}
{{- include "fedgate.optional" (dict "name" "FEDGATE_STALE_AFTER_HINT" "value" $v.times.staleAfterHint) }}
{{- end }}
