package gate

import (
	"errors"
	"sync/atomic"
	"time"

	"vouchsafe/engine/voucher"
)

// What one Permit can be made of at most: enough for an action of several
// steps and pages, tried again where that is safe, within its longest timeout.
const (
	maxVouchers = 256
	voucherTime = 90 * time.Second // from minting: a permit's life and an action's longest timeout
)

// Errors of Vouch.
var (
	ErrCannotVouch  = errors.New("the grant cannot vouch for a call: it is of no permit, or the gate has no permit key")
	ErrVouchedOut   = errors.New("the permit has vouched for as many calls as it may")
	ErrVouchExpired = errors.New("the permit is too old to vouch for a call")
)

// vouching is what lets a Grant sign: only mint makes one.
type vouching struct {
	signer         *voucher.Signer
	site, decision string
	clock          func() time.Time
	until          time.Time
	left           atomic.Int32
}

func (g *Gate) vouching(site, decision string, now time.Time) *vouching {
	if g.signer == nil {
		return nil
	}
	v := &vouching{signer: g.signer, site: site, decision: decision, clock: g.clock, until: now.Add(voucherTime)}
	v.left.Store(maxVouchers)
	return v
}

// Vouch signs one call of the permitted action, to be used once by the
// connection provider that goes by the name of audience. The site is the
// Permit's, whatever the call says.
func (g Grant) Vouch(audience string, c voucher.Call) (string, error) {
	v := g.vouching
	if v == nil {
		return "", ErrCannotVouch
	}
	now := v.clock()
	if !now.Before(v.until) {
		return "", ErrVouchExpired
	}
	if v.left.Add(-1) < 0 {
		return "", ErrVouchedOut
	}
	c.Site = v.site
	return v.signer.Sign(audience, v.decision, c, now)
}
