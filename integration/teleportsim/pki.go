package teleportsim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gravitational/teleport/api/constants"
	"github.com/gravitational/teleport/api/identityfile"
	"golang.org/x/crypto/ssh"
)

const (
	// internalJoinPrincipal is on every user certificate that Teleport issues; the client logs in
	// to proxies as it.
	internalJoinPrincipal = "-teleport-internal-join"
	caLifetime            = 10 * 365 * 24 * time.Hour
	defaultLifetime       = time.Hour
	// clockSkew is how far back certificates are valid from, as Teleport issues them.
	clockSkew = time.Minute
)

// authority is one certificate authority: TLS and SSH.
type authority struct {
	key     *ecdsa.PrivateKey
	cert    *x509.Certificate
	certPEM []byte
	ssh     ssh.Signer
}

// pki holds the cluster's two authorities, kept apart as in a real cluster: the host authority
// vouches for the server, the user authority for clients.
type pki struct {
	clusterName string
	host        *authority
	serverCert  tls.Certificate

	mu   sync.Mutex
	user *authority
}

func newPKI(clusterName string) (*pki, error) {
	host, err := newAuthority(clusterName, "host")
	if err != nil {
		return nil, err
	}
	user, err := newAuthority(clusterName, "user")
	if err != nil {
		return nil, err
	}
	serverCert, err := issueServer(host, clusterName)
	if err != nil {
		return nil, err
	}
	return &pki{clusterName: clusterName, host: host, serverCert: serverCert, user: user}, nil
}

func newAuthority(clusterName, kind string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the %s authority's key: %w", kind, err)
	}
	name := pkix.Name{CommonName: clusterName, Organization: []string{clusterName}, OrganizationalUnit: []string{kind}}
	template := &x509.Certificate{
		Subject:               name,
		NotBefore:             time.Now().Add(-clockSkew),
		NotAfter:              time.Now().Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the %s authority's certificate: %w", kind, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the %s authority's certificate: %w", kind, err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the %s authority's SSH signer: %w", kind, err)
	}
	return &authority{key: key, cert: cert, certPEM: encodePEM("CERTIFICATE", der), ssh: signer}, nil
}

// issueServer makes the server's certificate. Clients verify constants.APIDomain whatever address
// they dialled.
func issueServer(host *authority, clusterName string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("generate the server's key: %w", err)
	}
	der, err := host.issue(key.Public(), &x509.Certificate{
		Subject: pkix.Name{CommonName: "auth." + clusterName, Organization: []string{"Auth"}},
		DNSNames: []string{
			constants.APIDomain,
			"*." + constants.APIDomain,
			hex.EncodeToString([]byte(clusterName)) + "." + constants.APIDomain,
		},
		NotAfter:    host.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue the server's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// issue signs a leaf certificate for the key, and completes what the template leaves out.
func (a *authority) issue(public crypto.PublicKey, template *x509.Certificate) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-clockSkew)
	}
	return x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
}

// serverTLS is asked for each handshake, so that a rotated user authority holds from the next
// connection on.
func (p *pki) serverTLS(*tls.ClientHelloInfo) (*tls.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clients := x509.NewCertPool()
	clients.AddCert(p.user.cert)
	return &tls.Config{
		Certificates:           []tls.Certificate{p.serverCert},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              clients,
		NextProtos:             []string{"h2"},
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true, // a resumed session would outlive a rotation
	}, nil
}

// RotateUserCA replaces the authority that vouches for clients: identities written before are
// refused from the next handshake on. Connections that are open stay so; see DropConnections.
func (s *Server) RotateUserCA() error {
	user, err := newAuthority(s.cfg.ClusterName, "user")
	if err != nil {
		return err
	}
	s.pki.mu.Lock()
	defer s.pki.mu.Unlock()
	s.pki.user = user
	return nil
}

// IdentityOptions describe the credentials to be written.
type IdentityOptions struct {
	// User is the Teleport user; Config.AgentUser by default.
	User string
	// Lifetime counts from now; one hour by default. A negative one makes credentials that have
	// already expired.
	Lifetime time.Duration
}

// WriteIdentity writes an identity file as tbot does: key, SSH and TLS certificate and the host
// authority. The file appears whole or not at all.
func (s *Server) WriteIdentity(path string, options IdentityOptions) error {
	identity, err := s.issueIdentity(options)
	if err != nil {
		return fmt.Errorf("write identity %s: %w", path, err)
	}
	content, err := identityfile.Encode(identity)
	if err != nil {
		return fmt.Errorf("write identity %s: %w", path, err)
	}
	return writeAtomically(path, content)
}

// Triple are the paths of credentials as "tctl auth sign --format=tls" writes them.
type Triple struct {
	Key, Certificate, RootCAs string
}

// WriteTriple writes key, certificate and root authorities as PEM files into an existing directory.
func (s *Server) WriteTriple(dir string, options IdentityOptions) (Triple, error) {
	identity, err := s.issueIdentity(options)
	if err != nil {
		return Triple{}, fmt.Errorf("write credentials to %s: %w", dir, err)
	}
	paths := Triple{
		Key:         filepath.Join(dir, "auth.key"),
		Certificate: filepath.Join(dir, "auth.crt"),
		RootCAs:     filepath.Join(dir, "auth.cas"),
	}
	if err := writeAtomically(paths.Key, identity.PrivateKey); err != nil {
		return Triple{}, err
	}
	if err := writeAtomically(paths.Certificate, identity.Certs.TLS); err != nil {
		return Triple{}, err
	}
	if err := writeAtomically(paths.RootCAs, identity.CACerts.TLS[0]); err != nil {
		return Triple{}, err
	}
	return paths, nil
}

// issueIdentity makes a key and the two certificates for it. A user other than the agent that does
// not exist is made.
func (s *Server) issueIdentity(options IdentityOptions) (*identityfile.IdentityFile, error) {
	user, notAfter := options.User, time.Now().Add(defaultLifetime)
	if user == "" {
		user = s.cfg.AgentUser
	}
	if options.Lifetime != 0 {
		notAfter = time.Now().Add(options.Lifetime)
	}
	notBefore := time.Now().Add(-clockSkew)
	if notAfter.Before(notBefore) {
		notBefore = notAfter.Add(-clockSkew)
	}
	if err := s.ensureUser(user); err != nil {
		return nil, err
	}
	s.pki.mu.Lock()
	authority := s.pki.user
	s.pki.mu.Unlock()

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the key of %s: %w", user, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %s: %w", user, err)
	}
	tlsDER, err := authority.issue(key.Public(), &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: []string{"access-plugin"}},
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("issue the TLS certificate of %s: %w", user, err)
	}
	sshCert, err := authority.issueSSH(key.Public(), user, notBefore, notAfter)
	if err != nil {
		return nil, fmt.Errorf("issue the SSH certificate of %s: %w", user, err)
	}
	knownHosts := fmt.Sprintf("@cert-authority %s,*.%s %s", s.cfg.ClusterName, s.cfg.ClusterName,
		ssh.MarshalAuthorizedKey(s.pki.host.ssh.PublicKey()))
	return &identityfile.IdentityFile{
		PrivateKey: encodePEM("PRIVATE KEY", keyDER),
		Certs:      identityfile.Certs{SSH: sshCert, TLS: encodePEM("CERTIFICATE", tlsDER)},
		CACerts:    identityfile.CACerts{SSH: [][]byte{[]byte(knownHosts)}, TLS: [][]byte{s.pki.host.certPEM}},
	}, nil
}

func (a *authority) issueSSH(public crypto.PublicKey, user string, notBefore, notAfter time.Time) ([]byte, error) {
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	cert := &ssh.Certificate{
		Key:             key,
		CertType:        ssh.UserCert,
		KeyId:           user,
		ValidPrincipals: []string{internalJoinPrincipal},
		ValidAfter:      uint64(notBefore.Unix()),
		ValidBefore:     uint64(notAfter.Unix()),
	}
	if err := cert.SignCert(rand.Reader, a.ssh); err != nil {
		return nil, err
	}
	return ssh.MarshalAuthorizedKey(cert), nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return serial, nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// writeAtomically replaces path in one step, readable by its owner only.
func writeAtomically(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = temporary.Write(content)
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
