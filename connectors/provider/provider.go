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
	"net"
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
	Dir       string    // its data folder, made when it is missing
	Key       MasterKey // its master key; a file is not inside Dir
	CreateKey bool      // make the master key's file when there is neither key nor store
	Socket    string    // where it listens
	// Addr is a loopback address to listen on as well; "" for none.
	Addr string
	// CallbackURL is where browsers come back to after access was granted; ""
	// is Addr, when there is one.
	CallbackURL string
	// PermitKeys are the public keys, one a line, whose vouchers are taken. ""
	// is what PermitKeyFile(Dir) says, which is read again when it changes.
	PermitKeys string
	Clock      func() time.Time // time.Now when nil
	Log        *slog.Logger     // nil logs nothing
	Ready      func()           // called once it listens; may be nil
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
	if o.Clock == nil {
		o.Clock = time.Now
	}
	keys, err := newKeyring(o.PermitKeys, PermitKeyFile(o.Dir), o.Log)
	if err != nil {
		return fmt.Errorf("reading the permit keys: %w", err)
	}
	store, err := OpenStore(o.Dir, o.Key, o.CreateKey)
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
	listeners, callback, err := o.listen()
	if err != nil {
		return err
	}
	if keys.count() == 0 {
		o.Log.Warn("no permit key is known, so every call is refused; `vouchsafe connection permit-key` prints the gate's", "file", PermitKeyFile(o.Dir))
	}
	handler := newServer(store, keys, proxyKey, operatorKey, callback, o.Clock, o.Log)
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
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { served <- server.Serve(l) }()
	}
	o.Log.Info("connection provider is ready")
	if o.Ready != nil {
		o.Ready()
	}
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", errors.Join(err, server.Close()))
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return fmt.Errorf("stopping: %w", errors.Join(err, server.Close()))
	}
	for range listeners { // until each has let go of its listener
		<-served
	}
	return nil
}

// listen opens the socket and, when there is one, the address.
func (o Options) listen() (listeners []net.Listener, callback string, err error) {
	var tcp net.Listener
	if o.Addr != "" {
		host, _, err := net.SplitHostPort(o.Addr)
		if err != nil || !isLoopback(host) {
			return nil, "", fmt.Errorf("the provider listens on this machine only, such as on 127.0.0.1:9797, not on %s; a proxy that ends TLS may stand before it", o.Addr)
		}
		if tcp, err = net.Listen("tcp", o.Addr); err != nil {
			return nil, "", fmt.Errorf("listening on %s: %w", o.Addr, err)
		}
		callback = "http://" + tcp.Addr().String() + callbackPath
	}
	if o.CallbackURL != "" {
		if err := checkEndpoint("callback URL", o.CallbackURL); err != nil {
			return nil, "", errors.Join(err, closeIf(tcp))
		}
		callback = o.CallbackURL
	}
	l, err := socket.Listen(o.Socket)
	if err != nil {
		return nil, "", errors.Join(err, closeIf(tcp))
	}
	if tcp != nil {
		o.Log.Info("connection provider listens on this machine too", "address", tcp.Addr().String())
		return []net.Listener{l, tcp}, callback, nil
	}
	return []net.Listener{l}, callback, nil
}

func closeIf(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
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
