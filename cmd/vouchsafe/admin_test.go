package main

import (
	"encoding/json"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"vouchsafe/engine/admin"
)

// admintoken makes an admin token and writes it to a file: `admintoken FILE
// FLAGS...`, with the flags of `vouchsafe admin token create`.
func admintoken(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: admintoken FILE FLAGS...")
	}
	ts.Check(ts.Exec("vouchsafe", append([]string{"admin", "token", "create", "--format", "json"}, args[1:]...)...))
	var made madeToken
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &made))
	if made.Secret == "" || made.Role == admin.Role("") {
		ts.Fatalf("no token was made: %+v", made.Token)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(made.Secret), 0o600))
}
