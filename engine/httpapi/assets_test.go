package httpapi_test

import (
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"vouchsafe/engine/httpapi"
)

func TestTheWidgetIsCompressed(t *testing.T) {
	script := strings.Repeat("/* a widget */\n", 1000)
	b := newBench(t, func(o *httpapi.Options) { o.Widget = []byte(script) })
	for accept, packed := range map[string]bool{
		"identity": false, "br": false, "gzip;q=0": false, "gzip;q=0.0, *": false, "*;q=0": false, "gzip;q=x": false, "x-unknown, deflate": false,
		"gzip": true, "GZIP": true, "br, gzip": true, "gzip;q=0.1, br;q=1": true, "gzip ; q=0.5": true, "*": true, "br;q=1, *;q=0.2": true,
	} {
		a := b.do("GET", "/widget.js", "", "Accept-Encoding", accept)
		etag, encoding := `"w1"`, ""
		body := a.body
		if packed {
			etag, encoding = `"w1-gzip"`, "gzip"
			z, err := gzip.NewReader(strings.NewReader(a.body))
			if err != nil {
				t.Fatalf("%s: %v", accept, err)
			}
			plain, err := io.ReadAll(z)
			if err != nil {
				t.Fatalf("%s: %v", accept, err)
			}
			body = string(plain)
			if len(a.body) > len(script)/2 {
				t.Errorf("%s: %d bytes of %d", accept, len(a.body), len(script))
			}
		}
		if a.status != 200 || body != script || a.header.Get("Etag") != etag || a.header.Get("Content-Encoding") != encoding ||
			a.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %d, %d bytes, %v", accept, a.status, len(body), a.header)
		}
		// Each form is known by its own tag, and not by the other's.
		for given, status := range map[string]int{`"w1"`: 200, `"w1-gzip"`: 200, etag: 304} {
			a := b.do("GET", "/widget.js", "", "Accept-Encoding", accept, "If-None-Match", given)
			if a.status != status || a.header.Get("Vary") != "Accept-Encoding" || status == 304 && a.header.Get("Content-Encoding") != "" {
				t.Errorf("%s, knowing %s: %d %v", accept, given, a.status, a.header)
			}
		}
	}
	if a := b.do("HEAD", "/widget.js", "", "Accept-Encoding", "gzip"); a.status != 200 || a.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}
}
