package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// keyPairFor makes the files of a certificate for localhost and its key, in a folder of their own.
func keyPairFor(t *testing.T, name string) (key, crt string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	key, crt = filepath.Join(dir, "tls.key"), filepath.Join(dir, "tls.crt")
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	require.NoError(t, os.WriteFile(crt, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}), 0o600))
	return key, crt
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

// shown is whose certificate a pair shows now.
func shown(t *testing.T, p *tlsPair) string {
	t.Helper()
	pair, err := p.current(nil)
	require.NoError(t, err)
	return pair.Leaf.Subject.CommonName
}

func TestTLSPairFollowsItsFilesAndKeepsTheLastThatWasRight(t *testing.T) {
	t.Parallel()
	key, crt := keyPairFor(t, "first")
	otherKey, otherCrt := keyPairFor(t, "second")
	put := func(path string, text []byte) { require.NoError(t, os.WriteFile(path, text, 0o600)) }
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		p, err := newTLSPair(crt, key, zap.New(core))
		require.NoError(t, err)
		require.Equal(t, "first", shown(t, p))
		later := func() string {
			time.Sleep(pairRereadInterval)
			return shown(t, p)
		}

		put(crt, content(t, otherCrt))
		require.Equal(t, "first", shown(t, p), "the files are read once a second at most")
		require.Empty(t, logs.All())
		for range 3 {
			require.Equal(t, "first", later(), "the new certificate has no key yet")
		}
		require.Len(t, logs.TakeAll(), 1, "it is reported once")
		put(key, content(t, otherKey))
		require.Equal(t, "second", later())
		require.Equal(t, "TLS certificate changed, the new one is in use", logs.TakeAll()[0].Message)

		whole := content(t, crt)
		for _, torn := range [][]byte{nil, whole[:len(whole)/2], append(whole[:20:20], whole[40:]...)} {
			put(crt, torn)
			require.Equal(t, "second", later())
		}
		require.NoError(t, os.Remove(crt))
		require.Equal(t, "second", later())
		require.Len(t, logs.TakeAll(), 1)
		put(crt, whole)
		require.Equal(t, "second", later())
		require.Equal(t, "TLS files are right again", logs.TakeAll()[0].Message)

		require.NoError(t, os.Remove(key))
		require.ErrorContains(t, p.reload(), "tls.key")
		require.Equal(t, "second", shown(t, p))
		require.NoError(t, os.Mkdir(key, 0o700))
		require.ErrorContains(t, p.reload(), "is no regular file")
		require.NoError(t, os.Remove(key))
		put(key, make([]byte, maxPairFile+1))
		require.ErrorContains(t, p.reload(), "too large")
		require.WithinDuration(t, p.pair.Leaf.NotAfter, p.expires(), 0)
	})
}

// A Kubernetes secret is replaced by one symbolic link to a folder of both files:
// https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod
func TestTLSPairFollowsASymbolicLink(t *testing.T) {
	t.Parallel()
	_, first := keyPairFor(t, "first")
	_, second := keyPairFor(t, "second")
	dir := t.TempDir()
	link := filepath.Join(dir, "..data")
	point := func(to string) {
		fresh := filepath.Join(dir, "..data_tmp")
		require.NoError(t, os.Symlink(to, fresh))
		require.NoError(t, os.Rename(fresh, link))
	}
	point(filepath.Dir(first))
	for _, name := range []string{"tls.crt", "tls.key"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	synctest.Test(t, func(t *testing.T) {
		p, err := newTLSPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), zap.NewNop())
		require.NoError(t, err)
		require.Equal(t, "first", shown(t, p))
		point(filepath.Dir(second))
		require.Equal(t, "first", shown(t, p))
		time.Sleep(pairRereadInterval)
		require.Equal(t, "second", shown(t, p))
	})
}

func TestTLSPairMustBeRightAtFirst(t *testing.T) {
	t.Parallel()
	key, crt := keyPairFor(t, "first")
	otherKey, _ := keyPairFor(t, "second")
	for _, files := range [][2]string{{crt, otherKey}, {key, crt}, {"/nowhere", key}, {crt, "/nowhere"}} {
		_, err := newTLSPair(files[0], files[1], zap.NewNop())
		require.Error(t, err)
	}
}
