package connectors

import (
	"fmt"
	"strings"
	"testing"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
)

// What a write's reply leaves open is not called undone: a wait that was over, a
// key that is in use. The manifest may say otherwise, and more.
func TestWhatAWriteLeavesOpen(t *testing.T) {
	undone, open := engine.CodeConnectorFailed, engine.CodeOutcomeUnknown
	tests := []struct {
		name, connector, response string
		status                    int
		body, want                string
	}{
		{"408", "", "", 408, "", open},
		{"409", "", "", 409, "", open},
		{"425", "", "", 425, "", open},
		{"499", "", "", 499, "", open},
		{"400", "", "", 400, "", undone},
		{"412", "", "", 412, "", undone},
		{"422", "", "", 422, "", undone},
		{"423", "", "", 423, "", undone},
		{"429", "", "", 429, "", undone},
		{"409 of a system without keys", ", idempotency_header: none", "", 409, "", undone},
		{"408 of a system without keys", ", idempotency_header: none", "", 408, "", open},
		{"409 that the manifest knows", "", "refused: [409]", 409, "", undone},
		{"408 that the manifest knows", "", "refused: [409]", 408, "", open},
		{"400, no longer refused", "", "refused: [409]", 400, "", undone},
		{"404 that is none", "", "not_found: [409]", 409, "", engine.CodeNotFound},
		{"unknown by what it says", "", `unknown: ['.error == "in_progress"'], refused: [409]`, 409, `{"error": "in_progress"}`, open},
		{"409 that says something else", "", `unknown: ['.error == "in_progress"'], refused: [409]`, 409, `{"error": "shipped"}`, undone},
		{"unknown before done", "", `unknown: ['.error == "in_progress"']`, 200, `{"error": "in_progress"}`, open},
		{"unknown of its own only", "", "unknown: [423]", 423, "", open},
		{"and not the others", "", "unknown: [423]", 409, "", undone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.Replace(fmt.Sprintf(cancel, tt.response), "connection: c", "connection: c"+tt.connector, 1)
			reply := provider.Reply{Status: tt.status, ContentType: "application/json", Body: []byte(tt.body)}
			if tt.body == "" {
				reply.Body = []byte("{}")
			}
			_, err := through(t, src, cancelling(&reply), "order.cancel", `{"order_id": "1001"}`)
			if engine.CodeOf(err) != tt.want {
				t.Errorf("%d %s: %v, want %s", tt.status, tt.body, err, tt.want)
			}
		})
	}
}

const awkward = `connector: {name: air, kind: rest, connection: c}
actions:
  trip.show:
    title: Show a trip
    personal: true
    risk: read
    args: {type: object, required: [locator, surname], properties: {locator: {type: string}, surname: {type: string}}}
    request: {method: GET, path: "/trips/{locator}", query: {name: "{surname}"}, headers: {X-For: "{pinned.email}"}}
    response: {records: .trip, id: .id, owner: {any_email: ".mails[]"}, fields: [id]}
  trip.list:
    title: List trips
    personal: true
    risk: read
    request: {method: GET, path: /trips}
    response: {records: ".trips[]", id: .id, owner: {any_subject: ".members[]"}, fields: [id], not_found: ['.code == "NONE"']}
  trip.seat:
    title: Choose a seat
    personal: true
    risk: write
    args: {type: object, required: [locator, surname], properties: {locator: {type: string}, surname: {type: string}}}
    resource: {locator: trip.show}
    steps:
      - find: trip
        request: {method: GET, path: "/trips/{locator}"}
        response: {records: .trip, id: .id, owner: {any_email: ".mails[]"}, etag: version, fields: [id]}
    request: {method: PUT, path: "/trips/{locator}/seat", headers: {If-Match: "{steps.trip.version}", X-Fixed: "1"}}
    follow:
      id: .job
      request: {method: GET, path: "/jobs/{job}"}
      done: '.state == "done"'
      refused: '.state == "no"'
    response: {}
`

// The near misses of what awkward systems need.
func TestAwkwardNearMisses(t *testing.T) {
	if err := load(awkward); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"an argument in a header", `{X-For: "{pinned.email}"}`, `{X-For: "{surname}"}`, "header X-For: {surname} is none of {pinned.email}, {pinned.subject} and {steps.NAME.FIELD}"},
		{"a name in a header", `{X-For: "{pinned.email}"}`, `{X-For: "{pinned.name}"}`, "header X-For: {pinned.name} is none of"},
		{"something beside it", `{X-For: "{pinned.email}"}`, `{X-For: "user {pinned.email}"}`, "stands alone in a header"},
		{"for every request", "connection: c}", `connection: c, headers: {X-For: "{pinned.email}"}}`, "write it in that request's headers"},
		{"a slip in a step's field", "{steps.trip.version}", "{steps.trip.verson}", `"verson" is not one of the fields of step trip (did you mean "version"?)`},
		{"a content type that changes", "X-Fixed: \"1\"", `Content-Type: "{steps.trip.id}"`, "it is always the same"},
		{"the key's header", "X-Fixed: \"1\"", `Idempotency-Key: "{steps.trip.id}"`, "carries the idempotency key"},
		{"an etag of a field's name", "etag: version, fields: [id]", "etag: id, fields: [id]", `"id" is to be a name`},
		{"an etag of many", "      - find: trip\n", "      - find: trip\n        many: true\n", "an etag is of one reply"},
		{"an etag of the request", "    response: {}", "    response: {records: .trip, owner: .mail, etag: version}", "an etag is what a step finds"},
		{"two owners", `owner: {any_email: ".mails[]"}, fields: [id]}`, `owner: {any_email: ".mails[]", email: .mail}, fields: [id]}`, "give one of email, subject, any_email"},
		{"a proof that lacks something", "required: [locator, surname], properties: {locator: {type: string}, surname: {type: string}}}\n    resource", "required: [locator], properties: {locator: {type: string}, surname: {type: string}}}\n    resource", `"trip.show" also requires "surname", which nothing gives it; have a required argument of that name here too`},
		{"a follow of a read", "    response: {records: \".trips[]\"", "    follow: {request: {method: GET, path: /x}, done: .ok}\n    response: {records: \".trips[]\"", "this only reads"},
		{"a follow that changes", `{method: GET, path: "/jobs/{job}"}`, `{method: POST, path: "/jobs/{job}"}`, "only a GET asks"},
		{"a follow without an end", "      done: '.state == \"done\"'\n", "", "follow: done is missing"},
		{"a job nobody names", "      id: .job\n", "", "say what it stands for"},
		{"a job nobody asks for", "/jobs/{job}", "/jobs/last", "have {job} as a segment"},
		{"two jobs", "      id: .job\n", "      id: .job\n      location: true\n", "{job} is either id"},
		{"a follow about another", `path: "/jobs/{job}"`, `path: "/jobs/{job}/{surname}"`, `"surname" says what is changed, and nothing proves`},
		{"too patient", "      id: .job\n", "      id: .job\n      times: 100\n", "times is how often"},
		{"too slow", "      id: .job\n", "      id: .job\n      every: 20s\n", "every is at most 10s"},
		{"a slip", "      id: .job\n", "      id: .job\n      evry: 1s\n", `unknown key "evry" (did you mean "every"?)`},
		{"a job outside of it", `path: "/trips/{locator}/seat"`, `path: "/trips/{locator}/{job}"`, "{job} is not an argument"},
		{"unknown of a read", "not_found: ['.code == \"NONE\"']", "unknown: [409]", "unknown is for what changes something"},
		{"unknown of a step", "etag: version,", "etag: version, unknown: [409],", "unknown is for what changes something"},
	} {
		src := strings.Replace(awkward, tt.old, tt.new, 1)
		if src == awkward {
			t.Errorf("%s: the manifest does not hold %q", tt.name, tt.old)
			continue
		}
		if err := load(src); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "m.yaml:") {
			t.Errorf("%s: %v\nwant %q", tt.name, err, tt.want)
		}
	}
}

// A value by which systems find somebody is one where the request says whose
// record is changed, and nowhere else.
func TestReachesAreValuesBelowARecord(t *testing.T) {
	for _, name := range []string{"phone", "phone_number", "address", "mobile", "shippingAddress"} {
		text := taking(name+": {type: string}", name)
		if err := load(write(text + body(toPin, ".args"))); err != nil {
			t.Errorf("%s of a customer whom the path names: %v", name, err)
		}
		err := load(write(text + body("method: POST, path: /points/redeem", "{"+name+": .args."+name+", by: .pinned.email}")))
		if err == nil || !strings.Contains(err.Error(), "nothing says what") {
			t.Errorf("%s, which alone may say whose points are redeemed: %v", name, err)
		}
		if err := load(write(text + "    not_a_record: [" + name + "]\n" + body("method: POST, path: /points/redeem", "{"+name+": .args."+name+", by: .pinned.email}"))); err != nil {
			t.Errorf("%s that the manifest vouches for: %v", name, err)
		}
	}
}

// What a step's reply says goes into a header as it is, or the request is not
// made.
func TestHeadersFromAStep(t *testing.T) {
	trip := []byte(`{"trip": {"id": "T1", "version": "not this", "mails": ["sam@example.com", "alex@example.com"]}}`)
	for _, tt := range []struct {
		etag, code string
		job        string
	}{
		{`"v1"`, "", `{"state": "done"}`},
		{`W/"v1"`, "", `{"state": "done"}`},
		{"", engine.CodeConnectorFailed, ""},
		{"v1\r\nX-Evil: 1", engine.CodeConnectorFailed, ""},
		{`"v1"`, engine.CodeConnectorFailed, `{"state": "no"}`},
		{`"v1"`, engine.CodeOutcomeUnknown, `{"state": "later"}`},
		{`"v1"`, engine.CodeOutcomeUnknown, `done`},
	} {
		f := &far{}
		f.do = func(c provider.Call) (*provider.Reply, error) {
			switch c.Method + " " + c.Path {
			case "GET /trips/T1":
				return &provider.Reply{Status: 200, ContentType: "application/json", Body: trip, ETag: tt.etag}, nil
			case "PUT /trips/T1/seat":
				return &provider.Reply{Status: 202, ContentType: "application/json", Body: []byte(`{"job": "J1"}`)}, nil
			case "GET /jobs/J1":
				return ok(tt.job)
			}
			return &provider.Reply{Status: 404}, nil
		}
		_, err := through(t, awkward, f, "trip.seat", `{"locator": "T1", "surname": "Lo"}`)
		if engine.CodeOf(err) != tt.code {
			t.Errorf("%q, %s: %v, want %q", tt.etag, tt.job, err, tt.code)
		}
		puts, polls := 0, 0
		for _, c := range f.sent {
			switch {
			case c.Method == "PUT":
				puts++
				if c.Headers["If-Match"] != tt.etag || c.Headers["X-Fixed"] != "1" {
					t.Errorf("the change has the headers %v, want the etag %s", c.Headers, tt.etag)
				}
			case strings.HasPrefix(c.Path, "/jobs"):
				polls++
			}
		}
		if want := map[bool]int{true: 1}[tt.job != ""]; puts != want || polls > defaultFollows {
			t.Errorf("%q, %s: %d changes, asked %d times; want %d and at most %d", tt.etag, tt.job, puts, polls, want, defaultFollows)
		}
		if f.calls[0] != "GET /trips/T1?name=Lo " || f.sent[0].Headers["X-For"] != "alex@example.com" {
			t.Errorf("the proof asked %s with %v", f.calls[0], f.sent[0].Headers)
		}
	}
}

// A reply's location says where to ask, on the path that the manifest knows.
func TestFollowByLocation(t *testing.T) {
	src := strings.Replace(awkward, "      id: .job\n", "      location: true\n", 1)
	for location, want := range map[string]string{
		"https://air.example/api/jobs/J1": "", "/jobs/J1": "", "/jobs/J1?x=1": "",
		"": engine.CodeOutcomeUnknown, "/other/J1": engine.CodeOutcomeUnknown, "/jobs/..": engine.CodeOutcomeUnknown,
		"/jobs/a%2Fb": engine.CodeOutcomeUnknown, "/jobs/": engine.CodeOutcomeUnknown,
	} {
		f := &far{}
		f.do = func(c provider.Call) (*provider.Reply, error) {
			switch {
			case c.Method == "PUT":
				return &provider.Reply{Status: 202, Location: location}, nil
			case c.Path == "/jobs/J1":
				return ok(`{"state": "done"}`)
			}
			return &provider.Reply{Status: 200, ContentType: "application/json", ETag: `"v"`, Body: []byte(`{"trip": {"id": "T1", "mails": ["alex@example.com"]}}`)}, nil
		}
		if _, err := through(t, src, f, "trip.seat", `{"locator": "T1", "surname": "Lo"}`); engine.CodeOf(err) != want {
			t.Errorf("%q: %v, want %q", location, err, want)
		}
	}
}

// One of several owners is enough, and none of them is not; a list that the
// system says it has not is empty.
func TestAnyOwner(t *testing.T) {
	for reply, want := range map[string]int{
		`{"trips": [{"id": 1, "members": ["c-1"]}, {"id": 2, "members": [7, "c-1"]}, {"id": 3, "members": ["c-2"]}]}`:                            2,
		`{"trips": [{"id": 1, "members": []}, {"id": 2}, {"id": 3, "members": [null, "", {"c-1": 1}, ["c-1"], true]}, {"id": 4, "members": 7}]}`: 0,
		`{"code": "NONE"}`: 0,
	} {
		res, err := through(t, awkward, &far{do: func(provider.Call) (*provider.Reply, error) { return ok(reply) }}, "trip.list", `{}`)
		if err != nil || len(res.Records) != want {
			t.Errorf("%s: %v, %v; want %d", reply, res.Records, err, want)
		}
	}
}
