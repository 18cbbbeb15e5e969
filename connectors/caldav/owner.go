package caldav

import (
	"net/url"
	"strings"

	"github.com/emersion/go-ical"

	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
)

// ownership is how a calendar says whose an appointment is.
type ownership struct {
	property string   // ATTENDEE, or one of the calendar's own such as X-CUSTOMER
	subject  bool     // the property holds the customer's subject rather than their e-mail address
	staff    []string // addresses and "@domains" of attendees who are no customers
}

const attendee = "ATTENDEE"

// owner is the one customer of an event. An event with several has none: what
// one of them may do to it, the calendar does not say.
func (o ownership) owner(c *ical.Component) gate.Owner {
	if o.property != attendee {
		ps := c.Props.Values(o.property)
		if len(ps) != 1 {
			return gate.Owner{}
		}
		value, err := ps[0].Text()
		switch {
		case err != nil:
			return gate.Owner{}
		case o.subject:
			return gate.Owner{Subject: value}
		}
		if strings.HasPrefix(strings.ToLower(value), "mailto:") {
			value = addressOf(value)
		}
		return gate.Owner{Email: value}
	}
	organizer := ""
	if p := c.Props.Get(ical.PropOrganizer); p != nil {
		organizer = addressOf(p.Value)
	}
	found := ""
	for _, p := range c.Props.Values(attendee) {
		switch strings.ToUpper(p.Params.Get(ical.ParamCalendarUserType)) {
		case "RESOURCE", "ROOM":
			continue
		}
		address := addressOf(p.Value)
		if address != "" && (same(address, organizer) || o.isStaff(address)) {
			continue
		}
		if address == "" || found != "" && !same(address, found) {
			return gate.Owner{} // somebody who cannot be told apart, or a second customer
		}
		if found == "" {
			found = address
		}
	}
	return gate.Owner{Email: found}
}

// addressOf is the address of a mailto URI (RFC 6068), "" when it is none.
func addressOf(uri string) string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(uri), ":")
	if !ok || !strings.EqualFold(scheme, "mailto") || strings.Contains(rest, "?") {
		return ""
	}
	address, err := url.PathUnescape(rest)
	if err != nil {
		return ""
	}
	return address
}

// same reports two spellings of one mailbox. It only ever makes customers fewer.
func same(a, b string) bool {
	canonical, err := identity.CanonicalEmail(b, true)
	return err == nil && identity.SameTyped(a, canonical)
}

func (o ownership) isStaff(address string) bool {
	at := strings.LastIndexByte(address, '@')
	for _, s := range o.staff {
		if strings.HasPrefix(s, "@") && at >= 0 && same("x"+address[at:], "x"+s) || same(address, s) {
			return true
		}
	}
	return false
}

// needle is what an event of the customer holds in the property, for a server
// to look for.
func (o ownership) needle(pinned gate.Pinned) string {
	if o.subject {
		return pinned.Subject
	}
	return pinned.Email
}
