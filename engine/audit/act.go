package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
)

var actsBucket = []byte("acts")

// GateSite stands for the gate itself, in acts that concern no site in
// particular. No site can have this id.
const GateSite = "_gate"

// Act is what an operator did to a site on the admin side.
type Act struct {
	Version int       `json:"v"`
	ID      string    `json:"id"` // a_..., given by Act
	Time    time.Time `json:"time"`
	Site    string    `json:"site"`
	// By is who: the name of an admin token, or "socket" for whoever could
	// open the admin socket.
	By   string `json:"by"`
	Kind string `json:"kind"` // such as "revocation"
	// Subject and TokenID are whom or what it was done to, where it was.
	Subject string `json:"subject,omitempty"`
	TokenID string `json:"token_id,omitempty"`
	// Object is what else it was done to: an admin token, a decision.
	Object string `json:"object,omitempty"`
	// Route and Uses are of a request over TCP, or of as many that were alike;
	// Code is why it was refused.
	Route string `json:"route,omitempty"`
	Uses  int    `json:"uses,omitempty"`
	Code  string `json:"code,omitempty"`
	// From is what a policy took the place of, or would have; Reason is why it
	// was refused.
	From   string `json:"from,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Act records an act and returns once it is on disk. Like a decision it is
// recorded before it is carried out.
func (l *Log) Act(ctx context.Context, a Act) (id string, err error) {
	a.Version, a.ID = recordVersion, engine.NewID("a", a.Time)
	b, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("encoding an act: %w", err)
	}
	return a.ID, l.put(ctx, a.Site, actsBucket, a.ID, b)
}

// Acts returns the newest acts on a site, newest first.
func (l *Log) Acts(site string, limit int) ([]Act, error) {
	out := []Act{}
	err := l.db.View(func(tx *bbolt.Tx) error {
		sites := tx.Bucket(sitesBucket)
		if sites == nil {
			return nil
		}
		s := sites.Bucket([]byte(site))
		if s == nil {
			return nil
		}
		acts := s.Bucket(actsBucket)
		if acts == nil {
			return nil
		}
		c := acts.Cursor()
		for k, v := c.Last(); k != nil && len(out) < limit; k, v = c.Prev() {
			var a Act
			if err := json.Unmarshal(v, &a); err != nil {
				return fmt.Errorf("reading act %s: %w", k, err)
			}
			if a.Version != recordVersion {
				return fmt.Errorf("reading act %s: version %d is not known", k, a.Version)
			}
			out = append(out, a)
		}
		return nil
	})
	return out, err
}
