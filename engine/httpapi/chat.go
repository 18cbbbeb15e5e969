package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vouchsafe/engine/conversation"
)

// Bounds of a turn.
const (
	maxMessage = 4000 // bytes
	maxHandle  = 64   // bytes of a conversation's or pending action's id
	turnTime   = 45 * time.Second
)

// chat takes one turn of a conversation.
func chat(x *exchange) error {
	t := conversation.Turn{Site: x.site.gate, Identity: x.identity}
	asked := 0 // which of the four ways to continue were given
	err := x.decode(func(d *document, name string) (err error) {
		switch name {
		case "message":
			t.Message, err = d.text()
			asked++
		case "conversation":
			t.Conversation, err = d.text()
		case "confirm":
			t.Confirm, err = d.text()
			asked++
		case "cancel":
			t.Cancel, err = d.text()
			asked++
		case "resume":
			t.Resume, err = d.text()
			asked++
		default:
			return unknownMember(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := checkTurn(&t, asked); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), turnTime)
	defer cancel()
	if wantsEvents(x.r.Header["Accept"]) {
		return x.streamTurn(ctx, cancel, t)
	}
	answer, err := x.s.o.Chat.Turn(ctx, t, nil)
	if err != nil {
		return err
	}
	if answer.Replies == nil {
		answer.Replies = []conversation.Reply{}
	}
	if x.out, err = appendValue(x.out[:0], answer); err != nil {
		return err
	}
	return x.json(http.StatusOK)
}

func checkTurn(t *conversation.Turn, asked int) error {
	handle := t.Confirm + t.Cancel + t.Resume // at most one is set
	switch {
	case asked != 1:
		return &problem{code: codeInvalidRequest, detail: "Send exactly one of message, confirm, cancel and resume."}
	case len(t.Message) > maxMessage:
		return &problem{code: codeMessageTooLong, detail: "The message is longer than " + strconv.Itoa(maxMessage) + " bytes."}
	case handle == "" && strings.TrimSpace(t.Message) == "":
		return &problem{code: codeInvalidRequest, detail: "The message, or the id to continue with, is empty."}
	case handle != "" && t.Conversation == "":
		return &problem{code: codeInvalidRequest, detail: "The conversation is missing: what is confirmed, cancelled or resumed belongs to one."}
	case len(handle) > maxHandle || len(t.Conversation) > maxHandle:
		return &problem{code: codeInvalidRequest, detail: "That is not an id from here."}
	}
	return nil
}

// wantsEvents reports whether a client accepts a stream of events.
func wantsEvents(accept []string) bool {
	for _, line := range accept {
		for kind := range strings.SplitSeq(line, ",") {
			kind, params, _ := strings.Cut(kind, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
				return strings.ReplaceAll(params, " ", "") != "q=0"
			}
		}
	}
	return false
}
