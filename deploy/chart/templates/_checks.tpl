{{/* What the schema cannot say, or says less well: the message names the value and what to set. */}}
{{- define "fedgate.checks" -}}
{{- $v := .Values -}}
{{- if not $v.trustDomain -}}
{{- fail "trustDomain is missing: set it to this cluster's trust domain, which is its cluster domain too, for example --set trustDomain=alpha.example" -}}
{{- end -}}
{{- if eq $v.trustDomain "cluster.local" -}}
{{- fail "trustDomain: cluster.local is refused, since every cluster calls itself that; give the mesh a trust domain of its own, for example alpha.example" -}}
{{- end -}}
{{- if not $v.image.repository -}}
{{- fail "image.repository is missing: set it to where the image is that deploy/Dockerfile makes, for example --set image.repository=registry.example/fedgate" -}}
{{- end -}}
{{- if and $v.metadata.tls.secretName $v.metadata.plain -}}
{{- fail "metadata.tls.secretName and metadata.plain contradict each other: the endpoint serves TLS or it does not; remove one" -}}
{{- end -}}
{{- if not (or $v.metadata.tls.secretName $v.metadata.plain) -}}
{{- fail "metadata.tls.secretName is missing: set it to a Secret of type kubernetes.io/tls, or set metadata.plain=true where an ingress terminates TLS" -}}
{{- end -}}
{{- if and $v.gateway.filterModule (eq $v.delivery "EnvoyFilter") (not (hasPrefix "file://" $v.gateway.filterModule)) -}}
{{- fail (printf "gateway.filterModule is %q: with delivery=EnvoyFilter expected a file of the gateway's container (file:///…); set delivery=WasmPlugin to pull it" $v.gateway.filterModule) -}}
{{- end -}}
{{- if and $v.gateway.autoscaling.enabled (gt (int $v.gateway.autoscaling.minReplicas) (int $v.gateway.autoscaling.maxReplicas)) -}}
{{- fail (printf "gateway.autoscaling.minReplicas is %d and maxReplicas %d: expected at most that" (int $v.gateway.autoscaling.minReplicas) (int $v.gateway.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if gt (int $v.gateway.minimumDrainSeconds) (int $v.gateway.drainSeconds) -}}
{{- fail (printf "gateway.minimumDrainSeconds is %d and drainSeconds %d: expected at most that" (int $v.gateway.minimumDrainSeconds) (int $v.gateway.drainSeconds)) -}}
{{- end -}}
{{- if and $v.metadata.service.nodePort (eq $v.metadata.service.type "ClusterIP") -}}
{{- fail "metadata.service.nodePort is set, and metadata.service.type is ClusterIP, which has none: set the type to NodePort or LoadBalancer, or remove the port" -}}
{{- end -}}
{{- if eq (int $v.metadata.port) (int $v.controller.probesPort) -}}
{{- fail (printf "metadata.port and controller.probesPort are both %d: expected two ports" (int $v.metadata.port)) -}}
{{- end -}}
{{- if empty $v.gateway.labels -}}
{{- fail "gateway.labels is empty: expected at least one label that the gateway's Pods alone have, for example istio: fedgate" -}}
{{- end -}}
{{- end }}
