package teleport

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/constants"
	"github.com/gravitational/teleport/api/identityfile"
	"github.com/gravitational/teleport/api/utils/keypaths"
	"github.com/gravitational/teleport/api/utils/keys"
	"github.com/gravitational/teleport/api/utils/sshutils"
	"github.com/gravitational/trace"
	"golang.org/x/crypto/ssh"
	"golang.org/x/net/http2"
)

// sshPrincipal is on every user certificate that Teleport issues. Any fixed one would do: the API
// client keeps the user name for as long as it lives, while the certificates change.
const sshPrincipal = "-teleport-internal-join"

// credentials are the agent's identity as the files last gave it. They look up key, certificate and
// CAs at each handshake, so that a reloaded identity serves the next one. They differ from
// client.DynamicIdentityFileCreds in that one read of the files is checked whole before it is put
// in use, and in that the three PEM files can change too.
type credentials struct {
	files   files
	current atomic.Pointer[identity]
}

var _ client.Credentials = (*credentials)(nil)

// identity is one checked reading of the files.
type identity struct {
	sum  [sha256.Size]byte // of the files' content
	cert tls.Certificate
	leaf *x509.Certificate
	cas  *x509.CertPool

	// For the ways through a proxy; nil without an identity file.
	sshSigner  ssh.Signer
	knownHosts []ssh.PublicKey
}

func loadCredentials(cfg Config) (*credentials, error) {
	c := &credentials{files: files{identity: cfg.IdentityFile, key: cfg.KeyFile, cert: cfg.CertFile, cas: cfg.RootCAsFile}}
	if _, err := c.reload(time.Now()); err != nil {
		return nil, err
	}
	return c, nil
}

// reload reads the files and puts their identity in use if it is whole, differs from the present
// one and has not expired; otherwise the present one stays. At the first reading an expired one is
// taken, there being none to keep; dialling with it fails (checkExpiry).
func (c *credentials) reload(now time.Time) (changed bool, err error) {
	content, err := c.files.read()
	if err != nil {
		return false, err
	}
	old := c.current.Load()
	if old != nil && old.sum == content.sum() {
		return false, nil
	}
	id, err := content.parse()
	if err != nil {
		return false, fmt.Errorf("%s: %w", c.files, oneLine(err))
	}
	if old != nil {
		if err := expired(c.files, id, now); err != nil {
			return false, err
		}
	}
	c.current.Store(id)
	return true, nil
}

func (c *credentials) notAfter() time.Time { return c.current.Load().leaf.NotAfter }

// checkExpiry says at once what Teleport would say only after the whole time for a dial, and less
// clearly.
func (c *credentials) checkExpiry(now time.Time) error {
	return expired(c.files, c.current.Load(), now)
}

func expired(f files, id *identity, now time.Time) error {
	if now.Before(id.leaf.NotAfter) {
		return nil
	}
	return fmt.Errorf("the certificate in %s expired at %s: renew it (is tbot running, and does it write to this path?)",
		f, id.leaf.NotAfter.UTC().Format(time.RFC3339))
}

// Expiry implements client.Credentials.
func (c *credentials) Expiry() (time.Time, bool) { return c.notAfter(), true }

// TLSConfig implements client.Credentials.
func (c *credentials) TLSConfig() (*tls.Config, error) {
	return &tls.Config{
		NextProtos: []string{http2.NextProtoTLS},
		// This name is on every Auth Service's certificate, whatever address leads there.
		ServerName: constants.APIDomain,
		MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.current.Load().cert, nil
		},
		// VerifyConnection does what the standard verification would, with the CAs of the moment.
		// RootCAs stays for the ways through a proxy, which copy it when they dial.
		InsecureSkipVerify: true, //nolint:gosec // verified below
		RootCAs:            c.current.Load().cas,
		VerifyConnection:   c.verifyServer,
	}, nil
}

func (c *credentials) verifyServer(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	opts := x509.VerifyOptions{DNSName: state.ServerName, Roots: c.current.Load().cas, Intermediates: x509.NewCertPool()}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(opts)
	return err
}

// SSHClientConfig implements client.Credentials. NotImplemented is what the API client expects of
// credentials that can connect to the Auth Service only.
func (c *credentials) SSHClientConfig() (*ssh.ClientConfig, error) {
	if c.current.Load().sshSigner == nil {
		return nil, trace.NotImplemented("no SSH certificate among the credentials")
	}
	checkHostKey, err := sshutils.NewHostKeyCallback(sshutils.HostKeyCallbackConfig{
		GetHostCheckers: func() ([]ssh.PublicKey, error) { return c.current.Load().knownHosts, nil },
	})
	if err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{
		User: sshPrincipal,
		Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			return []ssh.Signer{c.current.Load().sshSigner}, nil
		})},
		HostKeyCallback: checkHostKey,
		Timeout:         defaultDialTimeout,
	}, nil
}

// files are the paths of an identity file, or of a key, a certificate and CAs.
type files struct{ identity, key, cert, cas string }

func (f files) String() string {
	if f.identity != "" {
		return "identity file " + f.identity
	}
	return fmt.Sprintf("TLS files %s, %s, %s", f.key, f.cert, f.cas)
}

// content is what the files held at one moment: an identity file and, where there is one, the SSH
// certificate beside it; or key, certificate and CAs.
type content struct {
	identity, sshCert []byte
	key, cert, cas    []byte
}

func (c content) sum() [sha256.Size]byte {
	h := sha256.New()
	for _, part := range [][]byte{c.identity, c.sshCert, c.key, c.cert, c.cas} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (f files) read() (content, error) {
	var c content
	var err error
	if f.identity != "" {
		if c.identity, err = os.ReadFile(f.identity); err != nil {
			return content{}, fmt.Errorf("identity file: %w", err)
		}
		c.sshCert, err = os.ReadFile(keypaths.IdentitySSHCertPath(f.identity))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return content{}, fmt.Errorf("SSH certificate beside the identity file: %w", err)
		}
		return c, nil
	}
	if c.key, err = os.ReadFile(f.key); err != nil {
		return content{}, fmt.Errorf("client key: %w", err)
	}
	if c.cert, err = os.ReadFile(f.cert); err != nil {
		return content{}, fmt.Errorf("client certificate: %w", err)
	}
	if c.cas, err = os.ReadFile(f.cas); err != nil {
		return content{}, fmt.Errorf("root CAs: %w", err)
	}
	return c, nil
}

// parse checks that the content is a whole identity.
func (c content) parse() (*identity, error) {
	if c.identity == nil {
		return newIdentity(c.sum(), c.cert, c.key, c.cas)
	}
	// The last SSH certificate counts: the identity file's own, if it has one.
	file, err := identityfile.FromString(string(c.sshCert) + "\n" + string(c.identity))
	if err != nil {
		return nil, err
	}
	var cas []byte
	for _, ca := range file.CACerts.TLS {
		cas = append(cas, ca...)
	}
	id, err := newIdentity(c.sum(), file.Certs.TLS, file.PrivateKey, cas)
	if err != nil {
		return nil, err
	}
	return id, id.addSSH(file)
}

func newIdentity(sum [sha256.Size]byte, certPEM, keyPEM, casPEM []byte) (*identity, error) {
	cert, err := keys.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("key and certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cas := x509.NewCertPool()
	if !cas.AppendCertsFromPEM(casPEM) {
		return nil, errors.New("no CA certificate in it")
	}
	return &identity{sum: sum, cert: cert, leaf: leaf, cas: cas}, nil
}

func (id *identity) addSSH(file *identityfile.IdentityFile) error {
	cert, err := sshutils.ParseCertificate(file.Certs.SSH)
	if err != nil {
		return fmt.Errorf("SSH certificate: %w", err)
	}
	key, err := keys.ParsePrivateKey(file.PrivateKey)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	if id.sshSigner, err = sshutils.SSHSigner(cert, key); err != nil {
		return fmt.Errorf("key and SSH certificate: %w", err)
	}
	if id.knownHosts, err = sshutils.ParseKnownHosts(file.CACerts.SSH); err != nil {
		return errors.New("a line of @cert-authority cannot be read")
	}
	return nil
}

// ClusterOf is the name of the cluster that issued the credentials, as their files tell without
// asking anybody. It is the one that they lead to.
func ClusterOf(cfg Config) (string, error) {
	creds, err := loadCredentials(cfg)
	if err != nil {
		return "", sideError("load the credentials", err)
	}
	// Teleport names the organization of its certificate authorities after the cluster.
	// https://github.com/gravitational/teleport/blob/master/lib/tlsca/ca.go (ClusterName)
	issuer := creds.current.Load().leaf.Issuer.Organization
	if len(issuer) == 0 || issuer[0] == "" {
		return "", sideError("load the credentials", fmt.Errorf("the certificate in %s does not name the cluster that "+
			"issued it", creds.files))
	}
	return issuer[0], nil
}
