// Package tally counts decisions by the hour: what a dashboard asks for again and
// again, without reading the log each time.
//
// The counts follow the log from a place of their own in the state file, in the
// same transaction as the counts, so that each decision is counted once however
// often the process dies. They are about nobody.
package tally

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/store"
)

// Log is the decision log.
type Log interface {
	Sites() []string
	Range(site string) (from, end uint64)
	Scan(site string, from uint64, fn func(audit.Item) error) (next uint64, err error)
	Show(id string) (audit.Entry, error)
}

// Codes of what was allowed and came to no code of its own.
const (
	Done  = "done"  // it did what it was for
	Asked = "asked" // nothing was to follow
)

// Life is how long counts are kept.
const Life = 400 * 24 * time.Hour

// Count is how many decisions of an hour are alike.
type Count struct {
	Hour   time.Time `json:"hour,omitzero"`
	Site   string    `json:"site,omitempty"`
	Action string    `json:"action,omitempty"` // "" for one that the site does not have
	Allow  *bool     `json:"allow,omitempty"`
	// Code is a denial's first reason; of what was allowed, the outcome's code,
	// done or asked.
	Code  string `json:"code,omitempty"`
	Count uint64 `json:"count"`
}

// key is what decisions that are counted together have in common.
type key struct {
	hour               int64 // since 1970
	site, action, code string
	allow              bool
}

// Book keeps the counts. Look and Sum are safe to be called at once.
type Book struct {
	log   Log
	db    *store.DB
	clock func() time.Time

	mu    sync.Mutex
	next  map[string]uint64 // by site, the number of the next record to count
	begun map[string]begun  // permitted decisions whose outcome is yet to come
}

// begun is what is needed of a decision when its outcome comes.
type begun struct {
	hour   int64
	action string
}

var (
	bucket   = []byte("tally")
	countKey = []byte("counts") // a bucket
	nextKey  = []byte("next")
)

// Open reads how far the counts are.
func Open(log Log, db *store.DB, clock func() time.Time) (*Book, error) {
	b := &Book{log: log, db: db, clock: clock, next: map[string]uint64{}, begun: map[string]begun{}}
	err := db.View(func(tx *bbolt.Tx) error {
		t := tx.Bucket(bucket)
		if t == nil {
			return nil
		}
		return json.Unmarshal(t.Get(nextKey), &b.next)
	})
	if err != nil {
		return nil, fmt.Errorf("reading how far decisions are counted: %w", err)
	}
	return b, nil
}

// counted is how many records are counted in one transaction.
const counted = 4096

var errEnough = errors.New("enough for one transaction")

// Look counts what the log has grown by.
func (b *Book) Look(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, site := range b.log.Sites() {
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			more, err := b.look(ctx, site)
			if err != nil {
				return fmt.Errorf("counting the decisions of site %s: %w", site, err)
			}
			if !more {
				break
			}
		}
	}
	return nil
}

func (b *Book) look(ctx context.Context, site string) (more bool, err error) {
	from := b.next[site]
	first, end := b.log.Range(site)
	if from > end {
		from = first // the log is another than the one that was counted
	}
	if from >= end {
		return false, nil
	}
	counts, n := map[key]uint64{}, 0
	next, err := b.log.Scan(site, from, func(it audit.Item) error {
		if n++; n > counted {
			return errEnough
		}
		return b.count(site, it, counts)
	})
	if more = errors.Is(err, errEnough); err != nil && !more {
		return false, err
	}
	places := make(map[string]uint64, len(b.next)+1)
	for s, at := range b.next {
		places[s] = at
	}
	places[site] = next
	if err := b.write(ctx, counts, places); err != nil {
		return false, err
	}
	b.next = places
	return more, nil
}

func (b *Book) count(site string, it audit.Item, counts map[key]uint64) error {
	switch d, o := it.Decision, it.Outcome; {
	case d != nil:
		k := key{hour: hourOf(d.Time), site: site, action: d.Action, allow: d.Allow}
		switch {
		case !d.Allow && len(d.Reasons) > 0:
			k.code = d.Reasons[0]
		case d.Allow && d.Asked:
			k.code = Asked
		case d.Allow:
			b.begun[d.ID] = begun{k.hour, k.action}
			return nil
		}
		counts[k]++
	case o != nil:
		was, known := b.begun[o.Decision]
		if !known {
			e, err := b.log.Show(o.Decision)
			if errors.Is(err, audit.ErrNotFound) {
				return nil // too old to be kept
			}
			if err != nil {
				return err
			}
			was = begun{hourOf(e.Decision.Time), e.Decision.Action}
		}
		delete(b.begun, o.Decision)
		k := key{hour: was.hour, site: site, action: was.action, allow: true, code: o.Code}
		if k.code == "" {
			k.code = Done
		}
		counts[k]++
	}
	return nil
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

func (b *Book) write(ctx context.Context, counts map[key]uint64, next map[string]uint64) error {
	places, err := json.Marshal(next)
	if err != nil {
		return err
	}
	oldest := hourOf(b.clock().Add(-Life))
	return b.db.Commit(ctx, func(tx *bbolt.Tx) error {
		t, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		c, err := t.CreateBucketIfNotExists(countKey)
		if err != nil {
			return err
		}
		for k, n := range counts {
			at := k.bytes()
			if old := c.Get(at); len(old) == 8 {
				n += binary.BigEndian.Uint64(old)
			}
			if err := c.Put(at, binary.BigEndian.AppendUint64(nil, n)); err != nil {
				return err
			}
		}
		if err := drop(c, oldest); err != nil {
			return err
		}
		return t.Put(nextKey, places)
	})
}

// dropped is how many counts one write lets go at most.
const dropped = 512

func drop(c *bbolt.Bucket, oldest int64) error {
	var old [][]byte
	cur := c.Cursor()
	for at, _ := cur.First(); at != nil && len(old) < dropped; at, _ = cur.Next() {
		if k, ok := parse(at); ok && k.hour >= oldest {
			break
		}
		old = append(old, bytes.Clone(at))
	}
	for _, at := range old {
		if err := c.Delete(at); err != nil {
			return err
		}
	}
	return nil
}

// bytes is a key on disk: the hour, so that a stretch of time is a stretch of
// keys, and the rest, of which no part holds a zero.
func (k key) bytes() []byte {
	verdict := "0"
	if k.allow {
		verdict = "1"
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(k.hour))
	return append(b, strings.Join([]string{clean(k.site), clean(k.action), verdict, clean(k.code)}, "\x00")...)
}

func clean(s string) string { return strings.ReplaceAll(s, "\x00", "?") }

func parse(b []byte) (k key, ok bool) {
	if len(b) < 8 {
		return k, false
	}
	parts := strings.Split(string(b[8:]), "\x00")
	if len(parts) != 4 {
		return k, false
	}
	return key{hour: int64(binary.BigEndian.Uint64(b)), site: parts[0], action: parts[1], allow: parts[2] == "1", code: parts[3]}, true
}

// By is what decisions are told apart by.
type By struct{ Hour, Site, Action, Allow, Code bool }

// Query selects what is summed up: whole hours, from the one that Since falls
// into to the one before Until.
type Query struct {
	Sites        []string // every site's when nil
	Since, Until time.Time
	By           By
}

// ErrTooMany means that the summary has more lines than MaxLines.
var ErrTooMany = errors.New("too many lines: ask for less time, or tell less apart")

// MaxLines bounds a summary.
const MaxLines = 20000

// Sum sums up, in the order of hour, site, action, verdict and code.
func Sum(db *store.DB, q Query) ([]Count, error) {
	sums := map[key]uint64{}
	err := db.View(func(tx *bbolt.Tx) error {
		t := tx.Bucket(bucket)
		if t == nil {
			return nil
		}
		c := t.Bucket(countKey).Cursor()
		from := binary.BigEndian.AppendUint64(nil, uint64(max(0, hourOf(q.Since))))
		for at, v := c.Seek(from); at != nil; at, v = c.Next() {
			k, ok := parse(at)
			if !ok || len(v) != 8 {
				return errors.New("a count cannot be read")
			}
			if !q.Until.IsZero() && k.hour*3600 >= q.Until.Unix() {
				return nil
			}
			if q.Sites != nil && !slices.Contains(q.Sites, k.site) {
				continue
			}
			sums[q.By.of(k)] += binary.BigEndian.Uint64(v)
			if len(sums) > MaxLines {
				return ErrTooMany
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	keys := make([]key, 0, len(sums))
	for k := range sums {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return bytes.Compare(a.bytes(), b.bytes()) })
	out := make([]Count, 0, len(keys))
	for _, k := range keys {
		line := Count{Site: k.site, Action: k.action, Code: k.code, Count: sums[k]}
		if q.By.Hour {
			line.Hour = time.Unix(k.hour*3600, 0).UTC()
		}
		if q.By.Allow {
			line.Allow = &k.allow
		}
		out = append(out, line)
	}
	return out, nil
}

// of is a key without what is not told apart.
func (by By) of(k key) key {
	if !by.Hour {
		k.hour = 0
	}
	if !by.Site {
		k.site = ""
	}
	if !by.Action {
		k.action = ""
	}
	if !by.Allow {
		k.allow = false
	}
	if !by.Code {
		k.code = ""
	}
	return k
}
