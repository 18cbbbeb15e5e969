package audit

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

// ordinaryInput is an input as an order lookup has it, for a subject, the number
// of their address, that of their token and of an order, and the former again.
const ordinaryInput = `{"site":{"id":"shop","tier":"pro","max_token_lifetime":900},"identity":{"state":"verified","subject":"%s","email":"someone%05d@example.com","name":"Alex Morgan","issued_at":1795165200,"expires_at":1795165560,"lifetime":300,"token_id":"t_%032d"},"action":{"name":"order.lookup","personal":true,"risk":"read","min_tier":"pro","args":{"order_id":"%d"}},"target":{"email":"someone%05d@example.com"},"asserted":{"emails":[],"names":[]},"confirmation":{"confirmed":false},"conversation":{"id":"cv_dxcxfndjzzrr7v1ppm8r7c9eqb5a4xkt","subject":"%s"},"channel":"chat","now":1795165200}`

func ordinary(i int) string {
	subject := fmt.Sprintf("cus_%05d", i%500)
	return fmt.Sprintf(ordinaryInput, subject, i%500, i/4, i, i%500, subject)
}

// decider records the ordinary decision of each number.
func decider(l *Log) func(i int) error {
	return func(i int) error {
		d := &Decision{Decision: engine.Decision{ID: engine.NewID("d", time.Now()), Time: time.Now(), Allow: true, Policy: "2ab01551d0a17893"},
			Site: "shop", Input: question(ordinary(i))}
		return l.Decision(context.Background(), d)
	}
}

const callers = 128

// BenchmarkDurable is decisions that 128 callers wait for; BenchmarkRaw, beside
// it, is bbolt alone writing as many bytes in the same groups.
func BenchmarkDurable(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "audit"), Options{Master: master})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	decide := decider(l)
	for i := range 500 { // everybody's key
		if err := decide(i); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	share(b, b.N, decide)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	v, err := l.Verify(context.Background(), Verification{})
	if err != nil || len(v.Problems) > 0 {
		b.Fatal(v, err)
	}
	var used int64
	l.active().view(func(tx *bbolt.Tx) error { used = tx.Size(); return nil })
	b.ReportMetric(float64(used)/float64(v.Records), "disk-B/decision")
	begun := time.Now()
	l.Verify(context.Background(), Verification{})
	b.ReportMetric(float64(v.Records)/time.Since(begun).Seconds(), "verified/s")
}

func share(b *testing.B, n int, do func(i int) error) {
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < n; i += callers {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkRaw(b *testing.B) {
	db, err := store.Open(filepath.Join(b.TempDir(), "raw.db"), "raw", store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	value := make([]byte, 1100)
	name := []byte("b")
	b.ResetTimer()
	share(b, b.N, func(i int) error {
		return db.Commit(context.Background(), func(tx *bbolt.Tx) error {
			bk, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return err
			}
			bk.FillPercent = 0.95
			return bk.Put(seqKey(uint64(i)), value)
		})
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}

// BenchmarkHalfLoad is how long a decision takes to be durable while decisions
// come at half the rate that 128 waiting callers reach, evenly: the 99th
// percentile and the median, in times of what one decision alone takes, which is
// one commit. p99-due counts from when a decision was due, with what the callers,
// who share the processors with the log, needed to begin, and p99-alone is of one
// after the other, which is the disk's own. One turn is enough: -benchtime 1x.
func BenchmarkHalfLoad(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "audit"), Options{Master: master})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	decide := decider(l)
	for b.Loop() {
		alone := make([]time.Duration, 1000)
		for i := range alone {
			begun := time.Now()
			if err := decide(i); err != nil {
				b.Fatal(err)
			}
			alone[i] = time.Since(begun)
		}
		slices.Sort(alone)
		commit := alone[len(alone)/2]
		b.ReportMetric(float64(alone[len(alone)*99/100])/float64(commit), "p99-alone-commits")

		const most = 20_000
		begun := time.Now()
		share(b, most, decide)
		every := 2 * time.Since(begun) / most

		const n = 10_000
		took, since := make([]time.Duration, n), make([]time.Duration, n)
		var wg sync.WaitGroup
		begun = time.Now()
		for i := range n {
			due := begun.Add(time.Duration(i) * every)
			time.Sleep(time.Until(due))
			wg.Go(func() {
				begun := time.Now()
				if err := decide(i); err != nil {
					b.Error(err)
				}
				took[i], since[i] = time.Since(begun), time.Since(due)
			})
		}
		wg.Wait()
		slices.Sort(took)
		slices.Sort(since)
		b.ReportMetric(float64(since[n*99/100])/float64(commit), "p99-due-commits")
		b.ReportMetric(float64(took[n*99/100])/float64(commit), "p99-commits")
		b.ReportMetric(float64(took[n/2])/float64(commit), "p50-commits")
		b.ReportMetric(float64(commit.Microseconds()), "us-commit")
		b.ReportMetric(float64(time.Second)/float64(every), "decisions/s")
	}
}
