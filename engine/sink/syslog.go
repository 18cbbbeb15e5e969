package sink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// syslogTime bounds a connection's set-up, and each batch.
const syslogTime = 15 * time.Second

// RFC 5424, section 6.2.1: the facility "log audit", and two severities.
const (
	facilityAudit  = 13
	severityNotice = 5
	severityInfo   = 6
)

// maxDatagram is the longest message sent in one datagram; what is longer is
// named rather than sent (RFC 5426, section 3.2, asks for no more than fits).
const maxDatagram = 8 << 10

// Syslog sends records as RFC 5424 messages: over a Unix socket, UDP (RFC 5426),
// or TCP and TLS with octet counting (RFC 6587, section 3.4.1; RFC 5425). Syslog
// knows no acknowledgement. What a receiver took from the connection and then
// lost is lost, and over UDP so is what the network drops.
type Syslog struct {
	network, address string
	secure           bool
	host             string
	conn             net.Conn
}

// NewSyslog sends to unix:PATH, udp://HOST:PORT, tcp://HOST:PORT or
// tls://HOST:PORT.
func NewSyslog(address string) (*Syslog, error) {
	t := &Syslog{host: "-"}
	if name, err := os.Hostname(); err == nil && name != "" && printable(name) {
		t.host = name
	}
	scheme, rest, ok := strings.Cut(address, ":")
	t.address = strings.TrimPrefix(rest, "//")
	switch {
	case !ok || t.address == "":
	case scheme == "unix":
		t.network = "unixgram" // and "unix" where the socket is a stream's
		t.address = rest
		return t, nil
	case scheme == "udp" || scheme == "tcp" || scheme == "tls":
		if _, _, err := net.SplitHostPort(t.address); err == nil {
			t.network, t.secure = scheme, scheme == "tls"
			if t.secure {
				t.network = "tcp"
			}
			return t, nil
		}
	}
	return nil, errors.New("a syslog is unix:PATH, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT")
}

func printable(s string) bool {
	return len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

// Send writes the batch to the connection, opening it first when there is none.
func (t *Syslog) Send(ctx context.Context, batch []Record) error {
	if t.conn == nil {
		if err := t.dial(ctx); err != nil {
			return fmt.Errorf("reaching the syslog: %w", withoutAddress(err))
		}
	}
	err := t.conn.SetDeadline(time.Now().Add(syslogTime))
	for i := 0; err == nil && i < len(batch); i++ {
		_, err = t.conn.Write(t.frame(t.message(&batch[i])))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing to the syslog: %w", withoutAddress(err)), t.Close())
	}
	return nil
}

func (t *Syslog) dial(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, syslogTime)
	defer cancel()
	if t.secure {
		d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}
		t.conn, err = d.DialContext(ctx, t.network, t.address)
		return err
	}
	var d net.Dialer
	t.conn, err = d.DialContext(ctx, t.network, t.address)
	if err != nil && t.network == "unixgram" {
		// A socket of the other kind: some daemons listen for a stream.
		if conn, streamErr := d.DialContext(ctx, "unix", t.address); streamErr == nil {
			t.conn, err = conn, nil
		}
	}
	return err
}

// datagrams reports whether each write is a message of its own.
func (t *Syslog) datagrams() bool {
	n := t.conn.LocalAddr().Network()
	return n == "udp" || n == "unixgram"
}

// message is a record as RFC 5424, section 6, has it.
func (t *Syslog) message(r *Record) []byte {
	severity := severityInfo
	if r.Deny {
		severity = severityNotice
	}
	body := r.Body
	if t.datagrams() && len(body) > maxDatagram {
		body, _ = json.Marshal(struct { // two strings and a truth always encode
			ID      string `json:"id"`
			Kind    string `json:"kind"`
			TooLong bool   `json:"too_long"`
		}{r.ID, r.Kind, true})
	}
	at := "-" // a checkpoint has no time (section 6.2.3)
	if !r.Time.IsZero() {
		at = r.Time.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	b := fmt.Appendf(nil, "<%d>1 %s %s vouchsafe %d %s - ", facilityAudit*8+severity, at, t.host, os.Getpid(), r.Kind)
	return append(b, body...)
}

// frame counts the message's octets, where it is one of a stream.
func (t *Syslog) frame(message []byte) []byte {
	if t.datagrams() {
		return message
	}
	return append(append(strconv.AppendInt(nil, int64(len(message)), 10), ' '), message...)
}

// Close closes the connection.
func (t *Syslog) Close() error {
	if t.conn == nil {
		return nil
	}
	c := t.conn
	t.conn = nil
	return c.Close()
}

func withoutAddress(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	return err
}
