package sync

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inReviewMode is a world in which verdicts become reviews by robert (bob) and eva (eve), and the
// requester's user is known too.
func inReviewMode(t *testing.T, prepare func(w *world), test func(t *testing.T, w *world)) {
	t.Helper()
	inWorldWith(t, func(w *world) {
		w.policy.Mode = ModeReview
		w.cluster.onBehalf = true
		w.cluster.users = []User{
			{
				Name:    "robert",
				JiraIDs: []string{"acc-bob"},
			},
			{Name: "eva", JiraIDs: []string{"acc-eve"}},
			{Name: "alice@example.com"},
		}
		prepare(w)
	}, test)
}

// requestOf makes a request that takes so many approvals.
func (w *world) requestOf(id string, approvals int) {
	w.cluster.add(Request{
		ID: id, State: StatePending, User: "alice@example.com", ApprovalsNeeded: approvals,
		Created: time.Now().UTC(), Expires: time.Now().Add(time.Hour).UTC(),
	})
	w.after(time.Second)
}

// moves lets a person move the request's issue, and the agent see it.
func (w *world) moves(id string, p Person, to Status) {
	w.t.Helper()
	w.tracker.person(w.issue(id).Issue.ID, p, to)
	w.after(6 * time.Second)
}

// lastWords is the body of the newest comment.
func (w *world) lastWords(id string) string {
	w.t.Helper()
	comments := w.issue(id).Comments
	require.NotEmpty(w.t, comments)
	return comments[len(comments)-1].Body
}

// bodyOf is the body of the comment whose key has a prefix.
func (w *world) bodyOf(id, prefix string) string {
	w.t.Helper()
	for _, c := range w.issue(id).Comments {
		if len(c.Key) >= len(prefix) && c.Key[:len(prefix)] == prefix {
			return c.Body
		}
	}
	w.t.Fatalf("no comment %s among %v", prefix, keysOf(w.issue(id)))
	return ""
}

func TestInReviewModeAVerdictIsAReviewByThePersonsUser(t *testing.T) {
	t.Parallel()
	inReviewMode(t, func(*world) {}, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.moves("req-1", bob, approvedStatus)
		require.Equal(t, []string{"req-1 approved robert"}, w.cluster.decided)
		require.Equal(t, StateApproved, w.cluster.get("req-1").State)
		require.Equal(t, []string{"review:robert", "resolution:approved"}, keysOf(w.issue("req-1")))
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
	})
}

func TestAReviewThatDoesNotResolveTheRequestPutsTheIssueBackForTheNextReviewer(t *testing.T) {
	t.Parallel()
	inReviewMode(t, func(*world) {}, func(t *testing.T, w *world) {
		w.requestOf("req-1", 2)
		w.moves("req-1", bob, approvedStatus)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Contains(t, w.bodyOf("req-1", "counted:"), "1 of 2 approvals")
		w.moves("req-1", bob, approvedStatus) // once more: Teleport takes one review of each
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		w.moves("req-1", bob, deniedStatus)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Contains(t, w.bodyOf("req-1", "refused:"), "already reviewed")
		w.moves("req-1", eve, approvedStatus)
		require.Equal(t, []string{"req-1 approved robert", "req-1 approved eva"}, w.cluster.decided)
		require.Equal(t, StateApproved, w.cluster.get("req-1").State)
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
	})
}

func TestALostAnswerToAReviewLeadsToNoSecondOne(t *testing.T) {
	t.Parallel()
	inReviewMode(t, func(*world) {}, func(t *testing.T, w *world) {
		w.requestOf("req-1", 2)
		w.cluster.set(nil, once("review", errLost))
		w.moves("req-1", bob, approvedStatus)
		w.after(time.Minute)
		require.Equal(t, []string{"req-1 approved robert"}, w.cluster.decided)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Len(t, slices.DeleteFunc(keysOf(w.issue("req-1")), func(k string) bool { return k != "review:robert" }), 1)
	})
}

func TestWhatTeleportRefusesOfAReviewIsSaidAndPutBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(w *world)
		mover   Person
		says    string
	}{
		"a server without the feature": {func(w *world) { w.cluster.onBehalf = false }, bob, "needs Teleport 18.11"},
		"nobody in Teleport": {
			func(*world) {},
			Person{AccountID: "acc-zoe", DisplayName: "Zoe", Active: true},
			"no user in Teleport",
		},
		"two users": {func(w *world) {
			w.cluster.users = append(w.cluster.users, User{Name: "bobby", JiraIDs: []string{"acc-bob"}})
		}, bob, "more than one user"},
		"users hidden": {func(w *world) { w.cluster.users = nil }, bob, "may not look up"},
		"their own request, where the policy allows it": {func(w *world) {
			w.policy.SelfApproval = SelfAllow
			w.cluster.users = append(w.cluster.users[:2], User{Name: "alice@example.com", JiraIDs: []string{"acc-alice"}})
		}, Person{AccountID: "acc-alice", Active: true, DisplayName: "Alice"}, "does not let"},
		"the address, which is not asked for": {func(w *world) {
			w.cluster.users = append(w.cluster.users, User{Name: "zoe@example.com"})
		}, Person{AccountID: "acc-zoe", Email: "zoe@example.com", Active: true, DisplayName: "Zoe"}, "no user in Teleport"},
		"the address of a user whose trait names another": {func(w *world) { w.policy.EmailFallback = true }, Person{
			AccountID: "acc-eva2", Email: "eva", Active: true, DisplayName: "Eva",
		}, "no user in Teleport"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inReviewMode(t, test.prepare, func(t *testing.T, w *world) {
				w.requestOf("req-1", 1)
				w.moves("req-1", test.mover, approvedStatus)
				w.after(time.Minute)
				require.Empty(t, w.cluster.decided)
				require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
				require.Len(t, keysOf(w.issue("req-1")), 1)
				require.Contains(t, w.lastWords("req-1"), test.says)
				require.Equal(t, StatePending, w.cluster.get("req-1").State)
			})
		})
	}
}

func TestTheAddressTellsTheUserOnlyWhereThatIsSwitchedOn(t *testing.T) {
	t.Parallel()
	inReviewMode(t, func(w *world) {
		w.policy.EmailFallback = true
		w.cluster.users = append(w.cluster.users, User{Name: "zoe@example.com"})
	}, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.moves("req-1", Person{AccountID: "acc-zoe", Email: "zoe@example.com", Active: true}, deniedStatus)
		require.Equal(t, []string{"req-1 denied zoe@example.com"}, w.cluster.decided)
	})
}

func TestInNotifyModeAMoveIsPutBackAndTeleportDecides(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) { w.policy.Mode = ModeNotify }, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.moves("req-1", bob, approvedStatus)
		require.Empty(t, w.cluster.decided)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Contains(t, w.lastWords("req-1"), "only shown here")
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(time.Second)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
	})
}

func TestTheActivityTellsOfEachDecisionAndRefusalOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		alice := Person{AccountID: "acc-alice", Email: "alice@example.com", DisplayName: "Alice", Active: true}
		w.tracker.setDead(pendingStatus.Name) // the refusal is tried again and again
		w.moves("req-1", alice, deniedStatus)
		w.after(20 * time.Minute)
		w.tracker.setDead()
		w.moves("req-1", bob, approvedStatus)
		var told []string
		for _, a := range w.store.activity["req-1"] {
			if a.Action == "refuse" || a.Action == "decide" {
				told = append(told, a.Action+" "+a.Outcome+": "+a.Cause)
			}
		}
		require.Len(t, told, 2)
		require.Contains(
			t,
			told[0],
			"refuse self: moved to Denied by alice@example.com: It was moved by Alice, who made the request",
		)
		require.Equal(t, "decide approved: moved to Approved by bob@example.com, on behalf of jira:bob@example.com", told[1])
	})
}

func TestADecisionThatTeleportRefusesIsPutBack(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.cluster.set(
			once("decide", &Error{Side: "teleport", Op: "decide", Permanent: true, Err: errors.New("access denied")}),
			nil,
		)
		w.moves("req-1", bob, approvedStatus)
		require.Empty(t, w.cluster.decided)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Contains(t, w.lastWords("req-1"), "did not take this decision")
		w.moves("req-1", bob, approvedStatus) // once the role is mended
		require.Len(t, w.cluster.decided, 1)
	})
}

func TestARequestThatWasSettledUnseenIsNotDecided(t *testing.T) {
	t.Parallel()
	for _, mode := range []DecisionMode{ModeState, ModeReview} {
		inReviewMode(t, func(w *world) { w.policy.Mode = mode }, func(t *testing.T, w *world) {
			w.requestOf("req-1", 1)
			w.cluster.set(func(op string) error {
				if op == "watch" || op == "list" {
					return &Error{Side: "teleport", Op: op, Scope: ScopeSide, Err: errLost}
				}
				return nil
			}, nil)
			w.cluster.breakWatches()
			w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
			w.moves("req-1", bob, deniedStatus)
			require.Empty(t, w.cluster.decided)
			require.Equal(t, StateApproved, w.cluster.get("req-1").State)
			require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
		})
	}
}

func TestAMemberOfAnApproverGroupMayDecide(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		w.policy.ApproverGroups = []string{"oncall"}
		w.tracker.groups = map[string][]string{"acc-bob": {"all", "oncall"}, "acc-eve": {"all"}}
	}, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.moves("req-1", eve, approvedStatus)
		require.Empty(t, w.cluster.decided)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		w.moves("req-1", bob, approvedStatus)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
	})
}

func TestTheTraitOfTheRequesterTellsAnOwnRequestWhereNoAddressDoes(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		w.cluster.users = []User{{Name: "alice@example.com", JiraIDs: []string{"acc-hidden"}}}
	}, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.moves("req-1", Person{AccountID: "acc-hidden", Active: true}, approvedStatus)
		require.Empty(t, w.cluster.decided)
		require.Contains(t, w.lastWords("req-1"), "who made the request")
	})
}

func TestNothingIsDecidedWhileWhoMayCannotBeLookedUp(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		w.policy.ApproverGroups = []string{"oncall"}
		w.tracker.groups = map[string][]string{"acc-bob": {"oncall"}}
	}, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.tracker.set(func(op string) error {
			if op != "groups" {
				return nil
			}
			return &Error{Side: "jira", Op: op, Scope: ScopeSide, Err: errLost}
		}, nil)
		w.moves("req-1", bob, approvedStatus)
		require.Empty(t, w.cluster.decided)
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
		w.tracker.set(nil, nil)
		w.after(2 * time.Minute)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
	})
}

func TestNothingIsDecidedThroughAnIssueThatTeleportsPluginDataDoesNotName(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.cluster.setPluginData("req-1", "99999", "ACCESS-99999")
		w.moves("req-1", bob, approvedStatus)
		require.Empty(t, w.cluster.decided)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Contains(t, w.lastWords("req-1"), "names another issue")
	})
}

func TestPluginDataThatNamesNoIssueAnyMoreIsWrittenAgainBeforeADecision(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.cluster.setPluginData("req-1", "", "")
		w.moves("req-1", bob, approvedStatus)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		require.Equal(t, w.issue("req-1").Issue.ID, w.cluster.plugin["req-1"]["issue_id"])
	})
}

func TestWhereTheWorkflowHasNoWayBackTheCommentStandsOnceAndTheRowShowsIt(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.requestOf("req-1", 1)
		w.tracker.setDead(pendingStatus.Name)
		w.moves("req-1", Person{AccountID: "acc-app", Active: true, App: true}, approvedStatus)
		w.after(30 * time.Minute)
		require.Empty(t, w.cluster.decided)
		require.Len(t, keysOf(w.issue("req-1")), 1)
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
		row := w.store.row("req-1")
		require.True(t, row.Parked)
		require.Contains(t, row.LastError, ErrNoTransition.Error())
	})
}
