package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

var curveOf = map[Alg]elliptic.Curve{
	ES256: elliptic.P256(),
	ES384: elliptic.P384(),
	ES512: elliptic.P521(),
}

// sampleSecrets are secrets that manuals, playgrounds and starter kits print
// and people paste, in lower case.
var sampleSecrets = []string{
	"your-256-bit-secret",
	"your-384-bit-secret",
	"your-512-bit-secret",
	"a-string-secret-at-least-256-bits-long",
	"a-valid-string-secret-that-is-at-least-384-bits-long",
	"a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
	"a-very-long-and-secure-secret-key",
	"please-change-this",
	"replace-me",
	"replace_me",
	"changeme",
	"change-me",
	"change_me",
	"change-this",
	"supersecret",
	"super-secret",
	"super_secret",
	"super secret",
	"your-secret-key",
	"your_secret_key",
	"your-jwt-secret",
	"your_jwt_secret",
	"my-secret-key",
	"mysecretkey",
	"secretsecret",
	"keyboard cat",
	"thisisasecret",
	"this-is-a-secret",
	"this_is_a_secret",
	"passwordpassword",
	"correct horse battery staple",
	"0123456789abcdef0123456789abcdef",
	"abcdefghijklmnopqrstuvwxyz",
}

// sampleSecret reports whether a secret starts as a published sample does or
// has too few different bytes to have been drawn at random. Of 32 random bytes
// fewer than 8 different ones do not occur, not even in hexadecimal.
func sampleSecret(secret []byte) bool {
	lower := lowerASCII(string(secret))
	for _, sample := range sampleSecrets {
		if strings.HasPrefix(lower, sample) {
			return true
		}
	}
	var seen [256]bool
	distinct := 0
	for _, b := range secret {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
	}
	if distinct < 8 {
		return true
	}
	// A short phrase repeated to reach the length.
	for period := 1; period <= len(secret)/2 && period <= 16; period++ {
		if bytes.Equal(secret[period:], secret[:len(secret)-period]) {
			return true
		}
	}
	return false
}

// checkRSA wants a modulus of 2048 to 8192 bits that does not come from the
// faulty generator known as ROCA (CVE-2017-15361), and an odd public exponent
// of at least 65537.
func checkRSA(k *rsa.PublicKey) error {
	bits := k.N.BitLen()
	switch {
	case bits < 2048:
		return fmt.Errorf("RSA wants at least 2048 bits, this key has %d", bits)
	case bits > 8192:
		return fmt.Errorf("RSA keys over 8192 bits are too slow to verify, this one has %d", bits)
	case k.N.Bit(0) == 0:
		return errors.New("the RSA modulus is even")
	case k.E < 65537 || k.E%2 == 0 || k.E > 1<<31-1:
		return errors.New("the RSA exponent is not an odd number from 65537 to 2^31-1")
	case roca(k.N):
		return errors.New("the RSA key comes from a faulty generator (ROCA, CVE-2017-15361)")
	}
	return nil
}

// roca recognises the moduli of the faulty generator: modulo each small prime
// they are powers of 65537, which a sound modulus is by chance once in 2^27.
func roca(n *big.Int) bool {
	var m big.Int
	for p := int64(3); p <= 167; p += 2 {
		if !big.NewInt(p).ProbablyPrime(0) {
			continue
		}
		residue := m.Mod(n, big.NewInt(p)).Int64()
		power, found := int64(1), false
		for range p {
			if power == residue {
				found = true
				break
			}
			power = power * 65537 % p
		}
		if !found {
			return false
		}
	}
	return true
}

// smallOrderPoints are the encodings, canonical and not, of the Ed25519 points
// whose order divides 8, without their sign bit.
var smallOrderPoints = func() [][]byte {
	var points [][]byte
	for _, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			panic(err)
		}
		points = append(points, b)
	}
	return points
}()

// smallOrder reports whether signatures for k can be made by anybody.
func smallOrder(k ed25519.PublicKey) bool {
	masked := bytes.Clone(k)
	masked[len(masked)-1] &= 0x7f
	for _, p := range smallOrderPoints {
		if bytes.Equal(masked, p) {
			return true
		}
	}
	return false
}
