package caldav

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"vouchsafe/connectors"
	"vouchsafe/connectors/provider"
)

// The part of CalDAV (RFC 4791) and WebDAV (RFC 4918) that appointments need.

// filter says which events of a calendar are wanted.
type filter struct {
	from, to time.Time
	property string // "" for any
	holds    string // text that the property contains
}

func (f filter) report() []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header + `<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">` +
		`<D:prop><D:getetag/><C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">`)
	fmt.Fprintf(&b, `<C:time-range start="%s" end="%s"/>`, f.from.UTC().Format(layoutUTC), f.to.UTC().Format(layoutUTC))
	if f.property != "" {
		b.WriteString(`<C:prop-filter name="`)
		xml.EscapeText(&b, []byte(f.property))
		b.WriteString(`"><C:text-match collation="i;ascii-casemap">`)
		xml.EscapeText(&b, []byte(f.holds))
		b.WriteString(`</C:text-match></C:prop-filter>`)
	}
	b.WriteString(`</C:comp-filter></C:comp-filter></C:filter></C:calendar-query>`)
	return b.Bytes()
}

type multistatus struct {
	XMLName   xml.Name   `xml:"DAV: multistatus"`
	Responses []response `xml:"DAV: response"`
}

type response struct {
	Href      string     `xml:"DAV: href"`
	Propstats []propstat `xml:"DAV: propstat"`
}

type propstat struct {
	Status string `xml:"DAV: status"`
	Prop   struct {
		ETag string `xml:"DAV: getetag"`
		Data string `xml:"urn:ietf:params:xml:ns:caldav calendar-data"`
	} `xml:"DAV: prop"`
}

var errReply = errors.New("the calendar server's reply is not one of CalDAV")

// query finds a calendar's objects. What is not an iCalendar object of events
// is left out: it is nobody's.
func query(ctx context.Context, call connectors.NativeCall, calendar string, f filter) ([]*object, error) {
	reply, err := call.Send(ctx, provider.Call{
		Method: "REPORT", Path: calendar, Body: f.report(), ContentType: `application/xml; charset="utf-8"`,
		Headers: map[string]string{"Depth": "1", "Accept": "application/xml, text/xml"},
	})
	if err != nil {
		return nil, err
	}
	if reply.Status != http.StatusMultiStatus {
		return nil, fmt.Errorf("the calendar server answers %d to a query", reply.Status)
	}
	var ms multistatus
	if err := xml.NewDecoder(bytes.NewReader(reply.Body)).Decode(&ms); err != nil {
		return nil, errReply
	}
	var out []*object
	for _, r := range ms.Responses {
		if o := r.object(calendar, call.Site.Location); o != nil {
			out = append(out, o)
		}
	}
	return out, nil
}

// object reads one of a reply's objects, nil when it is none.
func (r response) object(calendar string, local *time.Location) *object {
	name, ok := nameOf(r.Href)
	if !ok {
		return nil
	}
	o := &object{calendar: calendar, name: name}
	data := ""
	for _, p := range r.Propstats {
		if fields := strings.Fields(p.Status); len(fields) > 1 && fields[1] == "200" {
			o.etag += strings.TrimSpace(p.Prop.ETag)
			data += p.Prop.Data
		}
	}
	var err error
	if o.cal, o.zones, err = decode([]byte(data), local); err != nil || !o.sound() {
		return nil
	}
	return o
}

// nameOf is the last segment of a resource's href, percent-encoded. Objects lie
// directly in their calendar (RFC 4791, 4.2), so nothing else of it is needed,
// and nothing else could lead out of the calendar.
func nameOf(href string) (string, bool) {
	u, err := url.Parse(strings.TrimSpace(href))
	if err != nil {
		return "", false
	}
	path := u.EscapedPath()
	name, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil || name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00\r\n") {
		return "", false
	}
	return url.PathEscape(name), true
}

// errConflict is a write that was refused because somebody else has changed
// the object since it was read.
var errConflict = errors.New("the appointment has been changed meanwhile")

// errDoubt is a write of which it is not known whether it happened.
var errDoubt = errors.New("the calendar server did not say whether it was done")

// put replaces the object if it is still as it was read, remove takes it away.
func (o *object) put(ctx context.Context, call connectors.NativeCall) error {
	body, err := o.encode()
	if err != nil {
		return errors.Join(errUnwritable, err)
	}
	return o.change(ctx, call, provider.Call{Method: http.MethodPut, Body: body, ContentType: "text/calendar; charset=utf-8"})
}

func (o *object) remove(ctx context.Context, call connectors.NativeCall) error {
	return o.change(ctx, call, provider.Call{Method: http.MethodDelete})
}

// errUnwritable is an object that cannot be written back as it was.
var errUnwritable = errors.New("the calendar's object cannot be written back")

// change sends a write, once, for the very version of the object that was read.
// Half of the time that is left is for finding out what became of it.
func (o *object) change(ctx context.Context, call connectors.NativeCall, write provider.Call) error {
	if o.etag == "" || provider.CheckHeader("If-Match", o.etag) != nil {
		return fmt.Errorf("%w: it has no version to compare", errUnwritable)
	}
	write.Path, write.Headers = o.path(), map[string]string{"If-Match": o.etag}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	reply, err := call.Send(ctx, write)
	if err != nil {
		if pe, ok := errors.AsType[*provider.Error](err); ok && pe.NotSent {
			return err
		}
		return errors.Join(errDoubt, err)
	}
	switch s := reply.Status; {
	case s >= 200 && s <= 299:
		return nil
	case s == http.StatusPreconditionFailed:
		return errConflict
	case s >= 400 && s <= 499, s == http.StatusNotImplemented, s == http.StatusServiceUnavailable, s == http.StatusInsufficientStorage:
		return fmt.Errorf("%w: the calendar server answers %s", errRefused, strconv.Itoa(s))
	}
	return errDoubt
}

// errRefused is a write that the server would not do.
var errRefused = errors.New("the change was refused")
