//go:build tools

// Package tools names the program that checks the workflow files.
package tools

import _ "github.com/rhysd/actionlint/cmd/actionlint"
