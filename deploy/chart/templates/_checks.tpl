{{/*
The values that must not be empty. In a values file, a name without a value, such as `gateway:`, removes the chart's default. Without
`networkPolicies.enabled`, for example, the gateway would then be open to everyone.
*/}}
{{- define "fedgate.present" -}}
{{- $values := .Values -}}
{{- range $path := list
  "image" "image.pullPolicy" "istio" "istio.rootNamespace" "delivery" "metadata" "metadata.tls" "metadata.plain"
  "metadata.port" "metadata.service" "metadata.service.type" "network" "imports" "connections" "dns" "dns.enabled" "dns.replicas" "peers" "peers.clientTLS" "times" "controller"
  "controller.replicas" "controller.logLevel" "controller.logFormat" "controller.probesPort" "gateway"
  "gateway.enabled" "gateway.name" "gateway.serviceAccount" "gateway.port" "gateway.service" "gateway.service.name"
  "gateway.service.type" "gateway.service.externalTrafficPolicy" "gateway.replicas" "gateway.autoscaling"
  "gateway.autoscaling.enabled" "gateway.autoscaling.minReplicas" "gateway.autoscaling.maxReplicas"
  "gateway.autoscaling.targetCPUUtilizationPercentage" "gateway.drainSeconds" "gateway.minimumDrainSeconds"
  "gateway.filterFolder" "gateway.nativeFilter" "gateway.nativeFilterFolder" "gateway.trustFolder" "gateway.accessLog" "gateway.proxyProtocol" "metadata.proxyProtocol" "gateway.healthName" "gateway.passthrough"
  "podDisruptionBudgets" "podDisruptionBudgets.enabled" "networkPolicies" "networkPolicies.enabled" "crds"
  "crds.istioFederation" "crds.federationPolicy" "crds.federatedService" "federatedServices" "mcs" "mcs.exports" "mcs.imports" "tracing" "admission" "admission.enabled" "rbac" "rbac.create" "uninstall"
  "uninstall.cleanUp" "monitoring" "monitoring.monitors" "monitoring.monitors.enabled" "monitoring.monitors.interval"
  "monitoring.rules" "monitoring.rules.enabled" "monitoring.dashboard" "monitoring.dashboard.enabled"
-}}
{{- $found := $values -}}
{{- range $key := splitList "." $path -}}
{{- $found = index $found $key -}}
{{- end -}}
{{- if kindIs "invalid" $found -}}
{{- fail (printf "%s: expected a value, found nothing; remove the line to use the default" $path) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Checks that the schema cannot express, or whose messages there would be unclear. */}}
{{- define "fedgate.checks" -}}
{{- include "fedgate.present" . -}}
{{- $v := .Values -}}
{{- if and (kindIs "bool" $v.enabled) (not $v.enabled) -}}
{{- fail "enabled is false, but the chart is rendered: a chart that includes this one must set condition: fedgate.enabled in its Chart.yaml; otherwise remove the line" -}}
{{- end -}}
{{- if not $v.trustDomain -}}
{{- fail "trustDomain is missing: set it to this cluster's trust domain, which is also its cluster domain, for example --set trustDomain=alpha.example" -}}
{{- end -}}
{{- if eq (trimSuffix "." $v.trustDomain) "cluster.local" -}}
{{- fail "trustDomain: cluster.local is refused, since every cluster calls itself that; give the mesh its own trust domain, for example alpha.example" -}}
{{- end -}}
{{- if not (regexMatch "^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?([.][a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$" $v.trustDomain) -}}
{{- fail (printf "trustDomain is %q: expected a DNS name in lower case, without a dot at its end, as it is in SPIFFE IDs, for example alpha.example" $v.trustDomain) -}}
{{- end -}}
{{- if not $v.image.repository -}}
{{- fail "image.repository is missing: set it to the repository of the image that deploy/Dockerfile builds, for example --set image.repository=registry.example/fedgate" -}}
{{- end -}}
{{- if and $v.metadata.tls.secretName $v.metadata.plain -}}
{{- fail "metadata.tls.secretName and metadata.plain contradict each other: the endpoint serves either TLS or plain HTTP; remove one" -}}
{{- end -}}
{{- if not (or $v.metadata.tls.secretName $v.metadata.plain) -}}
{{- fail "metadata.tls.secretName is missing: set it to a Secret of type kubernetes.io/tls, or set metadata.plain=true if an ingress terminates TLS" -}}
{{- end -}}
{{- if and $v.gateway.filterModule (ne $v.delivery "WasmPlugin") (not (hasPrefix "file://" $v.gateway.filterModule)) -}}
{{- fail (printf "gateway.filterModule is %q: expected a file in the gateway's container (file:///…) for delivery=%s; set delivery=WasmPlugin to pull it from a registry" $v.gateway.filterModule $v.delivery) -}}
{{- end -}}
{{- if and $v.mcs.imports (ne $v.federatedServices.suffix "svc.clusterset.local") -}}
{{- fail (printf "federatedServices.suffix is %q: expected svc.clusterset.local with mcs.imports=true, because a ServiceImport stands for a name that ends in it" $v.federatedServices.suffix) -}}
{{- end -}}
{{- if and $v.gateway.autoscaling.enabled (gt (int $v.gateway.autoscaling.minReplicas) (int $v.gateway.autoscaling.maxReplicas)) -}}
{{- fail (printf "gateway.autoscaling.minReplicas is %d: expected at most maxReplicas (%d)" (int $v.gateway.autoscaling.minReplicas) (int $v.gateway.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if gt (int $v.gateway.minimumDrainSeconds) (int $v.gateway.drainSeconds) -}}
{{- fail (printf "gateway.minimumDrainSeconds is %d: expected at most drainSeconds (%d)" (int $v.gateway.minimumDrainSeconds) (int $v.gateway.drainSeconds)) -}}
{{- end -}}
{{- if and $v.metadata.service.nodePort (eq $v.metadata.service.type "ClusterIP") -}}
{{- fail "metadata.service.nodePort is set, but metadata.service.type is ClusterIP: set the type to NodePort or LoadBalancer, or remove the port" -}}
{{- end -}}
{{- if eq (int $v.metadata.port) (int $v.controller.probesPort) -}}
{{- fail (printf "metadata.port and controller.probesPort are both %d: expected different ports" (int $v.metadata.port)) -}}
{{- end -}}
{{- if and $v.dns.enabled (not $v.imports.addresses) -}}
{{- fail "dns.enabled is true, but imports.addresses is empty, so no import has an address that could be answered: set it to a range that nothing in the cluster uses, for example 240.96.0.0/16" -}}
{{- end -}}
{{- if empty $v.gateway.labels -}}
{{- fail "gateway.labels is empty: expected at least one label that only the gateway's Pods have, for example istio: fedgate" -}}
{{- end -}}
{{- end }}
