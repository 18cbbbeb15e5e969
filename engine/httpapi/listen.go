package httpapi

import (
	"net/http"
	"time"
)

// HTTPServer returns a server with the bounds that keep a slow client from
// holding a connection: for its header, for its whole request, for reading the
// response, and between requests. A stream of events sets its own deadline for
// every write.
func HTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15*time.Second + turnTime,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
	}
}
