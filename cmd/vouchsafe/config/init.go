package config

import (
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FileName is what Init calls the configuration.
const FileName = "vouchsafe.yaml"

//go:embed starter
var starter embed.FS

// InitReport is what Init did, as paths relative to its folder where they are
// inside it.
type InitReport struct {
	Dir   string   // absolute
	Wrote []string // files that were missing
	Kept  []string // files that were there, untouched
}

// Init makes dir ready for `vouchsafe serve`. Where there is no configuration,
// it writes one that starts, with a first site, an example manifest, a help
// page and a fresh secret. Where there is one, it makes only the keys that are
// missing from that configuration's keys folder. It never overwrites a file.
func Init(dir string) (InitReport, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return InitReport{}, fmt.Errorf("finding the folder: %w", err)
	}
	report := InitReport{Dir: dir}
	keys := filepath.Join(dir, defaultKeys)
	path := filepath.Join(dir, FileName)
	_, err = os.Stat(path)
	switch {
	case err == nil:
		c, err := LoadWithoutSecrets(path)
		if err != nil {
			return report, err
		}
		keys = c.Keys
		report.Kept = append(report.Kept, FileName)
	case errors.Is(err, fs.ErrNotExist):
		if err := report.start(); err != nil {
			return report, err
		}
	default:
		return report, fmt.Errorf("looking for the configuration: %w", err)
	}

	made, err := EnsureKeys(keys)
	for _, name := range keyNames {
		shown := filepath.Join(keys, name)
		if rel, err := filepath.Rel(dir, shown); err == nil && filepath.IsLocal(rel) {
			shown = rel
		}
		report.add(shown, len(made) > 0 && made[0] == name)
		if len(made) > 0 && made[0] == name {
			made = made[1:]
		}
	}
	return report, err
}

// start writes the starter files, the configuration last, so that one that is
// there was finished.
func (r *InitReport) start() error {
	files := []struct {
		path    string
		content []byte
		mode    os.FileMode
	}{
		{path: ".gitignore", mode: 0o644},
		{path: "actions/example.yaml", mode: 0o644},
		{path: "help/orders.md", mode: 0o644},
		{path: "shop.secret", content: randomKey(base64.RawURLEncoding), mode: 0o600},
		{path: FileName, mode: 0o644},
	}
	for _, f := range files {
		if f.content == nil {
			name := f.path
			if name == ".gitignore" {
				name = "gitignore" // or it would apply to the starter itself
			}
			b, err := starter.ReadFile("starter/" + name)
			if err != nil {
				return fmt.Errorf("reading the starter: %w", err)
			}
			f.content = b
		}
		path := filepath.Join(r.Dir, filepath.FromSlash(f.path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("making the folder of %s: %w", f.path, err)
		}
		wrote, err := writeNew(path, f.content, f.mode)
		if err != nil {
			return fmt.Errorf("writing %s: %w", f.path, err)
		}
		r.add(f.path, wrote)
	}
	return nil
}

func (r *InitReport) add(path string, wrote bool) {
	if wrote {
		r.Wrote = append(r.Wrote, path)
	} else {
		r.Kept = append(r.Kept, path)
	}
}
