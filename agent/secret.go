package agent

import (
	"errors"
	"fmt"
	"os"
	"strings"
	stdsync "sync"
	"time"

	"go.uber.org/zap"
)

const (
	redacted = "[redacted]"

	// secretRereadInterval bounds how often Value reads the file. A secret is rotated by people or
	// once in hours, and a second is less than the old one usually stays valid.
	secretRereadInterval = time.Second
	// maxSecretSize is far above any token or URL; a larger file is not the one that was meant.
	maxSecretSize = 64 << 10
)

// Secret is a value that shows itself to nobody but the caller of Value: printed, logged or
// marshalled it is "[redacted]". It may come from a file, and then follows it. Copies are the same
// secret. The zero Secret is empty. Safe for concurrent use.
type Secret struct {
	// A function, since package fmt can print through a pointer, and does so for an unexported
	// field of somebody's struct, where it cannot call Format.
	content func() *secretContent
}

func newSecret(c *secretContent) Secret {
	return Secret{content: func() *secretContent { return c }}
}

// secretContent is the part that all copies share.
type secretContent struct {
	path string // empty for a fixed value

	mu     stdsync.Mutex
	value  string
	readAt time.Time
	failed bool // the last reading did, and that was reported
	log    *zap.Logger
}

// NewSecret returns a fixed secret.
func NewSecret(value string) Secret {
	return newSecret(&secretContent{value: value})
}

// newSecretFile returns the secret that is the content of a file, without its final line break.
func newSecretFile(path string) (Secret, error) {
	value, err := readSecret(path)
	if err != nil {
		return Secret{}, err
	}
	return newSecret(&secretContent{path: path, value: value, readAt: time.Now()}), nil
}

// Value is the secret as it is now. It costs little: the file is read at most once a second. While
// the file cannot be read, or is empty, the last value stays in force.
func (s Secret) Value() string {
	if s.content == nil {
		return ""
	}
	return s.content().current()
}

func (c *secretContent) current() string {
	if c.path == "" {
		return c.value
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.readAt) < secretRereadInterval {
		return c.value
	}
	c.readAt = time.Now()
	// Compared by content: modification times may be too coarse to tell two quick changes apart.
	value, err := readSecret(c.path)
	switch {
	case err != nil && !c.failed:
		c.report().Warn("secret file unusable, its last content stays in force", zap.String("file", c.path), zap.Error(err))
	case err == nil && c.failed:
		c.report().Info("secret file readable again", zap.String("file", c.path))
	case err == nil && value != c.value:
		c.report().Info("secret file changed, new content in force", zap.String("file", c.path))
	}
	c.failed = err != nil
	if err == nil {
		c.value = value
	}
	return c.value
}

func (c *secretContent) report() *zap.Logger {
	if c.log == nil {
		return zap.NewNop()
	}
	return c.log
}

// LogTo names the logger that is told when the secret's file changes, becomes unreadable or comes
// back; once each time.
func (s Secret) LogTo(log *zap.Logger) {
	if s.content == nil {
		return
	}
	c := s.content()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = log
}

// LogSecretsTo calls LogTo for every secret of the configuration.
func (c *Config) LogSecretsTo(log *zap.Logger) {
	for _, s := range settings(c) {
		if secret, ok := s.field.Interface().(Secret); ok {
			secret.LogTo(log)
		}
	}
}

// IsZero reports whether no secret was given.
func (s Secret) IsZero() bool { return s.content == nil }

// String hides the value.
func (s Secret) String() string { return redacted }

// Format hides the value from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalJSON hides the value.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText hides the value from encoders of other formats.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: %w", err)
	case !info.Mode().IsRegular(): // a pipe could be read once only, and would block
		return "", errors.New(path + " is no regular file")
	case info.Size() > maxSecretSize:
		return "", fmt.Errorf("%s is larger than %d bytes, too large for a secret", path, maxSecretSize)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if value == "" {
		return "", errors.New(path + " is empty")
	}
	return value, nil
}
