package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
)

// streaming serves one handler that is given a stream.
func streaming(t *testing.T, patient time.Duration, serve func(ctx context.Context, s *stream)) *httptest.Server {
	t.Helper()
	quietGin()
	g := gin.New()
	g.GET("/", func(c *gin.Context) {
		ctx, cancel := context.WithCancel(c.Request.Context())
		defer cancel()
		serve(ctx, newStream(c.Writer, cancel, patient))
	})
	listening := httptest.NewServer(g)
	t.Cleanup(listening.Close)
	return listening
}

func TestAQuietStreamStaysAlive(t *testing.T) {
	heard := make(chan struct{})
	listening := streaming(t, time.Minute, func(_ context.Context, s *stream) {
		stop := s.beat(time.Millisecond)
		<-heard
		stop()
		s.event("done", []byte("{}"))
	})
	resp, err := http.Get(listening.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != ": still here" {
		t.Errorf("the first line is %q, want a comment", lines.Text())
	}
	close(heard)
	rest := ""
	for lines.Scan() {
		rest = strings.TrimLeft(rest+"\n"+lines.Text(), "\n")
	}
	if !strings.HasSuffix(rest, "event: done\ndata: {}\n") {
		t.Errorf("after the heartbeats: %q", rest)
	}
}

func TestAStalledReaderIsGivenUp(t *testing.T) {
	ended := make(chan struct{})
	listening := streaming(t, 50*time.Millisecond, func(ctx context.Context, s *stream) {
		defer close(ended)
		for data := bytes.Repeat([]byte("x"), 1<<20); ctx.Err() == nil; {
			s.event("reply", data)
		}
		s.event("done", nil) // to nobody
	})
	conn, err := net.Dial("tcp", listening.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-ended // although the connection is open and nothing of it is read
}
