package demo

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	cookieName      = "harbor_session"
	sessionLifetime = 7 * 24 * time.Hour
	tokenLifetime   = 5 * time.Minute
)

// session is one sign-in. The file keeps the hash of the cookie, not the
// cookie, so that reading the file signs nobody in.
type session struct {
	Customer Customer  `json:"customer"`
	Expires  time.Time `json:"expires"`
}

func (s *shop) routeSessions(mux *http.ServeMux) {
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /session", func(w http.ResponseWriter, r *http.Request) {
		c, ok := s.signedIn(r)
		if !ok {
			writeJSON(w, http.StatusOK, map[string]any{"signed_in": false})
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"signed_in": true, "name": c.Name, "email": c.Email})
	})
	mux.HandleFunc("POST /vouchsafe-token", s.token)
}

func hashed(cookie string) string {
	sum := sha256.Sum256([]byte(cookie))
	return hex.EncodeToString(sum[:])
}

func (s *shop) signedIn(r *http.Request) (Customer, bool) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return Customer{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.state.Sessions[hashed(cookie.Value)]
	if !ok || !s.now().Before(in.Expires) {
		return Customer{}, false
	}
	return in.Customer, true
}

// login is the demo's customer picker. A real shop asks for a password here.
func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	raw := make([]byte, 32)
	rand.Read(raw)
	value := hex.EncodeToString(raw)
	s.mu.Lock()
	c, ok := s.customerLocked(r.PostFormValue("customer"))
	var err error
	if ok {
		now := s.now()
		s.endSessionLocked(r)
		for k, old := range s.state.Sessions {
			if !now.Before(old.Expires) {
				delete(s.state.Sessions, k)
			}
		}
		s.state.Sessions[hashed(value)] = session{Customer: c, Expires: now.Add(sessionLifetime)}
		err = s.saveLocked()
	}
	s.mu.Unlock()
	switch {
	case !ok:
		(&fault{http.StatusUnprocessableEntity, "unknown_customer", "the demo knows alex and jordan"}).write(w)
		return
	case err != nil:
		toFault(err).write(w)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(sessionLifetime / time.Second)})
	s.backTo(w, r)
}

func (s *shop) logout(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	ended := s.endSessionLocked(r)
	var err error
	if ended {
		err = s.saveLocked()
	}
	s.mu.Unlock()
	if err != nil {
		toFault(err).write(w)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	s.backTo(w, r)
}

func (s *shop) endSessionLocked(r *http.Request) bool {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	_, ok := s.state.Sessions[hashed(cookie.Value)]
	delete(s.state.Sessions, hashed(cookie.Value))
	return ok
}

// backTo answers a script with 204 and a form with the page it came from.
func (s *shop) backTo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Sec-Fetch-Mode") == "cors" || r.Header.Get("Sec-Fetch-Mode") == "same-origin" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, pagePath(r.PostFormValue("site")), http.StatusSeeOther)
}

// visitorClaims is what the shop vouches for.
type visitorClaims struct {
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Name          string `json:"name"`
	jwt.RegisteredClaims
}

// token signs for the customer of this session, and for nobody the request
// names: the request chooses only the audience.
func (s *shop) token(w http.ResponseWriter, r *http.Request) {
	c, ok := s.signedIn(r)
	if !ok {
		(&fault{http.StatusUnauthorized, "signed_out", "nobody is signed in"}).write(w)
		return
	}
	id := r.URL.Query().Get("site")
	if id == "" {
		id = SiteID
	}
	if !slices.Contains(Sites, id) {
		(&fault{http.StatusNotFound, "unknown_site", "the shop has no such site"}).write(w)
		return
	}
	now := s.now()
	jti := make([]byte, 16)
	rand.Read(jti)
	t := jwt.NewWithClaims(jwt.SigningMethodES256, visitorClaims{
		Email:         c.Email,
		EmailVerified: true,
		Name:          c.Name,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    s.url,
			Audience:  jwt.ClaimStrings{Audience(id)},
			Subject:   c.ID,
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(tokenLifetime)),
			ID:        hex.EncodeToString(jti),
		},
	})
	t.Header["kid"] = KeyID
	signed, err := t.SignedString(s.signing)
	if err != nil {
		toFault(err).write(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"token": signed, "expires_in": int(tokenLifetime / time.Second)})
}
