package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"vouchsafe/engine/conversation"
)

// A stream says something this often, so that proxies keep it open, and gives
// up on a client that does not read for this long.
const (
	heartbeat    = 10 * time.Second
	writeTimeout = 10 * time.Second
)

var (
	eventsType = []string{"text/event-stream"}
	unbuffered = []string{"no"}
)

// stream writes server-sent events. Nothing is sent before the first one, so
// that a turn which fails at once is still a plain problem.
type stream struct {
	mu      sync.Mutex
	w       gin.ResponseWriter
	control *http.ResponseController
	cancel  context.CancelFunc // called when the client has gone
	patient time.Duration      // with a client that does not read
	buf     []byte
	started bool
	broken  bool
}

func newStream(w gin.ResponseWriter, cancel context.CancelFunc, patient time.Duration) *stream {
	return &stream{w: w, control: http.NewResponseController(w), cancel: cancel, patient: patient}
}

// streamTurn takes a turn and sends each reply as it is known.
func (x *exchange) streamTurn(ctx context.Context, cancel context.CancelFunc, t conversation.Turn) error {
	s := newStream(x.w, cancel, writeTimeout)
	stop := s.beat(heartbeat)
	defer stop()
	answer, err := x.s.o.Chat.Turn(ctx, t, func(r conversation.Reply) {
		if b, err := appendValue(nil, r); err == nil {
			s.event("reply", b)
		}
	})
	stop()
	if err != nil {
		p := problemOf(err)
		if !s.started {
			return p
		}
		x.fail(p) // the response has begun, so this only logs
		s.event("error", p.append(nil, statusOf(p.code)))
		return nil
	}
	b, err := appendValue(nil, struct {
		Conversation string             `json:"conversation"`
		Identity     conversation.Shown `json:"identity"`
	}{answer.Conversation, answer.Identity})
	if err != nil {
		return err
	}
	s.event("done", b)
	return nil
}

// event sends one event. data is one line of JSON.
func (s *stream) event(name string, data []byte) { s.eventAt(name, "", data) }

// eventAt sends an event with an id, which a client that comes back sends as
// Last-Event-ID.
func (s *stream) eventAt(name, id string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = append(s.buf[:0], "event: "...)
	s.buf = append(s.buf, name...)
	if id != "" {
		s.buf = append(s.buf, "\nid: "...)
		s.buf = append(s.buf, id...)
	}
	s.buf = append(s.buf, "\ndata: "...)
	s.buf = append(s.buf, data...)
	s.sendLocked(append(s.buf, "\n\n"...))
}

// comment sends what no client takes for an event.
func (s *stream) comment(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendLocked([]byte(": " + text + "\n\n"))
}

func (s *stream) sendLocked(b []byte) {
	if s.broken {
		return
	}
	if !s.started {
		s.started = true
		h := s.w.Header()
		h["Content-Type"] = eventsType
		h["X-Accel-Buffering"] = unbuffered
		s.w.WriteHeader(http.StatusOK)
	}
	err := s.control.SetWriteDeadline(time.Now().Add(s.patient))
	if err == nil {
		_, err = s.w.Write(b)
	}
	if err == nil {
		err = s.control.Flush()
	}
	if err != nil {
		s.broken = true
		s.cancel()
	}
}

// beat sends comments until stop is called, which waits for the last one.
func (s *stream) beat(every time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				s.mu.Lock()
				s.sendLocked([]byte(": still here\n\n"))
				s.mu.Unlock()
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-ended
	})
}
