package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
)

// QueueList shows the parked and the delayed requests; the one that is named if name is not empty.
func (o *Operator) QueueList(ctx context.Context, name string) error {
	return o.withView(ctx, func(view *db.View, _ db.Scope) error {
		rows, err := o.queued(ctx, view, name)
		if err != nil {
			return err
		}
		rows = slices.DeleteFunc(rows, func(l sync.Link) bool { return !stuck(l) })
		if o.opts.JSON {
			return o.answerJSON(requestReports(rows))
		}
		if len(rows) == 0 {
			o.term.print("No request is parked or delayed.\n")
		} else {
			overview, err := view.Overview(ctx)
			if err != nil {
				return err
			}
			o.term.queue(requestReports(rows), overview.Now)
		}
		return o.term.err
	})
}

// QueueRetry has the leader try a request now, or all that are parked or delayed if name is empty.
// One that was dropped is taken up again.
func (o *Operator) QueueRetry(ctx context.Context, name string) error {
	return o.withView(ctx, func(view *db.View, _ db.Scope) error {
		rows, err := o.queued(ctx, view, name)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			if err := view.Retry(ctx, requestIDs(rows)); err != nil {
				return err
			}
		}
		return o.marked(ctx, view, "retry", rows, "is tried now")
	})
}

// QueueDrop gives up on a request that is parked or delayed: nothing more is done about it.
func (o *Operator) QueueDrop(ctx context.Context, name string) error {
	return o.withView(ctx, func(view *db.View, _ db.Scope) error {
		rows, err := o.named(ctx, view, name)
		if err != nil {
			return err
		}
		if l := rows[0]; !stuck(l) {
			return fmt.Errorf(
				"%s is neither parked nor delayed: there is nothing to give up on; `teleport-jira-agent explain %s` says how it "+
					"stands",
				name,
				l.RequestID,
			)
		}
		if err := view.Drop(ctx, requestIDs(rows)); err != nil {
			return err
		}
		return o.marked(ctx, view, "drop", rows, "is given up: its issue stays as it is, and moves of it decide nothing. "+
			"Decide the request in Teleport. `teleport-jira-agent queue retry "+rows[0].RequestID+"` takes it up again")
	})
}

// queued are the rows that are parked or delayed; the one that is named if name is not empty,
// whether or not it is.
func (o *Operator) queued(ctx context.Context, view *db.View, name string) ([]sync.Link, error) {
	if name == "" {
		return view.Queue(ctx, 0)
	}
	return o.named(ctx, view, name)
}

// named finds the one request that is called so.
func (o *Operator) named(ctx context.Context, view *db.View, name string) ([]sync.Link, error) {
	l, err := view.Find(ctx, name)
	if errors.Is(err, sync.ErrNotFound) {
		return nil, fmt.Errorf(
			"%w: no request of project %s has %q as its ID or as the key of its issue; `teleport-jira-agent queue list` shows "+
				"those that are stuck",
			errUnknown,
			o.cfg.Jira.Project,
			name,
		)
	}
	return []sync.Link{l}, err
}

// stuck reports whether a request is parked or delayed. A settled one is, too, whose issue was
// moved since and cannot be put back.
func stuck(l sync.Link) bool { return l.Parked || l.LastError != "" && !sync.IsDryRun(l) }

// marked answers which requests the leader was told of.
func (o *Operator) marked(ctx context.Context, view *db.View, action string, rows []sync.Link, becomes string) error {
	overview, err := view.Overview(ctx)
	if err != nil {
		return err
	}
	reports := requestReports(rows)
	if o.opts.JSON {
		return o.answerJSON(struct {
			Action   string          `json:"action"`
			Led      bool            `json:"led"`
			Requests []requestReport `json:"requests"`
		}{action, leads(overview), reports})
	}
	if len(rows) == 0 {
		o.term.print("No request is parked or delayed.\n")
	}
	for _, r := range reports {
		o.term.printf("%s %s.\n", harmless(r.title()), harmless(becomes))
	}
	if note := nobodyLeads(overview); note != "" && len(rows) > 0 {
		o.term.print(o.term.painted(yellow, "Note: "+note+".") + "\n")
	}
	return o.term.err
}

// title names a request and its issue.
func (r requestReport) title() string {
	if r.IssueKey != "" {
		return r.IssueKey + " (request " + r.RequestID + ")"
	}
	return "Request " + r.RequestID
}

func requestIDs(rows []sync.Link) []string {
	ids := make([]string, len(rows))
	for i, l := range rows {
		ids[i] = l.RequestID
	}
	return ids
}

func (t *terminal) queue(requests []requestReport, now time.Time) {
	rows := [][]cell{{{"REQUEST", dim}, {"ISSUE", dim}, {"STATE", dim}, {"TRIES", dim}, {"NEXT", dim}, {"ERROR", dim}}}
	for _, r := range requests {
		state := cell{r.State, yellow}
		if r.State == "parked" {
			state.paint = red
		}
		next := "at a change"
		if r.NextTry != nil {
			next = since(*r.NextTry, now)
		}
		rows = append(
			rows,
			[]cell{
				{text: r.RequestID},
				{text: r.IssueKey},
				state,
				{text: fmt.Sprint(r.Attempts)},
				{text: next},
				{text: brief(r.Error, 160)},
			},
		)
	}
	t.table(rows)
}
