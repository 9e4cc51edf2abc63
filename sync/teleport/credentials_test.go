package teleport

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gravitational/trace"
	"github.com/stretchr/testify/require"
)

// inUse is the certificate that the next handshake would show.
func inUse(t *testing.T, c *credentials) []byte {
	t.Helper()
	config, err := c.TLSConfig()
	require.NoError(t, err)
	cert, err := config.GetClientCertificate(&tls.CertificateRequestInfo{})
	require.NoError(t, err)
	return cert.Certificate[0]
}

func TestCredentialsTakeARenewedFileAtTheNextHandshake(t *testing.T) {
	t.Parallel()
	ca, path := newSigner(t), filepath.Join(t.TempDir(), "identity")
	write(t, path, ca.issue(t, time.Now().Add(time.Hour)).identityFile())
	c, err := loadCredentials(Config{IdentityFile: path})
	require.NoError(t, err)
	config, err := c.TLSConfig() // as the API client takes it: once
	require.NoError(t, err)
	before := inUse(t, c)

	changed, err := c.reload(time.Now())
	require.NoError(t, err)
	require.False(t, changed, "the same content is no change")

	ends := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	write(t, path, ca.issue(t, ends).identityFile())
	changed, err = c.reload(time.Now())
	require.NoError(t, err)
	require.True(t, changed)
	cert, err := config.GetClientCertificate(nil)
	require.NoError(t, err)
	require.NotEqual(t, before, cert.Certificate[0])
	require.True(t, ends.Equal(c.notAfter()))
}

func TestCredentialsKeepThoseInUseWhenTheFilesAreNotWhole(t *testing.T) {
	t.Parallel()
	ca := newSigner(t)
	renewed, other := ca.issue(t, time.Now().Add(2*time.Hour)), ca.issue(t, time.Now().Add(2*time.Hour))
	whole := renewed.identityFile()
	for name, content := range map[string][]byte{
		"empty":                  {},
		"torn in the key":        whole[:100],
		"torn after the key":     renewed.key,
		"torn before the CAs":    bytes.TrimSuffix(whole, renewed.cas),
		"torn inside the CAs":    whole[:len(whole)-100],
		"no SSH certificate":     bytes.Join([][]byte{renewed.key, renewed.cert, renewed.cas}, nil),
		"key of another":         bytes.Join([][]byte{other.key, renewed.sshCert, renewed.cert, renewed.cas}, nil),
		"SSH certificate of one": bytes.Join([][]byte{renewed.key, other.sshCert, renewed.cert, renewed.cas}, nil),
		"garbled":                []byte("not an identity"),
		"expired":                ca.issue(t, time.Now().Add(-time.Minute)).identityFile(),
		"gone":                   nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "identity")
			write(t, path, ca.issue(t, time.Now().Add(time.Hour)).identityFile())
			c, err := loadCredentials(Config{IdentityFile: path})
			require.NoError(t, err)
			before := inUse(t, c)

			if content == nil {
				require.NoError(t, os.Remove(path))
			} else {
				write(t, path, content)
			}
			_, err = c.reload(time.Now())
			require.ErrorContains(t, err, path)
			require.NotContains(t, err.Error(), "PRIVATE KEY")
			require.Equal(t, before, inUse(t, c))

			write(t, path, whole)
			changed, err := c.reload(time.Now())
			require.NoError(t, err)
			require.True(t, changed, "the whole file is taken when it is there again")
			require.NotEqual(t, before, inUse(t, c))
		})
	}
}

func TestCredentialsFollowASwappedSymlink(t *testing.T) {
	t.Parallel()
	ca, dir := newSigner(t), t.TempDir()
	write(t, filepath.Join(dir, "v1", "identity"), ca.issue(t, time.Now().Add(time.Hour)).identityFile())
	write(t, filepath.Join(dir, "v2", "identity"), ca.issue(t, time.Now().Add(time.Hour)).identityFile())
	require.NoError(t, os.Symlink("v1", filepath.Join(dir, "..data")))
	require.NoError(t, os.Symlink(filepath.Join("..data", "identity"), filepath.Join(dir, "identity")))
	c, err := loadCredentials(Config{IdentityFile: filepath.Join(dir, "identity")})
	require.NoError(t, err)
	before := inUse(t, c)

	require.NoError(t, os.Symlink("v2", filepath.Join(dir, "..new")))
	require.NoError(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
	changed, err := c.reload(time.Now())
	require.NoError(t, err)
	require.True(t, changed)
	require.NotEqual(t, before, inUse(t, c))
}

func TestCredentialsOfThreePEMFilesReloadToo(t *testing.T) {
	t.Parallel()
	ca, dir := newSigner(t), t.TempDir()
	cfg := Config{
		KeyFile:     filepath.Join(dir, "key"),
		CertFile:    filepath.Join(dir, "crt"),
		RootCAsFile: filepath.Join(dir, "cas"),
	}
	old, renewed := ca.issue(t, time.Now().Add(time.Hour)), ca.issue(t, time.Now().Add(2*time.Hour))
	write(t, cfg.KeyFile, old.key)
	write(t, cfg.CertFile, old.cert)
	write(t, cfg.RootCAsFile, old.cas)
	c, err := loadCredentials(cfg)
	require.NoError(t, err)
	before := inUse(t, c)
	_, err = c.SSHClientConfig()
	require.True(
		t,
		trace.IsNotImplemented(err),
		"without an SSH certificate the client must not try the ways through a proxy",
	)

	write(t, cfg.KeyFile, renewed.key) // the certificate is not written yet
	_, err = c.reload(time.Now())
	require.ErrorContains(t, err, "does not match")
	require.Equal(t, before, inUse(t, c))

	write(t, cfg.CertFile, renewed.cert)
	changed, err := c.reload(time.Now())
	require.NoError(t, err)
	require.True(t, changed)
	require.NotEqual(t, before, inUse(t, c))
}

func TestCredentialsTakeTheSSHCertificateBesideTheFile(t *testing.T) {
	t.Parallel()
	ca, path := newSigner(t), filepath.Join(t.TempDir(), "identity")
	id := ca.issue(t, time.Now().Add(time.Hour))
	write(t, path, bytes.Join([][]byte{id.key, id.cert, id.cas}, nil))
	write(t, path+"-cert.pub", id.sshCert)
	c, err := loadCredentials(Config{IdentityFile: path})
	require.NoError(t, err)
	ssh, err := c.SSHClientConfig()
	require.NoError(t, err)
	require.Equal(t, sshPrincipal, ssh.User)
}

func TestCredentialsTrustOnlyTheirOwnCAs(t *testing.T) {
	t.Parallel()
	ca, stranger, path := newSigner(t), newSigner(t), filepath.Join(t.TempDir(), "identity")
	write(t, path, ca.issue(t, time.Now().Add(time.Hour)).identityFile())
	c, err := loadCredentials(Config{IdentityFile: path})
	require.NoError(t, err)
	config, err := c.TLSConfig()
	require.NoError(t, err)
	require.Error(t, config.VerifyConnection(tls.ConnectionState{ServerName: "teleport.cluster.local"}))
	for _, authority := range []*signer{ca, stranger} {
		err := handshake(t, config, authority, "teleport.cluster.local")
		require.Equal(t, authority == ca, err == nil, "%v", err)
	}
	require.ErrorContains(t, handshake(t, config, ca, "elsewhere.example.com"), "teleport.cluster.local")

	write(t, path, stranger.issue(t, time.Now().Add(time.Hour)).identityFile())
	_, err = c.reload(time.Now())
	require.NoError(t, err)
	require.NoError(
		t,
		handshake(t, config, stranger, "teleport.cluster.local"),
		"rotated CAs count from the next handshake on",
	)
	require.Error(t, handshake(t, config, ca, "teleport.cluster.local"))
}
