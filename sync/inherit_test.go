package sync

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// official is Teleport's own plugin, which has been at work and is so no longer.
type official struct{ w *world }

const officialID = "req-1"

func (o official) tracker() *memTracker { return o.w.tracker }

// edit changes an issue while an engine may read it.
func (t *memTracker) edit(id string, change func(*memIssue)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t.issues[id])
}

// claims is its write into plugin data, for nil the first one for a request. Where it failed after
// that, nothing else is there.
func (o official) claims(data map[string]string) {
	o.w.cluster.mu.Lock()
	defer o.w.cluster.mu.Unlock()
	if o.w.cluster.plugin[officialID] = data; data == nil {
		o.w.cluster.plugin[officialID] = map[string]string{"user": "alice@example.com"}
	}
}

// asks makes the request, an hour ago.
func (o official) asks(edit func(*Request)) {
	r := Request{
		ID: officialID, State: StatePending, User: "alice@example.com", Roles: []string{"db-admin"},
		Created: time.Now().Add(-time.Hour).UTC(), Expires: time.Now().Add(time.Hour).UTC(),
	}
	if edit != nil {
		edit(&r)
	}
	o.w.cluster.add(r)
}

// makes an issue as it does, by an account; linked says whether it came to write that down.
func (o official) makes(by Person, linked bool) (id string) {
	id = o.w.tracker.forge("", by, pendingStatus)
	o.w.tracker.edit(id, func(i *memIssue) { i.Issue.Property, i.Issue.ByAgent = officialID, by.Agent })
	if o.claims(nil); linked {
		o.claims(map[string]string{"user": "alice@example.com", "issue_id": id, "issue_key": "ACCESS-" + id})
	}
	return id
}

func (o official) says(id, body string) {
	o.w.tracker.edit(id, func(i *memIssue) { o.w.tracker.say(i, agentAccount, "", body) })
}

func (o official) moves(id string, to Status) { o.w.tracker.person(id, agentAccount, to) }

// resolves is all that it writes into plugin data about the end of a request, before it tells Jira.
func (o official) resolves(resolution string) {
	o.w.cluster.mu.Lock()
	defer o.w.cluster.mu.Unlock()
	o.w.cluster.plugin[officialID]["resolution"] = resolution
}

func TestWhatTeleportsOwnPluginLeftIsTakenOver(t *testing.T) {
	t.Parallel()
	const closing = "Access request has been approved\nReason: go ahead"
	approved := func(r *Request) { r.State, r.ResolveReason = StateApproved, "go ahead" }
	for name, c := range map[string]struct {
		left     func(o official)
		status   Status
		keys     []string // of the comments, oldest first; empty for its own
		created  bool     // by the agent
		resolved string   // in plugin data
		decided  bool     // in Teleport, by the agent
	}{
		"a request that it never heard of": {left: func(o official) { o.asks(nil) }, status: pendingStatus, created: true},
		"a request whose issue it could not make": {
			left: func(o official) { o.asks(nil); o.claims(nil) }, status: pendingStatus, created: true,
		},
		"an issue under Pending":                    {left: func(o official) { o.asks(nil); o.makes(agentAccount, true) }, status: pendingStatus},
		"an issue under Pending of another account": {left: func(o official) { o.asks(nil); o.makes(bob, true) }, status: pendingStatus},
		"an issue that it lost":                     {left: func(o official) { o.asks(nil); o.makes(agentAccount, false) }, status: pendingStatus},
		"an issue that it lost and somebody has approved": {
			left:   func(o official) { o.asks(nil); o.tracker().person(o.makes(agentAccount, false), bob, approvedStatus) },
			status: pendingStatus, keys: []string{"refused:2"},
		},
		"an approval in Jira whose webhook it missed": {
			left:   func(o official) { o.asks(nil); o.tracker().person(o.makes(agentAccount, true), bob, approvedStatus) },
			status: approvedStatus, keys: []string{"resolution:approved"}, resolved: "approved", decided: true,
		},
		"approved, told and moved": {
			left: func(o official) {
				o.asks(approved)
				id := o.makes(agentAccount, true)
				o.resolves("approved")
				o.says(id, closing)
				o.moves(id, approvedStatus)
			},
			status: approvedStatus, keys: []string{""}, resolved: "approved",
		},
		"approved, told and moved by another account": {
			left: func(o official) {
				o.asks(approved)
				o.tracker().person(o.makes(bob, true), bob, approvedStatus)
				o.resolves("approved")
			},
			status: approvedStatus, resolved: "approved",
		},
		"approved and told, not moved": {
			left: func(o official) {
				o.asks(approved)
				id := o.makes(agentAccount, true)
				o.resolves("approved")
				o.says(id, closing)
			},
			status: approvedStatus, keys: []string{""}, resolved: "approved",
		},
		"approved and moved, not told": {
			left: func(o official) {
				o.asks(approved)
				id := o.makes(agentAccount, true)
				o.resolves("approved")
				o.moves(id, approvedStatus)
			},
			status: approvedStatus, keys: []string{"resolution:approved"}, resolved: "approved",
		},
		"approved, neither told nor moved": {
			left:   func(o official) { o.asks(approved); o.makes(agentAccount, true); o.resolves("approved") },
			status: approvedStatus, keys: []string{"resolution:approved"}, resolved: "approved",
		},
		"approved while it was down": {
			left:   func(o official) { o.asks(approved); o.makes(agentAccount, true) },
			status: approvedStatus, keys: []string{"resolution:approved"}, resolved: "approved",
		},
		"reviewed twice and told once": {
			left: func(o official) {
				o.asks(func(r *Request) {
					r.Reviews = []Review{{Author: "bob", Verdict: StateApproved}, {Author: "eve", Verdict: StateApproved}}
				})
				o.says(o.makes(agentAccount, true), "*bob* reviewed the request at *25 Nov 26 09:00 UTC*.\nResolution: "+
					"*APPROVED*.\n")
			},
			status: pendingStatus, keys: []string{"", "review:eve"},
		},
		"expired while it was down": {left: func(o official) { o.makes(agentAccount, true) }, status: expiredStatus, keys: []string{"resolution:expired"}, resolved: "expired"},
		"expired while it was down, plugin data and all": {
			left:   func(o official) { o.makes(agentAccount, true); delete(o.w.cluster.plugin, officialID) },
			status: expiredStatus, keys: []string{"resolution:expired"},
		},
		"expired while it was down, the issue lost": {left: func(o official) { o.makes(agentAccount, false) }, status: expiredStatus, keys: []string{"resolution:expired"}, resolved: "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorldWith(t, func(w *world) { c.left(official{w}) }, func(t *testing.T, w *world) {
				w.after(time.Minute)
				require.Equal(t, c.status, w.issue(officialID).Issue.Status)
				require.Equal(t, c.keys, keysOf(w.issue(officialID)))
				require.Equal(t, c.created, w.tracker.count("create") == 1)
				require.Equal(t, c.resolved, w.cluster.plugin[officialID]["resolution"])
				require.Equal(t, c.decided, len(w.cluster.decided) == 1)
				if w.cluster.requests[officialID] != nil {
					require.Equal(t, w.issue(officialID).Issue.ID, w.cluster.plugin[officialID]["issue_id"])
				}

				// Whatever is forgotten later says nothing else.
				w.stop()
				w.store = newMemStore()
				before := w.issue(officialID)
				w.start()
				w.after(15 * time.Minute)
				require.Equal(t, before, w.issue(officialID))
				require.Len(t, w.tracker.issues, 1)
			})
		})
	}
}

func TestAnIssueThatTeleportsOwnPluginClosedStaysSoWithoutRowRequestAndPluginData(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		o := official{w}
		o.asks(func(r *Request) { r.State = StateDenied })
		id := o.makes(agentAccount, true)
		o.resolves("denied")
		o.says(id, "Access request has been denied\n")
		o.moves(id, deniedStatus)
	}, func(t *testing.T, w *world) {
		w.after(time.Minute)
		w.stop()
		w.store = newMemStore()
		delete(w.cluster.plugin, officialID)
		w.cluster.remove(officialID)
		before := w.issue(officialID)
		w.start()
		w.after(time.Hour)
		require.Equal(t, before, w.issue(officialID))
	})
}

func TestWhatTeleportsOwnPluginSaysWhileBothAreAtWorkIsNotSaidAgain(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		o := official{w}
		o.asks(nil)
		o.makes(agentAccount, true)
	}, func(t *testing.T, w *world) {
		w.after(time.Minute)
		official{w}.says(w.issue(officialID).Issue.ID, "Access request has been approved\n")
		w.cluster.change(officialID, func(r *Request) { r.State = StateApproved })
		w.after(time.Minute)
		require.Equal(t, []string{""}, keysOf(w.issue(officialID)))
		require.Equal(t, approvedStatus, w.issue(officialID).Issue.Status)
	})
}

func TestOfficialCommentsCountOnlyFromTheAgentsAccount(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		o := official{w}
		o.asks(func(r *Request) { r.State = StateApproved })
		w.tracker.say(w.tracker.issues[o.makes(agentAccount, true)], bob, "", "Access request has been approved")
	}, func(t *testing.T, w *world) {
		w.after(time.Minute)
		require.Equal(t, []string{"", "resolution:approved"}, keysOf(w.issue(officialID)))
	})
}

// TestAnOldApprovalCountsForNoOtherRequest lets a requester write the new request's ID into an old
// issue of the agent's account that was approved, while the new one's own issue was never made.
func TestAnOldApprovalCountsForNoOtherRequest(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]string{"in the field": officialID, "in the property alone": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorldWith(t, func(w *world) {
				o := official{w}
				old := o.makes(agentAccount, false)
				w.tracker.person(old, bob, approvedStatus)
				time.Sleep(time.Hour)
				w.tracker.issues[old].Issue.RequestID = held
				o.asks(func(r *Request) { r.Created = time.Now().Add(-10 * time.Minute).UTC() })
			}, func(t *testing.T, w *world) {
				w.after(10 * time.Minute)
				require.Empty(t, w.cluster.decided)
				require.Equal(t, 1, w.tracker.count("create"))
				require.Equal(t, StatePending, w.cluster.requests[officialID].State)
			})
		})
	}
}

func TestAnIssueThatTheIndexDoesNotShowYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		w.tracker.lag = 2 * time.Minute
		o := official{w}
		o.asks(func(r *Request) { r.Created = time.Now().UTC() })
		o.makes(agentAccount, false)
	}, func(t *testing.T, w *world) {
		w.after(4 * time.Minute)
		require.Zero(t, w.tracker.count("create"))
		require.Equal(t, pendingStatus, w.issue(officialID).Issue.Status)
	})
}

func TestAnEditedCommentIsNoneOfTeleportsOwnPlugin(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		o := official{w}
		o.asks(func(r *Request) { r.State = StateApproved })
		id := o.makes(agentAccount, true)
		o.says(id, "Access request has been approved")
		w.tracker.edit(id, func(i *memIssue) { i.Comments[0].Edited = true })
	}, func(t *testing.T, w *world) {
		w.after(time.Minute)
		require.Equal(t, []string{"", "resolution:approved"}, keysOf(w.issue(officialID)))
	})
}

// TestAnApprovalOfAnotherRequestOfTheSameTimeCountsForNone lets a requester make one request that
// Teleport's own plugin can make no issue for, then another that is approved, and write the first
// one's ID into the other's issue.
func TestAnApprovalOfAnotherRequestOfTheSameTimeCountsForNone(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]string{"in the field": officialID, "in the property alone": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorldWith(t, func(w *world) {
				o := official{w}
				o.asks(nil)
				o.claims(nil)
				other := w.tracker.forge(held, agentAccount, pendingStatus)
				w.cluster.add(Request{
					ID: "req-2", State: StateApproved, User: "alice@example.com",
					Created: time.Now().Add(-30 * time.Minute).UTC(), Expires: time.Now().Add(time.Hour).UTC(),
				})
				w.cluster.plugin["req-2"] = map[string]string{
					"issue_id":   other,
					"issue_key":  "ACCESS-" + other,
					"resolution": "approved",
				}
				w.tracker.person(other, bob, approvedStatus)
				w.tracker.edit(other, func(i *memIssue) { i.Issue.Property, i.Issue.ByAgent = officialID, true })
			}, func(t *testing.T, w *world) {
				w.after(10 * time.Minute)
				require.Empty(t, w.cluster.decided)
				require.Equal(t, StatePending, w.cluster.requests[officialID].State)
				require.Equal(t, []string{"refused:2"}, keysOf(w.issue(officialID)))
				require.Equal(t, pendingStatus, w.issue(officialID).Issue.Status)

				w.tracker.person(w.issue(officialID).Issue.ID, bob, approvedStatus)
				w.after(time.Minute)
				require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
			})
		})
	}
}

// TestAnIssueMadeOnAReviewIsWaitedForToo lets the plugin hear of an old request by its first
// review, having been down before.
func TestAnIssueMadeOnAReviewIsWaitedForToo(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		w.tracker.lag = 2 * time.Minute
		o := official{w}
		o.asks(func(r *Request) {
			r.Reviews = []Review{{Author: "bob", Verdict: StateApproved, Created: time.Now().UTC()}}
		})
		o.makes(agentAccount, false)
	}, func(t *testing.T, w *world) {
		w.after(4 * time.Minute)
		require.Zero(t, w.tracker.count("create"))
		require.Equal(t, pendingStatus, w.issue(officialID).Issue.Status)
	})
}
