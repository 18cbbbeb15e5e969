package httpapi

import (
	"net/http"

	"vouchsafe/engine"
	"vouchsafe/engine/identity"
)

// signOut makes the token that is shown worthless and deletes the conversation
// that is named. To sign out twice is to have signed out.
func signOut(x *exchange) error {
	if x.s.o.Revoke == nil || x.s.o.End == nil {
		return &problem{code: codeUnknownRoute, detail: "Nobody can sign out here."}
	}
	conversation := ""
	if len(x.in) > 0 {
		err := x.decode(func(d *document, name string) (err error) {
			if name != "conversation" {
				return unknownMember(name)
			}
			conversation, err = d.text()
			return err
		})
		if err != nil {
			return err
		}
		if len(conversation) > maxHandle {
			return &problem{code: codeInvalidRequest, detail: "That is not an id from here."}
		}
	}
	subject := ""
	switch who := x.identity; who.State {
	case identity.Verified:
		if err := x.s.o.Revoke(x.r.Context(), who.Visitor); err != nil {
			return err
		}
		subject = who.Visitor.Subject()
	case identity.Revoked:
		subject = who.Revoked.Subject()
	case identity.Expired:
		subject = who.Expired.Subject // there is nothing left of the token to revoke
	case identity.Absent:
		return &problem{code: engine.CodeIdentityAbsent, detail: "There is no token to sign out with."}
	default:
		return &problem{code: engine.CodeIdentityInvalid, detail: "The token is not accepted here."}
	}
	if conversation != "" {
		if err := x.s.o.End(x.r.Context(), x.site.id, conversation, subject); err != nil {
			return err
		}
	}
	x.w.WriteHeader(http.StatusNoContent)
	x.w.WriteHeaderNow()
	return nil
}
