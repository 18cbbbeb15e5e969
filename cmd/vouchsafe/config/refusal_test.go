package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/cmd/vouchsafe/config"
)

// change returns a configuration with one thing replaced.
func change(t *testing.T, src, old, with string) string {
	t.Helper()
	if !strings.Contains(src, old) {
		t.Fatalf("the configuration has no %q", old)
	}
	return strings.Replace(src, old, with, 1)
}

// Each is one step away from a configuration that loads.
func TestNearMisses(t *testing.T) {
	t.Setenv("TEST_SHORT", "short")
	dir := folder(t)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "data"), 0o700), os.Symlink("data", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	const keys = "sites[0].tokens.keys"
	const verify = "verify: [{kid: p1, alg: HS256, secret_file: k1.secret}]"
	for _, c := range []struct {
		name      string
		old, with string // in documented
		want      string // without the file name
	}{
		// The file.
		{"unknown key", "addr: 127", "addres: 127", "1: addres: is not a setting; did you mean addr?"},
		{"unknown key, nothing near", "data: ./data", "colour: red",
			"2: colour: is not a setting; the settings here are addr, admin, connections, data, keys, limits, policies, sinks, sites, trusted_proxies"},
		{"unknown key below", "origins:", "orgins:", "14: sites[0].orgins: is not a setting; did you mean origins?"},
		{"another case", "    tier: pro", "    Tier: pro",
			"9: sites[0].tier: is missing: free, pro or business\n11: sites[0].Tier: is not a setting; did you mean tier?"},
		{"key twice", "keys: ./keys ", "data: ./keys ", "3: data: is already set on line 2"},
		{"key twice below", "      clock_skew: 60s", "      issuer: https://other.example", "19: sites[0].tokens.issuer: is already set on line 16"},
		{"alias", "data: ./data", "data: &a ./data\nx: *a", "3: x: is not a setting; the settings here are addr, admin, connections, data, keys, limits, policies, sinks, sites, trusted_proxies"},
		{"alias as a value", "name: Harbor Goods", "name: &n Harbor Goods\n    knowledge_url: *n", "11: sites[0].knowledge_url: is an alias: write the value where it is used"},
		{"merge", "limits: {", "limits: {<<: {}, ", "6: limits.\"<<\": is not a setting; the settings here are not_found_after, per_address, per_visitor"},
		{"second document", "connections:", "---\nconnections:", "26: a second document: the configuration is one"},
		{"not YAML", "admin: {addr", "admin: {{addr", "5: is not YAML: did not find expected ',' or '}'"},
		{"not YAML, further down", "      keys:\n", "      keys:\n      - [\n", "22: is not YAML: did not find expected node content"},
		{"no value", "data: ./data", "data:", "2: data: has no value: want text, or leave the key out"},
		{"empty", "data: ./data", `data: ""`, "2: data: is empty: a folder, by default ./data"},
		{"trailing space", "data: ./data", `data: "./data "`, "2: data: starts or ends with a space"},
		{"control character", "data: ./data", `data: "./d\x07ata"`, "2: data: holds a control character"},
		{"number for text", "name: Harbor Goods", "name: 24", "10: sites[0].name: must be text: put it in quotes"},
		{"yes for text", "name: Harbor Goods", "name: true", "10: sites[0].name: must be text: put it in quotes"},
		{"list for text", "name: Harbor Goods", "name: [Harbor]", "10: sites[0].name: must be text, not a list"},
		{"text for list", `origins: ["https://shop.example"]`, "origins: https://shop.example", "14: sites[0].origins: must be a list, not text"},
		{"text for section", `admin: {addr: ""}`, "admin: yes", "5: admin: must be keys and values, not text"},
		{"list for section", "limits: {per_visitor: 120/m, per_address: 600/m}", "limits: []", "6: limits: must be keys and values, not a list"},

		// Addresses and folders.
		{"no port", "addr: 127.0.0.1:8080", "addr: 127.0.0.1", "1: addr: is not an address such as 127.0.0.1:8080"},
		{"port out of range", "127.0.0.1:8080", "127.0.0.1:80800", "1: addr: must end in a port between 0 and 65535"},
		{"host name", "127.0.0.1:8080", "shop.example:80", "1: addr: must name an IP address of this machine, or localhost"},
		{"empty address", "127.0.0.1:8080", `""`, "1: addr: is empty: leave it out for 127.0.0.1:8080"},
		{"keys inside data", "keys: ./keys", "keys: ./data/keys", "3: keys: must not be inside data: whoever copies the data would copy its keys"},
		{"keys are data", "keys: ./keys", "keys: x/../data", "3: keys: must not be inside data: whoever copies the data would copy its keys"},
		{"keys inside data by a link", "keys: ./keys", "keys: ./link/keys", "3: keys: must not be inside data: whoever copies the data would copy its keys"},
		{"data is a file", "data: ./data", "data: a-file", "2: data: is not a folder"},
		{"no policies", "policies: ./policies", "policies: ./rego", "4: policies: cannot be read: no such file or directory"},
		{"policies in a file", "policies: ./policies", "policies: a-file", "4: policies: is not a folder: a signed bundle is written policies: {bundle: ..., verify: [...]}"},
		{"an unsigned bundle", "policies: ./policies", "policies: {bundle: p.tar.gz}", "4: policies.verify: is missing: a bundle is used only if one of these keys signed it"},
		{"a pulled unsigned bundle", "policies: ./policies", "policies: {bundle: \"https://b.example/p\", verify: []}", "4: policies.verify: is missing: a bundle is used only if one of these keys signed it"},
		{"verification turned off", "policies: ./policies", "policies: {bundle: p.tar.gz, verify: false}",
			"4: policies.verify: must be a list"},
		{"a bundle over http", "policies: ./policies", "policies: {bundle: \"http://b.example/p\", " + verify + "}", "4: policies.bundle: must be https, unless it is on this machine"},
		{"a bundle with a password", "policies: ./policies", "policies: {bundle: \"https://u:p@b.example/p\", " + verify + "}", "4: policies.bundle: must not hold a user name or password"},
		{"folder and bundle", "policies: ./policies", "policies: {folder: ./policies, bundle: p.tar.gz, " + verify + "}", "4: policies.bundle: is set beside folder: want one of them"},
		{"keys for a folder", "policies: ./policies", "policies: {folder: ./policies, " + verify + "}", "4: policies.verify: is for a bundle, and there is none"},
		{"a poll of a file", "policies: ./policies", "policies: {bundle: p.tar.gz, poll: 60s, " + verify + "}", "4: policies.poll: is for a bundle that is pulled from a URL"},
		{"a policy key of no algorithm", "policies: ./policies", "policies: {bundle: p.tar.gz, verify: [{kid: p1, alg: none, secret_file: k1.secret}]}", "4: policies.verify[0].alg: is no signature at all"},
		{"a policy key in the file", "policies: ./policies", "policies: {bundle: p.tar.gz, verify: [{kid: p1, alg: HS256, secret: abc}]}",
			"4: policies.verify[0].secret: secrets do not stand in this file: name a file or an environment variable (secret_file or secret_env or public_key_file)\n4: policies.verify[0].secret_file: is missing: name the file that holds the secret, or secret_env"},
		{"two policy keys of a name", "policies: ./policies", "policies: {bundle: p.tar.gz, verify: [{kid: p1, alg: HS256, secret_file: k1.secret}, {kid: p1, alg: ES256, public_key_file: k2.pem}]}",
			"4: policies.verify[1].kid: is also the kid of the key on line 4"},
		{"staleness within a poll", "policies: ./policies", "policies: {bundle: \"https://b.example/p\", poll: 60s, max_staleness: 90s, " + verify + "}",
			"4: policies.max_staleness: must be at least twice poll (1m), or one lost answer makes the policy stale"},
		{"staleness without a unit", "policies: ./policies", "policies: {bundle: \"https://b.example/p\", max_staleness: 90, " + verify + "}", "4: policies.max_staleness: needs a unit, such as 60s or 15m"},
		{"retention without a unit", "    tier: pro", "    audit: {retention: 400}\n    tier: pro", "11: sites[0].audit.retention: needs a unit, such as 400d"},
		{"retention of a minute", "    tier: pro", "    audit: {retention: 10m}\n    tier: pro", "11: sites[0].audit.retention: is not a time in days or hours, such as 400d"},
		{"retention of a day", "    tier: pro", "    audit: {retention: 1d}\n    tier: pro", "11: sites[0].audit.retention: must be at least 7d"},
		{"retention of none", "    tier: pro", "    audit: {retention: 0d}\n    tier: pro", "11: sites[0].audit.retention: must be at least 7d"},
		{"retention for ever", "    tier: pro", "    audit: {retention: 999999d}\n    tier: pro", "11: sites[0].audit.retention: must be at most 36600d"},
		{"refusing what is never stale", "    tier: pro", "    stale_policy: refuse\n    tier: pro", "11: sites[0].stale_policy: is refuse, and policies has no max_staleness: the policy would never be stale"},
		{"a coverage past all", "policies: ./policies", "policies: {folder: ./policies, admission: {coverage: 101}}", "4: policies.admission.coverage: must be a number from 0 to 100, in percent"},
		{"a coverage that is none", "policies: ./policies", "policies: {folder: ./policies, admission: {coverage: .nan}}", "4: policies.admission.coverage: must be a number from 0 to 100, in percent"},
		{"a budget without a limit", "policies: ./policies", "policies: {folder: ./policies, admission: {replay: {since: 24h}}}", "4: policies.admission.replay: sets no limit: want max_deny_to_allow, max_flips or both"},
		{"a budget below nothing", "policies: ./policies", "policies: {folder: ./policies, admission: {replay: {max_flips: -1}}}", "4: policies.admission.replay.max_flips: must be a whole number from 0 to 1000000"},
		{"proxy name", "trusted_proxies: []", "trusted_proxies: [proxy.example]", "7: trusted_proxies[0]: is not an IP address or a range such as 10.0.0.0/8"},
		{"every proxy", "trusted_proxies: []", "trusted_proxies: [0.0.0.0/0]", "7: trusted_proxies[0]: would trust every address: name the proxies"},
		{"crooked range", "trusted_proxies: []", "trusted_proxies: [10.0.0.7/8]", "7: trusted_proxies[0]: names an address inside the range; did you mean 10.0.0.0/8?"},

		// Limits.
		{"floor without a unit", "per_visitor: 120/m", "per_visitor: 120/m, not_found_after: 100", "6: limits.not_found_after: needs a unit, such as 60s or 15m"},
		{"floor of an hour", "per_visitor: 120/m", "per_visitor: 120/m, not_found_after: 1h", "6: limits.not_found_after: must be at most 5s"},
		{"floor of the past", "per_visitor: 120/m", "per_visitor: 120/m, not_found_after: -1s", "6: limits.not_found_after: must be at least 0s"},
		{"limit without time", "per_visitor: 120/m", "per_visitor: 120", "6: limits.per_visitor: needs a time, such as 120/m"},
		{"limit per day", "120/m", "120/d", "6: limits.per_visitor: is not a limit such as 10/s, 120/m or 5000/h, or off"},
		{"limit of none", "120/m", "0/m", "6: limits.per_visitor: must let through between 1 and 1000000 requests"},
		{"negative limit", "120/m", "-1/m", "6: limits.per_visitor: must let through between 1 and 1000000 requests"},
		{"unlimited", "120/m", "none", "6: limits.per_visitor: is not a limit such as 10/s, 120/m or 5000/h, or off"},

		// Sites.
		{"no id", "  - id: shop\n    name", "  - name", "9: sites[0].id: is missing: a short name for URLs, such as shop"},
		{"id in capitals", "id: shop", "id: Shop", "9: sites[0].id: must be lower-case letters, digits and dashes, at most 63, and not start with a dash"},
		{"id with a slash", "id: shop", "id: a/b", "9: sites[0].id: must be lower-case letters, digits and dashes, at most 63, and not start with a dash"},
		{"no tier", "    tier: pro\n", "", "9: sites[0].tier: is missing: free, pro or business"},
		{"unknown tier", "tier: pro", "tier: gold", "11: sites[0].tier: must be free, pro or business"},
		{"unknown zone", "Europe/London", "Europe/Londres", "12: sites[0].timezone: is not the name of a time zone, such as Europe/London or UTC"},
		{"whatever zone this machine has", "Europe/London", "Local", "12: sites[0].timezone: is not the name of a time zone, such as Europe/London or UTC"},
		{"relative sign-in", "https://shop.example/login", "/login", "13: sites[0].sign_in_url: is not a URL such as https://shop.example/path"},
		{"sign-in that runs", "https://shop.example/login", "javascript:alert(1)", "13: sites[0].sign_in_url: is not a URL such as https://shop.example/path"},
		{"password in a URL", "https://shop.example/login", "https://u:" + secret + "@shop.example", "13: sites[0].sign_in_url: must not hold a user name or password"},
		{"origin with a slash", `["https://shop.example"]`, `["https://shop.example/"]`, "14: sites[0].origins[0]: must be scheme://host[:port] and nothing more, not even a slash at the end"},
		{"origin wildcard", `["https://shop.example"]`, `["https://*.shop.example"]`, "14: sites[0].origins[0]: must be exact: wildcards are not supported"},
		{"any origin", `["https://shop.example"]`, `["*"]`, "14: sites[0].origins[0]: must be exact: wildcards are not supported"},
		{"null origin", `["https://shop.example"]`, `["null"]`, "14: sites[0].origins[0]: must name a page's origin: null is everybody's"},
		{"plain http origin", `["https://shop.example"]`, `["http://shop.example"]`, "14: sites[0].origins[0]: must be https, unless it is on this machine"},
		{"almost this machine", `["https://shop.example"]`, `["http://localhost.shop.example"]`, "14: sites[0].origins[0]: must be https, unless it is on this machine"},
		{"origin without scheme", `["https://shop.example"]`, `["shop.example"]`, "14: sites[0].origins[0]: is not an origin such as https://shop.example"},
		{"origin with the usual port", `["https://shop.example"]`, `["https://shop.example:443"]`, "14: sites[0].origins[0]: must leave out the usual port, as browsers do"},
		{"origin in capitals", `["https://shop.example"]`, `["https://Shop.example"]`, "14: sites[0].origins[0]: must be in lower case, as browsers write it"},
		{"origin not in ASCII", `["https://shop.example"]`, `["https://shöp.example"]`, "14: sites[0].origins[0]: must write the host in ASCII, as browsers do (xn--...)"},
		{"second origin", `["https://shop.example"]`, "\n      - https://shop.example\n      - https://shop.example", "16: sites[0].origins[1]: is there twice"},
		{"no manifest", "actions/*.yaml", "actions/*.yml", "24: sites[0].actions[0]: matches no file"},
		{"a folder is no manifest", "actions/*.yaml", "action*", "24: sites[0].actions[0]: matches no file"},
		{"manifests at any depth", "actions/*.yaml", "**/*.yaml", "24: sites[0].actions[0]: must name each folder: ** is not supported"},
		{"bad pattern", "actions/*.yaml", "actions/[.yaml", "24: sites[0].actions[0]: is not a pattern such as actions/*.yaml"},
		{"no knowledge", "knowledge: ./help", "knowledge: ./helo", "25: sites[0].knowledge: cannot be read: no such file or directory"},
		{"knowledge is a file", "knowledge: ./help ", "knowledge: ./a-file ", "25: sites[0].knowledge: is not a folder"},
		{"nothing to cite", "knowledge: ./help", "knowledge_url: https://shop.example", "25: sites[0].knowledge_url: is set without knowledge: there is nothing to cite"},

		// Tokens.
		{"no issuer", "      issuer: https://shop.example\n", "", "16: sites[0].tokens.issuer: is missing: the iss of the site's tokens"},
		{"empty audience", "audience: vouchsafe-shop", `audience: ""`, "17: sites[0].tokens.audience: is empty: the aud of the site's tokens, such as vouchsafe-shop"},
		{"longer than a day", "max_lifetime: 15m", "max_lifetime: 24h1s", "18: sites[0].tokens.max_lifetime: must be at most 24h"},
		{"no lifetime", "max_lifetime: 15m", "max_lifetime: 0s", "18: sites[0].tokens.max_lifetime: must be at least 1s"},
		{"without a unit", "max_lifetime: 15m", "max_lifetime: 900", "18: sites[0].tokens.max_lifetime: needs a unit, such as 60s or 15m"},
		{"days", "max_lifetime: 15m", "max_lifetime: 1d", "18: sites[0].tokens.max_lifetime: is not a time such as 60s, 15m or 1h"},
		{"skew too wide", "clock_skew: 60s", "clock_skew: 5m1s", "19: sites[0].tokens.clock_skew: must be at most 5m"},
		{"negative skew", "clock_skew: 60s", "clock_skew: -1s", "19: sites[0].tokens.clock_skew: must be at least 0s"},
		{"part of a second", "clock_skew: 60s", "clock_skew: 1500ms", "19: sites[0].tokens.clock_skew: must be whole seconds"},
		{"test mode, in words", "clock_skew: 60s", "test_mode: sometimes", "19: sites[0].tokens.test_mode: must be true or false"},
		{"test mode, quoted", "clock_skew: 60s", "test_mode: \"true\"", "19: sites[0].tokens.test_mode: must be true or false"},
		{"fresh confirmations, as a number", "clock_skew: 60s", "fresh_confirmation: 1", "19: sites[0].tokens.fresh_confirmation: must be true or false"},
		{"folding, misspelt", "clock_skew: 60s", "email_local_case: lower", "19: sites[0].tokens.email_local_case: must be exact or fold"},
		{"plain http keys", "https://shop.example/.well-known", "http://shop.example/.well-known", "23: sites[0].tokens.jwks_url: must be https, unless it is on this machine"},
		{"empty jwks_url", "https://shop.example/.well-known/jwks.json", `""`, "23: sites[0].tokens.jwks_url: is empty: the address of the site's public keys"},

		// Keys.
		{"inline secret", "secret_file: k1.secret", "secret: " + secret, "21: " + keys + "[0].secret: secrets do not stand in this file: name a file or an environment variable (secret_file or secret_env or public_key_file)\n21: " + keys + "[0].secret_file: is missing: name the file that holds the secret, or secret_env"},
		{"secret for a path", "secret_file: k1.secret", "secret_file: " + secret, "21: " + keys + "[0].secret_file: cannot be read: no such file or directory"},
		{"secret for a name", "secret_file: k1.secret", "secret_env: " + secret, "21: " + keys + "[0].secret_env: cannot be read: the environment variable is not set"},
		{"two sources", "secret_file: k1.secret", "secret_file: k1.secret, secret_env: K1", "21: " + keys + "[0].secret_env: is set beside secret_file: want one of them"},
		{"short secret", "k1.secret", "short.secret", "21: " + keys + "[0].secret_file: holds a secret of 31 bytes: want at least 32 random ones"},
		{"short for HS512", "alg: HS256", "alg: HS512", "21: " + keys + "[0].secret_file: holds a secret of 36 bytes: want at least 64 random ones"},
		{"short variable", "secret_file: k1.secret", "secret_env: TEST_SHORT", "21: " + keys + "[0].secret_env: holds a secret of 5 bytes: want at least 32 random ones"},
		{"empty secret", "k1.secret", "empty.secret", "21: " + keys + "[0].secret_file: cannot be read: the file is empty"},
		{"secret is a device", "k1.secret", "/dev/zero", "21: " + keys + "[0].secret_file: cannot be read: is not a regular file"},
		{"no algorithm", "alg: HS256, ", "", "21: " + keys + "[0].alg: is missing: the one algorithm the key is for, such as ES256"},
		{"alg none", "alg: HS256", "alg: none", "21: " + keys + "[0].alg: is no signature at all"},
		{"alg in lower case", "alg: HS256", "alg: hs256", "21: " + keys + "[0].alg: must be one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA"},
		{"no kid", "kid: k1, ", "", "21: " + keys + "[0].kid: is missing: the kid of what this key verifies"},
		{"kid twice", "kid: k2", "kid: k1", "22: " + keys + "[1].kid: is also the kid of the key on line 21"},
		{"public key as a secret", "alg: HS256, secret_file: k1.secret", "alg: HS256, public_key_file: k2.pem", "21: " + keys + "[0].public_key_file: is not for HS256, which needs secret_file or secret_env"},
		{"secret as a public key", "alg: ES256, public_key_file: k2.pem", "alg: ES256, secret_file: k1.secret", "22: " + keys + "[1].secret_file: is not for ES256, which needs public_key_file"},
		{"no public key", ", public_key_file: k2.pem", "", "22: " + keys + "[1].public_key_file: is missing: name the file that holds the public key (PEM)"},
		{"private key", "k2.pem", "private.pem", "22: " + keys + "[1].public_key_file: holds a private key: it belongs to the site's backend alone; name its public key"},
		{"not PEM", "k2.pem", "k1.secret", "22: " + keys + "[1].public_key_file: holds no public key in PEM"},
		{"other curve", "k2.pem", "p384.pem", "22: " + keys + "[1].public_key_file: holds a key on P-384, which is not for this alg"},
		{"other kind", "k2.pem", "ed25519.pem", "22: " + keys + "[1].public_key_file: holds an Ed25519 key, which is not for this alg"},
		{"weak RSA", "alg: ES256, public_key_file: k2.pem", "alg: RS256, public_key_file: weak.pem", "22: " + keys + "[1].public_key_file: holds an RSA key of 1024 bits: want at least 2048"},
		{"retired before it begins", "k2.pem}", "k2.pem, not_before: 2027-01-01, retire_after: 2026-12-31T23:59:59Z}", "22: " + keys + "[1].retire_after: is not later than not_before: the key would never be believed"},
		{"no such day", "k2.pem}", "k2.pem, not_before: 2027-02-30}", "22: " + keys + "[1].not_before: is not a time such as 2026-12-01T00:00:00Z"},

		// The provider.
		{"provider without key", "provider: embedded", "provider: https://provider.example", "27: connections.key_file: is missing: a provider that is not embedded asks for a key; name its file, or key_env"},
		{"plain http provider", "provider: embedded", "provider: http://provider.example\n  key_file: k1.secret", "27: connections.provider: must be https, unless it is on this machine"},
		{"key for the embedded one", "provider: embedded", "provider: embedded\n  key_file: k1.secret", "28: connections.key_file: is not for the embedded provider, which makes its own"},
		{"provider by host name", "provider: embedded", "provider: provider.example", "27: connections.provider: must be embedded, a URL or unix:PATH"},
		{"short provider key", "provider: embedded", "provider: unix:p.sock\n  key_file: short.secret", "28: connections.key_file: holds a secret of 31 bytes: want at least 32 random ones"},
		{"inline provider key", "provider: embedded", "provider: unix:p.sock\n  key: " + secret, "27: connections.key_file: is missing: a provider that is not embedded asks for a key; name its file, or key_env\n28: connections.key: secrets do not stand in this file: name a file or an environment variable (key_file or key_env)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := config.Parse("c.yaml", []byte(change(t, documented, c.old, c.with)), dir)
			if err == nil {
				t.Fatalf("Parse succeeded: %+v", got)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes a secret:\n%v", err)
			}
			want := "c.yaml:" + strings.ReplaceAll(c.want, "\n", "\nc.yaml:")
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// Tokens of the admin side are made with a command and kept hashed: none stands
// in the file, and none is named there.
func TestAdminTokensAreNotInTheFile(t *testing.T) {
	_, err := config.Parse("c.yaml", []byte(least+"admin: {addr: \"127.0.0.1:9090\", tokens: [{name: a, token_file: k1.secret}]}\n"), folder(t))
	if err == nil || !strings.HasPrefix(err.Error(), "c.yaml:9: admin.tokens: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("tokens in the file: %v, want them refused", err)
	}
}

func TestTwoSites(t *testing.T) {
	dir := folder(t)
	second := func(id, issuer, audience string) string {
		return least + "  - {id: " + id + ", tier: pro, tokens: {issuer: " + issuer + ", audience: " + audience + ", jwks_url: https://shop.example/jwks}}\n"
	}
	for _, c := range []struct {
		name, src, want string
	}{
		{"one id", second("shop", "https://shop.example", "other"), "c.yaml:9: sites[1].id: is also the id of the site on line 2"},
		{"one issuer and audience", second("b", "https://shop.example", "vouchsafe-shop"),
			"c.yaml:9: sites[1].tokens: has the issuer and audience of the site on line 2: a token would be good for both"},
		{"one issuer", second("b", "https://shop.example", "other"), ""},
		{"one audience", second("b", "https://other.example", "vouchsafe-shop"), ""},
	} {
		_, err := config.Parse("c.yaml", []byte(c.src), dir)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestFilesWithoutASite(t *testing.T) {
	empty := "c.yaml:1: is empty: `vouchsafe init` writes one to start from"
	for src, want := range map[string]string{
		"":                       empty,
		"\n\n":                   empty,
		"# nothing\n":            empty,
		"---\n":                  "c.yaml:2: has no value: want keys and values, or leave the key out",
		"- a\n":                  "c.yaml:1: must be keys and values, not a list",
		"shop\n":                 "c.yaml:1: must be keys and values, not text",
		"{}\n":                   "c.yaml:1: sites: is missing: there is nothing to serve",
		"sites: []\n":            "c.yaml:1: sites: is empty: there is nothing to serve",
		"sites: {}\n":            "c.yaml:1: sites: must be a list, not keys and values",
		"sites: [shop]\n":        "c.yaml:1: sites[0]: must be keys and values, not text",
		"\xff":                   "c.yaml:1: is not UTF-8 text",
		"a: *" + secret + "\n":   "c.yaml:1: is not YAML: an alias without its anchor: write the value where it is used",
		"sites:\n\t- id: shop\n": "c.yaml:2: is not YAML: found character that cannot start any token",
	} {
		_, err := config.Parse("c.yaml", []byte(src), t.TempDir())
		if err == nil || err.Error() != want {
			t.Errorf("Parse(%q) = %v, want %s", src, err, want)
		}
	}
}

// One run tells all there is to repair, in the order of the file.
func TestEverythingIsReportedTogether(t *testing.T) {
	src := `sites:
  - id: shop
    tier: gold
    origins: ["*", "https://ok.example"]
    tokens:
      audience: a
      keys: [{kid: k, alg: HS256, secret_file: none}]
data: 1
addr: nowhere
`
	_, err := config.Parse("c.yaml", []byte(src), t.TempDir())
	problems, ok := errors.AsType[*config.Error](err)
	if !ok {
		t.Fatalf("Parse = %v, want a *config.Error", err)
	}
	var got []string
	for _, p := range problems.Problems {
		got = append(got, p.Key)
	}
	want := []string{"sites[0].tier", "sites[0].origins[0]", "sites[0].tokens.issuer", "sites[0].tokens.keys[0].secret_file", "data", "addr"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys at fault (-want +got):\n%s", diff)
	}
}

// Whatever the bytes: no panic, and either a usable configuration or problems
// that name a line of the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte(documented))
	f.Add([]byte(least))
	for _, s := range []string{"", "a: &a [*a]", "? {a: b}\n: c", "sites: [{tokens: {keys: [{}]}}]", "<<: {sites: []}",
		"sites:\n- !!binary aGk=\n", "!!str sites: []", "limits: {per_visitor: 99999999999999999999/m}", "a: |\n  b\n...\n", "\ufeffsites: []"} {
		f.Add([]byte(s))
	}
	dir := folder(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := config.Parse("c.yaml", src, dir)
		if err == nil {
			if len(c.Sites) == 0 {
				t.Error("a configuration without sites")
			}
			for _, s := range c.Sites {
				if s.ID == "" || s.Tier.String() == "" || s.Location == nil || s.Tokens.Issuer == "" || s.Tokens.Audience == "" ||
					len(s.Tokens.Keys) == 0 && s.Tokens.JWKSURL == "" {
					t.Errorf("an unfinished site: %+v", s)
				}
			}
			return
		}
		problems, ok := errors.AsType[*config.Error](err)
		if !ok {
			t.Fatalf("not a *config.Error: %v", err)
		}
		lines := strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(string(src)), "\n") + 1
		for _, p := range problems.Problems {
			if p.Line < 1 || p.Line > lines+1 || p.Message == "" || strings.ContainsAny(p.Key+p.Message, "\n\x1b") {
				t.Errorf("a problem nobody can use: %+v (%d lines)", p, lines)
			}
		}
	})
}
