//go:build tools

// Package tools names the definitions that the end-to-end tests take from this module.
package tools

import _ "sigs.k8s.io/mcs-api/config/crd"
