//go:build tools

// Package tools names the programs that the end-to-end tests build from this module. One module
// has all of them, so that they share one version of each dependency: Go then compiles client-go,
// grpc and the rest once instead of once for each program.
package tools

import (
	_ "helm.sh/helm/v3/cmd/helm"
	_ "istio.io/istio/istioctl/cmd/istioctl"
	_ "istio.io/istio/pilot/cmd/pilot-agent"
	_ "istio.io/istio/pilot/cmd/pilot-discovery"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
