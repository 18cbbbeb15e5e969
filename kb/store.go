package kb

import (
	"encoding/json"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// recordVersion is the version of stored documents that this code writes and
// the only one it reads.
const recordVersion = 1

// document is a stored page. It is private so that the file's format and the
// API change apart.
type document struct {
	Version  int       `json:"v"`
	ID       string    `json:"id"`
	Title    string    `json:"title"`
	URL      string    `json:"url,omitempty"`
	Hash     string    `json:"hash"`
	Single   bool      `json:"single,omitempty"` // added by itself, not by a folder's import
	Passages []passage `json:"passages"`
}

// passage is a run of sentences under one heading.
type passage struct {
	Headings []string `json:"headings,omitempty"`
	Anchor   string   `json:"anchor,omitempty"`
	Units    []unit   `json:"units"`
}

// unit is one sentence, list item or table row.
type unit struct {
	Text string `json:"text"`
	Sep  string `json:"sep,omitempty"`  // what stands between it and the unit before
	Item bool   `json:"item,omitempty"` // a list item or table row
}

// span is the text from one unit to another, both included.
func (p passage) span(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		if i > from {
			b.WriteString(p.Units[i].Sep)
		}
		b.WriteString(p.Units[i].Text)
	}
	return b.String()
}

// text is the whole passage.
func (p passage) text() string { return p.span(0, len(p.Units)-1) }

// The file holds one bucket per site below sitesBucket, documents by id.
var (
	sitesBucket = []byte("sites")
	metaBucket  = []byte("meta")
	versionKey  = []byte("version")
)

// prepare makes the top buckets and refuses a file of another version.
func prepare(tx *bolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(sitesBucket); err != nil {
		return err
	}
	meta, err := tx.CreateBucketIfNotExists(metaBucket)
	if err != nil {
		return err
	}
	want := fmt.Sprint(recordVersion)
	switch have := string(meta.Get(versionKey)); have {
	case "":
		return meta.Put(versionKey, []byte(want))
	case want:
		return nil
	default:
		return fmt.Errorf("the file has version %s, this program reads %s", have, want)
	}
}

// loadSites reads every site's documents.
func loadSites(tx *bolt.Tx) (map[string][]document, error) {
	out := map[string][]document{}
	sites := tx.Bucket(sitesBucket)
	return out, sites.ForEachBucket(func(name []byte) error {
		site := string(name)
		return sites.Bucket(name).ForEach(func(k, v []byte) error {
			var d document
			if err := json.Unmarshal(v, &d); err != nil {
				return fmt.Errorf("document %q of site %q: %w", k, site, err)
			}
			if d.Version != recordVersion {
				return fmt.Errorf("document %q of site %q has version %d, this program reads %d", k, site, d.Version, recordVersion)
			}
			out[site] = append(out[site], d)
			return nil
		})
	})
}

// change is what one import does to a site, in one transaction.
type change struct {
	put    []document
	remove []string
}

func (c change) empty() bool { return len(c.put) == 0 && len(c.remove) == 0 }

func (c change) apply(tx *bolt.Tx, site string) error {
	bucket, err := tx.Bucket(sitesBucket).CreateBucketIfNotExists([]byte(site))
	if err != nil {
		return err
	}
	for _, d := range c.put {
		v, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if err := bucket.Put([]byte(d.ID), v); err != nil {
			return err
		}
	}
	for _, id := range c.remove {
		if err := bucket.Delete([]byte(id)); err != nil {
			return err
		}
	}
	return nil
}
