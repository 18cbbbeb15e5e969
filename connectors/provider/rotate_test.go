package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// filled is a store with more connections than a batch.
func filled(t testing.TB, p place) *Store {
	t.Helper()
	s := p.open(t, true)
	for n := range rotateBatch + 5 {
		if err := s.Put(conn(fmt.Sprintf("c%02d", n), "https://shop.example"), NewAPIKey(fmt.Sprintf("%s-%d", planted, n))); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// opens holds that every credential is what it was.
func opens(t testing.TB, why string, s *Store) {
	t.Helper()
	for n := range rotateBatch + 5 {
		_, cred, err := s.Get("demo", fmt.Sprintf("c%02d", n))
		if err != nil || cred != NewAPIKey(fmt.Sprintf("%s-%d", planted, n)) {
			t.Fatalf("%s: connection %d: %v, or another credential", why, n, err)
		}
	}
}

func (s *Store) raw(t testing.TB) []byte {
	t.Helper()
	var all []byte
	err := s.db.View(func(tx *bolt.Tx) error {
		all = append(all, tx.Bucket(bucketMeta).Get(keyKeyset)...)
		return tx.Bucket(bucketConnections).ForEach(func(_, v []byte) error { all = append(all, v...); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRotate(t *testing.T) {
	p := newPlace(t)
	s := filled(t, p)
	oldKey, err := os.ReadFile(p.key)
	if err != nil {
		t.Fatal(err)
	}
	before := s.raw(t)
	got, err := s.Rotate()
	if want := (Rotation{Connections: rotateBatch + 5, MasterKey: true}); err != nil || got != want {
		t.Fatalf("Rotate = %+v, %v; want %+v", got, err, want)
	}
	opens(t, "rotated", s)
	if n := s.box.Load().handle.Len(); n != 1 {
		t.Errorf("the keyset has %d keys, want the new one alone", n)
	}
	if after := s.raw(t); bytes.Equal(before, after) {
		t.Error("nothing was written anew")
	}
	s.Close()
	newKey, err := os.ReadFile(p.key)
	if err != nil || bytes.Equal(oldKey, newKey) {
		t.Errorf("the master key is the old one: %v", err)
	}
	if _, err := os.Stat(nextKeyFile(p.key)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the next key is still beside it: %v", err)
	}
	s = p.open(t, false)
	opens(t, "opened again", s)
	s.Close()
	if err := os.WriteFile(p.key, oldKey, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(p.dir, MasterKey{File: p.key}, false); !errors.Is(err, ErrWrongKey) {
		t.Errorf("the old master key: %v, want ErrWrongKey", err)
	}
}

// However far a rotation got, the store opens with what is there, and rotating
// again finishes it.
func TestRotationCanBeInterrupted(t *testing.T) {
	for name, interrupt := range map[string]func(t *testing.T, s *Store, p place){
		"the new master key is made, and nothing else": func(t *testing.T, s *Store, p place) {
			if _, err := createMasterKey(nextKeyFile(p.key)); err != nil {
				t.Fatal(err)
			}
		},
		"the keyset is sealed with it, and it is not in its place": func(t *testing.T, s *Store, p place) {
			old, err := os.ReadFile(p.key)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.addKey(); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(p.key, nextKeyFile(p.key)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p.key, old, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"the new keys are there, and nothing is encrypted anew": func(t *testing.T, s *Store, p place) {
			if err := s.addKey(); err != nil {
				t.Fatal(err)
			}
		},
		"some credentials are encrypted anew": func(t *testing.T, s *Store, p place) {
			if err := s.addKey(); err != nil {
				t.Fatal(err)
			}
			if n, err := s.reencrypt(); err != nil || n != rotateBatch {
				t.Fatalf("reencrypt = %d, %v", n, err)
			}
		},
		"all are, and the old key is not dropped": func(t *testing.T, s *Store, p place) {
			if err := s.addKey(); err != nil {
				t.Fatal(err)
			}
			for n := 1; n > 0; {
				var err error
				if n, err = s.reencrypt(); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		p := newPlace(t)
		s := filled(t, p)
		interrupt(t, s, p)
		s.Close()
		s = p.open(t, false)
		opens(t, name, s)
		if _, err := s.Rotate(); err != nil {
			t.Errorf("%s: Rotate = %v", name, err)
		}
		opens(t, name+", rotated again", s)
		if n := s.box.Load().handle.Len(); n != 1 {
			t.Errorf("%s: the keyset has %d keys in the end", name, n)
		}
		s.Close()
		s = p.open(t, false)
		opens(t, name+", in the end", s)
		s.Close()
	}
}

// An old key goes only when nothing needs it any more.
func TestNoKeyIsDroppedThatIsNeeded(t *testing.T) {
	p := newPlace(t)
	s := filled(t, p)
	defer s.Close()
	if err := s.addKey(); err != nil {
		t.Fatal(err)
	}
	if err := s.dropOldKeys(); err == nil {
		t.Error("the key of every credential was dropped")
	}
	opens(t, "the old key stays", s)
}

// Calls go on while the keys are rotated, again and again.
func TestRotateWhileServing(t *testing.T) {
	r := start(t)
	up, _ := upstream(t, nothing)
	for n := range 5 {
		r.add(t, conn(fmt.Sprintf("c%d", n), up.URL), NewAPIKey(planted))
	}
	gate, stop := r.gate(t), make(chan struct{})
	var wg sync.WaitGroup
	for n := range 5 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := gate.Do(context.Background(), Call{Site: "demo", Connection: fmt.Sprintf("c%d", n), Method: "GET", Path: "/x"}); err != nil {
					t.Errorf("while the keys were rotated: %v", err)
					return
				}
			}
		})
	}
	for range 5 {
		if got, err := RotateKey(context.Background(), r.Options); err != nil || got.Connections != 5 || !got.MasterKey {
			t.Errorf("RotateKey = %+v, %v", got, err)
		}
	}
	close(stop)
	wg.Wait()
}

// A master key of the environment is the operator's to replace.
func TestMasterKeyOfTheEnvironment(t *testing.T) {
	p, key := newPlace(t), MasterKey{Env: "TEST_MASTER_KEY"}
	for value, want := range map[string]string{"": "not the base64", "c2hvcnQ=": "not the base64", "%": "not the base64"} {
		t.Setenv("TEST_MASTER_KEY", value)
		if _, err := OpenStore(p.dir, key, true); err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("%q: %v, want %q", value, err, want)
		}
	}
	os.Unsetenv("TEST_MASTER_KEY")
	if _, err := OpenStore(p.dir, key, true); !errors.Is(err, ErrNoKey) {
		t.Errorf("not set: %v, want ErrNoKey", err)
	}
	t.Setenv("TEST_MASTER_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	s, err := OpenStore(p.dir, key, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(conn("shop", "https://shop.example"), NewAPIKey(planted)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Rotate(); err != nil || got.MasterKey || got.Connections != 1 {
		t.Errorf("Rotate = %+v, %v", got, err)
	}
	if _, cred, err := s.Get("demo", "shop"); err != nil || cred != NewAPIKey(planted) {
		t.Errorf("after rotating: %v", err)
	}
}
