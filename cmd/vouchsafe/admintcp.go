package main

import (
	"crypto/sha256"
	"fmt"
	"net"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/engine/httpapi"
)

// adminTCP is the admin side for others than the command line on this machine.
type adminTCP struct {
	listener net.Listener
	tokens   []httpapi.AdminToken
}

// listenAdmin opens the configured admin address, nil for none. Of the tokens
// only hashes are kept.
func listenAdmin(c *config.Config) (*adminTCP, error) {
	if c.Admin.Addr == "" {
		return nil, nil
	}
	out := &adminTCP{}
	seen := map[[sha256.Size]byte]string{}
	for _, t := range c.Admin.Tokens {
		secret, err := t.Token.Read()
		if err != nil {
			return nil, fmt.Errorf("reading the admin token %q: %w", t.Name, err)
		}
		sum := sha256.Sum256(secret)
		if other, dup := seen[sum]; dup {
			return nil, fmt.Errorf("the admin tokens %q and %q are the same: what each may do could not be told apart", other, t.Name)
		}
		seen[sum] = t.Name
		out.tokens = append(out.tokens, httpapi.AdminToken{Name: t.Name, SHA256: sum,
			Operator: t.Role == config.Operator, Sites: t.Sites, Global: t.Global})
	}
	l, err := listen(c.Admin.Addr)
	if err != nil {
		return nil, fmt.Errorf("the admin side: %w", err)
	}
	out.listener = l
	return out, nil
}
