package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
)

// stuckShown is how many parked and delayed requests status shows; `queue list` shows them all.
const stuckShown = 10

// statusReport is what status answers. Times are the database server's, but the cursor, which is
// Jira's.
type statusReport struct {
	Project string    `json:"project"`
	Cluster string    `json:"cluster"`
	Time    time.Time `json:"time"`
	// Leader is null while nobody leads; LatestTerm tells who did last, and is null where nobody
	// ever has.
	Leader     *termReport     `json:"leader"`
	LatestTerm *termReport     `json:"latest_term"`
	Replicas   []string        `json:"replicas"`
	Cursor     cursorReport    `json:"cursor"`
	Loops      []loopReport    `json:"loops"`
	Requests   requestsReport  `json:"requests"`
	Stuck      []requestReport `json:"stuck"`
	Errors     []errorReport   `json:"errors"`
}

type termReport struct {
	Holder string    `json:"holder"`
	Epoch  int64     `json:"epoch"`
	Since  time.Time `json:"since"`
}

// cursorReport tells up to when Jira is read. The position is the latest change that is recorded,
// and so lies back while nothing changes. The lag is how long Jira has not been read: 0 while polls
// work, else since they last did, at the most.
type cursorReport struct {
	Position   *time.Time `json:"position"`
	LagSeconds float64    `json:"lag_seconds"`
}

type loopReport struct {
	Name    string    `json:"name"`
	Works   bool      `json:"works"`
	Since   time.Time `json:"since"`
	Problem string    `json:"problem,omitempty"`
}

type requestsReport struct {
	Open             int     `json:"open"`
	Pending          int     `json:"pending"`
	Due              int     `json:"due"`
	OldestDueSeconds float64 `json:"oldest_due_seconds"`
	Delayed          int     `json:"delayed"`
	Parked           int     `json:"parked"`
}

// requestReport is a request in a list.
type requestReport struct {
	RequestID string     `json:"request_id"`
	IssueKey  string     `json:"issue_key,omitempty"`
	User      string     `json:"user,omitempty"`
	State     string     `json:"state"` // "parked" or "delayed"
	Attempts  int        `json:"attempts"`
	NextTry   *time.Time `json:"next_try"`
	Error     string     `json:"error"`
}

// errorReport is what keeps a loop or a request from going on.
type errorReport struct {
	Of    string    `json:"of"`
	Since time.Time `json:"since,omitzero"`
	Error string    `json:"error"`
}

// Status tells who leads, how far Jira is read, what is open and what is stuck.
func (o *Operator) Status(ctx context.Context) error {
	return o.withView(ctx, func(view *db.View, scope db.Scope) error {
		overview, err := view.Overview(ctx)
		if err != nil {
			return err
		}
		stuck, err := view.Queue(ctx, stuckShown)
		if err != nil {
			return err
		}
		report := newStatusReport(scope, overview, stuck)
		if o.opts.JSON {
			return o.answerJSON(report)
		}
		o.term.status(report)
		return o.term.err
	})
}

func newStatusReport(scope db.Scope, o db.Overview, stuck []sync.Link) statusReport {
	r := statusReport{
		Project:  scope.Project,
		Cluster:  scope.Cluster,
		Time:     o.Now,
		Replicas: o.Replicas,
		Cursor:   cursorReport{LagSeconds: unread(o).Seconds()},
		Requests: requestsReport{Open: o.Open, Pending: o.Pending, Due: o.Due, Delayed: o.Delayed, Parked: o.Parked},
		Loops:    []loopReport{},
		Stuck:    requestReports(stuck),
		Errors:   []errorReport{},
	}
	if o.Epoch > 0 {
		r.LatestTerm = &termReport{Holder: o.Holder, Epoch: o.Epoch, Since: o.Since}
	}
	if leads(o) {
		r.Leader = r.LatestTerm
	}
	if !o.Cursor.IsZero() {
		r.Cursor.Position = &o.Cursor
	}
	if !o.OldestDue.IsZero() {
		r.Requests.OldestDueSeconds = o.Now.Sub(o.OldestDue).Seconds()
	}
	for _, loop := range o.Loops {
		if r.Leader == nil || loop.Epoch != o.Epoch {
			continue // of a leader before, it says nothing of now
		}
		r.Loops = append(
			r.Loops,
			loopReport{Name: loop.Name, Works: loop.Problem == "", Since: loop.Since, Problem: loop.Problem},
		)
		if loop.Problem != "" {
			r.Errors = append(r.Errors, errorReport{Of: loop.Name, Since: loop.Since, Error: loop.Problem})
		}
	}
	for _, request := range r.Stuck {
		r.Errors = append(r.Errors, errorReport{Of: request.name(), Error: request.Error})
	}
	return r
}

// unread is how long Jira has not been read.
func unread(o db.Overview) time.Duration {
	last := o.Since
	i := slices.IndexFunc(o.Loops, func(l db.Loop) bool { return l.Name == sync.LoopPoll && l.Epoch == o.Epoch })
	switch {
	case o.Epoch == 0:
		return 0 // there is nothing yet to lag behind
	case i >= 0 && o.Loops[i].Problem == "" && leads(o):
		return 0
	case i >= 0:
		last = o.Loops[i].Since
	}
	if !leads(o) && o.Cursor.After(last) {
		last = o.Cursor
	}
	return max(o.Now.Sub(last), 0)
}

func requestReports(rows []sync.Link) []requestReport {
	reports := make([]requestReport, len(rows))
	for i, l := range rows {
		reports[i] = requestReport{
			RequestID: l.RequestID,
			IssueKey:  issueKey(l),
			User:      l.Request.User,
			State:     "delayed",
			Attempts:  l.Attempts,
			Error:     l.LastError,
		}
		if l.Parked {
			reports[i].State = "parked"
		}
		if !l.Due.IsZero() {
			reports[i].NextTry = &rows[i].Due
		}
	}
	return reports
}

// name is what people call the request.
func (r requestReport) name() string {
	if r.IssueKey != "" {
		return r.IssueKey
	}
	return r.RequestID
}

// issueKey is the key of the row's issue as Jira last said it; empty while it has none.
func issueKey(l sync.Link) string {
	if l.Issue.Key != "" {
		return l.Issue.Key
	}
	return l.Bound.Key
}

func (t *terminal) status(r statusReport) {
	t.printf(
		"%s %s\n\n",
		t.painted(bold, "Project "+r.Project+", Teleport cluster "+r.Cluster),
		t.painted(dim, "at "+clock(r.Time)+" UTC"),
	)
	rows := [][]cell{leaderRow(r), standbyRow(r), cursorRow(r)}
	for _, loop := range r.Loops {
		c := cell{"works, for " + length(r.Time.Sub(loop.Since)), green}
		if !loop.Works {
			c = cell{"fails, for " + length(r.Time.Sub(loop.Since)) + ": " + brief(loop.Problem, 300), red}
		}
		rows = append(rows, []cell{{loop.Name, plainPaint}, c})
	}
	q := r.Requests
	due := fmt.Sprintf("%d due now", q.Due)
	if q.Due > 0 {
		due += " (the oldest for " + length(time.Duration(q.OldestDueSeconds*float64(time.Second))) + ")"
	}
	requests := cell{
		text: fmt.Sprintf("%d open: %d pending, %s, %d delayed, %d parked", q.Open, q.Pending, due, q.Delayed, q.Parked),
	}
	if q.Parked > 0 {
		requests.paint = yellow
	}
	t.table(append(rows, []cell{{text: "requests"}, requests}))
	if len(r.Stuck) == 0 {
		return
	}
	t.title("Stuck")
	t.queue(r.Stuck, r.Time)
	if more := q.Delayed + q.Parked - len(r.Stuck); more > 0 {
		t.printf("and %d more: teleport-jira-agent queue list\n", more)
	}
}

func leaderRow(r statusReport) []cell {
	switch {
	case r.Leader != nil:
		return []cell{
			{text: "leader"},
			{fmt.Sprintf("%s, epoch %d, for %s", r.Leader.Holder, r.Leader.Epoch, length(r.Time.Sub(r.Leader.Since))), green},
		}
	case r.LatestTerm != nil:
		return []cell{
			{text: "leader"},
			{
				fmt.Sprintf(
					"nobody; the last was %s, epoch %d, from %s on",
					r.LatestTerm.Holder,
					r.LatestTerm.Epoch,
					clock(r.LatestTerm.Since),
				),
				red,
			},
		}
	}
	return []cell{{text: "leader"}, {"nobody yet; has `teleport-jira-agent start` run?", red}}
}

// cutName is the length in bytes that PostgreSQL leaves at most of an instance's name:
// application_name has 63, of which "teleport-jira-agent/" takes 20.
const cutName = 43

func standbyRow(r statusReport) []cell {
	standbys := slices.DeleteFunc(slices.Clone(r.Replicas), func(name string) bool {
		return r.Leader != nil &&
			(name == r.Leader.Holder || len(name) == cutName && strings.HasPrefix(r.Leader.Holder, name))
	})
	c := cell{text: strings.Join(standbys, ", ")}
	if len(standbys) == 0 {
		c = cell{"none", yellow}
	}
	return []cell{{text: "standby"}, c}
}

func cursorRow(r statusReport) []cell {
	latest := "no poll yet"
	if r.Cursor.Position != nil {
		latest = "the latest change that is recorded is of " + clock(*r.Cursor.Position) + " (" +
			since(*r.Cursor.Position, r.Time) + ")"
	}
	c := cell{"Jira is read up to now; " + latest, green}
	switch lag := time.Duration(r.Cursor.LagSeconds * float64(time.Second)); {
	case lag > 0 && r.Leader == nil: // of polls that found nothing new no time is kept
		c = cell{"Jira is not read, since nobody leads, for " + length(lag) + " at the most; " + latest, red}
	case lag > 0:
		c = cell{"Jira has not been read for " + length(lag) + "; " + latest, red}
	}
	return []cell{{text: "cursor"}, c}
}
