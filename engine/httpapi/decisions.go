package httpapi

import (
	"net/http"
	"strconv"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// decide answers what would be decided, and does nothing.
func decide(x *exchange) error {
	var in engine.Intent
	err := x.decode(func(d *document, name string) (err error) {
		switch name {
		case "action":
			in.Action, err = d.text()
		case "args":
			in.Args, err = d.values()
		case "target":
			return d.object(func(d *document, name string) error {
				if name != "email" {
					return unknownMember(name)
				}
				email, err := d.text()
				in.Asserted.Emails = []string{email}
				return err
			})
		default:
			return unknownMember(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	if in.Action == "" {
		return &problem{code: codeInvalidRequest, detail: "The field \"action\" is missing."}
	}
	said, err := x.s.o.Gate.Ask(x.r.Context(), gate.Request{
		Site: x.site.gate, Identity: x.identity, Intent: in, Channel: engine.ChannelAction,
	})
	if err != nil {
		return err
	}
	b := append(x.out[:0], `{"decision":`...)
	b = appendString(b, said.ID)
	b = append(b, `,"allow":`...)
	b = strconv.AppendBool(b, said.Allow)
	b = append(b, `,"reasons":`...)
	b = appendReasons(b, said.Reasons)
	b = append(b, `,"obligations":`...)
	b = appendObligations(b, said.Obligations)
	b = append(b, `,"policy":`...)
	b = appendString(b, said.Policy)
	x.out = append(b, '}')
	return x.json(http.StatusOK)
}
