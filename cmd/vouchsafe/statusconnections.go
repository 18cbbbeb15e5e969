package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"vouchsafe/connectors/provider"
)

// connectionTrouble is a connection that an operator has to do something about.
type connectionTrouble struct {
	Site  string `json:"site"`
	ID    string `json:"id"`
	State string `json:"state"` // a provider's State, or rules_differ
	// Reason is the authorization server's error code, of reconnect_needed.
	Reason string `json:"reason,omitempty"`
	// Lacks are the calls that the manifests make and the provider does not
	// allow; Beyond those that it allows and they do not make.
	Lacks  []provider.Rule `json:"lacks,omitempty"`
	Beyond []provider.Rule `json:"beyond,omitempty"`
}

// connectionDiffers is a state beside those of the provider.
const connectionDiffers = "rules_differ"

// String says what is wrong and what to do about it.
func (t connectionTrouble) String() string {
	name := "connection " + t.ID + " of site " + t.Site
	switch t.State {
	case connectionDiffers:
		return fmt.Sprintf("the calls that %s may be used for are not those that the manifests make (%d are lacking, %d too many): `vouchsafe connection allow` shows them", name, len(t.Lacks), len(t.Beyond))
	case string(provider.StateConnect):
		return name + " waits for somebody to grant access: `vouchsafe connection connect " + t.ID + " --site " + t.Site + "`"
	}
	because := ""
	if t.Reason != "" {
		because = " (" + t.Reason + ")"
	}
	return name + " must be connected again" + because + ": `vouchsafe connection connect " + t.ID + " --site " + t.Site + "`, or add it anew"
}

// connectionTroubles asks the provider that a gate starts for what is wrong with
// the connections of its sites.
func connectionTroubles(ctx context.Context, at place) ([]connectionTrouble, error) {
	if at.config != nil && !at.config.Connections.Embedded {
		return nil, nil // its operator's key is not here
	}
	o := providerPaths(at.config, at.data)
	if _, err := os.Stat(o.Dir); err != nil { // looking makes no provider
		return nil, err
	}
	list, err := connections(ctx, o, "")
	if err != nil {
		return nil, err
	}
	var out []connectionTrouble
	for _, c := range list {
		if s := c.Tokens.State; slices.Contains(at.sites(), c.Site) && (s == provider.StateReconnect || s == provider.StateConnect) {
			out = append(out, connectionTrouble{Site: c.Site, ID: c.ID, State: string(s), Reason: c.Tokens.Reason})
		}
	}
	rules, err := compareRules(ctx, at, o)
	if err != nil {
		return out, err
	}
	for _, a := range rules {
		// One that was never added is for doctor to find: nothing has gone wrong.
		if !a.Missing && !a.same() {
			out = append(out, connectionTrouble{Site: a.Site, ID: a.ID, State: connectionDiffers, Lacks: a.Added, Beyond: a.Removed})
		}
	}
	slices.SortStableFunc(out, func(a, b connectionTrouble) int {
		return slices.Compare([]string{a.Site, a.ID}, []string{b.Site, b.ID})
	})
	return out, nil
}

// addConnections adds what is wrong with connections to what the server says of
// itself, which sees a connection only once a call of it was refused. Whoever
// may not read the provider's files hears what the server says.
func (s *serverStatus) addConnections(ctx context.Context, at place) {
	troubles, err := connectionTroubles(ctx, at)
	if err != nil && len(troubles) == 0 {
		return
	}
	s.Connections = troubles
	for _, t := range troubles {
		// Once is enough: the server may have met the same refusal.
		s.Degraded = slices.DeleteFunc(s.Degraded, func(wrong string) bool {
			return strings.HasPrefix(wrong, refusedPrefix(t.Site, t.ID))
		})
	}
	for _, t := range troubles {
		if t.broken() {
			s.Degraded = append(s.Degraded, t.String())
		}
	}
}

// broken reports what worked, or was meant to, and does not; else it is not set
// up yet.
func (t connectionTrouble) broken() bool {
	return t.State == string(provider.StateReconnect) || t.State == connectionDiffers
}

func refusedPrefix(site, id string) string {
	return "the connection provider refuses calls of connection " + id + " of site " + site + ": "
}

// refusedConnection says what a running gate meets when the provider refuses its
// calls.
func refusedConnection(site, id, code string) string {
	what := map[string]string{
		provider.CodeReconnectNeeded:   "somebody must grant access again, with `vouchsafe connection connect`",
		provider.CodeCredential:        "the authorization server gives no access token at the moment",
		provider.CodeUnknownConnection: "it does not have it; `vouchsafe connection add`",
		provider.CodeCallNotAllowed:    "it does not allow all that the manifests make; `vouchsafe connection allow` shows which",
	}[code]
	return refusedPrefix(site, id) + code + " (" + what + ")"
}
