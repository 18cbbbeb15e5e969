package identity

import (
	"errors"
	"fmt"
	"time"
)

// keySet is a set of keys that is never changed once made.
type keySet struct {
	byKid   map[string]Key
	only    Key       // the key when there is exactly one
	fetched time.Time // when a published set was fetched; zero for configured keys
}

// newKeySet refuses keys that could be mistaken for one another. alone says
// that no other keys are in use beside these.
func newKeySet(keys []Key, alone bool) (*keySet, error) {
	s := &keySet{byKid: make(map[string]Key, len(keys))}
	for _, k := range keys {
		switch {
		case k.k == nil:
			return nil, errors.New("a key that was never admitted")
		case k.k.kid == "" && (len(keys) > 1 || !alone):
			return nil, errors.New("every key needs a kid as soon as there is more than one")
		}
		if _, twice := s.byKid[k.k.kid]; twice {
			return nil, fmt.Errorf("two keys have the kid %q", k.k.kid)
		}
		if !k.k.retireAfter.IsZero() && !k.k.notBefore.Before(k.k.retireAfter) {
			return nil, keyError(k.k.kid, errors.New("retire_after is not after not_before"))
		}
		s.byKid[k.k.kid] = k
	}
	if len(keys) == 1 && alone {
		s.only = keys[0]
	}
	return s, nil
}

// find returns the key a header asks for.
func (s *keySet) find(h header) (Key, fault) {
	if s.only.k != nil && (!h.hasKid || s.only.k.kid == "") {
		return s.only, fault{}
	}
	if !h.hasKid {
		return Key{}, fault{CauseKidMissing, "kid"}
	}
	if k, ok := s.byKid[h.kid]; ok {
		return k, fault{}
	}
	return Key{}, fault{CauseUnknownKid, "kid"}
}
