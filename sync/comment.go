package sync

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// comment adds a comment once. One that was begun and never recorded is looked for first.
func (w *worker) comment(ctx context.Context, key, body string) error {
	if strings.HasPrefix(w.link.Begun, EffectComment) {
		comments, err := w.Tracker.Comments(ctx, w.link.Bound.ID)
		if err != nil {
			return err
		}
		if (w.link.Begun == EffectComment+key || w.link.Begun == EffectComment) && carries(comments, key, body) {
			w.link.Commented = append(w.link.Commented, key)
		}
		w.noteComments(comments)
		w.link.Begun = ""
	}
	if w.link.HasComment(key) {
		return nil
	}
	if w.unstored.givenUp(w.link.RequestID) {
		body = bareComment(body)
		w.log.Warn("the comment is made without its text, which Jira fails to store", zap.String("comment", key))
	}
	err := w.Tracker.Comment(ctx, w.link.Bound.ID, key, body, w.begin(EffectComment+key))
	w.unstored.note(w.link.RequestID, err)
	if err != nil {
		if !asError(err).Uncertain {
			w.link.Begun = ""
		}
		return err
	}
	w.link.Commented = append(w.link.Commented, key)
	w.link.Begun = ""
	return nil
}

// noteComments records the comments by the agent's account that were seen on the issue: its own,
// and those of Teleport's own plugin.
func (w *worker) noteComments(comments []Comment) {
	for _, c := range comments {
		key := cmp.Or(c.Key, officialClosing(c), officialReview(c, w.link.Request.Reviews))
		if key == "" || !c.Author.Agent {
			continue
		}
		if n, ok := retraction(key); ok {
			w.link.Retracted = max(w.link.Retracted, n)
		}
		if !w.link.HasComment(key) {
			w.link.Commented = append(w.link.Commented, key)
		}
	}
}

// officialClosing is the key of the closing comment that Teleport's own plugin makes with this
// text, and leaves unmarked; empty if it is none, or if somebody else has written what it says now.
// https://github.com/gravitational/teleport/blob/master/integrations/access/jira/client.go
func officialClosing(c Comment) string {
	first, _, _ := strings.Cut(c.Body, "\n")
	outcome, ok := strings.CutPrefix(strings.TrimSpace(first), "Access request has been ")
	if !ok || c.Edited {
		return ""
	}
	return resolutionPrefix + outcome
}

// officialReview is the same for its comment on one of the reviews.
func officialReview(c Comment, reviews []Review) string {
	author, _, ok := strings.Cut(c.Body, " reviewed the request at ")
	if !ok || c.Edited {
		return ""
	}
	for _, r := range reviews {
		if strings.Trim(author, "* ") == r.Author {
			return reviewKey(r)
		}
	}
	return ""
}

// carries finds a comment of the agent by its text, for where Jira does not return comment
// properties.
func carries(comments []Comment, key, body string) bool {
	for _, c := range comments {
		if c.Author.Agent && (c.Key == "" || c.Key == key) &&
			strings.Join(strings.Fields(c.Body), " ") == strings.Join(strings.Fields(body), " ") {
			return true
		}
	}
	return false
}

// answer tells another issue that holds the request's ID which one is the request's, once, and that
// moves of it decide nothing. One that the agent itself made twice is closed. An archived one
// cannot be told, and decides nothing either.
func (w *worker) answer(ctx context.Context, id string) error {
	detail, err := w.Tracker.Read(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return w.strayGone(ctx, id)
	case err != nil:
		return err
	case detail.Issue.RequestID != w.link.RequestID:
		return w.answered(id) // what the search showed is no longer so
	}
	err = w.tellStray(ctx, detail)
	if e := asError(err); err != nil && e.Permanent && e.Scope == ScopeRequest {
		issues, unknown := w.Tracker.Issues(ctx, []string{id})
		if unknown == nil && slices.ContainsFunc(issues, func(i Issue) bool { return i.Archived == Archived }) {
			w.log.Info("another issue holds the request's ID and is archived", zap.String("issue_key", detail.Issue.Key))
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return w.answered(id)
}

// tellStray comments on another issue and closes it where the agent made it.
func (w *worker) tellStray(ctx context.Context, stray Detail) error {
	duplicate := w.madeFor(stray.Issue)
	w.log.Warn(
		"another issue holds the request's ID",
		zap.String("issue_key", stray.Issue.Key),
		zap.Bool("made_by_agent", duplicate),
	)
	key, body := strayPrefix+w.link.Bound.Key, strayText(w.link.Bound.Key, duplicate)
	told := slices.ContainsFunc(stray.Comments, func(c Comment) bool { return c.Key == key && c.Author.Agent })
	if !told && !carries(stray.Comments, key, body) {
		if err := w.Tracker.Comment(ctx, stray.Issue.ID, key, body, w.checked); err != nil {
			return err
		}
	}
	if !duplicate {
		return nil
	}
	// Not Drive: no row names this issue, so nothing would see that it went elsewhere.
	_, err := w.Tracker.Move(ctx, stray.Issue.ID, stray.Issue.Status, w.Policy.Way(OutcomeExpired, false), w.checkedStep)
	return err
}

// strayPrefix, with the key of the request's issue, marks the comment on another one.
const strayPrefix = "stray:"

// isStrayComment finds the comment by which the agent closed an issue that it had made twice.
func isStrayComment(c Comment) bool { return c.Author.Agent && strings.HasPrefix(c.Key, strayPrefix) }

// strayGone is answer for another issue that a read by its id does not show.
func (w *worker) strayGone(ctx context.Context, id string) error {
	c, why, err := w.askForIssue(ctx, id)
	switch {
	case err != nil:
		return err
	case c == concludeEnded:
		return w.answered(id)
	}
	return inDoubt("jira", "confirm that issue "+id+" is gone", c, why, new(time.Time))
}

func (w *worker) answered(id string) error {
	w.link.Answered = append(w.link.Answered, id)
	return nil
}
