// Command grafana-dashboard reads a dashboard on its standard input as Grafana's own published
// types have it, and prints what they do not know or allow, a line each. Its exit status is 1 then.
package main

import (
	"encoding/json"
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
	var whole dashboard.Dashboard
	if err := read(&whole, text); err != nil {
		return err
	}
	// The dashboard drops panels in which nothing is wrong, because it takes such a list for an error.
	var raw struct{ Panels []json.RawMessage }
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	for at, one := range raw.Panels {
		var panel dashboard.Panel
		if err := read(&panel, one); err != nil {
			return fmt.Errorf("panels[%d].%w", at, err)
		}
		// The options of a panel of another type are not looked at.
		if _, known := cog.ConfigForPanelcfgVariant(panel.Type); !known {
			return fmt.Errorf("panels[%d]: Grafana has no panel of the type %q", at, panel.Type)
		}
	}
	return nil
}

// read reads a value strictly and checks its limits. The library returns lists of errors, which are
// not nil when they are empty.
func read(value interface {
	UnmarshalJSONStrict([]byte) error
	Validate() error
}, text []byte) error {
	if err := value.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		return err
	}
	if err := value.Validate(); err != nil && err.Error() != "" {
		return err
	}
	return nil
}
