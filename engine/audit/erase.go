package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// Person names whom to erase: exactly one of its fields.
type Person struct {
	Subject string `json:"subject,omitempty"`
	Email   string `json:"email,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Erasure is what Erase did.
type Erasure struct {
	Act  string `json:"act"`  // the act's id in the log
	Keys int    `json:"keys"` // how many were destroyed; 0 when the log held nothing under any
	// Forgotten is how much of what waits, outside the log, was about them.
	Forgotten int `json:"forgotten"`
}

// Whom tells by what somebody who is being erased is named.
type Whom struct {
	site    string
	subject string
	name    string // folded
	emails  map[personID]bool
	people  *people
}

// Is reports whether a subject of a site is who is being erased.
func (w *Whom) Is(site, subject string) bool {
	return w.subject != "" && site == w.site && subject == w.subject
}

// NamedIn reports whether a JSON document of a site names them: by an address
// that is theirs, however it is spelled, or by the name that was given. What is
// no JSON is taken to.
func (w *Whom) NamedIn(site string, doc []byte) bool {
	if site != w.site {
		return false
	}
	var v any
	if json.Unmarshal(doc, &v) != nil {
		return true
	}
	return w.namedIn(v)
}

func (w *Whom) namedIn(v any) bool {
	switch v := v.(type) {
	case string:
		return w.namedBy(v)
	case []any:
		return slices.ContainsFunc(v, w.namedIn)
	case map[string]any:
		for k, within := range v {
			if w.namedBy(k) || w.namedIn(within) {
				return true
			}
		}
	}
	return false
}

func (w *Whom) namedBy(text string) bool {
	found := false
	theirs := func(address string) bool { return w.emails[w.people.hash(byEmail, w.site, foldAddress(address))] }
	eachAddress(text, func(from, to int) { found = found || theirs(text[from:to]) })
	if found || theirs(text) { // the latter is no plain address
		return true
	}
	if low := foldName(text); w.name != "" {
		for from := 0; ; {
			i := strings.Index(low[from:], w.name)
			if i < 0 {
				return false
			}
			if i += from; alone(low, i, i+len(w.name)) {
				return true
			}
			from = i + 1
		}
	}
	return false
}

// whom is who is being erased, as long as their addresses are still known.
func (l *Log) whom(site string, who Person, id personID) (*Whom, error) {
	w := &Whom{site: site, subject: who.Subject, name: foldName(who.Name), emails: map[personID]bool{}, people: l.people}
	if who.Email != "" {
		w.emails[id] = true
	}
	err := l.people.db.View(func(tx *bbolt.Tx) error {
		if entry := get(tx, peopleBucket, id[:]); who.Subject != "" && len(entry) >= keyIDSize {
			for b := entry[keyIDSize:]; len(b) >= hashSize; b = b[hashSize:] {
				w.emails[personID(b[:hashSize])] = true
			}
		}
		return nil
	})
	return w, err
}

// Erase destroys a person's key at a site, so that what the log holds of them
// can never be read again; the records stay, and verify. A subject's addresses,
// as their tokens named them, are erased with the subject, so that what others
// typed of them is gone too; an address or a name alone is erased where others
// typed it. It is on record first, by a keyed hash of whom it was done to.
//
// forget, unless it is nil, is called between the two, for what is kept of the
// person elsewhere, and returns how much it let go; what it records of them goes
// with the key. When it fails the key is destroyed all the same.
//
// Whatever the person asks for afterwards is recorded under a new key.
func (l *Log) Erase(ctx context.Context, site, by string, who Person, forget func(context.Context, *Whom) (int, error)) (Erasure, error) {
	if l.group == nil {
		return Erasure{}, errors.New("the log was opened to be read only")
	}
	var what, value string
	for kind, v := range map[string]string{bySubject: who.Subject, byEmail: foldAddress(who.Email), byName: foldName(who.Name)} {
		if v == "" {
			continue
		}
		if what != "" {
			return Erasure{}, errors.New("name one of subject, email and name")
		}
		what, value = kind, v
	}
	if what == "" {
		return Erasure{}, errors.New("name a subject, an email or a name")
	}
	// One after the other, so that those before the newest are carried out.
	l.erasing.Lock()
	defer l.erasing.Unlock()
	id := l.people.hash(what, site, value)
	act, err := l.Act(ctx, Act{Time: time.Now().UTC(), Site: site, By: by, Kind: kindErasure, Object: what + " " + hex.EncodeToString(id[:])})
	if err != nil {
		return Erasure{}, err
	}
	out := Erasure{Act: act}
	var elsewhere error
	if forget != nil {
		w, err := l.whom(site, who, id)
		if err == nil {
			out.Forgotten, err = forget(ctx, w)
		}
		if err != nil {
			elsewhere = fmt.Errorf("forgetting what waits of them: %w", err)
		}
	}
	done := map[string]uint64{}
	err = l.find(site, idTerm(act), func(f *form) error {
		if string(f.id) == act {
			done[site] = f.seq + 1
		}
		return nil
	})
	if err != nil {
		elsewhere = errors.Join(elsewhere, err) // the next start does it again
	}
	out.Keys, err = l.people.erase(ctx, done, id)
	return out, errors.Join(err, elsewhere)
}
