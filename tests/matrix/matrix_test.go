package matrix_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// gate is the gate of the generated systems, with everybody's token.
type gate struct {
	*harness.Server
	*world
	mu     sync.Mutex
	tokens []token
}

type token struct {
	text string
	made time.Time
}

func open(t *testing.T) *gate {
	t.Helper()
	w := newWorld(t)
	manifests := map[string]string{"air.yaml": airline}
	shipped, err := filepath.Glob("../../cmd/vouchsafe/demo/actions/*.yaml")
	if err != nil || len(shipped) == 0 {
		t.Fatalf("the demo's manifests: %v, %v", shipped, err)
	}
	for _, file := range shipped {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		manifests[filepath.Base(file)] = string(src)
	}
	s := harness.Start(t, harness.Config{Manifests: manifests, Shop: &harness.Shop{URL: w.URL}, Quiet: true,
		Limits: "{per_visitor: off, per_address: off, not_found_after: 0s}"})
	for _, connection := range []string{"harbor-admin", "airline"} {
		e := harness.Run(t, []string{"MATRIX_KEY=a-key-of-the-matrix-0123456789"}, "connection", "add", connection, "--site", harness.Site, "--config", s.Config,
			"--type", "api_key", "--header", "X-Api-Key", "--value-env", "MATRIX_KEY", "--base-url", w.URL)
		if e.Code != 0 {
			t.Fatalf("connection add %s: %s%s", connection, e.Out, e.Errors)
		}
	}
	return &gate{Server: s, world: w, tokens: make([]token, customers)}
}

// token is customer i's, renewed before it is over.
func (g *gate) token(t *testing.T, i int) string {
	i = (i%customers + customers) % customers
	g.mu.Lock()
	defer g.mu.Unlock()
	if k := &g.tokens[i]; time.Since(k.made) > 5*time.Minute {
		*k = token{g.Token(t, harness.Site, person(i), harness.Lived(0, 14*time.Minute)), time.Now()}
	}
	return g.tokens[i].text
}

// act asks for an action as customer i, and confirms where that is asked for.
func (g *gate) act(t *testing.T, i int, action string, args map[string]any) harness.Acted {
	got := g.Act(t, harness.Site, g.token(t, i), action, args, "")
	if got.Code == "confirmation_required" {
		got = g.Act(t, harness.Site, g.token(t, i), action, args, got.Pending)
	}
	return got
}

// each runs f for the numbers below n, some at a time; with -short for every
// fiftieth.
func each(n int, f func(i int)) (asked int) { return eachOf(n, 8, f) }

func eachOf(n, together int, f func(i int)) (asked int) {
	step := 1
	if testing.Short() {
		step = 50
	}
	var group sync.WaitGroup
	places := make(chan struct{}, together)
	for i := 0; i < n; i += step {
		asked++
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			f(i)
		})
	}
	group.Wait()
	return asked
}

// row is an action on one record, and how its change is known upstream.
type row struct {
	action  string
	records int
	args    func(i int) map[string]any
	missing map[string]any
	change  func(i int) string // "" for a read
	shows   func(i int) string // of the reply's data, to the right customer
}

func with(name string, id func(int) string, more ...any) func(int) map[string]any {
	return func(i int) map[string]any {
		args := map[string]any{name: id(i)}
		for k := 0; k+1 < len(more); k += 2 {
			args[more[k].(string)] = more[k+1]
		}
		return args
	}
}

func none(int) string { return "" }

var rows = []row{
	{"order.lookup", orders, with("order_id", orderID), map[string]any{"order_id": "999999"}, none, orderID},
	{"order.cancel", orders, with("order_id", orderID), map[string]any{"order_id": "999999"}, func(i int) string { return "POST /admin/orders/" + orderID(i) + "/cancel" }, orderID},
	{"booking.reschedule", customers, with("booking_id", bookingID, "start", "2027-03-01T10:00:00Z"), map[string]any{"booking_id": "B99999", "start": "2027-03-01T10:00:00Z"},
		func(i int) string { return "POST /admin/bookings/" + bookingID(i) + "/reschedule" }, bookingID},
	{"subscription.pause", customers, with("subscription_id", boxID), map[string]any{"subscription_id": "S99999"}, func(i int) string { return "POST /admin/subscriptions/" + boxID(i) + "/pause" }, boxID},
	{"subscription.cancel", customers, with("subscription_id", boxID), map[string]any{"subscription_id": "S99999"}, func(i int) string { return "POST /admin/subscriptions/" + boxID(i) + "/cancel" }, boxID},
	{"trip.show", customers, with("locator", locator), map[string]any{"locator": "NONE99"}, none, locator},
	{"trip.seat", customers, with("locator", locator, "seat", "aisle"), map[string]any{"locator": "NONE99", "seat": "aisle"}, func(i int) string { return "PATCH /air/reservations/" + locator(i) }, locator},
	{"trip.upgrade", customers, func(i int) map[string]any { return map[string]any{"locator": locator(i), "voucher_id": voucher(i)} },
		map[string]any{"locator": "NONE99", "voucher_id": voucher(0)}, func(i int) string { return "upgrade " + locator(i) + " by " + voucher(i) }, none},
}

// For every record: its customer gets it, and others get what a record that
// does not exist gets, byte for byte but for the decision's name.
func TestEveryRecordIsItsCustomersAlone(t *testing.T) {
	g := open(t)
	for _, r := range rows {
		t.Run(r.action, func(t *testing.T) {
			missing := g.act(t, 1, r.action, r.missing)
			if missing.Status != 404 || missing.Code != "not_found" {
				t.Fatalf("a record that does not exist: %d %s", missing.Status, missing.Raw)
			}
			want := nameless(missing)
			foreign := 0
			var mu sync.Mutex
			first, second := rotation(t)
			attacked, attacking := map[int]bool{}, map[int]bool{}
			own := each(r.records, func(i int) {
				others := []int{i + first, i + second}
				for _, other := range others {
					got := g.act(t, other, r.action, r.args(i))
					if got.Status != 404 || !bytes.Equal(nameless(got), want) {
						t.Errorf("customer %d asks for %v: %d %s\nwant, as of a missing one: %s", other, r.args(i), got.Status, got.Raw, want)
					}
				}
				if change := r.change(i); change != "" && g.changes(change) != 0 {
					t.Errorf("%s was done for another customer", change)
				}
				got := g.act(t, i, r.action, r.args(i))
				if got.Status != 200 || !bytes.Contains(got.Raw, []byte(r.shows(i))) || bytes.Contains(got.Raw, []byte("staff")) {
					t.Errorf("its own customer asks for %v: %d %s", r.args(i), got.Status, got.Raw)
				}
				if change := r.change(i); change != "" && g.changes(change) != 1 {
					t.Errorf("%s was done %d times", change, g.changes(change))
				}
				mu.Lock()
				defer mu.Unlock()
				foreign += len(others)
				attacked[i%customers] = true
				for _, other := range others {
					attacking[other%customers] = true
				}
			})
			if !testing.Short() && (len(attacked) != customers || len(attacking) != customers) {
				t.Errorf("%d customers' records were asked for, by %d others; want all %d", len(attacked), len(attacking), customers)
			}
			t.Logf("%d records as their customer, %d times as another", own, foreign)
		})
	}
}

// rotation is how far from a record's customer the two others are who ask for
// it: every day two others, so that in time everybody asks for everybody's.
func rotation(t *testing.T) (first, second int) {
	day := int(time.Now().Unix() / 86400)
	if set := os.Getenv("VOUCHSAFE_MATRIX_ROTATION"); set != "" {
		if _, err := fmt.Sscan(set, &day); err != nil {
			t.Fatal(err)
		}
	}
	first, second = 1+day%(customers-1), 1+(day+customers/2)%(customers-1)
	t.Logf("VOUCHSAFE_MATRIX_ROTATION=%d: others are %d and %d further", day, first, second)
	return first, second
}

// For every record, every other customer: 499 for each of the shop's orders and
// the airline's reservations. It takes long, so it is run when asked for, or for
// one record of so many (VOUCHSAFE_MATRIX_EVERY).
func TestEveryRecordAgainstEverybodyElse(t *testing.T) {
	which := os.Getenv("VOUCHSAFE_MATRIX")
	if which == "" {
		t.Skip("VOUCHSAFE_MATRIX=order.lookup, trip.show or all asks for every record as every other customer")
	}
	every := 1 // record of so many
	if set := os.Getenv("VOUCHSAFE_MATRIX_EVERY"); set != "" {
		if _, err := fmt.Sscan(set, &every); err != nil || every < 1 {
			t.Fatalf("VOUCHSAFE_MATRIX_EVERY=%q: want a number", set)
		}
	}
	g := open(t)
	for _, r := range rows {
		if r.change(0) != "" || which != "all" && which != r.action {
			continue
		}
		t.Run(r.action, func(t *testing.T) {
			want := nameless(g.act(t, 1, r.action, r.missing))
			begun, wrong, busy := time.Now(), 0, 0
			var mu sync.Mutex
			asked := eachOf(r.records/every, 48, func(nth int) {
				i := nth * every
				for further := 1; further < customers; further++ {
					got := g.act(t, i+further, r.action, r.args(i))
					for tries := 1; got.Code == "policy_error" && tries < 10; tries++ {
						// Too busy for the policy's quarter of a second: denied, and asked again.
						mu.Lock()
						busy++
						mu.Unlock()
						got = g.act(t, i+further, r.action, r.args(i))
					}
					if got.Status != 404 || !bytes.Equal(nameless(got), want) {
						mu.Lock()
						if wrong++; wrong < 10 {
							t.Errorf("customer %d asks for %v: %d %s\nwant, as of a missing one: %s", i+further, r.args(i), got.Status, got.Raw, want)
						}
						mu.Unlock()
					}
				}
				if got := g.act(t, i, r.action, r.args(i)); got.Status != 200 {
					t.Errorf("its own customer asks for %v: %d %s", r.args(i), got.Status, got.Raw)
				}
			})
			t.Logf("%d records, each as %d other customers: %d questions in %v, %d answered otherwise than of a missing one (%d denied on a busy machine, and asked again)", asked, customers-1, asked*(customers-1), time.Since(begun).Round(time.Second), wrong, busy)
		})
	}
}

// What the outside system sees of a question for somebody else's record is what
// it sees of one that does not exist: the same calls in the same order, for
// every action that takes a record.
func TestForeignAsksWhatMissingAsks(t *testing.T) {
	g := open(t)
	for _, r := range rows {
		t.Run(r.action, func(t *testing.T) {
			const asker, owner = 7, 11
			plain := func(args map[string]any, calls []string) []string {
				var pairs []string
				for name, value := range args {
					pairs = append(pairs, fmt.Sprint(value), "<"+name+">")
				}
				for i, call := range calls {
					calls[i] = strings.NewReplacer(pairs...).Replace(call)
				}
				return calls
			}
			var missing, foreign harness.Acted
			forMissing := plain(r.missing, g.during(func() { missing = g.act(t, asker, r.action, r.missing) }))
			forForeign := plain(r.args(owner), g.during(func() { foreign = g.act(t, asker, r.action, r.args(owner)) }))
			if !slices.Equal(forMissing, forForeign) || len(forMissing) == 0 {
				t.Errorf("asked for a missing record:\n%s\nand for somebody else's:\n%s", strings.Join(forMissing, "\n"), strings.Join(forForeign, "\n"))
			}
			if missing.Status != foreign.Status || len(missing.Raw) != len(foreign.Raw) || !bytes.Equal(nameless(missing), nameless(foreign)) {
				t.Errorf("of a missing record: %d %s\nof somebody else's: %d %s", missing.Status, missing.Raw, foreign.Status, foreign.Raw)
			}
		})
	}
}

// nameless is a reply without the id of its decision.
func nameless(a harness.Acted) []byte {
	if a.Decision == "" {
		return a.Raw
	}
	return bytes.ReplaceAll(a.Raw, []byte(a.Decision), []byte("d_"))
}

// A listing holds all that is the customer's and nothing else, whatever the
// outside system brings back.
func TestListingsHoldOnlyOnesOwn(t *testing.T) {
	g := open(t)
	for action, of := range map[string]struct {
		field string
		want  func(i int) []string
	}{
		"order.list":        {"id", func(i int) []string { return []string{orderID(i), orderID(i + customers)} }},
		"booking.list":      {"id", func(i int) []string { return []string{bookingID(i)} }},
		"subscription.show": {"id", func(i int) []string { return []string{boxID(i)} }},
		"profile.show":      {"email", func(i int) []string { return []string{person(i).Email} }},
		"trip.list":         {"locator", func(i int) []string { return []string{locator(i)} }},
		"voucher.list":      {"code", func(i int) []string { return []string{voucher(i)} }},
	} {
		t.Run(action, func(t *testing.T) {
			asked := each(customers, func(i int) {
				got := g.act(t, i, action, nil)
				var ids []string
				list, _ := got.Data["records"].([]any)
				for _, rec := range list {
					ids = append(ids, fmt.Sprint(rec.(map[string]any)[of.field]))
				}
				slices.Sort(ids)
				if got.Status != 200 || !slices.Equal(ids, of.want(i)) {
					t.Errorf("customer %d: %d %v, want %v", i, got.Status, ids, of.want(i))
				}
			})
			t.Logf("%d customers", asked)
		})
	}
}

// Of two records that a request names, one's own does not help the other.
func TestASecondRecordIsProvenToo(t *testing.T) {
	g := open(t)
	before := g.total()
	each(customers, func(i int) {
		for _, args := range []map[string]any{
			{"locator": locator(i), "voucher_id": voucher((i + 1) % customers)},
			{"locator": locator((i + 1) % customers), "voucher_id": voucher(i)},
		} {
			if got := g.act(t, i, "trip.upgrade", args); got.Status != 404 || got.Code != "not_found" {
				t.Errorf("customer %d, %v: %d %s", i, args, got.Status, got.Raw)
			}
		}
	})
	if done := g.total() - before; done != 0 {
		t.Errorf("%d upgrades were done", done)
	}
}

// What is changed under the customer's own name is changed for nobody else.
func TestAddressesAreOnesOwn(t *testing.T) {
	g := open(t)
	each(customers, func(i int) {
		got := g.act(t, i, "profile.update_address", map[string]any{"address": "2 Quay, Bristol"})
		if what := "PUT /admin/customers/" + person(i).Subject + "/address"; got.Status != 200 || g.changes(what) != 1 {
			t.Errorf("customer %d: %d %s; %s was done %d times", i, got.Status, got.Raw, what, g.changes(what))
		}
	})
}
