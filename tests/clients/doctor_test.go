package clients

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// The shop writes addresses in another letter case than the token: doctor sees
// it in what the running gate withheld.
func TestDoctorSeesRecordsThatAreNotRecognised(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Config{})
	casey := harness.Person{Subject: "cus_casey_1177", Email: "casey@example.com", Name: "Casey"}
	shouting := casey
	shouting.Email = "Casey@example.com"
	s.Shop.AddOrder(harness.Order{ID: "3001", Status: "shipped", Total: "1.00", Owner: shouting})

	for _, c := range []struct {
		name   string
		token  string
		state  string
		want   string
		advice string // in the fix
	}{
		{"no token that verifies", s.Token(t, harness.Site, casey, harness.WrongKey), "fail", "identity_invalid", "token inspect"},
		{"an expired token", s.Token(t, harness.Site, casey, harness.Lived(-20*time.Minute, -10*time.Minute)), "fail", "identity_expired", "token inspect"},
		{"another letter case", s.Token(t, harness.Site, casey), "fail", "recognised none as this customer's", "email_local_case: fold"},
		{"one's own beside others", s.Token(t, harness.Site, harness.Alex), "warn", "3 were this customer's", "Nothing is wrong"},
	} {
		code, found := examineRecords(t, s, c.token)
		if found.State != c.state || !strings.Contains(found.Found, c.want) || !strings.Contains(found.Fix, c.advice) {
			t.Errorf("%s: %+v, want %s, %q and the advice %q", c.name, found, c.state, c.want, c.advice)
		}
		if c.state == "fail" && code != 1 {
			t.Errorf("%s: exit code %d, want 1", c.name, code)
		}
	}

	// The advice, followed while the gate runs, is right.
	config, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.Config, strings.Replace(string(config), "max_lifetime: 15m\n", "max_lifetime: 15m\n      email_local_case: fold\n", 1))
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		_, found := examineRecords(t, s, s.Token(t, harness.Site, casey))
		if found.State == "warn" && strings.Contains(found.Found, "1 were this customer's") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with email_local_case: fold: %+v", found)
		}
	}
}

type found struct{ Check, State, Found, Fix string }

// examineRecords runs doctor with a token and returns what it says of records.
func examineRecords(t *testing.T, s *harness.Server, token string) (int, found) {
	t.Helper()
	e := harness.Run(t, nil, "doctor", "--config", s.Config, "--site", harness.Site, "--token", token, "--gate", s.URL, "--format", "json")
	if strings.Contains(e.Out+e.Errors, "@") || strings.Contains(e.Out+e.Errors, token) {
		t.Errorf("doctor shows an address or the token:\n%s%s", e.Out, e.Errors)
	}
	for line := range strings.Lines(e.Out) {
		var f found
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("doctor: %v\n%s%s", err, e.Out, e.Errors)
		}
		if f.Check == "records" && strings.HasPrefix(f.Found, "order.list") {
			return e.Code, f
		}
	}
	t.Fatalf("doctor says nothing of order.list:\n%s%s", e.Out, e.Errors)
	return 0, found{}
}
