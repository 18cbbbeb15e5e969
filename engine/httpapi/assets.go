package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strings"
)

// OpenAPI is the description of the public listener, as GET /openapi.json
// serves it. It must not be changed.
//
//go:embed openapi.json
var OpenAPI []byte

var openAPIETag = entityTag(OpenAPI)

func entityTag(b []byte) string {
	sum := sha256.Sum256(b)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

var (
	scriptType     = []string{"text/javascript; charset=utf-8"}
	textType       = []string{"text/plain; charset=utf-8"}
	briefly        = []string{"public, max-age=300"}
	anyOrigin      = []string{"*"}
	crossOrigin    = []string{"cross-origin"}
	healthyBody    = []byte(`{"status":"ok"}`)
	readyBody      = []byte(`{"status":"ready"}`)
	degradedBody   = []byte(`{"status":"degraded"}`)
	homeText       = []byte("Vouchsafe answers here. What it understands is described at /openapi.json.\n")
	notReadyDetail = "The server cannot answer requests at the moment."
)

// asset sends bytes that any page may load and keep for a while.
func (x *exchange) asset(body []byte, etag string, contentType []string) error {
	h := x.w.Header()
	h["Cache-Control"] = briefly
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Cross-Origin-Resource-Policy"] = crossOrigin
	h["Etag"] = []string{etag}
	for _, given := range x.r.Header["If-None-Match"] {
		if given == "*" || strings.Contains(given, etag) {
			x.w.WriteHeader(http.StatusNotModified)
			x.w.WriteHeaderNow()
			return nil
		}
	}
	x.out = append(x.out[:0], body...)
	return x.send(http.StatusOK, contentType)
}

func serveOpenAPI(x *exchange) error { return x.asset(OpenAPI, openAPIETag, jsonType) }

func serveWidget(x *exchange) error {
	if len(x.s.o.Widget) == 0 {
		return &problem{code: codeUnknownRoute, detail: "This server has no widget."}
	}
	return x.asset(x.s.o.Widget, x.s.o.WidgetETag, scriptType)
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
