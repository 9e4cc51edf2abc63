package sync

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestARequestWhoseTextJiraCannotStoreGetsItsIssueWithoutIt(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) { w.tracker.poison = "𠀀" }, func(t *testing.T, w *world) {
		w.cluster.add(Request{
			ID: "bad", State: StatePending, User: "alice@example.com", Roles: []string{"db-admin"}, Reason: "my 𠀀 reason",
			Created: time.Now().UTC(), Expires: time.Now().Add(2 * time.Hour).UTC(),
		})
		w.after(time.Second)
		w.request("good")
		w.after(2 * time.Second)
		w.issue("good")
		require.Empty(t, w.tracker.of("bad"), "no others are held up")
		w.after(30 * time.Minute)
		require.Equal(
			t,
			maxTextTries+2,
			w.tracker.count("create"),
			"each try, one without the text, and one for the good request",
		)
		id := w.issue("bad").Issue.ID
		w.tracker.mu.Lock()
		text := w.tracker.issues[id].description
		w.tracker.mu.Unlock()
		require.NotContains(t, text, "𠀀")
		require.Contains(t, text, untold)
		require.Contains(t, text, "db-admin")

		w.cluster.change("bad", func(r *Request) { r.State, r.ResolveReason = StateDenied, "no 𠀀" })
		w.after(time.Minute)
		require.Equal(t, "The Access Request is *denied*.\n\n"+untold, w.bodyOf("bad", resolutionPrefix))
		require.Equal(t, deniedStatus, w.issue("bad").Issue.Status)
	})
}

func TestOnlyAnUncertainFailureOfOneRequestIsHeldAgainstItsText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&Error{Side: "jira", Uncertain: true, Err: errors.New("HTTP 500")}, true},
		{&Error{Side: "jira", Uncertain: true, Scope: ScopeSide, Err: errors.New("HTTP 500")}, false},
		{&Error{Side: "jira", Permanent: true, Err: errors.New("HTTP 400")}, false},
		{&Error{Side: "teleport", Uncertain: true, Err: errors.New("lost")}, false},
		{errors.New("other"), false},
		{nil, false},
	} {
		require.Equal(t, c.want, textRefused(c.err), "%v", c.err)
	}
}
