package widget

import (
	"bytes"
	"compress/gzip"
	"regexp"
	"testing"
)

func TestWidgetIsSmall(t *testing.T) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(JS); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if len(JS) == 0 || packed.Len() >= 20_000 {
		t.Errorf("the widget is %d bytes, %d gzipped; want under 20,000", len(JS), packed.Len())
	}
}

// What a strict content policy on the embedding page would forbid, or what
// would turn text into markup.
func TestWidgetNeedsNoUnsafePolicy(t *testing.T) {
	for _, forbidden := range []string{`\beval\(`, `new Function\b`, `\.outerHTML`, `insertAdjacentHTML`, `document\.write`, `document\.cookie`, `localStorage`} {
		if at := regexp.MustCompile(forbidden).FindIndex(JS); at != nil {
			t.Errorf("the widget holds %q", JS[at[0]:at[1]])
		}
	}
}

func TestETagIsStrong(t *testing.T) {
	if !regexp.MustCompile(`^"[0-9a-f]{32}"$`).MatchString(ETag) {
		t.Errorf("ETag %s", ETag)
	}
}
