package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

// BenchmarkLarge measures a log of 50,000 records, or of VOUCHSAFE_RECORDS, half of
// them decisions and half their outcomes, once as it is, so -benchtime 1x will do:
//
//	disk-B/decision  the files' size, a decision with its outcome and index
//	memory-B/record  what the process holds more than with an empty log
//	open-ms          from the files to ready, nothing of them cached
//	open-cached-ms   the same, all of them cached
//	subject-ms       the newest 50 decisions of one of 5,000 subjects
//	rare-ms          the 50 decisions of a subject seen from the first record on
//	cold-ms          the same, nothing of the files cached
//
// Each list is timed ten times after one that opens what it needs; the median
// counts.
func BenchmarkLarge(b *testing.B) {
	records := 50_000
	if s := os.Getenv("VOUCHSAFE_RECORDS"); s != "" {
		var err error
		if records, err = strconv.Atoi(s); err != nil || records < 1000 {
			b.Fatalf("VOUCHSAFE_RECORDS=%s: want 1000 or more", s)
		}
	}
	decisions := records / 2
	dir := filepath.Join(b.TempDir(), "audit")
	ctx := context.Background()
	open := func() *Log {
		l, err := Open(dir, Options{Master: master})
		if err != nil {
			b.Fatal(err)
		}
		return l
	}
	l := open()
	empty := held()
	share(b, decisions, func(i int) error {
		subject := fmt.Sprintf("cus_%05d", i%5000)
		if i%(decisions/50) == 0 {
			subject = "cus_rare"
		}
		id := engine.NewID("d", time.Now())
		d := &Decision{Decision: engine.Decision{ID: id, Time: time.Now(), Allow: true, Policy: "2ab01551d0a17893", Rules: []string{"authz/decision.rego:34"}},
			Site: "shop", Input: question(fmt.Sprintf(ordinaryInput, subject, i%5000, i/4, i, i%5000, subject))}
		if err := l.Decision(ctx, d); err != nil {
			return err
		}
		return l.Outcome(ctx, "shop", Outcome{Decision: id, Connector: "shop-admin", Status: 200, Returned: 1, Released: 1, Milliseconds: 12})
	})
	if b.Failed() {
		return
	}
	memory := (held() - empty) / float64(records)
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		b.Fatal(err)
	}
	size := 0.0
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			b.Fatal(err)
		}
		size += float64(info.Size())
	}
	forget := func() {
		for _, f := range files {
			if err := store.Refresh(f); err != nil {
				b.Fatal(err)
			}
		}
	}

	for b.Loop() {
		b.ReportMetric(memory, "memory-B/record")
		b.ReportMetric(float64(len(files)), "segments")
		b.ReportMetric(size/float64(decisions), "disk-B/decision")
		for _, unit := range []string{"open-ms", "open-cached-ms"} {
			if unit == "open-ms" {
				forget()
			} else if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			begun := time.Now()
			l = open()
			b.ReportMetric(milliseconds(begun), unit)
		}
		list := func(subject string) float64 {
			begun := time.Now()
			got, err := l.List(Query{Site: "shop", Subject: subject, Limit: 50})
			if err != nil || len(got) != min(50, max(decisions/5000, 1)) && subject != "cus_rare" || subject == "cus_rare" && len(got) != 50 {
				b.Fatalf("%d decisions of %s: %v", len(got), subject, err)
			}
			return milliseconds(begun)
		}
		for subject, unit := range map[string]string{"cus_00777": "subject-ms", "cus_rare": "rare-ms"} {
			list(subject)
			took := make([]float64, 10)
			for i := range took {
				took[i] = list(subject)
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2], unit)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		forget()
		l = open()
		b.ReportMetric(list("cus_rare"), "cold-ms")
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func milliseconds(since time.Time) float64 {
	return float64(time.Since(since)) / float64(time.Millisecond)
}

// held is how much memory the process holds in use, in bytes.
func held() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
