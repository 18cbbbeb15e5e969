package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vouchsafe/cmd/vouchsafe/demo"
)

// freePort sets a variable to a port that nobody listens on.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	ts.Check(l.Close())
}

// await waits until a file is there.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

// say takes one turn of a chat with the demo at PORT: `chat TOKENFILE MESSAGE`.
func say(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: chat TOKENFILE MESSAGE")
	}
	body, err := json.Marshal(map[string]string{"message": args[1]})
	ts.Check(err)
	req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:"+ts.Getenv("PORT")+"/v1/sites/"+demo.SiteID+"/chat", bytes.NewReader(body))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(args[0])))
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("chat %q: status %d: %s", args[1], resp.StatusCode, got)
	}
}

// newestDecision sets a variable to the id of the first decision that the last
// command listed as JSON, and CONVERSATION to that of its conversation.
func newestDecision(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: decision NAME")
	}
	var e struct {
		Decision struct {
			ID    string
			Input struct{ Conversation struct{ ID string } }
		}
	}
	ts.Check(json.NewDecoder(strings.NewReader(ts.ReadFile("stdout"))).Decode(&e))
	ts.Setenv(args[0], e.Decision.ID)
	ts.Setenv("CONVERSATION", e.Decision.Input.Conversation.ID)
}

// shadowed waits until the running gate's candidate was asked at least so many
// questions: `shadowed N`.
func shadowed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: shadowed N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	client, err := dialAdmin(context.Background(), ts.MkAbs("data"))
	ts.Check(err)
	defer client.close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var v shadowView
		ts.Check(client.get(context.Background(), shadowPath, nil, &v))
		if v.Running && v.Report.Waiting == 0 && v.Report.Compared >= want {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the candidate was not asked: %+v", v.Report)
		}
	}
}
