package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	stdsync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestSecretShowsItselfToNobody(t *testing.T) {
	t.Parallel()
	secret := NewSecret(testToken)
	inside := struct {
		Token  Secret
		hidden Secret
	}{secret, secret}
	asJSON, err := json.Marshal(inside)
	require.NoError(t, err)
	core, logs := observer.New(zapcore.DebugLevel)
	zap.New(core).Info("m", zap.Any("a", inside), zap.Stringer("b", secret), zap.Reflect("c", secret))
	texts := []string{string(asJSON), fmt.Sprint(logs.All()), secret.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(
			texts,
			fmt.Sprintf(verb, secret),
			fmt.Sprintf(verb, &secret),
			fmt.Sprintf(verb, inside),
			fmt.Sprintf(verb, inside.hidden),
		)
	}
	for _, text := range texts {
		require.NotContains(t, text, testToken)
		require.NotContains(t, text, fmt.Sprintf("%x", testToken))
	}
	require.Equal(t, redacted, fmt.Sprintf("%q", secret))
	require.Equal(t, testToken, secret.Value())
}

func TestZeroSecretIsEmpty(t *testing.T) {
	t.Parallel()
	var none Secret
	require.True(t, none.IsZero())
	require.Empty(t, none.Value())
	none.LogTo(zap.NewNop())
	require.False(t, NewSecret("x").IsZero())
}

func TestSecretFollowsItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	put := func(content string) { require.NoError(t, os.WriteFile(path, []byte(content), 0o600)) }
	put("first\n")
	synctest.Test(t, func(t *testing.T) {
		secret, err := newSecretFile(path)
		require.NoError(t, err)
		copied := secret
		core, logs := observer.New(zapcore.InfoLevel)
		secret.LogTo(zap.New(core))

		put("other")
		require.Equal(t, "first", secret.Value(), "the file is read once a second at most")
		time.Sleep(secretRereadInterval)
		require.Equal(t, "other", secret.Value())
		require.Equal(t, "other", copied.Value())
		require.Len(t, logs.TakeAll(), 1)

		require.NoError(t, os.Remove(path))
		for range 3 {
			time.Sleep(secretRereadInterval)
			require.Equal(t, "other", secret.Value(), "the last value stays in force")
		}
		put("") // as a rotation that truncates first leaves it for a moment
		time.Sleep(secretRereadInterval)
		require.Equal(t, "other", secret.Value())
		require.Len(t, logs.TakeAll(), 1, "a failure is reported once")

		put("third\r\n")
		time.Sleep(secretRereadInterval)
		require.Equal(t, "third", secret.Value())
		require.Len(t, logs.All(), 1)
		require.NotContains(t, fmt.Sprint(logs.All()), "third")
	})
}

func TestSecretIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	secret, err := newSecretFile(write(t, "token", testToken))
	require.NoError(t, err)
	var group stdsync.WaitGroup
	values := make([]string, 8)
	for i := range values {
		group.Go(func() {
			secret.LogTo(zap.NewNop())
			values[i] = secret.Value()
		})
	}
	group.Wait()
	for _, value := range values {
		require.Equal(t, testToken, value)
	}
}

func TestSecretFileMustBeSmall(t *testing.T) {
	t.Parallel()
	_, err := newSecretFile(write(t, "token", string(make([]byte, maxSecretSize+1))))
	require.ErrorContains(t, err, "too large for a secret")
}
