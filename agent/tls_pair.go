package agent

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	stdsync "sync"
	"time"

	"go.uber.org/zap"
)

const (
	// pairRereadInterval bounds how often the files are read: a flood of handshakes is none of
	// reads. A certificate is renewed days or hours before it ends.
	pairRereadInterval = time.Second
	// maxPairFile is far above a chain of certificates; a larger file is not the one that was
	// meant.
	maxPairFile = 1 << 20
)

// tlsPair is the certificate of a server and its key, out of two files that may be replaced at any
// time: one after the other, torn, or both at once by a symbolic link. A pair is put in use when it
// is whole and the two match; until then the last one that was stays. Safe for concurrent use.
type tlsPair struct {
	certFile, keyFile string
	log               *zap.Logger

	mu        stdsync.Mutex
	cert, key []byte // as they were last read and found right
	pair      *tls.Certificate
	readAt    time.Time
	failed    bool // the last reading did, and that was reported
}

func newTLSPair(certFile, keyFile string, log *zap.Logger) (*tlsPair, error) {
	p := &tlsPair{certFile: certFile, keyFile: keyFile, log: log, readAt: time.Now()}
	return p, p.read()
}

// current is the pair to show now, for tls.Config. The files are read at most once a second.
func (p *tlsPair) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.readAt) >= pairRereadInterval {
		_ = p.reread() // reported there, and the last pair stays
	}
	return p.pair, nil
}

// reload reads the files now.
func (p *tlsPair) reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reread()
}

// expires is when the certificate in use ends.
func (p *tlsPair) expires() time.Time {
	pair, _ := p.current(nil) // there is always one
	return pair.Leaf.NotAfter
}

func (p *tlsPair) reread() error {
	p.readAt = time.Now()
	before := p.pair
	err := p.read()
	switch {
	case err != nil && !p.failed:
		p.log.Warn("TLS files unusable, the last certificate stays in use", zap.Error(err))
	case err == nil && p.pair != before:
		p.log.Info(
			"TLS certificate changed, the new one is in use",
			zap.String("file", p.certFile),
			zap.Time("expires", p.pair.Leaf.NotAfter),
		)
	case err == nil && p.failed:
		p.log.Info("TLS files are right again", zap.String("file", p.certFile))
	}
	p.failed = err != nil
	return err
}

// read puts what the files hold in use if that is another pair than before. Compared by content:
// modification times may be too coarse to tell two quick changes apart.
func (p *tlsPair) read() error {
	cert, err := readPairFile(p.certFile)
	if err != nil {
		return err
	}
	key, err := readPairFile(p.keyFile)
	if err != nil {
		return err
	}
	if p.pair != nil && bytes.Equal(cert, p.cert) && bytes.Equal(key, p.key) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s and %s are no certificate and its key: %w", p.certFile, p.keyFile, err)
	}
	p.cert, p.key, p.pair = cert, key, &pair
	return nil
}

func readPairFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be read: %w", err)
	case !info.Mode().IsRegular(): // a pipe would block
		return nil, errors.New(path + " is no regular file")
	case info.Size() > maxPairFile:
		return nil, fmt.Errorf("%s is larger than %d bytes, too large for a certificate or a key", path, maxPairFile)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return content, nil
}
