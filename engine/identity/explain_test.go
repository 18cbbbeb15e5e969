package identity

import (
	"crypto/elliptic"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func explained(checks []Check) (failed []string, names []string) {
	for _, c := range checks {
		names = append(names, c.Name)
		if !c.OK {
			failed = append(failed, c.Name+" "+c.Cause)
		}
	}
	return failed, names
}

func TestExplain(t *testing.T) {
	s := signer{"k1", ES256, newECDSA(t, elliptic.P256())}
	v := newVerifier(t, shop(s.key(t)))
	all := []string{"form", "key", "algorithm", "key_window", "signature", "claims", "issuer", "audience", "email", "lifetime", "issued_at", "not_before", "expiry"}
	stranger := signer{"k1", ES256, newECDSA(t, elliptic.P256())}
	for _, tt := range []struct {
		why, token string
		failed     []string
		told       int
	}{
		{"a good token", s.mint(t, alex(nil)), nil, len(all)},
		{"no token", "", []string{"form token_malformed"}, 1},
		{"an unknown key", signer{"k9", ES256, s.private}.mint(t, alex(nil)), []string{"key token_unknown_kid"}, 2},
		{"a forged one", stranger.mint(t, alex(nil)), []string{"signature token_signature_invalid"}, 5},
		{"a claim missing", s.mint(t, alex(map[string]any{"email": nil})), []string{"claims token_claim_missing"}, 6},
		{
			"wrong in every way that can be told at once",
			s.mint(t, alex(map[string]any{"iss": "https://other.example", "aud": []string{"a", "b"}, "email": "Alex <alex@example.com>", "iat": noon.Unix() + 3600, "nbf": noon.Unix() + 7200, "exp": noon.Unix() - 60})),
			[]string{"issuer token_issuer_mismatch", "audience token_audience_mismatch", "email email_invalid", "lifetime token_lifetime_invalid",
				"issued_at token_issued_in_future", "not_before token_not_yet_valid", "expiry token_expired"},
			len(all),
		},
	} {
		t.Run(tt.why, func(t *testing.T) {
			checks := v.Explain(t.Context(), tt.token, noon)
			failed, names := explained(checks)
			if diff := cmp.Diff(tt.failed, failed); diff != "" {
				t.Errorf("failed checks (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(all[:tt.told], names); diff != "" {
				t.Errorf("checks told (-want +got):\n%s", diff)
			}
			// Whatever failed first is what Verify says.
			if r := v.Verify(t.Context(), tt.token, noon); len(tt.failed) > 0 && tt.token != "" && !strings.HasSuffix(tt.failed[0], r.Cause) {
				t.Errorf("Verify says %q, Explain says %q first", r.Cause, tt.failed[0])
			}
			text := fmt.Sprintf("%+v", checks)
			for _, c := range checks {
				if c.Want == "" || (!c.OK && (c.Cause == "" || c.Detail == "")) {
					t.Errorf("check %s does not explain itself: %+v", c.Name, c)
				}
			}
			if i := strings.LastIndexByte(tt.token, '.'); i > 0 && strings.Contains(text, tt.token[i+1:i+20]) {
				t.Errorf("the signature is shown: %s", text)
			}
			if strings.Contains(text, "alex@example.com") {
				t.Errorf("the address is shown: %s", text)
			}
		})
	}
}

// TestExplainShows: what somebody else wrote is shown escaped.
func TestExplainShows(t *testing.T) {
	s := signer{"k1", ES256, newECDSA(t, elliptic.P256())}
	v := newVerifier(t, shop(s.key(t).Window(noon.Add(-24*time.Hour), noon.Add(24*time.Hour))))
	token := s.mint(t, alex(map[string]any{"iss": "https://shop.example/é", "aud": []string{"a", "b"}}))
	shown := map[string][2]string{}
	for _, c := range v.Explain(t.Context(), token, noon) {
		shown[c.Name] = [2]string{c.Want, c.Got}
	}
	for name, want := range map[string][2]string{
		"key":        {"a kid the site has; it may be left out when the site has exactly one key", `kid "k1"`},
		"key_window": {"from 2026-11-22T12:00:00Z before 2026-11-24T12:00:00Z", "2026-11-23T12:00:00Z"},
		"issuer":     {`"https://shop.example"`, `"https://shop.example/\u00e9"`},
		"audience":   {`"vouchsafe-shop"`, `"a", "b"`},
		"lifetime":   {"exp after iat, by at most 24h; the site's policy may want less", "5m0s"},
		"not_before": {"absent, or not after 2026-11-23T12:00:30Z", "absent"},
		"expiry":     {"after 2026-11-23T11:59:30Z", "2026-11-23T12:04:00Z"},
	} {
		if diff := cmp.Diff(want, shown[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
