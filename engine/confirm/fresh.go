package confirm

import (
	"time"

	"go.etcd.io/bbolt"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// usedLife is how long a token's id is remembered that has confirmed something:
// longer than any token is believed.
const usedLife = 24*time.Hour + 5*time.Minute

var errNeedsFresh = engine.Errorf(engine.CodeConfirmationNeedsFreshToken,
	"To be sure it is still you, this needs a fresh sign-in. Please sign in again and I will carry on.", nil)

// use marks r's token as one that has confirmed something. Where the site asks
// for it, a destructive action takes only a token that never has: whoever got
// hold of one that was in use before cannot say yes with it. A token without an
// id cannot prove that it is new, so it is not.
//
// It returns the mark it made, "" for none.
func (s *Store) use(tx *bbolt.Tx, r gate.Request, now time.Time) (mark string, err error) {
	if !r.Site.FreshConfirmation {
		return "", nil
	}
	id := r.Identity.Visitor.TokenID()
	mark = r.Site.ID + "\x00" + id
	used := id == ""
	if !used {
		b, _ := s.used.Get(tx, mark, now)
		used = b != nil
	}
	a, ok := r.Site.Action(r.Intent.Action)
	if used && (!ok || a.Risk != engine.Read && a.Risk != engine.Write) {
		return "", errNeedsFresh
	}
	if used {
		return "", nil
	}
	return mark, s.used.Put(tx, mark, []byte{recordVersion}, now.Add(usedLife), now)
}
