//go:build tools

// Package tools names the programs that check rules and ask dashboards' queries.
package tools

import (
	_ "github.com/prometheus/prometheus/cmd/prometheus"
	_ "github.com/prometheus/prometheus/cmd/promtool"
)
