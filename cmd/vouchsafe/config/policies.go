package config

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Policies is the section policies: where policies come from, and what is asked
// of one before it is put in force. At most one of Folder, Bundle and URL is
// set; without any, it is the embedded policies.
type Policies struct {
	Folder string // policies, or policies.folder: a policy folder
	Bundle string // policies.bundle: a file that holds a signed bundle
	URL    string // policies.bundle: where one is pulled from; https, unless on this machine

	Verify []TokenKey    // policies.verify: the keys a bundle may be signed with; at least one for a bundle
	Token  KeySource     // policies.token_file or token_env: the bearer token URL asks for; default none
	Poll   time.Duration // policies.poll: how often URL is asked; default 1m
	// policies.max_staleness: how old the policy in force may be without word
	// from URL; default 0, any age
	MaxStaleness time.Duration

	Coverage *float64      // policies.admission.coverage: the least coverage of a policy's tests, in percent; default none
	Replay   *PolicyReplay // policies.admission.replay: how much a policy may decide otherwise; default as much as it likes
}

// PolicyReplay is the section policies.admission.replay: a budget of decisions
// that a new policy may decide otherwise than the one in force. At least one of
// the limits is set.
type PolicyReplay struct {
	Decisions      int           // decisions: of the newest recorded ones, at most; default 5000
	Since          time.Duration // since: and no older than this; default 168h
	MaxDenyToAllow *int          // max_deny_to_allow
	MaxFlips       *int          // max_flips: in any way: allow, reasons or obligations
}

// Embedded reports that the policies are the embedded ones.
func (p Policies) Embedded() bool { return p.Folder == "" && p.Bundle == "" && p.URL == "" }

const (
	defaultPoll      = time.Minute
	leastPoll        = time.Second
	maxPoll          = 24 * time.Hour
	maxMaxStaleness  = 90 * 24 * time.Hour
	defaultReplayed  = 5000
	maxReplayed      = 100_000
	defaultSince     = 7 * 24 * time.Hour
	maxSince         = 366 * 24 * time.Hour
	minBundleToken   = 16
	maxReplayedFlips = 1_000_000
)

// policies reads the section, or the one word that names a folder.
func (p *parser) policies(s section) Policies {
	var out Policies
	n, ok := s.fields["policies"]
	if !ok {
		return out
	}
	if n.Kind != yaml.MappingNode {
		if v := s.text("policies"); v != "" {
			out.Folder = s.policyFolder("policies", v)
		}
		return out
	}
	f, ok := s.section("policies", "folder", "bundle", "verify", "token_file", "token_env", "poll", "max_staleness", "admission")
	if !ok {
		return out
	}
	if f.has("folder") {
		if v := f.required("folder", "a policy folder"); v != "" {
			out.Folder = f.policyFolder("folder", v)
		}
	}
	if f.has("bundle") {
		if f.has("folder") {
			f.fail("bundle", "is set beside folder: want one of them")
		}
		if v := f.required("bundle", "a file or a URL"); strings.Contains(v, "://") {
			out.URL = f.secure("bundle")
		} else if v != "" {
			out.Bundle = p.path(v)
		}
		p.bundle(f, &out)
	} else {
		for _, key := range []string{"verify", "token_file", "token_env", "poll", "max_staleness"} {
			if f.has(key) {
				f.fail(key, "is for a bundle, and there is none")
			}
		}
	}
	if a, ok := f.section("admission", "coverage", "replay"); ok {
		out.Coverage = a.percent("coverage")
		out.Replay = a.replay()
	}
	return out
}

// policyFolder is the folder that the key names.
func (s section) policyFolder(key, v string) string {
	path := s.p.path(v)
	switch info, err := os.Stat(path); {
	case err != nil:
		s.fail(key, "cannot be read: %v", withoutPath(err))
	case !info.IsDir():
		s.fail(key, "is not a folder: a signed bundle is written policies: {bundle: ..., verify: [...]}")
	}
	return path
}

// bundle reads what belongs to a bundle. One that is pulled and one that lies
// here are both verified: whoever wants unsigned policies has a folder.
func (p *parser) bundle(f section, out *Policies) {
	ids := map[string]int{}
	for i, n := range f.list("verify") {
		k, ok := p.section(n, fmt.Sprintf("%s[%d]", f.at("verify"), i), "kid", "alg", "secret_file", "secret_env", "public_key_file")
		if !ok {
			continue
		}
		key := p.tokenKey(k)
		if line, dup := ids[key.KID]; dup && key.KID != "" {
			k.fail("kid", "is also the kid of the key on line %d", line)
		} else {
			ids[key.KID] = n.Line
		}
		out.Verify = append(out.Verify, key)
	}
	if f.lacks("verify") {
		f.fail("verify", "is missing: a bundle is used only if one of these keys signed it")
	}
	remote := f.has("bundle") && out.Bundle == ""
	if !remote {
		for _, key := range []string{"token_file", "token_env", "poll", "max_staleness"} {
			if f.has(key) {
				f.fail(key, "is for a bundle that is pulled from a URL")
			}
		}
		return
	}
	if source, ok := f.source("token_file", "token_env"); ok {
		out.Token = source
		f.weigh(source, minBundleToken)
	}
	out.Poll = f.duration("poll", defaultPoll, leastPoll, maxPoll)
	if f.has("max_staleness") {
		out.MaxStaleness = f.duration("max_staleness", 0, leastPoll, maxMaxStaleness)
		if out.MaxStaleness > 0 && out.MaxStaleness < 2*out.Poll {
			f.fail("max_staleness", "must be at least twice poll (%s), or one lost answer makes the policy stale", short(out.Poll))
		}
	}
}

// replay reads the budget.
func (s section) replay() *PolicyReplay {
	if !s.has("replay") {
		return nil
	}
	r, ok := s.section("replay", "decisions", "since", "max_deny_to_allow", "max_flips")
	if !ok {
		return nil
	}
	out := &PolicyReplay{Decisions: defaultReplayed, MaxDenyToAllow: r.whole("max_deny_to_allow", 0, maxReplayedFlips), MaxFlips: r.whole("max_flips", 0, maxReplayedFlips)}
	if n := r.whole("decisions", 1, maxReplayed); n != nil {
		out.Decisions = *n
	}
	out.Since = r.duration("since", defaultSince, time.Minute, maxSince)
	if !r.has("max_deny_to_allow") && !r.has("max_flips") {
		s.fail("replay", "sets no limit: want max_deny_to_allow, max_flips or both")
	}
	return out
}

// whole reads a whole number, nil when the key is absent.
func (s section) whole(key string, least, most int) *int {
	n, ok := s.fields[key]
	if !ok {
		return nil
	}
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || v < least || v > most {
		s.fail(key, "must be a whole number from %d to %d", least, most)
		return nil
	}
	return &v
}

// percent reads a number from 0 to 100, nil when the key is absent.
func (s section) percent(key string) *float64 {
	n, ok := s.fields[key]
	if !ok {
		return nil
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" && n.ShortTag() != "!!float" || err != nil || !(v >= 0 && v <= 100) {
		s.fail(key, "must be a number from 0 to 100, in percent")
		return nil
	}
	return &v
}
