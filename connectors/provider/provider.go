// Package provider is the connection provider, which alone holds the addresses
// and credentials of outside systems and adds them to calls on their way out.
// It runs in a process of its own; the gate reaches it through Client.
//
// It speaks as much of Nango's protocol as the gate and an operator need, so
// that a Nango can stand in its place; connectors/README.md says which calls.
package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/socket"
)

// Options say where a provider's things are.
type Options struct {
	Dir       string       // its data folder, made when it is missing
	KeyFile   string       // its master key of 32 bytes; not inside Dir
	CreateKey bool         // make the master key when there is neither key nor store
	Socket    string       // where it listens
	Log       *slog.Logger // nil logs nothing
	Ready     func()       // called once it listens; may be nil
}

// ProxyKeyFile is where a provider keeps the key that the gate calls it with.
// The key opens /proxy and nothing else.
func ProxyKeyFile(dir string) string { return filepath.Join(dir, "proxy.key") }

// OperatorKeyFile is where a provider keeps the key that connections are added,
// listed and removed with. The key does not open /proxy.
func OperatorKeyFile(dir string) string { return filepath.Join(dir, "operator.key") }

// drainTimeout is how long calls under way may take once the provider stops.
const drainTimeout = 10 * time.Second

// Serve runs the provider until ctx is done. On its first start it makes the
// two keys it is called with.
func Serve(ctx context.Context, o Options) (err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	store, err := OpenStore(o.Dir, o.KeyFile, o.CreateKey)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	proxyKey, err := ensureKey(ProxyKeyFile(o.Dir), "vpx")
	if err != nil {
		return err
	}
	operatorKey, err := ensureKey(OperatorKeyFile(o.Dir), "vop")
	if err != nil {
		return err
	}
	l, err := socket.Listen(o.Socket)
	if err != nil {
		return err
	}
	handler := newServer(store, proxyKey, operatorKey, o.Log)
	defer handler.close()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      callTimeout + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	o.Log.Info("connection provider is ready")
	if o.Ready != nil {
		o.Ready()
	}
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return fmt.Errorf("stopping: %w", errors.Join(err, server.Close()))
	}
	return nil
}

// ensureKey reads the key in file, or makes one.
func ensureKey(file, prefix string) (string, error) {
	key, err := readKey(file)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	key = engine.NewSecretID(prefix)
	if err := writeNewFile(file, []byte(key+"\n")); err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	return key, nil
}

// minKey is the shortest key that is taken, so that an emptied file opens
// nothing.
const minKey = 20

func readKey(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading a provider key: %w", err)
	}
	key := strings.TrimSuffix(string(b), "\n")
	if len(key) < minKey {
		return "", fmt.Errorf("the provider key in %s is too short", file)
	}
	return key, nil
}
