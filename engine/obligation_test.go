package engine

import (
	"encoding/json"
	"testing"
	"time"
)

func TestPeriods(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "90s": 90 * time.Second, "5m": 5 * time.Minute, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "366d": MaxPeriod,
	} {
		got, err := ParsePeriod(text)
		if err != nil || got != want {
			t.Errorf("ParsePeriod(%q) = %s, %v; want %s", text, got, err, want)
		}
		if again, err := ParsePeriod(Period(got)); err != nil || again != want {
			t.Errorf("Period(%s) = %q, which reads as %s, %v", got, Period(got), again, err)
		}
	}
	for _, text := range []string{"", "5", "m", "0m", "05m", "-5m", "+5m", "5 m", " 5m", "5m ", "1.5h", "1h30m", "5M", "5w", "367d", "9999999999s", "٥m", "5µs"} {
		if got, err := ParsePeriod(text); err == nil {
			t.Errorf("ParsePeriod(%q) = %s, want an error", text, got)
		}
	}
	if got := Period(24 * time.Hour); got != "24h" {
		t.Errorf("Period(a day) = %q, want 24h", got)
	}
	if got := Period(90 * time.Minute); got != "90m" {
		t.Errorf("Period(90 minutes) = %q, want 90m", got)
	}
}

func FuzzParsePeriod(f *testing.F) {
	for _, s := range []string{"5m", "24h", "7d", "0s", "999999999s", "1h30m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParsePeriod(s)
		if err != nil {
			return
		}
		if again, err := ParsePeriod(Period(d)); err != nil || again != d || d < time.Second || d > MaxPeriod {
			t.Errorf("ParsePeriod(%q) = %s, written %q, read again %s, %v", s, d, Period(d), again, err)
		}
	})
}

func TestObligationsAreWrittenAsPoliciesWriteThem(t *testing.T) {
	for _, c := range []struct {
		o            Obligation
		json, record string
	}{
		{Obligation{Kind: ObligationConfirm}, `{"kind":"confirm"}`, "confirm"},
		{Obligation{Kind: ObligationOwnership, Argument: "bestellung_ü"}, `{"kind":"ownership","argument":"bestellung_ü"}`, "ownership"},
		{Obligation{Kind: ObligationLimit, N: 3, Window: 24 * time.Hour}, `{"kind":"limit","n":3,"window":"24h"}`, "limit 3/24h"},
		{Obligation{Kind: ObligationStepUp, MaxAge: 5 * time.Minute, ACR: []string{"urn:a", "b"}},
			`{"kind":"step_up","max_age":"5m","acr":["urn:a","b"]}`, "step_up max_age=5m acr=urn:a,b"},
	} {
		if got := string(c.o.AppendJSON(nil)); got != c.json || !json.Valid([]byte(got)) {
			t.Errorf("AppendJSON = %s, want %s", got, c.json)
		}
		if got := c.o.String(); got != c.record {
			t.Errorf("String = %q, want %q", got, c.record)
		}
	}
}

func TestStepUpJoinsWhatIsAsked(t *testing.T) {
	step := func(age time.Duration, acr ...string) Obligation {
		return Obligation{Kind: ObligationStepUp, MaxAge: age, ACR: acr}
	}
	age, acr := StepUp([]Obligation{{Kind: ObligationConfirm}, step(10*time.Minute, "a", "b"), step(5 * time.Minute), step(0, "b", "c")})
	if age != 5*time.Minute || len(acr) != 1 || acr[0] != "b" {
		t.Errorf("StepUp = %s, %v; want 5m and b", age, acr)
	}
	if age, acr := StepUp([]Obligation{step(0, "a"), step(0, "b")}); age != 0 || len(acr) != 1 || acr[0] != "a" {
		t.Errorf("StepUp of two that share nothing = %s, %v; want the first", age, acr)
	}
}
