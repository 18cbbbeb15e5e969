package sink

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// webhookTime bounds one delivery.
const webhookTime = 15 * time.Second

// Webhook posts records as JSON Lines, signed as the Standard Webhooks
// specification has it: the headers webhook-id, webhook-timestamp and
// webhook-signature, the last being "v1," and the base64 of the HMAC-SHA256 of
// ID.TIMESTAMP.BODY. The same batch has the same id however often it is sent. Any
// 2xx is an acknowledgement; nothing else is, and no redirect is followed.
type Webhook struct {
	url    string
	secret []byte
	clock  func() time.Time
	http   http.Client
}

// NewWebhook posts to u, which is https unless it is on this machine; whoever
// configures it sees to that. secret has at least 32 bytes.
func NewWebhook(u string, secret []byte, clock func() time.Time) (*Webhook, error) {
	if _, err := url.Parse(u); err != nil {
		return nil, errors.New("the webhook's URL cannot be read")
	}
	t := &http.Transport{Proxy: nil, DisableCompression: true, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: webhookTime, ResponseHeaderTimeout: webhookTime}
	return &Webhook{url: u, secret: secret, clock: clock, http: http.Client{Transport: t, Timeout: webhookTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Send posts the batch.
func (t *Webhook) Send(ctx context.Context, batch []Record) error {
	var body bytes.Buffer
	ids := sha256.New()
	for _, r := range batch {
		body.Write(r.Body)
		body.WriteByte('\n')
		fmt.Fprintf(ids, "%s\n", r.ID)
	}
	id := "msg_" + base64.RawURLEncoding.EncodeToString(ids.Sum(nil)[:18])
	at := strconv.FormatInt(t.clock().Unix(), 10)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body.Bytes()))
	if err != nil {
		return errors.New("the webhook's request cannot be made")
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("User-Agent", "vouchsafe")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", at)
	req.Header.Set("Webhook-Signature", "v1,"+t.sign(id, at, body.Bytes()))
	resp, err := t.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL may hold a secret of its own
		}
		return fmt.Errorf("the webhook could not be reached: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // what it says is nobody's business; the connection is used again
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	refused := fmt.Errorf("the webhook answered with status %d", resp.StatusCode)
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && after > 0 {
		return &RetryError{After: time.Duration(min(after, int(longest/time.Second))) * time.Second, Err: refused}
	}
	return refused
}

func (t *Webhook) sign(id, at string, body []byte) string {
	m := hmac.New(sha256.New, t.secret)
	fmt.Fprintf(m, "%s.%s.", id, at)
	m.Write(body)
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// Close lets the connection go.
func (t *Webhook) Close() error {
	t.http.CloseIdleConnections()
	return nil
}
