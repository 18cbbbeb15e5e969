// Package widget holds the chat widget as it is served to browsers.
package widget

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
)

// JS is the widget, built from src by build.mjs.
//
//go:embed dist/widget.js
var JS []byte

// ETag is a strong validator of JS.
var ETag = func() string {
	sum := sha256.Sum256(JS)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}()
