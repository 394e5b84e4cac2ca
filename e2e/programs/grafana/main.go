// Command grafana-dashboard reads a dashboard on its standard input as Grafana's own published
// types have it, and prints what they do not know or allow, a line each. Its exit status is 1 then.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	if err := check(os.Stdin); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func check(input io.Reader) error {
	text, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	var read dashboard.Dashboard
	if err := read.UnmarshalJSONStrict(text); err != nil {
		return err
	}
	if err := read.Validate(); err != nil {
		return err
	}
	// The options of a panel of another type are not looked at.
	for _, one := range read.Panels {
		if one.Panel == nil {
			continue
		}
		if _, known := cog.ConfigForPanelcfgVariant(one.Panel.Type); !known {
			return fmt.Errorf("panels: Grafana has no panel of the type %q", one.Panel.Type)
		}
	}
	return nil
}
