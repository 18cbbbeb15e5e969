package identity

import (
	"strings"
	"testing"
)

func TestCanonicalEmailRefuses(t *testing.T) {
	for _, tt := range []struct{ why, raw string }{
		{"nothing", ""},
		{"no @", "alex"},
		{"no local part", "@example.com"},
		{"no domain", "alex@"},
		{"two @", "alex@evil.example@example.com"},
		{"a display name", "Alex <alex@example.com>"},
		{"angle brackets", "<alex@example.com>"},
		{"a comment after", "alex@example.com (Alex)"},
		{"a comment inside", "alex(x)@example.com"},
		{"quotes", `"alex"@example.com`},
		{"quotes with a space", `"al ex"@example.com`},
		{"a list", "alex@example.com,jordan@example.com"},
		{"a group", "friends:alex@example.com;"},
		{"a space before", " alex@example.com"},
		{"a space after", "alex@example.com "},
		{"a space inside", "al ex@example.com"},
		{"a line end after", "alex@example.com\n"},
		{"a header injected", "alex@example.com\r\nBcc: jordan@example.com"},
		{"a tab", "alex\t@example.com"},
		{"NUL", "alex\x00@example.com"},
		{"DEL", "alex\x7f@example.com"},
		{"not UTF-8", "al\xffex@example.com"},
		{"a long s in the local part", "ſam@example.com"},
		{"a Kelvin sign in the local part", "\u212aim@example.com"},
		{"a Cyrillic a in the local part", "\u0430lex@example.com"},
		{"a full-width letter in the local part", "\uff41lex@example.com"},
		{"a zero-width space in the local part", "al\u200bex@example.com"},
		{"a right-to-left override in the local part", "alex\u202e@example.com"},
		{"a combining accent in the local part", "ale\u0301x@example.com"},
		{"a full-width @", "alex\uff20example.com"},
		{"a Kelvin sign in the domain", "alex@\u212aelvin.example"},
		{"a long s in the domain", "alex@\u017fhop.example"},
		{"a full-width letter in the domain", "alex@\uff45xample.com"},
		{"an ideographic stop in the domain", "alex@example\u3002com"},
		{"a full-width stop in the domain", "alex@example\uff0ecom"},
		{"a zero-width space in the domain", "alex@exam\u200bple.com"},
		{"a zero-width joiner in the domain", "alex@exam\u200dple.com"},
		{"a soft hyphen in the domain", "alex@exam\u00adple.com"},
		{"a decomposed umlaut in the domain", "alex@bu\u0308cher.example"},
		{"a dot at the end", "alex@example.com."},
		{"two dots in the domain", "alex@example..com"},
		{"a dot at the start of the domain", "alex@.example.com"},
		{"a dot at the start", ".alex@example.com"},
		{"a dot before the @", "alex.@example.com"},
		{"two dots in the local part", "al..ex@example.com"},
		{"an address literal", "alex@[127.0.0.1]"},
		{"an IPv6 literal", "alex@[IPv6:::1]"},
		{"a bare IP address", "alex@127.0.0.1"},
		{"an underscore in the domain", "alex@exam_ple.com"},
		{"a hyphen at the start of a label", "alex@-example.com"},
		{"punycode that decodes to nothing", "alex@xn--.example"},
		{"punycode that is broken", "alex@xn--a.example"},
		{"an overlong local part", strings.Repeat("a", 65) + "@example.com"},
		{"an overlong label", "alex@" + strings.Repeat("a", 64) + ".example"},
		{"an overlong address", "alex@" + strings.Repeat("a.", 130) + "example"},
		{"an encoded word", "=?utf-8?q?alex?=@example.com@x"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			for _, fold := range []bool{false, true} {
				got, err := CanonicalEmail(tt.raw, fold)
				if err == nil {
					t.Fatalf("CanonicalEmail(%q, %v) = %q, want an error", tt.raw, fold, got)
				}
				if len(tt.raw) > 5 && strings.Contains(err.Error(), tt.raw) {
					t.Errorf("the error quotes the address: %v", err)
				}
			}
			if SameTyped(tt.raw, "alex@example.com") {
				t.Errorf("SameTyped(%q) = true", tt.raw)
			}
		})
	}
}

func TestCanonicalEmail(t *testing.T) {
	for _, tt := range []struct{ raw, exact, folded string }{
		{"alex@example.com", "alex@example.com", "alex@example.com"},
		{"Alex@example.com", "Alex@example.com", "alex@example.com"},
		{"ALEX@EXAMPLE.COM", "ALEX@example.com", "alex@example.com"},
		{"alex+shop@example.com", "alex+shop@example.com", "alex+shop@example.com"},
		{"a.l.e.x@example.com", "a.l.e.x@example.com", "a.l.e.x@example.com"},
		{"o'neil_!#$%&*/=?^`{|}~-@example.com", "o'neil_!#$%&*/=?^`{|}~-@example.com", "o'neil_!#$%&*/=?^`{|}~-@example.com"},
		{"alex@bücher.example", "alex@xn--bcher-kva.example", "alex@xn--bcher-kva.example"},
		{"alex@xn--bcher-kva.example", "alex@xn--bcher-kva.example", "alex@xn--bcher-kva.example"},
		{"alex@XN--BCHER-KVA.example", "alex@xn--bcher-kva.example", "alex@xn--bcher-kva.example"},
		{"alex@ex\u0430mple.com", "alex@xn--exmple-4nf.com", "alex@xn--exmple-4nf.com"}, // a Cyrillic a is another domain
		{"alex@localhost", "alex@localhost", "alex@localhost"},
	} {
		for fold, want := range map[bool]string{false: tt.exact, true: tt.folded} {
			got, err := CanonicalEmail(tt.raw, fold)
			if err != nil || got != want {
				t.Errorf("CanonicalEmail(%q, %v) = %q, %v, want %q", tt.raw, fold, got, err, want)
				continue
			}
			if again, err := CanonicalEmail(got, fold); err != nil || again != got {
				t.Errorf("CanonicalEmail is not stable: %q became %q, %v", got, again, err)
			}
		}
	}
}

func TestSameTyped(t *testing.T) {
	for _, tt := range []struct {
		typed, pinned string
		want          bool
	}{
		{"alex@example.com", "alex@example.com", true},
		{"ALEX@Example.COM", "alex@example.com", true},
		{"alex@example.com", "Alex@example.com", true},
		{"alex@BÜCHER.example", "alex@xn--bcher-kva.example", false}, // only ASCII is folded
		{"alex@bücher.example", "alex@xn--bcher-kva.example", true},
		{"jordan@example.com", "alex@example.com", false},
		{"alex+1@example.com", "alex@example.com", false},
		{"al.ex@example.com", "alex@example.com", false},
		{"alex@example.com.evil.example", "alex@example.com", false},
		{"\u212aim@example.com", "kim@example.com", false},
		{"ſam@example.com", "sam@example.com", false},
		{"", "", false},
		{"", "alex@example.com", false},
		{"alex@example.com", "", false},
		{"not an address", "not an address", false},
	} {
		if got := SameTyped(tt.typed, tt.pinned); got != tt.want {
			t.Errorf("SameTyped(%q, %q) = %v, want %v", tt.typed, tt.pinned, got, tt.want)
		}
	}
}
