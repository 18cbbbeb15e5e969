package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
)

// The question of both benchmarks.
const question = `{"action":"order.lookup","args":{"order_id":"1001"},"target":{"email":"alex@example.com"}}`

// yes allows everything, at no cost.
type yes struct{ engine.Decision }

func (y yes) Ask(context.Context, gate.Request) (engine.Decision, error) { return y.Decision, nil }

// BenchmarkDecisions is POST /decisions whole, but for the gate.
func BenchmarkDecisions(b *testing.B) {
	site, err := gate.NewSite(&engine.Site{ID: "demo", Tier: engine.Pro, Location: time.UTC}, nil)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	s, err := New(Options{
		Sites: map[string]*Site{"demo": {Gate: site, Verify: func(context.Context, string, time.Time) identity.Result { return identity.Result{} }}},
		Gate: yes{engine.Decision{ID: engine.NewID("d", now), Allow: true, Policy: "sha256:0123456789abcdef0123456789abcdef",
			Obligations: []engine.Obligation{{Kind: engine.ObligationOwnership, Argument: "order_id"}}}},
		Limits: Limits{PerVisitor: Rate{Count: 1e9, Per: time.Second}, PerAddress: Rate{Count: 1e9, Per: time.Second}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("handler", func(b *testing.B) { handler(b, s.Public()) })
	b.Run("loopback", func(b *testing.B) { loopback(b, s.Public()) })
}

// BenchmarkBareGin is what a gin handler costs that decodes and answers JSON of
// the same size, and does nothing else.
func BenchmarkBareGin(b *testing.B) {
	quietGin()
	g := gin.New()
	g.POST("/v1/sites/:site/decisions", func(c *gin.Context) {
		var in struct {
			Action string            `json:"action"`
			Args   map[string]any    `json:"args"`
			Target map[string]string `json:"target"`
		}
		if err := c.ShouldBindJSON(&in); err != nil {
			c.AbortWithStatus(http.StatusBadRequest)
			return
		}
		c.JSON(http.StatusOK, gin.H{"decision": "d_0123456789abcdefghjkmnpqrs", "allow": in.Action != "", "reasons": []string{},
			"obligations": []gin.H{{"kind": "ownership", "argument": "order_id"}}, "policy": "sha256:0123456789abcdef0123456789abcdef"})
	})
	b.Run("handler", func(b *testing.B) { handler(b, g) })
	b.Run("loopback", func(b *testing.B) { loopback(b, g) })
}

// discard is a response that goes nowhere.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// handler measures the handler alone.
func handler(b *testing.B, h http.Handler) {
	r := httptest.NewRequest(http.MethodPost, "/v1/sites/demo/decisions", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer abc.def.ghi")
	body := strings.NewReader(question)
	r.Body = io.NopCloser(body)
	w := &discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		body.Seek(0, io.SeekStart)
		h.ServeHTTP(w, r)
	}
}

// loopback measures requests over kept connections, client included.
func loopback(b *testing.B, h http.Handler) {
	listening := httptest.NewUnstartedServer(nil)
	listening.Config = HTTPServer(h)
	listening.Start()
	defer listening.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := http.NewRequest(http.MethodPost, listening.URL+"/v1/sites/demo/decisions", strings.NewReader(question))
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer abc.def.ghi")
			resp, err := client.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				b.Fatalf("%d %v", resp.StatusCode, err)
			}
			resp.Body.Close()
		}
	})
}
