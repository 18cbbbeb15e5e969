package provider

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vouchsafe/engine/voucher"
)

// PermitKeyFile is where a provider that runs by itself keeps the public keys
// of the gate: those whose vouchers it takes.
func PermitKeyFile(dir string) string { return filepath.Join(dir, "permit.keys") }

// admission takes vouchers, each once.
//
// Used vouchers are remembered in memory only. What keeps one from being used
// again after a restart is its audience: a name that the provider makes up anew
// at each start, so a voucher for an earlier run, or for another provider, is
// for somebody else. The gate learns the name from the refusal.
type admission struct {
	reader *voucher.Reader
	keys   *keyring
	now    func() time.Time

	mu     sync.Mutex
	used   [2]map[usedID]struct{} // this span's and the last one's
	turned time.Time
}

// usedID is the digest of a voucher's id, cut short: without a pointer, so that
// however many there are, collecting garbage does not look at them.
type usedID [16]byte

// span is the longest that a voucher can still be good after its first use.
const span = voucher.Life + voucher.Skew

// maxUsed bounds the vouchers remembered for one span. Only those with a good
// signature count, so nobody but the gate fills it.
const maxUsed = 1 << 20

func newAdmission(keys *keyring, now func() time.Time) *admission {
	return &admission{reader: voucher.NewReader(), keys: keys, now: now, used: [2]map[usedID]struct{}{{}, {}}, turned: now()}
}

// admit uses up the voucher of a call, and returns the decision it is of.
func (a *admission) admit(signed string, c voucher.Call) (decision string, refusal *Error) {
	no := func(code, message string) (string, *Error) {
		return "", &Error{Code: code, NotSent: true, Message: message}
	}
	if signed == "" {
		return no(CodeVoucherMissing, "The call has no voucher of the gate's.")
	}
	v, err := a.reader.Verify(a.keys.now(), signed, a.now())
	switch {
	case errors.Is(err, voucher.ErrUnknownKey):
		return no(CodeVoucherUnknownKey, "The voucher is signed with a key that this provider does not know.")
	case errors.Is(err, voucher.ErrExpired):
		return no(CodeVoucherExpired, "The voucher has expired, or the clocks of gate and provider differ.")
	case errors.Is(err, voucher.ErrOtherRun):
		return no(CodeVoucherAudience, "The voucher is for an earlier run of this provider, or for another.")
	case err != nil:
		return no(CodeVoucherInvalid, "The voucher is malformed, or its signature is wrong.")
	}
	if err := v.Covers(c); err != nil {
		return no(CodeVoucherMismatch, "The voucher is for another call: "+err.Error()+".")
	}
	switch fresh, room := a.use(v.ID); {
	case !room:
		return no(CodeVoucherCrowded, "There were too many calls in a short time.")
	case !fresh:
		// Not "nothing was sent": what it was used for may have been.
		return "", &Error{Code: CodeVoucherUsed, Message: "The voucher was used before."}
	}
	return v.Decision, nil
}

// use remembers a voucher. fresh is false for one that was used before.
func (a *admission) use(id string) (fresh, room bool) {
	sum := sha256.Sum256([]byte(id))
	key := usedID(sum[:len(usedID{})])
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.now(); now.Sub(a.turned) >= span {
		a.used = [2]map[usedID]struct{}{{}, a.used[0]}
		if now.Sub(a.turned) >= 2*span {
			a.used[1] = nil
		}
		a.turned = now
	}
	for _, seen := range a.used {
		if _, ok := seen[key]; ok {
			return false, true
		}
	}
	if len(a.used[0]) >= maxUsed {
		return true, false
	}
	a.used[0][key] = struct{}{}
	return true, true
}

// keyring is the gate's public keys. Those in a file are read again when the
// file has changed, so that a key is added and another retired while the
// provider serves.
type keyring struct {
	file string // "" for keys that do not change
	log  *slog.Logger

	mu     sync.Mutex
	keys   voucher.Keys
	looked time.Time
	was    os.FileInfo
}

// lookEvery is how often the file is looked at.
const lookEvery = time.Second

// newKeyring takes the keys as text, or from a file when the text is empty. A
// file that is not there yet has no keys.
func newKeyring(text, file string, log *slog.Logger) (*keyring, error) {
	k := &keyring{file: file, log: log}
	if text != "" {
		k.file = ""
		var err error
		k.keys, err = voucher.ParseKeys(text)
		return k, err
	}
	k.looked = time.Now()
	return k, k.readLocked()
}

// now is the keys as they are now.
func (k *keyring) now() voucher.Keys {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file != "" && time.Since(k.looked) >= lookEvery {
		k.looked = time.Now()
		if err := k.readLocked(); err != nil {
			k.log.Error("the permit keys cannot be read again; those of before stay", "cause", err)
		}
	}
	return k.keys
}

func (k *keyring) readLocked() error {
	info, err := os.Stat(k.file)
	if errors.Is(err, fs.ErrNotExist) {
		k.keys, k.was = voucher.Keys{}, nil
		return nil
	}
	if err != nil {
		return err
	}
	if k.was != nil && os.SameFile(info, k.was) && info.ModTime().Equal(k.was.ModTime()) && info.Size() == k.was.Size() {
		return nil
	}
	if info.Mode().Perm()&0o002 != 0 {
		return errors.New("the file of permit keys can be written by every user of this machine; chmod 644 it")
	}
	text, err := os.ReadFile(k.file)
	if err != nil {
		return err
	}
	keys, err := voucher.ParseKeys(string(text))
	if err != nil {
		return err
	}
	k.keys, k.was = keys, info
	return nil
}

func (k *keyring) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.keys)
}
