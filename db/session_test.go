package db

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"teleport-jira-agent/integration/pgtest"
)

// withParameters adds parameters to a database URL. Those that are none of the driver's are
// settings of the server for the session.
func withParameters(t *testing.T, databaseURL string, parameters url.Values) string {
	t.Helper()
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	query := parsed.Query()
	for name, values := range parameters {
		query[name] = values
	}
	parsed.RawQuery = query.Encode()
	return parsed.String()
}

func TestElector_BearsWithASilentNetworkAsLongAsWithASilentSession(t *testing.T) {
	t.Parallel()
	databaseURL := pgtest.URL(t)
	const lease = 10 * time.Second // 15 s until the lock of a silent session is freed
	for name, c := range map[string]struct {
		parameters    url.Values
		timeout, idle string // afterwards
		raised        int
	}{
		"too short": {
			url.Values{"tcp_user_timeout": {"2000"}, "tcp_keepalives_idle": {"5"}, "tcp_keepalives_interval": {"3"}, "tcp_keepalives_count": {"3"}},
			"15000", "15", 2,
		},
		"just enough": {
			url.Values{"tcp_user_timeout": {"15000"}, "tcp_keepalives_idle": {"5"}, "tcp_keepalives_interval": {"5"}, "tcp_keepalives_count": {"2"}},
			"15000", "5", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zap.InfoLevel)
			elector, err := NewElector(ElectorConfig{
				URL:      always(withParameters(t, databaseURL, c.parameters)),
				Scope:    board,
				Instance: "test",
				Lease:    lease,
				Log:      zap.New(core),
			})
			require.NoError(t, err)
			s, err := elector.connect(t.Context())
			require.NoError(t, err)
			defer s.close()
			var timeout, idle string
			err = s.conn.QueryRow(t.Context(), `SELECT (SELECT setting FROM pg_settings WHERE name = 'tcp_user_timeout'),
				(SELECT setting FROM pg_settings WHERE name = 'tcp_keepalives_idle')`).Scan(&timeout, &idle)
			require.NoError(t, err)
			require.Equal(t, []string{c.timeout, c.idle}, []string{timeout, idle})
			require.Len(t, logs.FilterMessageSnippet("raised for the election's session").All(), c.raised)
			for _, entry := range logs.All() {
				require.NotContains(t, entry.ContextMap(), "error")
			}
		})
	}
}
