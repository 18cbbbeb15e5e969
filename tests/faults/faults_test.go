// Package faults_test makes the disk of a running gate fail, in the middle of
// bbolt's own code, and cuts its power.
package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vouchsafe/tests/harness"
	"vouchsafe/tests/witness"
)

const shop = harness.Site

type args = map[string]any

// gate is a server whose disk can be made to fail.
type gate struct {
	*harness.Server
	socket  string
	control http.Client
}

func start(t *testing.T, c harness.Config) *gate {
	t.Helper()
	dir, err := os.MkdirTemp("", "f-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &gate{socket: filepath.Join(dir, "s")}
	g.control.Timeout = 20 * time.Second
	g.control.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", g.socket)
	}}
	c.Env, c.Quiet = []string{"VOUCHSAFE_FAULTS=" + g.socket}, true
	g.Server = harness.Start(t, c)
	return g
}

func (g *gate) set(t *testing.T, method, name, terms string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://disk/"+name, strings.NewReader(terms))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := g.control.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, name, resp.Status)
	}
}

// fail makes points fail for the files whose paths hold where.
func (g *gate) fail(t *testing.T, where string, points ...string) {
	t.Helper()
	for _, p := range points {
		g.set(t, http.MethodPut, p, fmt.Sprintf(`return("%s|%s")`, where, message(p)))
	}
}

// mend ends the failure of points.
func (g *gate) mend(t *testing.T, points ...string) {
	t.Helper()
	for _, p := range points {
		g.set(t, http.MethodDelete, p, "")
	}
}

// message is what a failpoint's error says.
func message(point string) string { return "injected by " + point }

// failures is how often something failed so far.
func (g *gate) failures(t *testing.T) (n int) {
	t.Helper()
	resp, err := g.control.Get("http://disk/failures")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := fmt.Fscan(resp.Body, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// cutPower ends the process at once. What it had not synced is lost, or not.
func (g *gate) cutPower(t *testing.T) {
	t.Helper()
	if resp, err := g.control.Get("http://disk/power"); err == nil {
		t.Fatalf("cutting the power: %s", resp.Status)
	}
	<-g.Ended()
	os.Remove(g.socket)
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in a minute, there were not %s", what)
		}
	}
}

const unavailable = "503 audit_unavailable"

// Whatever write or sync of the disk fails, and for whichever file: nothing is
// acknowledged that is not on it, nothing is done undecided or twice, the gate
// says what is wrong, serves again by itself once the disk does, and loses
// nothing when the power goes in the middle.
func TestTheDiskFails(t *testing.T) {
	for _, f := range []struct {
		name   string
		points []string
		where  string // of the files; "" for all, "!" where what was not synced is lost
		early  bool   // only a file that is about to grow meets it
		state  bool   // the log itself can be written
	}{
		{name: "data sync", points: []string{"beforeSyncDataPages"}},
		{name: "data sync, and the kernel takes it for done", points: []string{"beforeSyncDataPages"}, where: "!"},
		{name: "meta sync", points: []string{"beforeSyncMetaPage"}},
		{name: "meta sync, and the kernel takes it for done", points: []string{"beforeSyncMetaPage"}, where: "!"},
		{name: "meta sync of the log", points: []string{"beforeSyncMetaPage"}, where: "/audit/!"},
		{name: "meta sync of the state", points: []string{"beforeSyncMetaPage"}, where: "/state.db!", state: true},
		{name: "meta page", points: []string{"beforeWriteMetaError"}, where: "/audit/"},
		{name: "lack of space", points: []string{"lackOfDiskSpace"}},
		{name: "resizing", points: []string{"resizeFileError"}, early: true},
		{name: "data sync, and opening again", points: []string{"beforeSyncDataPages", "mapError"}, where: "!"},
	} {
		t.Run(f.name, func(t *testing.T) {
			if testing.Short() && f.where == "" && !f.early {
				t.Skip("the same, less hard, is left to longer runs")
			}
			g, known, disk := start(t, harness.Config{}), witness.New(), witness.NewDisk()
			alex := g.Token(t, shop, harness.Alex)
			if f.early {
				g.fail(t, f.where, f.points...)
			}
			stop := known.Load(t.Context(), t, g.Server)
			worked := func(n int) {
				t.Helper()
				before := known.Done()
				await(t, fmt.Sprint(n, " more requests answered"), func() bool { return known.Done() >= before+n })
			}
			bites := func() {
				t.Helper()
				before := known.Answers(unavailable)
				g.fail(t, f.where, f.points...)
				await(t, "refusals", func() bool { return known.Answers(unavailable) > before })
			}
			if !f.early {
				worked(30)
			}
			bites()
			if f.state {
				g.Await("/readyz", http.StatusServiceUnavailable)
			} else {
				g.refuses(t, alex)
			}
			g.says(t, f.points)
			g.mend(t, f.points...)
			g.serves(t)
			worked(30)
			g.losesNothing(t)

			if f.early {
				g.fail(t, f.where, f.points...)
			} else {
				bites()
				// The gate tries again and again whether it can write, and must
				// not spoil by that what the disk has.
				before := g.failures(t)
				await(t, "attempts to write again", func() bool { return g.failures(t) >= before+8 })
			}
			g.cutPower(t)
			stop()
			g.Verify(t)
			disk.Read(g.Audit(t))
			known.Check(t, disk, g.Shop.Calls())
			g.Restart()
			stop = known.Load(t.Context(), t, g.Server)
			worked(30)
			g.losesNothing(t)
			g.cutPower(t) // and once more, with a disk that does not fail
			stop()
			g.Restart()
			g.Verify(t)
			if code := g.Stop(); code != 0 {
				t.Errorf("the server ended with status %d", code)
			}
			all := witness.NewDisk()
			all.Read(g.Audit(t))
			known.Check(t, all, g.Shop.Calls())
			all.CheckSettled(t)
			t.Logf("%d decisions on disk, %d calls and %d writes at the shop; %s", len(all.Entries), g.Shop.Count(), len(g.Shop.Writes()), known)
		})
	}
}

// refuses holds that whatever is asked for is refused while the log cannot be
// written, whoever asks.
func (g *gate) refuses(t *testing.T, token string) {
	t.Helper()
	for _, c := range []struct {
		action, token string
		args          args
	}{
		{"order.lookup", token, args{"order_id": "1001"}},
		{"order.cancel", token, args{"order_id": "1002"}},
		{"salon.hours", "", nil}, // public, and nobody
		{"order.list", "", nil},  // a denial is a decision
	} {
		a := g.Act(t, shop, c.token, c.action, c.args, "")
		if a.Status != http.StatusServiceUnavailable || a.Code != "audit_unavailable" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s while the log cannot be written: %d %s", c.action, a.Status, a.Raw)
		}
	}
	for path, want := range map[string]int{"/readyz": http.StatusServiceUnavailable, "/healthz": http.StatusOK} {
		if r := g.Do(t, http.MethodGet, path, "", nil); r.Status != want {
			t.Errorf("%s while the log cannot be written: %d, want %d", path, r.Status, want)
		}
	}
}

// serves waits until the gate serves again, by itself.
func (g *gate) serves(t *testing.T) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Log(harness.Run(t, nil, "status", "--config", g.Config).Out)
		}
	}()
	g.Await("/readyz", http.StatusOK)
}

// says holds that the operator is told why.
func (g *gate) says(t *testing.T, points []string) {
	t.Helper()
	e := harness.Run(t, nil, "status", "--config", g.Config)
	named := false
	for _, p := range points {
		named = named || strings.Contains(e.Out, message(p))
	}
	if e.Code != 1 || !named {
		t.Errorf("status while the disk fails: %d, does not say %v:\n%s%s", e.Code, points, e.Out, e.Errors)
	}
	g.losesNothing(t)
}

func (g *gate) losesNothing(t *testing.T) {
	t.Helper()
	if lost := g.Metric(t, "vouchsafe_audit_lost_total"); lost != 0 {
		t.Errorf("%v acknowledged records are missing", lost)
	}
}

// Whatever moment the power goes at, also while the next file of the log is begun
// or the old one is sealed: what was acknowledged is there, the log verifies, and
// the gate starts again.
func TestThePowerGoes(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	g, known, disk := start(t, harness.Config{}), witness.New(), witness.NewDisk()
	for round := range rounds {
		if round > 0 {
			g.Restart()
		}
		stop := known.Load(t.Context(), t, g.Server)
		files := g.segments(t)
		// From the moment that a file is begun the old one is being sealed.
		await(t, "another file of the log", func() bool { return g.segments(t) > files })
		time.Sleep(rand.N(20 * time.Millisecond))
		g.cutPower(t)
		stop()
		g.Verify(t)
		disk.Read(g.Audit(t))
		known.Check(t, disk, g.Shop.Calls())
		if t.Failed() {
			t.Fatalf("in round %d", round+1)
		}
	}
	g.Restart()
	g.losesNothing(t)
	if code := g.Stop(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	g.Verify(t)
	all := witness.NewDisk()
	all.Read(g.Audit(t))
	known.Check(t, all, g.Shop.Calls())
	all.CheckSettled(t)
	t.Logf("%d files, %d decisions on disk, %d calls and %d writes at the shop; %s", g.segments(t), len(all.Entries), g.Shop.Count(), len(g.Shop.Writes()), known)
}

// segments is how many files the log has.
func (g *gate) segments(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(g.Data, "audit", "*.db"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
