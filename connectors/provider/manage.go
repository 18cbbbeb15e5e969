package provider

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"vouchsafe/engine/socket"
)

// AddConnection adds a connection, or replaces one whole: through the provider
// when it is running, else in its store.
func AddConnection(ctx context.Context, o Options, c Connection, cred Credential) error {
	return manage(ctx, o,
		func(client *Client) error { return client.Add(ctx, c, cred) },
		func(store *Store) error { return store.Put(c, cred) })
}

// ListConnections returns the connections of a site, or of all for "".
func ListConnections(ctx context.Context, o Options, site string) (list []Connection, err error) {
	err = manage(ctx, o,
		func(client *Client) (err error) { list, err = client.List(ctx, site); return err },
		func(store *Store) (err error) { list, err = store.List(site); return err })
	return list, err
}

// RemoveConnection forgets a connection and its credential.
func RemoveConnection(ctx context.Context, o Options, site, id string) error {
	return manage(ctx, o,
		func(client *Client) error { return client.Remove(ctx, site, id) },
		func(store *Store) error { return store.Remove(site, id) })
}

// AllowCalls sets which calls a connection may be used for.
func AllowCalls(ctx context.Context, o Options, site, id string, rules []Rule) error {
	return manage(ctx, o,
		func(client *Client) error { return client.Allow(ctx, site, id, rules) },
		func(store *Store) error { return store.Allow(site, id, rules) })
}

// RotateKey replaces the keys that credentials are encrypted with.
func RotateKey(ctx context.Context, o Options) (r Rotation, err error) {
	err = manage(ctx, o,
		func(client *Client) (err error) { r, err = client.Rotate(ctx); return err },
		func(store *Store) (err error) { r, err = store.Rotate(); return err })
	return r, err
}

// Connecting is an attempt of an operator's to connect a connection.
type Connecting struct {
	Link
	client *Client
}

// ErrNotRunning says that only a running provider can do what was asked.
var ErrNotRunning = errors.New("the connection provider is not running")

// Connect begins an attempt to connect a connection. The browser is sent back
// to redirect, or to the provider's own callback for "".
func Connect(ctx context.Context, o Options, site, id, redirect string) (*Connecting, error) {
	running, err := answers(ctx, o.Socket)
	if err != nil {
		return nil, fmt.Errorf("looking for the connection provider: %w", err)
	}
	if !running {
		return nil, ErrNotRunning
	}
	client, err := NewClient(o.Socket, OperatorKeyFile(o.Dir))
	if err != nil {
		return nil, err
	}
	link, err := client.Connect(ctx, site, id, redirect)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Connecting{link, client}, nil
}

// Finish hands over what the browser was sent back with, its query.
func (c *Connecting) Finish(ctx context.Context, query string) error {
	return c.client.finish(ctx, query)
}

// Close ends the attempt's connection to the provider.
func (c *Connecting) Close() { c.client.Close() }

// manage asks the running provider, or opens the store when nobody has it.
func manage(ctx context.Context, o Options, online func(*Client) error, offline func(*Store) error) error {
	running, err := answers(ctx, o.Socket)
	if err != nil {
		return fmt.Errorf("looking for the connection provider: %w", err)
	}
	if running {
		client, err := NewClient(o.Socket, OperatorKeyFile(o.Dir))
		if err != nil {
			return err
		}
		defer client.Close()
		return online(client)
	}
	store, err := OpenStore(o.Dir, o.Key, o.CreateKey)
	if err != nil {
		return err
	}
	return errors.Join(offline(store), store.Close())
}

// answers reports whether somebody listens on the socket.
func answers(ctx context.Context, path string) (bool, error) {
	if path == "" {
		return false, nil
	}
	conn, err := socket.Dial(ctx, path)
	if err == nil {
		return true, conn.Close()
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return false, nil
	}
	return false, err
}
