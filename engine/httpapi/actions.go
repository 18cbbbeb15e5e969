package httpapi

import (
	"errors"
	"net/http"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
)

// listActions shows the actions this caller may see.
func listActions(x *exchange) error {
	switch x.identity.State {
	case identity.Absent:
		x.out = append(x.out[:0], x.site.publicActions...)
	case identity.Verified:
		x.out = append(x.out[:0], x.site.allActions...)
	case identity.Expired:
		return &problem{code: engine.CodeIdentityExpired, detail: "The token has expired. Send a fresh one."}
	case identity.Revoked:
		return &problem{code: engine.CodeIdentityRevoked, detail: "This sign-in has been ended. Sign in again."}
	default:
		return &problem{code: engine.CodeIdentityInvalid, detail: "The token is not accepted here."}
	}
	return x.json(http.StatusOK)
}

// performAction takes one action down the gate's path.
func performAction(x *exchange) error {
	r := gate.Request{
		Site: x.site.gate, Identity: x.identity, Channel: engine.ChannelAction,
		Intent: engine.Intent{Action: x.c.Param("action")},
	}
	var yes string
	err := x.decode(func(d *document, name string) (err error) {
		switch name {
		case "args":
			r.Intent.Args, err = d.values()
		case "confirm":
			yes, err = d.text()
		default:
			return unknownMember(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	values, given := x.r.Header["Idempotency-Key"]
	if !given {
		_, err := x.act(r, yes)
		if err != nil {
			return err
		}
		return x.json(http.StatusOK)
	}
	if len(values) != 1 || !isKey(values[0]) {
		return &problem{code: codeInvalidRequest, detail: "An Idempotency-Key is 1 to 255 visible ASCII characters."}
	}
	return x.once(r, yes, values[0])
}

// act performs r and leaves the response in x.out. What it returns on an error
// is a problem that names the decision, if there was one.
func (x *exchange) act(r gate.Request, yes string) (decision string, err error) {
	res, err := x.s.o.Act.Do(x.r.Context(), r, yes)
	decision = res.Decision.ID
	switch {
	case err != nil:
		p := problemOf(err)
		p.decision = decision
		if p.code == engine.CodeNotFound {
			// Whoever says so, and whether it is missing or somebody else's.
			p.detail = "There is no such record in this customer's account."
		}
		return decision, p
	case !res.Decision.Allow:
		p := x.refusal(&res.Decision)
		if a, ok := r.Site.Action(r.Intent.Action); ok && p.code == engine.CodeInvalidArguments {
			// The gate tells visitors in plain words; a program wants the name.
			if fault := a.Args.Validate(r.Intent.Args); fault != nil {
				p.detail = fault.Error()
			}
		}
		return decision, p
	case res.Pending:
		if res.Issued == nil {
			return decision, errors.New("a pending action was not issued")
		}
		return decision, &problem{code: engine.CodeConfirmationRequired, decision: decision, pending: res.Issued,
			detail: "This needs the customer's confirmation: show them the summary, then send the same request with its id as \"confirm\"."}
	}
	b := append(x.out[:0], `{"decision":`...)
	b = appendString(b, decision)
	b = append(b, `,"data":`...)
	data := len(b)
	if b, err = appendData(b, &res.Result); err != nil {
		if res.Action.Risk == engine.Read {
			return decision, err
		}
		// It is done, whatever its record looks like.
		x.s.o.Logger.ErrorContext(x.r.Context(), "a record could not be encoded", "decision", decision)
		b = append(b[:data], "{}"...)
	}
	x.out = append(b, '}')
	return decision, nil
}

// appendData adds what was released: a record's fields, a list of them, which
// says where there is more, or an empty object.
func appendData(b []byte, res *gate.Result) ([]byte, error) {
	if !res.Action.List {
		if len(res.Records) == 0 {
			return append(b, "{}"...), nil
		}
		return appendValue(b, res.Records[0].Fields)
	}
	b = append(b, `{"records":[`...)
	for i, rec := range res.Records {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, rec.Fields); err != nil {
			return b, err
		}
	}
	if res.Partial {
		return append(b, `],"partial":true}`...), nil
	}
	return append(b, "]}"...), nil
}
