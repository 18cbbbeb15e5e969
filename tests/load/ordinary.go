package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
)

// An ordinary client spends more on a request than the bare handler does on
// its answer. It shows the ratios that tools built on net/http come to, and is
// not the default.

// ordinaryClient is Go's own client with room for all connections.
func ordinaryClient(connections int) *http.Client {
	return &http.Client{Timeout: answerTimeout, Transport: &http.Transport{
		MaxIdleConns: connections, MaxIdleConnsPerHost: connections, DisableCompression: true,
	}}
}

// exchangeOrdinary sends a whole request as an ordinary program would and
// appends the answer's body to b.
func exchangeOrdinary(c *http.Client, addr string, request, b []byte) (status int, body []byte, err error) {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		return 0, b, err
	}
	req.RequestURI = "" // which a client must not set
	req.URL.Scheme, req.URL.Host = "http", addr
	resp, err := c.Do(req)
	if err != nil {
		return 0, b, err
	}
	defer resp.Body.Close()
	buf := bytes.NewBuffer(slices.Grow(b, int(max(0, resp.ContentLength))+bytes.MinRead))
	_, err = io.Copy(buf, resp.Body)
	return resp.StatusCode, buf.Bytes(), err
}
