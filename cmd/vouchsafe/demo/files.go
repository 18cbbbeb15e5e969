package demo

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files are where the shop keeps what it owns. Only PublicKey is for others.
type Files struct {
	AdminKey   string // the admin API's key: for the connection provider, 0600
	PublicKey  string // PEM: for the gate, to verify the shop's tokens
	signingKey string
	state      string
	calls      string
}

// FilesIn names the files of a shop kept in dir, without touching them.
func FilesIn(dir string) Files {
	return Files{
		AdminKey:   filepath.Join(dir, "admin.key"),
		PublicKey:  filepath.Join(dir, "token.pub.pem"),
		signingKey: filepath.Join(dir, "token.key.pem"),
		state:      filepath.Join(dir, "shop.json"),
		calls:      filepath.Join(dir, "calls.jsonl"),
	}
}

// Prepare makes the folder and the keys that are missing. It handles the
// shop's secrets, so it belongs in the shop's process; others use FilesIn.
func Prepare(dir string) (Files, error) {
	f := FilesIn(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, fmt.Errorf("making the demo shop's folder: %w", err)
	}
	if _, err := os.Stat(f.AdminKey); errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, 32)
		rand.Read(raw)
		if err := writeFile(f.AdminKey, []byte("hg_"+hex.EncodeToString(raw)+"\n"), 0o600); err != nil {
			return Files{}, err
		}
	}
	key, err := f.signing()
	if errors.Is(err, fs.ErrNotExist) {
		key, err = newSigning(f.signingKey)
	}
	if err != nil {
		return Files{}, fmt.Errorf("the demo shop's signing key: %w", err)
	}
	// The public key always follows the private one, so that a lost or stale
	// copy mends itself.
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return Files{}, fmt.Errorf("encoding the demo shop's public key: %w", err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if old, err := os.ReadFile(f.PublicKey); err != nil || !bytes.Equal(old, public) {
		if err := writeFile(f.PublicKey, public, 0o644); err != nil {
			return Files{}, err
		}
	}
	return f, nil
}

func newSigning(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func (f Files) signing() (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(f.signingKey)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("not a PKCS #8 key")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not a P-256 key")
	}
	return key, nil
}

func (f Files) adminKey() ([]byte, error) {
	key, err := os.ReadFile(f.AdminKey)
	if err != nil {
		return nil, err
	}
	key = bytes.TrimSpace(key)
	if len(key) < 32 {
		return nil, fmt.Errorf("%s is too short for a key", f.AdminKey)
	}
	return key, nil
}

// writeFile replaces path in one step, so that whoever reads it, or comes back
// after a power cut, sees the old bytes or the new ones.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
