package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
)

// KeySource is where a secret or a public key is to be read. The zero KeySource
// is nowhere.
type KeySource struct {
	File string // absolute path
	Env  string // name of an environment variable
}

const maxKeyBytes = 64 << 10

var errNotRegular = errors.New("is not a regular file")

// Read returns the bytes of the file, with one trailing newline dropped, or the
// value of the environment variable. Neither is ever empty, and the error
// repeats neither the path nor the name.
func (k KeySource) Read() ([]byte, error) {
	var b []byte
	switch {
	case k.File != "":
		var err error
		if b, err = readBounded(k.File, maxKeyBytes); err != nil {
			return nil, err
		}
		b = bytes.TrimSuffix(b, []byte("\n"))
		if len(b) == 0 {
			return nil, errors.New("the file is empty")
		}
	case k.Env != "":
		v, ok := os.LookupEnv(k.Env)
		if !ok {
			return nil, errors.New("the environment variable is not set")
		}
		if v == "" {
			return nil, errors.New("the environment variable is empty")
		}
		b = []byte(v)
	default:
		return nil, errors.New("there is no file and no environment variable")
	}
	return b, nil
}

// withoutPath returns the reason of a file error alone.
func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

const (
	minProviderKey = 32
)

type family uint8

const (
	familyHMAC family = iota + 1
	familyRSA
	familyECDSA
	familyEd25519
)

// algorithm says what key fits a JWS algorithm.
type algorithm struct {
	family family
	least  int            // bytes of a secret (RFC 7518, 3.2), bits of an RSA modulus
	curve  elliptic.Curve // of an ECDSA key
}

var algorithms = map[string]algorithm{
	"HS256": {family: familyHMAC, least: 32},
	"HS384": {family: familyHMAC, least: 48},
	"HS512": {family: familyHMAC, least: 64},
	"RS256": {family: familyRSA, least: 2048},
	"RS384": {family: familyRSA, least: 2048},
	"RS512": {family: familyRSA, least: 2048},
	"PS256": {family: familyRSA, least: 2048},
	"PS384": {family: familyRSA, least: 2048},
	"PS512": {family: familyRSA, least: 2048},
	"ES256": {family: familyECDSA, curve: elliptic.P256()},
	"ES384": {family: familyECDSA, curve: elliptic.P384()},
	"ES512": {family: familyECDSA, curve: elliptic.P521()},
	"EdDSA": {family: familyEd25519},
}

// tokenKey reads an entry of tokens.keys and, unless secrets are out of reach,
// the key itself.
func (p *parser) tokenKey(k section) TokenKey {
	key := TokenKey{
		Place:       Place{Line: k.node.Line, Key: k.key},
		KID:         k.required("kid", "the kid of what this key verifies"),
		NotBefore:   k.moment("not_before"),
		RetireAfter: k.moment("retire_after"),
	}
	if len(key.KID) > 128 {
		k.fail("kid", "is longer than 128 bytes")
	}
	if !key.RetireAfter.IsZero() && !key.RetireAfter.After(key.NotBefore) {
		k.fail("retire_after", "is not later than not_before: the key would never be believed")
	}
	key.Alg = k.required("alg", "the one algorithm the key is for, such as ES256")
	alg, known := algorithms[key.Alg]
	if key.Alg != "" && !known {
		if strings.EqualFold(key.Alg, "none") {
			k.fail("alg", "is no signature at all")
		} else {
			k.fail("alg", "must be one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA")
		}
	}
	all := []string{"secret_file", "secret_env", "public_key_file"}
	source, ok := k.source(all...)
	if !ok {
		if !slices.ContainsFunc(all, k.has) && known {
			if alg.family == familyHMAC {
				k.fail("secret_file", "is missing: name the file that holds the secret, or secret_env")
			} else {
				k.fail("public_key_file", "is missing: name the file that holds the public key (PEM)")
			}
		}
		return key
	}
	key.Source = source
	switch public := k.has("public_key_file"); {
	case !known:
	case alg.family == familyHMAC && public:
		k.fail("public_key_file", "is not for %s, which needs secret_file or secret_env", key.Alg)
	case alg.family != familyHMAC && !public:
		k.fail(first(k, "secret_file", "secret_env"), "is not for %s, which needs public_key_file", key.Alg)
	case public:
		k.checkPublic(source, alg)
	default:
		k.weigh(source, alg.least)
	}
	return key
}

// source reads which of the keys names the secret. It returns false when not
// exactly one does; that none does is for the caller to report.
func (s section) source(keys ...string) (KeySource, bool) {
	var given []string
	for _, k := range keys {
		if s.has(k) {
			given = append(given, k)
		}
	}
	if len(given) == 0 {
		return KeySource{}, false
	}
	if len(given) > 1 {
		s.fail(given[1], "is set beside %s: want one of them", given[0])
		return KeySource{}, false
	}
	v := s.required(given[0], "it names where the key is")
	switch {
	case v == "":
		return KeySource{}, false
	case strings.HasSuffix(given[0], "_env"):
		return KeySource{Env: v}, true
	default:
		return KeySource{File: s.p.path(v)}, true
	}
}

// weigh reads a secret to see that it is there, long enough and not open to
// everybody.
func (s section) weigh(k KeySource, least int) {
	if k == (KeySource{}) || !s.p.secrets {
		return
	}
	at := s.fieldOf(k)
	b, err := k.Read()
	if err != nil {
		s.fail(at, "cannot be read: %v", err)
		return
	}
	if len(b) < least {
		s.fail(at, "holds a secret of %d bytes: want at least %d random ones", len(b), least)
		return
	}
	if kinds(b) < 8 {
		s.p.warn(s.fields[at], s.at(at), "holds a secret of very few different characters: is it random?")
	}
	if k.File == "" {
		return
	}
	if info, err := os.Stat(k.File); err == nil && info.Mode().Perm()&0o027 != 0 {
		s.p.warn(s.fields[at], s.at(at), "is open to other users of this machine (mode %04o): chmod 600", info.Mode().Perm())
	}
}

// kinds counts the different bytes of b.
func kinds(b []byte) int {
	var seen [256]bool
	n := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}

// fieldOf returns the key of s under which k stands.
func (s section) fieldOf(k KeySource) string {
	for key := range s.fields {
		if k.Env != "" && strings.HasSuffix(key, "_env") || k.Env == "" && strings.HasSuffix(key, "_file") {
			return key
		}
	}
	return ""
}

// checkPublic reads a public key to see that it is one, strong, and of the kind
// that the algorithm takes.
func (s section) checkPublic(k KeySource, alg algorithm) {
	if !s.p.secrets {
		return
	}
	const at = "public_key_file"
	b, err := k.Read()
	if err != nil {
		s.fail(at, "cannot be read: %v", err)
		return
	}
	if wrong := publicKey(b, alg); wrong != "" {
		s.fail(at, "%s", wrong)
	}
}

// publicKey says what is wrong with a PEM public key, "" when nothing is.
func publicKey(b []byte, alg algorithm) string {
	block, rest := pem.Decode(b)
	switch {
	case bytes.Contains(b, []byte("PRIVATE KEY-----")):
		return "holds a private key: it belongs to the site's backend alone; name its public key"
	case block == nil:
		return "holds no public key in PEM"
	case len(bytes.TrimSpace(rest)) > 0:
		return "holds more than one key: each is an entry of its own"
	}
	var parsed any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		parsed, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			parsed = cert.PublicKey
		}
	default:
		return "must hold a PEM block PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE"
	}
	if err != nil {
		return "holds a public key that cannot be read"
	}
	switch key := parsed.(type) {
	case *rsa.PublicKey:
		if alg.family != familyRSA {
			return "holds an RSA key, which is not for this alg"
		}
		if bits := key.N.BitLen(); bits < alg.least {
			return fmt.Sprintf("holds an RSA key of %d bits: want at least %d", bits, alg.least)
		}
	case *ecdsa.PublicKey:
		if alg.family != familyECDSA || key.Curve != alg.curve {
			return "holds a key on " + key.Curve.Params().Name + ", which is not for this alg"
		}
	case ed25519.PublicKey:
		if alg.family != familyEd25519 {
			return "holds an Ed25519 key, which is not for this alg"
		}
	default:
		return "holds a key of a kind that is not supported"
	}
	return ""
}

// listensOnThisMachine reports whether only this machine reaches the address.
func listensOnThisMachine(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && onThisMachine(host)
}
