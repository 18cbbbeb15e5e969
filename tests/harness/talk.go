package harness

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Response is one HTTP answer, read.
type Response struct {
	Status int // 0 when there was none
	Header http.Header
	Raw    []byte
}

// Turn is one turn of a chat.
type Turn struct {
	Message      string `json:"message,omitempty"`
	Conversation string `json:"conversation,omitempty"`
	Confirm      string `json:"confirm,omitempty"`
	Cancel       string `json:"cancel,omitempty"`
	Resume       string `json:"resume,omitempty"`
}

// Reply is one reply of a turn.
type Reply struct {
	Type, Text, Action, Code, Decision string
	Data                               map[string]any
	URL, Resume                        string
	Pending, Summary                   string
	ExpiresAt                          time.Time `json:"expires_at"`
	Options                            []struct{ Label, Value string }
	Citations                          []struct{ Document, Title, URL, Passage string }
}

// Answer is what a turn was answered.
type Answer struct {
	Response
	Conversation string
	Identity     struct{ State, Name string }
	Replies      []Reply
}

// Types lists the replies' types, separated by spaces.
func (a Answer) Types() string {
	var out []string
	for _, r := range a.Replies {
		out = append(out, r.Type)
	}
	return strings.Join(out, " ")
}

// Last is the last reply, the zero Reply when there is none.
func (a Answer) Last() Reply {
	if len(a.Replies) == 0 {
		return Reply{}
	}
	return a.Replies[len(a.Replies)-1]
}

// Acted is what an action was answered: data and decision, or a problem.
type Acted struct {
	Response
	Decision, Code, Detail   string
	Data                     map[string]any
	Reasons                  []struct{ Code, Message string }
	Pending, Action, Summary string
}

// Decided is what a question about an action was answered.
type Decided struct {
	Response
	Decision    string
	Allow       bool
	Reasons     []struct{ Code, Message string }
	Obligations []struct{ Kind, Argument string }
	Policy      string
	Code        string // of a problem
}

// Do sends a request with a JSON body, or none when body is nil, and reads what
// comes back. token is "" for nobody. header is name, value, name, value. It may
// be called from any goroutine; the zero Response means that nothing came back,
// which is not itself an error.
func (s *Server) Do(t testing.TB, method, path, token string, body any, header ...string) Response {
	t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			t.Error(err)
			return Response{}
		}
		r = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, r)
	if err != nil {
		t.Error(err)
		return Response{}
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		t.Logf("%s %s: %v", method, path, err)
		return Response{}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Logf("%s %s: %v", method, path, err)
		return Response{}
	}
	return Response{resp.StatusCode, resp.Header, raw}
}

// Chat takes a turn at a site.
func (s *Server) Chat(t testing.TB, siteID, token string, turn Turn) Answer {
	t.Helper()
	a := Answer{Response: s.Do(t, http.MethodPost, "/v1/sites/"+siteID+"/chat", token, turn)}
	decode(t, a.Raw, &a)
	return a
}

// Act asks for an action; confirm is "" or the pending action to confirm.
func (s *Server) Act(t testing.TB, siteID, token, action string, args map[string]any, confirm string, header ...string) Acted {
	t.Helper()
	body := map[string]any{"args": args}
	if args == nil {
		body["args"] = map[string]any{}
	}
	if confirm != "" {
		body["confirm"] = confirm
	}
	a := Acted{Response: s.Do(t, http.MethodPost, "/v1/sites/"+siteID+"/actions/"+action, token, body, header...)}
	decode(t, a.Raw, &a)
	return a
}

// Decide asks about an action without acting; email is "" or the asserted
// target.
func (s *Server) Decide(t testing.TB, siteID, token, action string, args map[string]any, email string) Decided {
	t.Helper()
	body := map[string]any{"action": action}
	if args != nil {
		body["args"] = args
	}
	if email != "" {
		body["target"] = map[string]any{"email": email}
	}
	d := Decided{Response: s.Do(t, http.MethodPost, "/v1/sites/"+siteID+"/decisions", token, body)}
	decode(t, d.Raw, &d)
	return d
}

func decode(t testing.TB, raw []byte, into any) {
	t.Helper()
	if len(raw) == 0 {
		return
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Errorf("reading an answer: %v\n%s", err, raw)
	}
}
