package demo

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
)

var pages = template.Must(template.ParseFS(site, "site/*.html"))

// view is what the shop's pages show.
type view struct {
	Gate     string
	Site     string
	Free     bool
	Customer string // "alex", "jordan" or ""
	Name     string
}

func (s *shop) routePages(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.page("index.html"))
	mux.HandleFunc("GET /login", s.page("login.html"))
	s.routeHelp(mux)
	for _, name := range []string{"shop.css", "shop.js", "gate.js", "favicon.svg"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, site, "site/"+name)
		})
	}
}

// pagePath is the home page as seen through one of the shop's sites.
func pagePath(id string) string {
	if id == FreeSiteID {
		return "/?site=" + FreeSiteID
	}
	return "/"
}

func (s *shop) page(name string) http.HandlerFunc {
	// The widget and the panel are the only things that come from elsewhere.
	policy := "default-src 'none'; script-src 'self' " + s.gate + "; connect-src 'self' " + s.gate +
		"; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Host != s.addr {
			// One origin for the page, so that the gate has one to allow.
			here := url.URL{Scheme: "http", Host: s.addr, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
			http.Redirect(w, r, here.String(), http.StatusTemporaryRedirect)
			return
		}
		v := view{Gate: s.gate, Site: SiteID}
		if r.URL.Query().Get("site") == FreeSiteID {
			v.Site, v.Free = FreeSiteID, true
		}
		if c, ok := s.signedIn(r); ok {
			v.Customer, v.Name = login(c), c.Name
		}
		var out bytes.Buffer
		if err := pages.ExecuteTemplate(&out, name, v); err != nil {
			http.Error(w, "the page could not be made", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(out.Bytes())
	}
}
