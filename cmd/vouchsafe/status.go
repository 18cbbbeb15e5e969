package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/sink"
)

// serverStatus is what a server says of itself on /v1/admin/status.
type serverStatus struct {
	State         string   `json:"state"` // ready, degraded, unable or not_running
	Version       string   `json:"version,omitempty"`
	UptimeSeconds int64    `json:"uptime_seconds,omitempty"`
	Ready         bool     `json:"ready"`
	Degraded      []string `json:"degraded,omitempty"`
	Policy        *struct {
		Revision string `json:"revision"`
		Note     string `json:"note,omitempty"`
	} `json:"policy,omitempty"`
	Sites []struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Tier    string `json:"tier"`
		Actions int    `json:"actions"`
		// TestMode says that strangers are told why a token is refused.
		TestMode bool `json:"test_mode,omitempty"`
	} `json:"sites,omitempty"`
	Audit *struct {
		Healthy bool   `json:"healthy"`
		Problem string `json:"problem,omitempty"`
		Waiting int    `json:"waiting"`
		// Logs are those of the sites, and of the gate itself.
		Logs []httpapi.LogState `json:"logs,omitempty"`
	} `json:"audit,omitempty"`
	Sinks []sink.Status `json:"sinks,omitempty"`
	// Connections are those that an operator has to do something about, as far
	// as whoever asks may read the provider's files.
	Connections []connectionTrouble `json:"connections,omitempty"`
}

func (s *serverStatus) judge() {
	switch {
	case !s.Ready:
		s.State = "unable"
	case len(s.Degraded) > 0:
		s.State = "degraded"
	default:
		s.State = "ready"
	}
}

func (c *cli) statusCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether the running gate is well, and what is wrong if it is not",
		Long: `Ask the running gate how it is, over the admin socket in its data folder.
Without --config, the demo's, in ./data.

Exits 0 when all is well, 1 when something is wrong, 2 when no server answers.`,
		Example: `  vouchsafe status --config vouchsafe.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			at, err := c.place(data, config.LoadWithoutSecrets)
			if err != nil {
				return output.Cannot(err)
			}
			client, err := dialAdmin(cmd.Context(), at.data)
			if errors.Is(err, errNoServer) {
				if p.Format() == output.JSON {
					if err := p.Object(serverStatus{State: "not_running"}); err != nil {
						return err
					}
				}
				return output.Cannot(output.WithHint(fmt.Errorf("%w on %s", err, at.data), "start it with `vouchsafe serve`, or name its folder with --config or --data"))
			}
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			var s serverStatus
			if err := client.get(cmd.Context(), "/v1/admin/status", nil, &s); err != nil {
				return output.Cannot(err)
			}
			s.addConnections(cmd.Context(), at)
			s.judge()
			if err := printStatus(p, &s); err != nil {
				return err
			}
			if s.State != "ready" {
				return output.Fails(nil)
			}
			return nil
		},
	}
	dataFlag(cmd, &data)
	return cmd
}

func printStatus(p *output.Printer, s *serverStatus) error {
	fields := []output.Field{{Name: "state", Value: s.State}}
	for _, wrong := range s.Degraded {
		fields = append(fields, output.Field{Name: "wrong", Value: wrong})
	}
	for _, t := range s.Connections {
		if !t.broken() {
			fields = append(fields, output.Field{Name: "warning", Value: t.String()})
		}
	}
	fields = append(fields,
		output.Field{Name: "version", Value: s.Version},
		output.Field{Name: "up for", Value: (time.Duration(s.UptimeSeconds) * time.Second).String()})
	if s.Policy != nil {
		fields = append(fields, output.Field{Name: "policy", Value: joined(s.Policy.Revision, s.Policy.Note)})
	}
	if s.Audit != nil {
		state := "writing"
		if !s.Audit.Healthy {
			state = "not writing: " + s.Audit.Problem
		}
		if s.Audit.Waiting > 0 {
			state += fmt.Sprintf(", %d waiting", s.Audit.Waiting)
		}
		fields = append(fields, output.Field{Name: "audit", Value: state})
		for i := range s.Audit.Logs {
			fields = append(fields, output.Field{Name: "log", Value: logLine(&s.Audit.Logs[i], time.Now())})
		}
	}
	for _, k := range s.Sinks {
		state := "up to date"
		if k.Behind > 0 {
			state = fmt.Sprintf("%d records behind", k.Behind)
		}
		if k.Problem != "" {
			state += ", cannot send: " + k.Problem
		}
		fields = append(fields, output.Field{Name: "sink", Value: joined(k.Name, k.Kind) + " " + state})
	}
	for _, site := range s.Sites {
		if site.TestMode {
			fields = append(fields, output.Field{Name: "warning",
				Value: "site " + site.ID + " is in test mode: whoever sends a token is told exactly why it is refused"})
		}
		fields = append(fields, output.Field{Name: "site",
			Value: strings.TrimSpace(fmt.Sprintf("%s (%s, %s), %d actions", site.ID, site.Name, site.Tier, site.Actions))})
	}
	return p.Object(s, fields...)
}
