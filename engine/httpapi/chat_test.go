package httpapi_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/engine/conversation"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/identity"
)

var (
	thinking = conversation.Reply{Type: conversation.TypeAnswer, Text: "From <b>our</b> help:\nyes.",
		Citations: []conversation.Citation{{Document: "returns", Title: "Returns", Passage: "Yes."}}}
	result = conversation.Reply{Type: conversation.TypeResult, Text: "Sent.", Action: "order.lookup", Decision: "d_0",
		Data: map[string]any{"id": "1001"}}
)

func TestATurnReachesTheConversation(t *testing.T) {
	b := newBench(t, nil)
	var got conversation.Turn
	b.chat.turn = func(_ context.Context, turn conversation.Turn, emit func(conversation.Reply)) (conversation.Answer, error) {
		got = turn
		return conversation.Answer{Conversation: "cv_1", Identity: conversation.Shown{State: turn.Identity.State.String(), Name: turn.Identity.Visitor.Name()}}, nil
	}
	for _, c := range []struct {
		what, body string
		who        []string
		want       conversation.Turn
		state      identity.State
	}{
		{"nobody", `{"message":"hi"}`, nil, conversation.Turn{Message: "hi"}, identity.Absent},
		{"alex", `{"message":"hi","conversation":"cv_1"}`, signedIn("alex"), conversation.Turn{Message: "hi", Conversation: "cv_1"}, identity.Verified},
		{"expired", `{"conversation":"cv_1","confirm":"pa_1"}`, []string{"Authorization", "Bearer " + token("demo", "alex", -time.Second)},
			conversation.Turn{Conversation: "cv_1", Confirm: "pa_1"}, identity.Expired},
		{"garbled", `{"conversation":"cv_1","cancel":"pa_1"}`, []string{"Authorization", "Bearer"}, conversation.Turn{Conversation: "cv_1", Cancel: "pa_1"}, identity.Invalid},
		{"another site's", `{"conversation":"cv_1","resume":"pa_1"}`, []string{"Authorization", "Bearer " + token("demo-free", "alex", time.Minute)},
			conversation.Turn{Conversation: "cv_1", Resume: "pa_1"}, identity.Invalid},
		{"with escapes", `{"mess\u0061ge":"h\u0069 \"you\" \ud83d\ude00"}`, nil, conversation.Turn{Message: "hi \"you\" 😀"}, identity.Absent},
	} {
		a := b.post(chatPath, c.body, c.who...)
		want(t, c.what, a, 200, "")
		if got.Site == nil || got.Site.ID != "demo" || got.Identity.State != c.state {
			t.Errorf("%s: the turn is of site %v in state %s, want demo in %s", c.what, got.Site, got.Identity.State, c.state)
		}
		got.Site, got.Identity = nil, identity.Result{}
		if got != c.want {
			t.Errorf("%s: the turn is %+v, want %+v", c.what, got, c.want)
		}
		if !strings.Contains(a.body, `"replies":[]`) {
			t.Errorf("%s: no replies are not an empty list: %s", c.what, a.body)
		}
	}
	b.chat.turn = func(context.Context, conversation.Turn, func(conversation.Reply)) (conversation.Answer, error) {
		return conversation.Answer{}, &engine.Error{Code: "conversation_of_another", Message: "It is somebody else's."}
	}
	want(t, "somebody else's", b.post(chatPath, `{"message":"hi"}`), 409, "conversation_of_another")
	want(t, "somebody else's, as events", b.post(chatPath, `{"message":"hi"}`, "Accept", "text/event-stream"), 409, "conversation_of_another")
}

// stream opens an event stream and returns its lines as they come.
func (b *bench) stream(body string) (lines <-chan string, header http.Header) {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodPost, b.url+chatPath, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json;q=0.5, text/event-stream")
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	out := make(chan string)
	go func() {
		defer close(out)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			out <- s.Text()
		}
	}()
	return out, resp.Header
}

func TestRepliesStreamAsTheyAreKnown(t *testing.T) {
	b := newBench(t, nil)
	seen := make(chan struct{})
	b.chat.turn = func(_ context.Context, _ conversation.Turn, emit func(conversation.Reply)) (conversation.Answer, error) {
		emit(thinking)
		<-seen // the second reply is known only once the first has arrived
		emit(result)
		return conversation.Answer{Conversation: "cv_1", Identity: conversation.Shown{State: "absent"}, Replies: []conversation.Reply{thinking, result}}, nil
	}
	lines, header := b.stream(`{"message":"hi"}`)
	if header.Get("Content-Type") != "text/event-stream" || header.Get("X-Accel-Buffering") != "no" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", header)
	}
	var got []string
	for line := range lines {
		got = append(got, line)
		if len(got) == 3 {
			close(seen)
		}
	}
	want := []string{
		"event: reply", `data: {"type":"answer","text":"From \u003cb\u003eour\u003c/b\u003e help:\nyes.","citations":[{"document":"returns","title":"Returns","passage":"Yes."}]}`, "",
		"event: reply", `data: {"type":"result","text":"Sent.","action":"order.lookup","data":{"id":"1001"},"decision":"d_0"}`, "",
		"event: done", `data: {"conversation":"cv_1","identity":{"state":"absent"}}`, "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestAFailureInAStreamIsAnEvent(t *testing.T) {
	b := newBench(t, nil)
	b.chat.turn = func(_ context.Context, _ conversation.Turn, emit func(conversation.Reply)) (conversation.Answer, error) {
		emit(result)
		return conversation.Answer{}, &engine.Error{Code: engine.CodeAuditUnavailable, Message: "It cannot be recorded."}
	}
	lines, _ := b.stream(`{"message":"hi"}`)
	all := ""
	for line := range lines {
		all += line + "\n"
	}
	if !strings.Contains(all, "event: error\ndata: {\"type\":\"urn:vouchsafe:problem:audit_unavailable\"") || strings.Contains(all, "event: done") {
		t.Errorf("events:\n%s", all)
	}
}

func TestAReaderThatStopsReadingEndsItsTurn(t *testing.T) {
	b := newBench(t, nil)
	ended := make(chan struct{})
	b.chat.turn = func(ctx context.Context, _ conversation.Turn, emit func(conversation.Reply)) (conversation.Answer, error) {
		defer close(ended)
		big := conversation.Reply{Type: conversation.TypeFailed, Code: "x", Text: strings.Repeat("x", 1<<20)}
		for ctx.Err() == nil {
			emit(big)
		}
		return conversation.Answer{}, ctx.Err()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httpapi.HTTPServer(b.server.Public())
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body := `{"message":"hi"}`
	io.WriteString(conn, "POST "+chatPath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: 16\r\n\r\n"+body)
	io.ReadFull(conn, make([]byte, 1))
	conn.Close() // without reading the rest
	<-ended
}

func TestDemoPageSeesItsOwnDecisions(t *testing.T) {
	b := newBench(t, func(o *httpapi.Options) {
		o.Demo = &httpapi.Demo{Origin: "http://127.0.0.1:9999", Home: "http://127.0.0.1:9999/"}
	})
	if a := b.do("GET", "/", ""); a.status != 302 || a.header.Get("Location") != "http://127.0.0.1:9999/" {
		t.Errorf("GET /: %d %v", a.status, a.header)
	}
	const path = "/demo/decisions"
	b.post(decidePath, `{"action":"order.list"}`) // of no conversation
	a := b.post(path, `{"conversations":["","cv_unknown"]}`, "Origin", "http://127.0.0.1:9999")
	if a.status != 200 || a.body != `{"decisions":[]}` || a.header.Get("Access-Control-Allow-Origin") != "http://127.0.0.1:9999" {
		t.Errorf("of no conversation: %d %s", a.status, a.body)
	}
	want(t, "another page", b.post(path, `{"conversations":[]}`, "Origin", origin), 403, "origin_not_allowed")
	want(t, "too many", b.post(path, `{"conversations":["1","2","3","4","5","6","7","8","9"]}`), 400, "malformed_json")
	record(t, b, "cv_mine", "alex")
	record(t, b, "cv_mine", "")
	record(t, b, "cv_other", "jordan")
	a = b.post(path, `{"conversations":["cv_mine"]}`)
	if strings.Count(a.body, `"conversation":"cv_mine"`) != 2 || strings.Contains(a.body, "jordan") ||
		!strings.Contains(a.body, `"code":"identity_absent"`) || !strings.Contains(a.body, `"outcome":"done, 1 withheld: not_owner"`) {
		t.Errorf("of one conversation: %s", a.body)
	}
	if strings.Index(a.body, "identity_absent") > strings.Index(a.body, "alex@example.com") {
		t.Errorf("the newest does not come first: %s", a.body)
	}
}
