package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
)

// explainTime bounds how long both sides are asked. What does not answer until then is told from
// the row.
const explainTime = 30 * time.Second

// explanation is what explain answers: one request as both sides tell it, the row that binds them,
// and what comes next.
type explanation struct {
	RequestID string           `json:"request_id"`
	Teleport  teleportReport   `json:"teleport"`
	Jira      *jiraReport      `json:"jira"` // null while there is no issue
	Mapping   mappingReport    `json:"mapping"`
	Verdict   string           `json:"verdict"`
	Next      nextReport       `json:"next"`
	Timeline  []timelineReport `json:"timeline"`
	// Unavailable are the sides that did not answer, and why: what is told of them is what was
	// recorded.
	Unavailable []string `json:"unavailable"`
}

type teleportReport struct {
	State         string     `json:"state"`
	Gone          bool       `json:"gone"`
	User          string     `json:"user"`
	Roles         []string   `json:"roles"`
	Resources     []string   `json:"resources"`
	Reason        string     `json:"reason"`
	Created       *time.Time `json:"created"`
	Expires       *time.Time `json:"expires"`
	ResolveReason string     `json:"resolve_reason"`
	URL           string     `json:"url,omitempty"`
}

type jiraReport struct {
	ID        string     `json:"id"`
	Key       string     `json:"key"`
	Status    string     `json:"status"`
	Updated   *time.Time `json:"updated"`
	RequestID string     `json:"request_id_field"`
	Gone      bool       `json:"gone"`
	URL       string     `json:"url,omitempty"`
}

// mappingReport is the agent's own part of the row.
type mappingReport struct {
	Scope     string     `json:"scope"`
	State     string     `json:"state"` // "open", "parked", "delayed", "settled" or "dropped"
	Linked    bool       `json:"linked_in_teleport"`
	Begun     string     `json:"begun,omitempty"`
	Attempts  int        `json:"attempts"`
	LastError string     `json:"last_error,omitempty"`
	Strays    []string   `json:"other_issues_with_the_id,omitempty"`
	SettledAt *time.Time `json:"settled_at,omitempty"`
}

type nextReport struct {
	What  string       `json:"what"`
	At    *time.Time   `json:"at"`
	Steps []stepReport `json:"steps"`
	Led   bool         `json:"led"`
}

// timelineReport is one thing that happened. Each side's times are by its own clock.
type timelineReport struct {
	At      time.Time `json:"at"`
	Source  string    `json:"source"` // "teleport", "jira" or "agent"
	Who     string    `json:"who,omitempty"`
	What    string    `json:"what"`
	Failed  bool      `json:"failed,omitempty"`
	Epoch   int64     `json:"epoch,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
}

// Explain tells the whole story of one request, which is named by its ID or by the key of its
// issue.
func (o *Operator) Explain(ctx context.Context, name string) error {
	return o.withView(ctx, func(view *db.View, scope db.Scope) error {
		asking, cancel := context.WithTimeout(ctx, explainTime)
		defer cancel()
		p, teleportErr, jiraErr := o.sides(asking)
		defer p.closeSides()
		s := story{cfg: o.cfg, scope: scope}
		err := s.read(ctx, view, name)
		if errors.Is(err, sync.ErrNotFound) {
			return o.unknown(asking, p, name)
		}
		if err != nil {
			return err
		}
		s.ask(asking, p, teleportErr, jiraErr)
		e := s.tell(asking, p)
		if o.opts.JSON {
			return o.answerJSON(e)
		}
		o.term.explanation(e, s.overview.Now)
		return o.term.err
	})
}

// unknown is the error of a request without a row. Perhaps Teleport knows it.
func (o *Operator) unknown(ctx context.Context, p *process, name string) error {
	err := fmt.Errorf("%w: no request of project %s has %q as its ID or as the key of its issue, or it was settled "+
		"longer than SYNC_RETENTION (%s) ago",
		errUnknown, o.cfg.Jira.Project, name, length(o.cfg.Sync.Retention))
	if p.cluster == nil {
		return err
	}
	if r, asked := p.cluster.Request(ctx, name); asked == nil {
		return fmt.Errorf(
			"%w; Teleport has it (%s, made %s), and no agent has taken it up: `teleport-jira-agent status` says whether "+
				"one works",
			err,
			r.State,
			since(r.Created, time.Now()),
		)
	}
	return err
}

// story is what is known of one request.
type story struct {
	cfg         *Config
	scope       db.Scope
	link        sync.Link
	detail      *sync.Detail // the issue as Jira has it now; nil: it could not be asked
	activity    []db.Record
	overview    db.Overview
	unavailable []string
}

// read reads what is recorded.
func (s *story) read(ctx context.Context, view *db.View, name string) (err error) {
	if s.link, err = view.Find(ctx, name); err != nil {
		return err
	}
	if s.activity, err = view.Activity(ctx, s.link.RequestID); err != nil {
		return err
	}
	s.overview, err = view.Overview(ctx)
	return err
}

// ask brings the row's facts up to date with what both sides say now.
func (s *story) ask(ctx context.Context, p *process, teleportErr, jiraErr error) {
	l := &s.link
	if teleportErr == nil && !l.Gone {
		r, ok, doubt, err := sync.LookUp(ctx, p.cluster, l.RequestID)
		switch {
		case ok:
			l.Request, _ = sync.MergeRequest(l.Request, r)
		case doubt != "":
			err = errors.New(doubt)
		case err == nil:
			l.Gone = true
		}
		teleportErr = err
	}
	if jiraErr == nil && l.Bound.ID != "" {
		detail, err := p.tracker.Read(ctx, l.Bound.ID)
		switch {
		case errors.Is(err, sync.ErrNotFound):
			l.IssueGone = true
		case err == nil:
			l.Issue, _ = sync.MergeIssue(l.Issue, detail.Issue)
			l.IssueGone, s.detail = false, &detail
		}
		if !errors.Is(err, sync.ErrNotFound) {
			jiraErr = err
		}
	}
	for _, err := range []error{teleportErr, jiraErr} {
		if err != nil {
			s.unavailable = append(s.unavailable, err.Error())
		}
	}
}

// tell puts the story into words.
func (s *story) tell(ctx context.Context, p *process) explanation {
	l := s.link
	next := sync.Expect(l, s.cfg.settings().Policy, s.overview.Now, s.cfg.Sync.Retention)
	e := explanation{
		RequestID:   l.RequestID,
		Teleport:    newTeleportReport(l),
		Mapping:     s.mapping(),
		Verdict:     s.verdict(ctx, p),
		Timeline:    s.timeline(),
		Next:        nextReport{What: next.Text, At: orNull(next.At), Steps: stepReports(next.Steps), Led: leads(s.overview)},
		Unavailable: append([]string{}, s.unavailable...),
	}
	if note := nobodyLeads(s.overview); note != "" && l.SettledAt.IsZero() {
		e.Next.What += " But " + note + "."
	}
	if l.Bound.ID != "" {
		e.Jira = &jiraReport{
			ID:        l.Bound.ID,
			Key:       issueKey(l),
			Status:    l.Issue.Status.Name,
			Updated:   orNull(l.Issue.Updated),
			RequestID: l.Issue.RequestID,
			Gone:      l.IssueGone,
			URL:       s.cfg.jira().IssueURL(issueKey(l)),
		}
	}
	return e
}

func newTeleportReport(l sync.Link) teleportReport {
	r := l.Request
	return teleportReport{
		State:         cmp.Or(string(r.State), "not known"),
		Gone:          l.Gone,
		User:          r.User,
		Roles:         append([]string{}, r.Roles...),
		Resources:     append([]string{}, r.Resources...),
		Reason:        r.Reason,
		Created:       orNull(r.Created),
		Expires:       orNull(r.Expires),
		ResolveReason: r.ResolveReason,
		URL:           r.URL,
	}
}

func (s *story) mapping() mappingReport {
	l := s.link
	m := mappingReport{
		Scope:     s.scope.String(),
		State:     "open",
		Linked:    l.Linked,
		Begun:     l.Begun,
		Attempts:  l.Attempts,
		LastError: l.LastError,
		SettledAt: orNull(l.SettledAt),
		Strays:    slices.DeleteFunc(slices.Clone(l.Strays), func(id string) bool { return id == l.Bound.ID }),
	}
	switch {
	case l.Dropped:
		m.State = "dropped"
	case l.Parked:
		m.State = "parked"
	case stuck(l):
		m.State = "delayed"
	case !l.SettledAt.IsZero():
		m.State = "settled"
	}
	return m
}

// verdict says what the policy makes of the issue.
func (s *story) verdict(ctx context.Context, p *process) string {
	switch {
	case s.link.Bound.ID == "":
		return "There is no issue yet that anybody could move."
	case s.link.IssueGone:
		return "Jira does not show the issue any more: it was deleted or archived, or the agent's account may not see it."
	case s.detail == nil:
		return "Jira could not be asked who moved the issue."
	case p.cluster == nil:
		return "Teleport could not be asked, and without it nobody's move is judged."
	}
	return p.judged(ctx, s.link, *s.detail)
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
