package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// answerTimeout bounds the wait for one answer.
const answerTimeout = 10 * time.Second

// target is a server to be asked, over and over.
type target struct {
	name     string
	addr     string
	requests [][]byte // whole HTTP requests, sent in turn
	want     []byte   // stands in the body of every right answer
	proc     *process
	ordinary bool // asked by Go's own client instead of the lean one
	// call asks once in a way of its own, instead of sending a request; n says
	// whom about.
	call    func(ctx context.Context, n int) error
	counted []counted // whose processor time is told apart
}

// counted is a process whose processor time is counted.
type counted struct {
	name string
	pid  int
}

// sample is what one target did in one stretch of time.
type sample struct {
	requests  int
	errors    int
	firstErr  error
	elapsed   time.Duration
	cpu       time.Duration   // of the server's process
	cpus      []time.Duration // of the target's counted processes
	latencies []time.Duration
}

func (s *sample) perSecond() float64 {
	if s.elapsed <= 0 {
		return 0
	}
	return float64(s.requests) / s.elapsed.Seconds()
}

// cpuPerRequest is the server's processor time for one right answer.
func (s *sample) cpuPerRequest() time.Duration {
	if s.requests == 0 {
		return 0
	}
	return s.cpu / time.Duration(s.requests)
}

// add joins what was seen in another stretch.
func (s *sample) add(o sample) {
	s.requests += o.requests
	s.errors += o.errors
	if s.firstErr == nil {
		s.firstErr = o.firstErr
	}
	s.elapsed += o.elapsed
	s.cpu += o.cpu
	if s.cpus == nil {
		s.cpus = make([]time.Duration, len(o.cpus))
	}
	for i, cpu := range o.cpus {
		s.cpus[i] += cpu
	}
	s.latencies = append(s.latencies, o.latencies...)
}

// percentile returns the latency that p of all answers kept to; it sorts.
func (s *sample) percentile(p float64) time.Duration {
	if len(s.latencies) == 0 {
		return 0
	}
	slices.Sort(s.latencies)
	return s.latencies[min(int(p*float64(len(s.latencies))), len(s.latencies)-1)]
}

// drive asks t over so many kept connections, each waiting for its answer
// before it asks again, until the time is up. Latencies are kept unless the
// stretch is long enough to fill the memory with them.
func drive(ctx context.Context, t *target, connections int, d time.Duration, keepLatencies bool) sample {
	var shared *http.Client
	if t.ordinary {
		shared = ordinaryClient(connections)
		defer shared.CloseIdleConnections()
	}
	clients := make([]*client, connections)
	for i := range clients {
		clients[i] = &client{t: t, next: i * visitors / connections, keep: keepLatencies, ordinary: shared}
		clients[i].connect()
	}
	before, each := t.proc.cpu(), t.cpus()
	start := time.Now()
	deadline := start.Add(d)
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			for ctx.Err() == nil && time.Now().Before(deadline) {
				c.ask(ctx)
			}
		})
	}
	all.Wait()
	total := sample{elapsed: time.Since(start), cpu: t.proc.cpu() - before, cpus: t.cpus()}
	for i := range each {
		total.cpus[i] -= each[i]
	}
	for _, c := range clients {
		c.close()
		total.add(c.seen)
	}
	return total
}

// cpus is the processor time that each of the counted processes has used.
func (t *target) cpus() []time.Duration {
	out := make([]time.Duration, len(t.counted))
	for i, c := range t.counted {
		out[i] = cpuOf(c.pid)
	}
	return out
}

// client is one connection. It speaks just enough HTTP/1.1 that the servers,
// which share the machine with it, get most of the machine.
type client struct {
	t    *target
	next int
	keep bool
	conn net.Conn
	r    *bufio.Reader
	body []byte
	seen sample

	ordinary *http.Client // nil for the lean one
}

func (c *client) connect() {
	if !c.lean() {
		return
	}
	conn, err := net.Dial("tcp", c.t.addr)
	if err != nil {
		c.failed(err)
		return
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
}

// lean reports a client with a connection of its own.
func (c *client) lean() bool { return c.ordinary == nil && c.t.call == nil }

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// failed counts an error and leaves a connection whose state is unknown.
func (c *client) failed(err error) {
	c.seen.errors++
	if c.seen.firstErr == nil {
		c.seen.firstErr = err
	}
	c.close()
}

func (c *client) ask(ctx context.Context) {
	if c.conn == nil && c.lean() {
		time.Sleep(10 * time.Millisecond)
		if c.connect(); c.conn == nil {
			return
		}
	}
	n := c.next
	c.next = (c.next + 1) % visitors
	start := time.Now()
	if err := c.once(ctx, n, start); err != nil {
		c.failed(err)
		return
	}
	c.seen.requests++
	if c.keep {
		c.seen.latencies = append(c.seen.latencies, time.Since(start))
	}
}

// once asks about one visitor's order and judges the answer.
func (c *client) once(ctx context.Context, n int, now time.Time) error {
	if c.t.call != nil {
		return c.t.call(ctx, n)
	}
	status, err := c.exchange(c.t.requests[n], now)
	if err != nil {
		return err
	}
	if status != http.StatusOK || !bytes.Contains(c.body, c.t.want) {
		return fmt.Errorf("status %d: %.300s", status, c.body)
	}
	return nil
}

// exchange sends one request and reads the answer into c.body.
func (c *client) exchange(request []byte, now time.Time) (status int, err error) {
	if c.ordinary != nil {
		status, c.body, err = exchangeOrdinary(c.ordinary, c.t.addr, request, c.body[:0])
		return status, err
	}
	if c.seen.requests%64 == 0 {
		// A deadline costs more than a look at the clock, and a stuck server is
		// found soon enough with one for many requests.
		if err := c.conn.SetDeadline(now.Add(answerTimeout)); err != nil {
			return 0, err
		}
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	status, c.body, err = readResponse(c.r, c.body[:0])
	return status, err
}

var errResponse = errors.New("the response is not HTTP/1.1 as this client knows it")

// readResponse reads one response and appends its body to b.
func readResponse(r *bufio.Reader, b []byte) (status int, body []byte, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, b, err
	}
	if len(line) < 13 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, b, errResponse
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, b, errResponse
	}
	length, chunked := -1, false
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, b, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length < 0 {
				return 0, b, errResponse
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.Equal(bytes.TrimSpace(value), []byte("chunked"))
		}
	}
	switch {
	case chunked:
		b, err = readChunks(r, b)
	case length >= 0:
		b, err = readN(r, b, length)
	default:
		err = errResponse
	}
	return status, b, err
}

func readN(r *bufio.Reader, b []byte, n int) ([]byte, error) {
	from := len(b)
	b = slices.Grow(b, n)[:from+n]
	_, err := io.ReadFull(r, b[from:])
	return b, err
}

func readChunks(r *bufio.Reader, b []byte) ([]byte, error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return b, err
		}
		size, err := strconv.ParseUint(string(bytes.TrimRight(line, "\r\n")), 16, 24)
		if err != nil {
			return b, errResponse
		}
		if b, err = readN(r, b, int(size)); err != nil {
			return b, err
		}
		if end, err := r.ReadSlice('\n'); err != nil {
			return b, err
		} else if len(bytes.TrimRight(end, "\r\n")) != 0 {
			return b, errResponse
		}
		if size == 0 {
			return b, nil
		}
	}
}

// request makes one HTTP request.
func request(addr, path, token string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n", path, addr)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(body))
	b.Write(body)
	return b.Bytes()
}
