package output_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/cmd/vouchsafe/output"
)

type decision struct {
	ID    string `json:"decision"`
	Allow bool   `json:"allow"`
	Said  string `json:"said"`
}

func TestExitCodes(t *testing.T) {
	plain := errors.New("no such socket")
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing wrong", nil, 0},
		{"checked, does not hold", output.Fails(plain), 1},
		{"checked, does not hold, already printed", output.Fails(nil), 1},
		{"wrapped", fmt.Errorf("policy test: %w", output.Fails(plain)), 1},
		{"below a hint", output.WithHint(output.Fails(plain), "start it"), 1},
		{"could not be asked", output.Cannot(plain), 2},
		{"unclassified is not an answer", plain, 2},
		{"a code nobody promised", &output.Exit{Code: 7, Err: plain}, 2},
		{"an error never ends in 0", &output.Exit{Err: plain}, 2},
	} {
		if got := output.CodeOf(c.err); got != c.want {
			t.Errorf("%s: CodeOf = %d, want %d", c.name, got, c.want)
		}
	}
}

func TestErrorIsPrintedWithItsHint(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"none", nil, ""},
		{"plain", errors.New("no such socket"), "vouchsafe: no such socket\n"},
		{"hint", output.Cannot(output.WithHint(errors.New("no such socket"), "Is `vouchsafe serve` running?")),
			"vouchsafe: no such socket\n  Is `vouchsafe serve` running?\n"},
		{"already printed", output.Fails(nil), ""},
		{"several lines", errors.New("a.yaml:1: x\na.yaml:2: y"), "vouchsafe: a.yaml:1: x\n  a.yaml:2: y\n"},
		{"terminal codes", errors.New("bad \x1b[2Jname"), "vouchsafe: bad \\x1b[2Jname\n"},
	} {
		for _, format := range []output.Format{output.Pretty, output.JSON} {
			var out, err bytes.Buffer
			output.New(&out, &err, format).Error(c.err)
			if got := err.String(); got != c.want || out.Len() > 0 {
				t.Errorf("%s: stderr %q, stdout %q; want %q and nothing", c.name, got, out.String(), c.want)
			}
		}
	}
	if output.WithHint(nil, "never mind") != nil {
		t.Error("WithHint(nil) is an error")
	}
}

func table(t *testing.T, format output.Format, rows ...decision) string {
	t.Helper()
	var out bytes.Buffer
	p := output.New(&out, &out, format)
	list := p.Table("DECISION", "ALLOW", "SAID")
	for _, d := range rows {
		if err := list.Row(d, d.ID, fmt.Sprint(d.Allow), d.Said); err != nil {
			t.Fatalf("Row(%+v): %v", d, err)
		}
	}
	if err := list.Flush(); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	if list.Rows() != len(rows) {
		t.Errorf("Rows() = %d, want %d", list.Rows(), len(rows))
	}
	return out.String()
}

func TestTable(t *testing.T) {
	rows := []decision{{"d_1", true, "café <b>"}, {"d_22", false, ""}}
	for _, c := range []struct {
		name   string
		format output.Format
		rows   []decision
		want   string
	}{
		{"pretty", output.Pretty, rows, "DECISION  ALLOW  SAID\nd_1       true   café <b>\nd_22      false  -\n"},
		{"json lines", output.JSON, rows,
			"{\"decision\":\"d_1\",\"allow\":true,\"said\":\"café <b>\"}\n{\"decision\":\"d_22\",\"allow\":false,\"said\":\"\"}\n"},
		{"pretty, none", output.Pretty, nil, ""},
		{"json, none", output.JSON, nil, ""},
	} {
		if diff := cmp.Diff(c.want, table(t, c.format, c.rows...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// What a visitor typed must not repaint the auditor's terminal, forge a row or
// reverse what follows.
func TestVisitorsWordsCannotForgeOutput(t *testing.T) {
	typed := "x\x1b[1A\nd_9\ttrue\u202e\u200b\u0085"
	got := table(t, output.Pretty, decision{ID: "d_1", Said: typed})
	want := "DECISION  ALLOW  SAID\nd_1       false  x\\x1b[1A\\nd_9\\ttrue\\u202e\\u200b\\u0085\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestObject(t *testing.T) {
	d := decision{"d_1", true, "where is my order"}
	fields := []output.Field{{Name: "decision", Value: d.ID}, {Name: "said", Value: d.Said}}
	for _, c := range []struct {
		name   string
		format output.Format
		want   string
	}{
		{"pretty", output.Pretty, "decision  d_1\nsaid      where is my order\ndone\n"},
		{"json", output.JSON, "{\"decision\":\"d_1\",\"allow\":true,\"said\":\"where is my order\"}\n"},
	} {
		var out bytes.Buffer
		p := output.New(&out, &out, c.format)
		if err := p.Object(d, fields...); err != nil {
			t.Fatalf("%s: Object: %v", c.name, err)
		}
		if err := p.Line("done"); err != nil {
			t.Fatalf("%s: Line: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestWhatCannotBePrintedIsAnError(t *testing.T) {
	var out bytes.Buffer
	p := output.New(&out, &out, output.JSON)
	if err := p.Object(math.NaN()); err == nil {
		t.Error("Object(NaN) succeeded")
	}
	broken := output.New(fullDisk{}, &out, output.Pretty)
	list := broken.Table("ID")
	if err := errors.Join(list.Row(nil, "d_1"), list.Flush()); !errors.Is(err, errFull) {
		t.Errorf("Row and Flush to a full disk = %v, want %v", err, errFull)
	}
	if err := broken.Line("x"); !errors.Is(err, errFull) {
		t.Errorf("Line to a full disk = %v, want %v", err, errFull)
	}
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestParseFormat(t *testing.T) {
	for in, want := range map[string]output.Format{"pretty": output.Pretty, "json": output.JSON} {
		if got, err := output.ParseFormat(in); err != nil || got != want {
			t.Errorf("ParseFormat(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "JSON", "yaml", "table"} {
		if _, err := output.ParseFormat(in); err == nil {
			t.Errorf("ParseFormat(%q) succeeded", in)
		}
	}
}
