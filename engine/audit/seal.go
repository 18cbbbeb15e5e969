package audit

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/store"
)

// Tags of what is enciphered with a visitor's key.
const (
	sealedCause   = 1
	sealedProblem = 2
	sealedInput   = 3 // with what others' addresses were cut out of
	sealedCuts    = 4 // where: pairs of uvarints, bytes since the last cut and which person
	sealedKey     = 5 // an outcome's idempotency key
	sealedAct     = 6 // JSON of an act's subject and token id
)

// An enciphered field is the id of its key and the ciphertext; a key id alone is
// something that could not be enciphered.

// encrypt appends an enciphered field. What cannot be enciphered is replaced by
// the mark for that, never stored in clear.
func (k *personKey) encrypt(b []byte, tag byte, plain, bound []byte) []byte {
	var sealed []byte
	if k.aead != nil {
		var err error
		if sealed, err = k.aead.Encrypt(plain, bound); err != nil {
			sealed = nil
		}
	}
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(keyIDSize+len(sealed)))
	b = append(b, k.id[:]...)
	return append(b, sealed...)
}

// boundTo is what an enciphered field is bound to: it deciphers in no other
// place of the log. number tells the people of one record apart.
func boundTo(site string, kind Kind, id string, tag byte, number int) []byte {
	b := make([]byte, 0, 64+len(site)+len(id))
	b = append(b, "vouchsafe audit 2\x00"...)
	b = append(b, site...)
	b = append(b, 0, byte(kind), tag)
	b = binary.AppendUvarint(b, uint64(number))
	return append(b, id...)
}

// decrypt opens an enciphered field. why is "" when it could be.
// Its error is of keys that cannot be read at the moment, which says nothing of
// the field.
func (p *people) decrypt(field, bound []byte) (plain []byte, why string, err error) {
	if p.db == nil {
		return nil, UnreadableSealed, nil
	}
	if len(field) < keyIDSize {
		return nil, UnreadableDamaged, nil
	}
	if len(field) == keyIDSize {
		return nil, UnreadableNotKept, nil
	}
	k, err := p.byID(keyID(field[:keyIDSize]))
	switch {
	case engine.CodeOf(err) == engine.CodeAuditUnavailable:
		return nil, "", err
	case err != nil:
		return nil, UnreadableDamaged, nil
	case k == nil:
		return nil, UnreadableErased, nil
	}
	if plain, err = k.aead.Decrypt(field[keyIDSize:], bound); err != nil {
		return nil, UnreadableDamaged, nil
	}
	return plain, "", nil
}

// Sealer makes the stored form of records. It is the part of recording that
// goes on beside the writer, in the goroutine of whoever records.
type Sealer struct{ people *people }

// OpenSealer opens a Sealer without a log, with people's keys in a file of its
// own.
func OpenSealer(people string, master []byte) (*Sealer, error) {
	p, err := openPeople(people, master, store.Options{})
	return &Sealer{p}, err
}

// Decision appends the stored form of d to b.
func (s *Sealer) Decision(ctx context.Context, b []byte, d *Decision) ([]byte, error) {
	b, _, err := s.decision(ctx, b, d)
	return b, err
}

// Close closes the file of keys.
func (s *Sealer) Close() error { return s.people.close() }

// decision appends the stored form of d to b, and returns the key of whom it is
// about.
func (s *Sealer) decision(ctx context.Context, b []byte, d *Decision) ([]byte, *personKey, error) {
	var about engine.About
	var input []byte
	if d.Input != nil {
		about = d.Input.About()
		input = d.Input.AppendJSON(make([]byte, 0, 1024))
	}
	p := s.people
	subject := p.hash(bySubject, d.Site, about.Subject)
	key, err := s.visitor(ctx, d.Site, about, subject, d.Time)
	if err != nil {
		return b, nil, err
	}
	named, err := s.named(ctx, d.Site, about, input)
	if err != nil {
		return b, nil, err
	}

	b = start(b, KindDecision)
	b = appendText(b, tagSite, d.Site)
	b = appendText(b, tagID, d.ID)
	b = appendTime(b, tagTime, d.Time)
	var flags byte
	if d.Allow {
		flags |= flagAllow
	}
	if d.Asked {
		flags |= flagAsked
	}
	b = append(b, tagFlags, 1, flags)
	b = appendText(b, tagPolicy, d.Policy)
	known := true
	for _, r := range d.Reasons {
		b = appendText(b, tagReason, r.Code)
		known = known && r.Code != engine.CodeUnknownAction
	}
	for _, o := range d.Obligations {
		b = appendText(b, tagObligation, o.String())
	}
	b = appendText(b, tagParent, d.Parent)
	if known {
		b = appendText(b, tagAction, about.Action)
	}
	b = appendText(b, tagChannel, string(about.Channel))
	b = appendHash(b, tagSubject, subject)
	b = appendHash(b, tagConversation, p.hash(conversing, d.Site, about.Conversation))
	b = appendHash(b, tagToken, p.hash(byTokenID, d.Site, about.TokenID))
	for _, rule := range d.Rules {
		b = appendText(b, tagRule, rule)
	}

	cut := cutOut(input, named)
	plain := make([]byte, 0, len(cut.rest)+len(cut.cuts)+len(d.Cause)+len(d.Problem)+16)
	plain = appendText(plain, sealedCause, d.Cause)
	plain = appendText(plain, sealedProblem, d.Problem)
	if len(input) > 0 {
		plain = appendField(plain, sealedInput, cut.rest)
	}
	if len(cut.cuts) > 0 {
		plain = appendField(plain, sealedCuts, cut.cuts)
	}
	b = key.encrypt(b, tagVisitor, plain, boundTo(d.Site, KindDecision, d.ID, tagVisitor, 0))
	for i, n := range named {
		if n.key == nil {
			n.key = noKey
		}
		b = n.key.encrypt(b, tagPerson, cut.pieces[i], boundTo(d.Site, KindDecision, d.ID, tagPerson, i))
	}
	return b, key, nil
}

// visitor is the key of whom a decision is about: that of the token's subject,
// or the one that a site's anonymous visitors of a day share. Nobody can ask for
// the erasure of what no one can tell is theirs; their conversations' contents
// end with the site's retention, and what they typed of others is under the
// others' keys.
func (s *Sealer) visitor(ctx context.Context, site string, about engine.About, subject personID, at time.Time) (*personKey, error) {
	p := s.people
	if about.Subject == "" {
		if about.Email != "" {
			return p.keyOf(ctx, site, p.hash(byEmail, site, foldAddress(about.Email)), personID{})
		}
		return p.keyOf(ctx, site, p.hash(byDay, site, day(at)), personID{})
	}
	var address personID
	if about.Email != "" && !about.Unverified {
		address = p.hash(byEmail, site, foldAddress(about.Email))
	}
	return p.keyOf(ctx, site, subject, address)
}

// outcome appends the stored form of o. of finds the key of whom its decision is
// about, and is asked only when something is to be enciphered.
func (s *Sealer) outcome(b []byte, site string, o Outcome, of func() (*personKey, error)) ([]byte, error) {
	clear := o
	clear.Problem, clear.IdempotencyKey = "", ""
	if o.IdempotencyKey == o.Decision {
		clear.IdempotencyKey = o.Decision // the gate's own, and no word of the visitor's
	}
	body, err := json.Marshal(clear)
	if err != nil {
		return b, fmt.Errorf("encoding an outcome: %w", err)
	}
	b = start(b, KindOutcome)
	b = appendText(b, tagSite, site)
	b = appendText(b, tagID, o.Decision)
	b = appendTime(b, tagTime, o.Time)
	b = appendText(b, tagReason, o.Code)
	for i, code := range o.Withheld {
		if code != o.Code && !slices.Contains(o.Withheld[:i], code) {
			b = appendText(b, tagReason, code)
		}
	}
	b = appendField(b, tagBody, body)
	var plain []byte
	plain = appendText(plain, sealedProblem, o.Problem)
	if o.IdempotencyKey != clear.IdempotencyKey {
		plain = appendText(plain, sealedKey, o.IdempotencyKey)
	}
	if len(plain) == 0 {
		return b, nil
	}
	key, err := of()
	if err != nil {
		return b, err
	}
	return key.encrypt(b, tagVisitor, plain, boundTo(site, KindOutcome, o.Decision, tagVisitor, 0)), nil
}

// whom is what is enciphered of an act.
type whom struct {
	Subject string `json:"subject,omitempty"`
	TokenID string `json:"token_id,omitempty"`
}

// act appends the stored form of a.
func (s *Sealer) act(ctx context.Context, b []byte, a Act) ([]byte, error) {
	clear := a
	clear.Subject, clear.TokenID = "", ""
	body, err := json.Marshal(clear)
	if err != nil {
		return b, fmt.Errorf("encoding an act: %w", err)
	}
	p := s.people
	subject := p.hash(bySubject, a.Site, a.Subject)
	b = start(b, KindAct)
	b = appendText(b, tagSite, a.Site)
	b = appendText(b, tagID, a.ID)
	b = appendTime(b, tagTime, a.Time)
	b = appendHash(b, tagSubject, subject)
	b = appendHash(b, tagToken, p.hash(byTokenID, a.Site, a.TokenID))
	b = appendField(b, tagBody, body)
	if a.Subject == "" && a.TokenID == "" {
		return b, nil
	}
	key, err := s.visitor(ctx, a.Site, engine.About{Subject: a.Subject}, subject, a.Time)
	if err != nil {
		return b, err
	}
	plain, err := json.Marshal(whom{a.Subject, a.TokenID})
	if err != nil {
		return b, fmt.Errorf("encoding an act: %w", err)
	}
	return key.encrypt(b, tagVisitor, appendField(nil, sealedAct, plain), boundTo(a.Site, KindAct, a.ID, tagVisitor, 0)), nil
}

// openDecision reads a stored decision.
func (p *people) openDecision(f *form) (Record, error) {
	r := Record{Version: formVersion, ID: string(f.id), Time: f.at(), Allow: f.flags&flagAllow != 0, Asked: f.flags&flagAsked != 0,
		Reasons: texts(f.reasons), Obligations: texts(f.obligations), Policy: string(f.policy), Rules: texts(f.rules), Parent: string(f.parent),
		Action: string(f.action), Channel: engine.Channel(f.channel)}
	if f.visitor == nil {
		return r, nil
	}
	site := string(f.site)
	plain, why, err := p.decrypt(f.visitor, boundTo(site, KindDecision, r.ID, tagVisitor, 0))
	if err != nil {
		return r, err
	}
	if why != "" {
		r.Unreadable = why
		return r, nil
	}
	var cuts []byte
	err = fields(plain, func(tag byte, v []byte) error {
		switch tag {
		case sealedCause:
			r.Cause = string(v)
		case sealedProblem:
			r.Problem = string(v)
		case sealedInput:
			r.Input = v
		case sealedCuts:
			cuts = v
		default:
			return fmt.Errorf("an enciphered field %d is not known", tag)
		}
		return nil
	})
	if err != nil || len(cuts) == 0 {
		return r, err
	}
	pieces := make([][]byte, len(f.people))
	for i, field := range f.people {
		var why string
		if pieces[i], why, err = p.decrypt(field, boundTo(site, KindDecision, r.ID, tagPerson, i)); err != nil {
			return r, err
		} else if why != "" {
			pieces[i], r.Masked = nil, why
		}
	}
	r.Input, err = putBack(r.Input, cuts, pieces)
	return r, err
}

func texts(bs [][]byte) []string {
	if len(bs) == 0 {
		return nil
	}
	out := make([]string, len(bs))
	for i, b := range bs {
		out[i] = string(b)
	}
	return out
}

// openOutcome reads a stored outcome.
func (p *people) openOutcome(f *form) (*Outcome, error) {
	o := new(Outcome)
	if err := json.Unmarshal(f.body, o); err != nil {
		return nil, fmt.Errorf("reading an outcome: %w", err)
	}
	o.Version = formVersion
	if f.visitor == nil {
		return o, nil
	}
	plain, why, err := p.decrypt(f.visitor, boundTo(string(f.site), KindOutcome, string(f.id), tagVisitor, 0))
	if err != nil {
		return nil, err
	}
	if why != "" {
		o.Problem = "(" + why + ")"
		return o, nil
	}
	return o, fields(plain, func(tag byte, v []byte) error {
		switch tag {
		case sealedProblem:
			o.Problem = string(v)
		case sealedKey:
			o.IdempotencyKey = string(v)
		default:
			return fmt.Errorf("an enciphered field %d is not known", tag)
		}
		return nil
	})
}

// openAct reads a stored act.
func (p *people) openAct(f *form) (*Act, error) {
	a := new(Act)
	if err := json.Unmarshal(f.body, a); err != nil {
		return nil, fmt.Errorf("reading an act: %w", err)
	}
	a.Version = formVersion
	if f.visitor == nil {
		return a, nil
	}
	plain, why, err := p.decrypt(f.visitor, boundTo(a.Site, KindAct, a.ID, tagVisitor, 0))
	if err != nil {
		return nil, err
	}
	if why != "" {
		a.Subject = "(" + why + ")"
		return a, nil
	}
	return a, fields(plain, func(tag byte, v []byte) error {
		if tag != sealedAct {
			return fmt.Errorf("an enciphered field %d is not known", tag)
		}
		var w whom
		if err := json.Unmarshal(v, &w); err != nil {
			return errors.New("an act's subject is damaged")
		}
		a.Subject, a.TokenID = w.Subject, w.TokenID
		return nil
	})
}
