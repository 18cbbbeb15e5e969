package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

// OpenAPI is the description of the public listener, as GET /openapi.json
// serves it. It must not be changed.
//
//go:embed openapi.json
var OpenAPI []byte

func entityTag(b []byte) string {
	sum := sha256.Sum256(b)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

var (
	scriptType     = []string{"text/javascript; charset=utf-8"}
	textType       = []string{"text/plain; charset=utf-8"}
	varyEncoding   = []string{"Accept-Encoding"}
	gzipEncoding   = []string{"gzip"}
	briefly        = []string{"public, max-age=300"}
	anyOrigin      = []string{"*"}
	crossOrigin    = []string{"cross-origin"}
	healthyBody    = []byte(`{"status":"ok"}`)
	readyBody      = []byte(`{"status":"ready"}`)
	degradedBody   = []byte(`{"status":"degraded"}`)
	homeText       = []byte("Vouchsafe answers here. What it understands is described at /openapi.json.\n")
	notReadyDetail = "The server cannot answer requests at the moment."
)

// asset is something to send that never changes while the server runs: as it
// is and, where that is shorter, compressed once for all.
type asset struct {
	plain, packed         []byte
	plainETag, packedETag []string
	contentType           []string
}

func newAsset(body []byte, etag string, contentType []string) asset {
	a := asset{plain: body, plainETag: []string{etag}, contentType: contentType}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is one there is
	_, _ = z.Write(body)                                  // a buffer takes everything
	_ = z.Close()
	if b.Len() < len(body) {
		// Another representation, so another strong tag.
		a.packed, a.packedETag = b.Bytes(), []string{strings.TrimSuffix(etag, `"`) + `-gzip"`}
	}
	return a
}

// asset sends bytes that any page may load and keep for a while.
func (x *exchange) asset(a *asset) error {
	h := x.w.Header()
	body, etag, packed := a.plain, a.plainETag, false
	if a.packed != nil {
		h["Vary"] = varyEncoding
		if packed = acceptsGzip(x.r.Header["Accept-Encoding"]); packed {
			body, etag = a.packed, a.packedETag
		}
	}
	h["Cache-Control"] = briefly
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Cross-Origin-Resource-Policy"] = crossOrigin
	h["Etag"] = etag
	for _, given := range x.r.Header["If-None-Match"] {
		if given == "*" || strings.Contains(given, etag[0]) {
			x.w.WriteHeader(http.StatusNotModified)
			x.w.WriteHeaderNow()
			return nil
		}
	}
	if packed {
		h["Content-Encoding"] = gzipEncoding
	}
	x.out = append(x.out[:0], body...)
	return x.send(http.StatusOK, a.contentType)
}

// acceptsGzip reads Accept-Encoding as RFC 9110, section 12.5.3 has it: what is
// named counts more than *.
func acceptsGzip(values []string) bool {
	others := false
	for _, line := range values {
		for item := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(item, ";")
			wanted := true
			if name, weight, ok := strings.Cut(params, "="); ok && strings.EqualFold(strings.TrimSpace(name), "q") {
				q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
				wanted = err == nil && q > 0
			}
			switch coding = strings.TrimSpace(coding); {
			case strings.EqualFold(coding, "gzip"), strings.EqualFold(coding, "x-gzip"):
				return wanted
			case coding == "*":
				others = wanted
			}
		}
	}
	return others
}

var openAPIAsset = newAsset(OpenAPI, entityTag(OpenAPI), jsonType)

func serveOpenAPI(x *exchange) error { return x.asset(&openAPIAsset) }

func serveWidget(x *exchange) error {
	if len(x.s.o.Widget) == 0 {
		return &problem{code: codeUnknownRoute, detail: "This server has no widget."}
	}
	return x.asset(&x.s.widget)
}

func serveHome(x *exchange) error {
	if x.s.o.Demo != nil && x.s.o.Demo.Home != "" {
		x.c.Redirect(http.StatusFound, x.s.o.Demo.Home)
		return nil
	}
	x.out = append(x.out[:0], homeText...)
	return x.send(http.StatusOK, textType)
}

// serveHealthz says that the process runs.
func serveHealthz(x *exchange) error {
	x.out = append(x.out[:0], healthyBody...)
	return x.json(http.StatusOK)
}

// serveReadyz says whether requests can be answered, and never why not.
func serveReadyz(x *exchange) error {
	switch h := x.s.o.Health(); {
	case !h.Ready:
		return &problem{code: codeNotReady, detail: notReadyDetail}
	case len(h.Degraded) > 0:
		x.out = append(x.out[:0], degradedBody...)
	default:
		x.out = append(x.out[:0], readyBody...)
	}
	return x.json(http.StatusOK)
}
