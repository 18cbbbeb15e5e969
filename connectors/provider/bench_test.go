package provider

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

const benchReply = `{"order":{"id":"1001","status":"shipped","total":"84.50","currency":"GBP","customer":{"id":"cus_1000","email":"alex@example.com","name":"Alex"},"lines":[{"sku":"HG-1181","title":"Waxed canvas jacket, moss","quantity":1,"price":"64.00"}]}}`

// BenchmarkRead is a read of an outside system, called directly and through the
// provider: client, provider and system share one process here.
// `go run ./tests/load -hop` measures the real processes.
func BenchmarkRead(b *testing.B) {
	r := start(b)
	up, _ := upstream(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, benchReply)
	})
	r.add(b, conn("shop", up.URL), NewAPIKey(planted))
	b.Run("direct", func(b *testing.B) {
		transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
		defer transport.CloseIdleConnections()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				req, err := http.NewRequest(http.MethodGet, up.URL+"/orders/1001", nil)
				if err != nil {
					b.Error(err)
					return
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	})
	b.Run("provider", func(b *testing.B) {
		c := r.client(b, ProxyKeyFile(r.Dir))
		grant := granted{r.signer, "demo", time.Now}
		b.SetParallelism(16)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Do(context.Background(), Call{Site: "demo", Connection: "shop", Method: http.MethodGet, Path: "/orders/1001", Grant: grant}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
