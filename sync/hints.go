package sync

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Hint is what webhooks said of an issue: look at it again. That it was said is all that is
// believed of it; what the issue is like, Jira is asked.
type Hint struct {
	IssueID string
	// Claimed is when the issue changed last, by Jira's clock, as the latest webhook claims; zero
	// when it does not say.
	Claimed time.Time
	// Recorded is the time of the last change that the issue's row knows of.
	Recorded time.Time
	// Open: the row is not settled.
	Open bool
	// Looks is how often the issue was read since the last webhook about it.
	Looks int
	// Seq is raised by each webhook.
	Seq int64
}

// Heeded is a hint whose issue was looked at.
type Heeded struct {
	Hint
	// Again is how long to wait before the next look; zero: none is needed.
	Again time.Duration
}

const (
	// hintPage is how many issues are read at a time: enough for a person who moves a column of
	// them, and few for a Data Center, where they are read one by one, some 50 ms each.
	hintPage = 25
	// hintRest is the least time between two calls to Jira on account of webhooks, on average. One
	// that took longer is followed by as long a pause, so that a flood of webhooks takes at most
	// half of the calls that Jira allows.
	hintRest = 250 * time.Millisecond
	// hintFew is up to how many issues the workers of their rows are let read, each with its
	// history, so that what a person did is decided on by that same read. As many calls are made at
	// once before the first pause.
	hintFew = 4
	// hintsAnyway is how often hints are looked for although nobody told of one.
	hintsAnyway = 30 * time.Second
)

// lookAgain are the pauses between the looks at an issue that does not yet show what a webhook
// claims: Jira may send the webhook before its interface shows the change
// (https://github.com/gravitational/teleport/issues/34581). The last look is half a minute after
// the first; what shows later is for the polls, and what never shows (a forged time in the future)
// is forgotten.
var lookAgain = []time.Duration{time.Second, 4 * time.Second, 10 * time.Second, 15 * time.Second}

// answered reports whether the row knows of something later than the webhook tells of, so that it
// is an old one, or one that was sent again; or of just that, and the issue was read since. A time
// that is yet to come says nothing: Jira's clock ran ahead.
func (h Hint) answered(now time.Time) bool {
	if h.Claimed.IsZero() || h.Recorded.After(now) {
		return false
	}
	return h.Recorded.After(h.Claimed) || h.Looks > 0 && h.Recorded.Equal(h.Claimed)
}

// again is how long to wait before the next look at an issue that Jira showed as changed at
// updated; zero: it was seen as the webhook claims, or often enough.
func (h Hint) again(updated, now time.Time) time.Duration {
	seen := !h.Claimed.IsZero() && !updated.Before(h.Claimed) && !updated.After(now)
	if seen || h.Looks >= len(lookAgain) {
		return 0
	}
	return lookAgain[h.Looks]
}

// heed reads the issues that webhooks named, as a poll would have found them, but at once: when it
// is told of a hint, at the start of the term, and now and then.
func (e *Engine) heed(ctx context.Context) error {
	failures := 0
	var rested time.Time // when all calls so far have had their rest
	for due := time.Now(); ; {
		if until := e.sides.until(); due.Before(until) {
			due = until
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.Hinted:
			notify(e.wakeWork)
			due = time.Now()
			continue
		case <-after(due):
		}
		start := time.Now()
		calls, next, err := e.heedOnce(ctx)
		if errors.Is(err, ErrNotLeader) {
			return err
		}
		if err != nil || failures > 0 { // where there is no webhook there is nothing to tell
			e.condition(ctx, LoopHints, err)
		}
		rest := time.Duration(0)
		switch {
		case err != nil:
			failures++
			e.pauseSide(err)
			rest = e.retryAfter(err, failures)
		case calls > 0:
			if rested.Before(start) {
				rested = start
			}
			rested = rested.Add(max(time.Duration(calls)*hintRest, 2*time.Since(start)))
			rest = time.Until(rested) - (hintFew-1)*hintRest
		}
		if err == nil {
			failures = 0
		}
		due = time.Now().Add(next)
		pause(ctx, rest)
	}
}

// heedOnce takes one page of hints that are due. It returns how many calls to Jira that makes, and
// how long there is nothing more to do.
func (e *Engine) heedOnce(ctx context.Context) (calls int, next time.Duration, err error) {
	hints, next, err := e.Store.Hints(ctx, hintPage)
	if err != nil {
		return 0, 0, err
	}
	if next == 0 || next > hintsAnyway {
		next = hintsAnyway
	}
	if len(hints) == hintPage {
		next = 0
	}
	var few []string
	many := make(map[string]bool)
	for _, h := range hints {
		switch {
		case h.answered(time.Now()):
		case h.Open && len(few) < hintFew:
			few = append(few, h.IssueID)
		default:
			many[h.IssueID] = false
		}
	}
	if len(many) > 0 { // one read in bulk takes the few, too
		for _, id := range few {
			many[id] = false
		}
		few = nil
	}
	shown, err := e.readHinted(ctx, few, many)
	if err != nil {
		return 0, 0, err
	}
	heeded := make([]Heeded, len(hints))
	for i, h := range hints {
		heeded[i].Hint = h
		if issue, ok := shown[h.IssueID]; ok || slices.Contains(few, h.IssueID) {
			heeded[i].Again = h.again(issue.Updated, time.Now())
		}
		if again := heeded[i].Again; again > 0 {
			next = min(next, again)
		}
	}
	return len(few) + min(len(many), 1), next, e.Store.Heeded(ctx, heeded)
}

// readHinted lets a few issues be read by the workers of their rows, and reads many in bulk. It
// returns what Jira showed of the latter.
func (e *Engine) readHinted(ctx context.Context, few []string, many map[string]bool) (map[string]Issue, error) {
	start := time.Now()
	shown, err := e.compareIssues(ctx, e.Tracker.Latest, many)
	failure := asError(err)
	switch {
	case err == nil && len(many) > 0:
		e.sideWorked(ctx, "jira", start)
	case failure.Side == "jira" && failure.Scope == ScopeRequest:
		// One of them is in trouble. Each is read by the worker of its own row, and the trouble
		// counts for that row alone.
		few = append(few, keys(many)...)
	case err != nil:
		return nil, err
	}
	defer notify(e.wakeWork)
	return shown, e.Store.SuspectIssues(ctx, few, true)
}
