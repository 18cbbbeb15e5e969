package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/cmd/vouchsafe/config"
)

func TestSinkRefusals(t *testing.T) {
	dir := folder(t)
	for _, c := range []struct{ name, sinks, want string }{
		{"no name", "{kind: file, path: a}", "9: sinks[0].name: is missing: a name for the status"},
		{"a loud name", "{name: A B, kind: file, path: a}", "9: sinks[0].name: must be lower-case letters, digits and dashes"},
		{"no kind", "{name: a}", "9: sinks[0].kind: is missing: file, webhook or syslog"},
		{"name twice", "{name: a, kind: file, path: a}, {name: a, kind: file, path: b}", "9: sinks[1].name: is also the name of the sink on line 9"},
		{"another kind's key", "{name: a, kind: file, path: a, url: \"https://x.example\"}", "9: sinks[0].url: is for a webhook"},
		{"our own file", "{name: a, kind: file, path: data/state.db}", "9: sinks[0].path: must not be inside data or keys: those are the gate's own files"},
		{"in clear", "{name: a, kind: webhook, url: \"http://x.example\", secret_file: k1.secret}", "9: sinks[0].url: must be https, unless it is on this machine"},
		{"unsigned", "{name: a, kind: webhook, url: \"https://x.example\"}", "9: sinks[0].secret_file: is missing: name the file that holds what deliveries are signed with, or secret_env"},
		{"weakly signed", "{name: a, kind: webhook, url: \"https://x.example\", secret_file: short.secret}", "9: sinks[0].secret_file: holds a secret of 31 bytes: want at least 32 random ones"},
		{"no address", "{name: a, kind: syslog, address: logs.example}", "9: sinks[0].address: must be unix:PATH, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT"},
		{"people in clear", "{name: a, kind: syslog, address: \"tcp://logs.example:514\", personal: true}", "9: sinks[0].personal: must not leave this machine in clear: use tls://"},
		{"another site", "{name: a, kind: file, path: a, sites: [shp]}", "9: sinks[0].sites[0]: is not the id of a site in this file"},
		{"another format", "{name: a, kind: file, path: a, format: xml}", "9: sinks[0].format: must be records, opa, ocsf or checkpoints"},
		{"nobody to send", "{name: a, kind: file, path: a, format: checkpoints, personal: true}", "9: sinks[0].personal: is for records: a checkpoint holds nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Parse("c.yaml", []byte(least+"sinks: ["+c.sinks+"]\n"), dir)
			if err == nil {
				t.Fatal("Parse succeeded")
			}
			if diff := cmp.Diff("c.yaml:"+c.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
	got, err := config.Parse("c.yaml", []byte(least+"sinks: [{name: a, kind: file, path: out.jsonl, sites: [shop]}, {name: b, kind: syslog, address: \"udp://logs.example:514\"}]\n"), dir)
	if err != nil || len(got.Sinks) != 2 || got.Sinks[0].Path != filepath.Join(dir, "out.jsonl") || got.Sinks[0].Personal || got.Sinks[0].Format != "records" ||
		len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "can be read on the way") {
		t.Errorf("sinks: %+v, %v, warnings %q", got, err, got.Warnings)
	}
}
