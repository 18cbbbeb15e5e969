package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// call is one request that reached the admin API with the right key.
type call struct {
	Time   time.Time `json:"time"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Key    string    `json:"idempotency_key,omitempty"`
}

// callLog remembers every call, in a file that only grows, so that "the shop
// saw no call" can be shown rather than believed.
type callLog struct {
	mu   sync.Mutex
	file *os.File
}

func openCalls(path string) (*callLog, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the demo shop's call log: %w", err)
	}
	return &callLog{file: file}, nil
}

// add writes the call before it is answered.
func (l *callLog) add(c call) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.file.Write(append(line, '\n'))
	return err
}

// all returns the calls, oldest first.
func (l *callLog) all() ([]call, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Seek(0, 0); err != nil {
		return nil, err
	}
	calls := []call{}
	lines := bufio.NewScanner(l.file)
	for lines.Scan() {
		var c call
		if json.Unmarshal(lines.Bytes(), &c) != nil {
			continue // a line cut short when the machine stopped
		}
		calls = append(calls, c)
	}
	return calls, lines.Err()
}

// Close closes the file.
func (l *callLog) Close() error { return l.file.Close() }
