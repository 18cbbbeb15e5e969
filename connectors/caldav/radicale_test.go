package caldav

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// radicale is a real calendar server on loopback, with two users who each see
// only what is their own.
type radicale struct {
	url string
}

const (
	studioUser, studioPassword = "studio", "studio-password-0123"
	otherUser, otherPassword   = "other", "other-password-01234"
)

func startRadicale(t *testing.T) *radicale {
	t.Helper()
	program, err := exec.LookPath("radicale")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("radicale is missing: .ci/run installs it")
		}
		t.Skip("radicale is not installed (Debian: apt-get install radicale)")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	users := filepath.Join(dir, "users")
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(users, studioUser+":"+studioPassword+"\n"+otherUser+":"+otherPassword+"\n")
	config := filepath.Join(dir, "config")
	write(config, fmt.Sprintf("[server]\nhosts = %s\n[auth]\ntype = htpasswd\nhtpasswd_filename = %s\nhtpasswd_encryption = plain\ndelay = 0\n"+
		"[rights]\ntype = owner_only\n[storage]\nfilesystem_folder = %s\n[logging]\nlevel = warning\n", addr, users, filepath.Join(dir, "collections")))
	var log bytes.Buffer
	cmd := exec.Command(program, "--config", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("radicale: %s", log.String())
		}
	})
	r := &radicale{url: "http://" + addr}
	for deadline := time.Now().Add(time.Minute); ; {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
		select {
		case <-exited:
			t.Fatalf("radicale ended: %s", log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("radicale does not listen")
		}
	}
	for user, password := range map[string]string{studioUser: studioPassword, otherUser: otherPassword} {
		r.do(t, user, password, "MKCALENDAR", "/"+user+"/appointments/", nil, "", http.StatusCreated)
	}
	return r
}

// do makes a call as a calendar program would, past the provider.
func (r *radicale) do(t *testing.T, user, password, method, path string, headers map[string]string, body string, want ...int) (string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	for _, status := range want {
		if resp.StatusCode == status {
			return string(b), resp.Header
		}
	}
	t.Fatalf("%s %s as %s: %s, want %v: %s", method, path, user, resp.Status, want, b)
	return "", nil
}

// event makes the lines of an event an object.
func event(lines ...string) string {
	return vcalendar(append(append([]string{"BEGIN:VEVENT"}, lines...), "END:VEVENT")...)
}

func vcalendar(lines ...string) string {
	all := append([]string{"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN"}, lines...)
	return strings.Join(append(all, "END:VCALENDAR"), "\r\n") + "\r\n"
}

// put stores an object in the studio's calendar.
func (r *radicale) put(t *testing.T, name, data string) {
	t.Helper()
	r.do(t, studioUser, studioPassword, http.MethodPut, "/studio/appointments/"+name, map[string]string{"Content-Type": "text/calendar"}, data, http.StatusCreated, http.StatusNoContent)
}

// get is what the studio's calendar holds, "" when it is not there.
func (r *radicale) get(t *testing.T, name string) string {
	t.Helper()
	text, _ := r.do(t, studioUser, studioPassword, http.MethodGet, "/studio/appointments/"+name, nil, "", http.StatusOK, http.StatusNotFound)
	if !strings.Contains(text, "BEGIN:VCALENDAR") {
		return ""
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n ", ""), "\r\n", "\n")
}
