package policy

import (
	"encoding/json"
	"slices"
	"strings"

	"vouchsafe/engine"
)

// What a probe finds: the part of the wall that a policy opens, or what else
// must not be.
const (
	OpensAction   = "action"   // an action that the gate does not know
	OpensIdentity = "identity" // a personal action for somebody who is not verified
	OpensExpiry   = "expiry"   // one for a sign-in that is over, or lasts longer than the site allows
	OpensPinning  = "pinning"  // one against another account than the visitor's own
	OpensTier     = "tier"     // an action that the site's tier does not include

	ProbeRelease = "release" // a release policy gives no usable answer about a record
	ProbeDiffers = "differs" // OPA answers differently without its optimisations
)

// opened says it to a person.
var opened = map[string]string{
	OpensAction:   "an action is allowed that no catalog describes",
	OpensIdentity: "a personal action is allowed for somebody who is not verified",
	OpensExpiry:   "a personal action is allowed with a sign-in that is over, or that lasts longer than the site allows",
	OpensPinning:  "a personal action is allowed against another account than the visitor's own",
	OpensTier:     "an action is allowed that the site's tier does not include",
	ProbeRelease:  "the release policy gives no usable answer about these records, so nothing would be shown",
	ProbeDiffers:  "OPA answers differently when its rule index and early exit are off",
}

// document is an input as JSON values, numbers as json.Number. Unlike an Input
// it can be anything, which is what probes are for.
type document map[string]any

func (d document) value(path ...string) any {
	var v any = map[string]any(d)
	for _, step := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[step]
	}
	return v
}

func (d document) text(path ...string) string {
	s, _ := d.value(path...).(string)
	return s
}

func (d document) integer(path ...string) (int64, bool) {
	n, ok := d.value(path...).(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

// breaches says which parts of the wall stand between the input and an allow;
// none when a policy may allow it. It is what the second lock asks, put to the
// input as a policy sees it, and asks no policy. Where no identity is proven,
// nothing further is asked of it.
func breaches(d document, waived map[string]bool) []string {
	var out []string
	personal, known := d.value("action", "personal").(bool)
	least, err := engine.ParseTier(d.text("action", "min_tier"))
	lax := waived[d.text("site", "id")]
	if !known || err != nil && !lax {
		out = append(out, OpensAction)
	}
	if tier, bad := engine.ParseTier(d.text("site", "tier")); (bad != nil || tier < least) && !lax {
		out = append(out, OpensTier)
	}
	if !personal {
		return out
	}
	if revoked := d.value("identity", "revoked"); d.text("identity", "state") != "verified" || revoked != nil && revoked != false {
		return append(out, OpensIdentity)
	}
	if !live(d) || !shortLived(d) {
		out = append(out, OpensExpiry)
	}
	if email := d.text("identity", "email"); email == "" || email != d.text("target", "email") {
		out = append(out, OpensPinning)
	}
	return out
}

func live(d document) bool {
	now, known := d.integer("now")
	expires, said := d.integer("identity", "expires_at")
	return known && said && now < expires
}

func shortLived(d document) bool {
	lifetime, said := d.integer("identity", "lifetime")
	most, known := d.integer("site", "max_token_lifetime")
	return known && said && lifetime <= most
}

// narrows reports whether what is breached is a part of what was.
func narrows(now, before []string) bool {
	if len(now) == 0 {
		return false
	}
	for _, b := range now {
		if !slices.Contains(before, b) {
			return false
		}
	}
	return true
}

// The member of data.yaml by which a site owner says that a probe need not hold.
const waiveKey = "waive"

// waivedTiers reads whose sites' tier the policies may let slide. What else is
// waived is a problem: there is nothing else that can be.
func waivedTiers(data map[string]any) (map[string]bool, string) {
	v, ok := data[waiveKey]
	if !ok {
		return nil, ""
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, "waive is a mapping of what is waived"
	}
	for _, key := range sortedKeys(m) {
		if key != OpensTier {
			return nil, "waive." + key + ": only tier can be waived; identity, expiry and pinning cannot"
		}
	}
	ids, ok := m[OpensTier].([]any)
	if !ok {
		return nil, "waive.tier is a list of site ids"
	}
	out := map[string]bool{}
	for _, id := range ids {
		s, ok := id.(string)
		if !ok || strings.TrimSpace(s) == "" {
			return nil, "waive.tier is a list of site ids"
		}
		out[s] = true
	}
	return out, ""
}
