//go:build tools

// Package tools names the program that the end-to-end tests take from this module.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
