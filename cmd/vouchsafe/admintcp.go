package main

import (
	"fmt"
	"net"
	"net/http"

	"vouchsafe/cmd/vouchsafe/config"
)

// adminTCP is the admin side for others than the command line on this machine.
type adminTCP struct{ net.Listener }

// listenAdmin opens the configured admin address, nil for none.
func listenAdmin(c *config.Config) (*adminTCP, error) {
	if c.Admin.Addr == "" {
		return nil, nil
	}
	l, err := listen(c.Admin.Addr)
	if err != nil {
		return nil, fmt.Errorf("the admin side: %w", err)
	}
	return &adminTCP{l}, nil
}

// adminOverTCP is the admin side as it is served there.
func (a *app) adminOverTCP() http.Handler { return a.server.AdminTCP(a.tokens, a.uses) }
