package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jwk holds the members of a JSON Web Key that matter here.
type jwk struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid"`
	Alg    *string  `json:"alg"`
	Use    *string  `json:"use"`
	KeyOps []string `json:"key_ops"`
	Crv    string   `json:"crv"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	K      string   `json:"k"`

	// Members that only a private key has.
	D   jsontext.Value `json:"d"`
	P   jsontext.Value `json:"p"`
	Q   jsontext.Value `json:"q"`
	DP  jsontext.Value `json:"dp"`
	DQ  jsontext.Value `json:"dq"`
	QI  jsontext.Value `json:"qi"`
	Oth jsontext.Value `json:"oth"`
}

// ParseJWK admits one JSON Web Key under the rules of ParsePublicKey, or of
// ParseSecret for kty oct. Its use and key_ops must allow verifying. A key
// without alg gets the one its curve is for, or RS256 for RSA, which is what
// OpenID providers mean when they leave it out.
func ParseJWK(raw []byte) (Key, error) {
	if jsontext.Value(raw).Kind() != '{' {
		return Key{}, errors.New("a JWK is a JSON object")
	}
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		// The decoder's own error would quote the key.
		return Key{}, errors.New("a JWK is not strict JSON with members of the right types")
	}
	k, err := j.admit()
	if err != nil {
		return Key{}, keyError(j.Kid, err)
	}
	return k, nil
}

func (j *jwk) admit() (Key, error) {
	if j.D != nil || j.P != nil || j.Q != nil || j.DP != nil || j.DQ != nil || j.QI != nil || j.Oth != nil {
		return Key{}, errors.New("this is a private key; give the public members only")
	}
	if j.Use != nil && *j.Use != "sig" {
		return Key{}, errors.New("its use is not sig")
	}
	if j.KeyOps != nil && !slices.Contains(j.KeyOps, "verify") {
		return Key{}, errors.New("its key_ops do not hold verify")
	}
	a, err := j.algorithm()
	if err != nil {
		return Key{}, err
	}
	material, err := j.material(a)
	if err != nil {
		return Key{}, err
	}
	if secret, ok := material.([]byte); ok {
		err = checkSecret(a, secret)
	} else {
		err = checkPublic(a, material)
	}
	if err != nil {
		return Key{}, err
	}
	return Key{&key{kid: j.Kid, alg: a, material: material}}, nil
}

// algorithm returns the key's one algorithm.
func (j *jwk) algorithm() (Alg, error) {
	if j.Alg != nil {
		return parseAlg(*j.Alg)
	}
	switch j.Kty + " " + j.Crv {
	case "RSA ":
		return RS256, nil
	case "EC P-256":
		return ES256, nil
	case "EC P-384":
		return ES384, nil
	case "EC P-521":
		return ES512, nil
	case "OKP Ed25519":
		return EdDSA, nil
	}
	return "", errors.New("it has no alg, and its type does not imply one")
}

// material decodes the key. Whether it suits the algorithm is checked after.
func (j *jwk) material(a Alg) (any, error) {
	malformed := fmt.Errorf("its %s members cannot be read", j.Kty)
	switch j.Kty {
	case "oct":
		secret, ok := decodeSegment(j.K)
		if !ok {
			return nil, malformed
		}
		if !a.symmetric() {
			return nil, fmt.Errorf("%s wants a public key, not a shared secret", a)
		}
		return secret, nil
	case "RSA":
		n, okN := decodeSegment(j.N)
		e, okE := decodeSegment(j.E)
		if !okN || !okE || len(n) > 2048 || len(e) == 0 || len(e) > 8 {
			return nil, malformed
		}
		exponent := new(big.Int).SetBytes(e)
		if exponent.BitLen() > 31 {
			return nil, malformed
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
	case "EC":
		curve := curveOf[a]
		if curve == nil || curve.Params().Name != j.Crv {
			return nil, fmt.Errorf("%s is not for its curve", a)
		}
		x, okX := decodeSegment(j.X)
		y, okY := decodeSegment(j.Y)
		size := (curve.Params().BitSize + 7) / 8
		if !okX || !okY || len(x) != size || len(y) != size {
			return nil, malformed
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, errors.New("the point is not on its curve")
		}
		return public, nil
	case "OKP":
		x, ok := decodeSegment(j.X)
		if !ok || j.Crv != "Ed25519" {
			return nil, malformed
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, errors.New("its kty is not one of RSA, EC, OKP, oct")
}

// parsePublished reads a JWK Set as issuers publish them. Such sets hold keys
// for other purposes too, so what cannot be admitted is skipped and named. A
// shared secret is never admitted: a published one is no secret.
func parsePublished(raw []byte) (keys []Key, skipped []error, err error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if jsontext.Value(raw).Kind() != '{' || json.Unmarshal(raw, &set) != nil {
		return nil, nil, errors.New("the key set is not strict JSON with a list of keys")
	}
	if len(set.Keys) > 100 {
		return nil, nil, errors.New("the key set holds more than 100 keys")
	}
	for _, one := range set.Keys {
		k, err := ParseJWK(one)
		if err == nil && k.k.alg.symmetric() {
			err = keyError(k.k.kid, errors.New("a published key cannot be a shared secret"))
		}
		if err != nil {
			skipped = append(skipped, err)
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, errors.Join(append([]error{errors.New("the key set holds no key that can be used")}, skipped...)...)
	}
	return keys, skipped, nil
}
