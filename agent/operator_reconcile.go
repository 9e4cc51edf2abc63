package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
)

const (
	// reconcilePage is how many rows, and issues, are read at once.
	reconcilePage = 500
	// judgedLimit bounds how many moved issues are read with their history, at a call to Jira each,
	// to say what would follow.
	judgedLimit = 50
)

// disagreement is a request about which both sides, or the row between them, disagree, and what is
// done about it.
type disagreement struct {
	RequestID string       `json:"request_id"`
	IssueKey  string       `json:"issue_key,omitempty"`
	Teleport  string       `json:"teleport"`
	Jira      string       `json:"jira"`
	Steps     []stepReport `json:"steps"`
	Verdict   string       `json:"verdict,omitempty"` // of an issue that somebody moved
	Error     string       `json:"error,omitempty"`   // that the last attempt ended with

	row bool // there is a row to be marked
}

// reconciliation is what reconcile answers.
type reconciliation struct {
	DryRun        bool           `json:"dry_run"`
	Requests      int            `json:"requests"` // that Teleport lists
	Rows          int            `json:"rows"`     // that were compared
	Disagreements []disagreement `json:"disagreements"`
	// Led: somebody leads, who takes up what disagrees at once.
	Led bool `json:"led"`

	leaderDry bool // by the configuration that the replicas have, too, nothing is written
}

// Reconcile compares both sides now and tells what disagrees. Unless dryRun is set, the leader is
// told to look at all that again; what is listed is what it does then, provided that both sides
// still say the same.
func (o *Operator) Reconcile(ctx context.Context, dryRun bool) error {
	return o.withView(ctx, func(view *db.View, _ db.Scope) error {
		p, teleportErr, jiraErr := o.sides(ctx)
		defer p.closeSides()
		if err := errors.Join(teleportErr, jiraErr); err != nil {
			return fmt.Errorf("both sides are needed to compare them: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		c := comparison{
			process:  p,
			view:     view,
			progress: newProgress(o.opts.Err, o.opts.Environ, "comparing requests"),
			policy:   o.cfg.settings().Policy,
		}
		answer, err := c.compare(ctx)
		c.progress.end()
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		answer.DryRun, answer.leaderDry = dryRun, o.cfg.Sync.DryRun
		overview, err := view.Overview(ctx)
		if err != nil {
			return err
		}
		answer.Led = leads(overview)
		if !dryRun {
			if err := handOver(ctx, view, answer.Disagreements); err != nil {
				return err
			}
		}
		if o.opts.JSON {
			return o.answerJSON(answer)
		}
		o.term.reconciliation(answer, overview)
		return o.term.err
	})
}

// handOver has the leader look again at what disagrees, and compare all that has no row.
func handOver(ctx context.Context, view *db.View, found []disagreement) error {
	var ids []string
	for _, d := range found {
		if d.row {
			ids = append(ids, d.RequestID)
		}
	}
	if len(ids) > 0 {
		if err := view.Recheck(ctx, ids); err != nil {
			return err
		}
	}
	return view.Ask(ctx)
}

// comparison looks at each request on both sides.
type comparison struct {
	*process
	view     *db.View
	policy   sync.Policy
	progress *progress

	listed map[string]sync.Request // that Teleport lists, by ID
	known  map[string]bool         // requests that have a row
	found  []disagreement
	rows   int
	asked  int // issues that were read with their history
}

func (c *comparison) compare(ctx context.Context) (reconciliation, error) {
	c.listed, c.known = make(map[string]sync.Request), make(map[string]bool)
	err := c.cluster.Requests(ctx, func(page []sync.Request) error {
		for _, r := range page {
			c.listed[r.ID] = r
		}
		return nil
	})
	if err != nil {
		return reconciliation{}, err
	}
	if err := c.open(ctx); err != nil {
		return reconciliation{}, err
	}
	if err := c.settled(ctx); err != nil {
		return reconciliation{}, err
	}
	for _, id := range slices.Sorted(maps.Keys(c.listed)) {
		if r := c.listed[id]; !c.known[id] && r.State == sync.StatePending {
			step := stepReport{Action: string(sync.ActCreate), Cause: "the request is pending, and no agent has taken it up"}
			c.found = append(
				c.found,
				disagreement{RequestID: id, Teleport: string(r.State), Jira: "no issue", Steps: []stepReport{step}},
			)
		}
	}
	return reconciliation{Requests: len(c.listed), Rows: c.rows, Disagreements: append([]disagreement{}, c.found...)}, nil
}

// open compares the rows that are not settled.
func (c *comparison) open(ctx context.Context) error {
	overview, err := c.view.Overview(ctx)
	if err != nil {
		return err
	}
	for after := ""; ; {
		rows, err := c.view.Open(ctx, after, reconcilePage)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		if err := c.page(ctx, rows); err != nil {
			return err
		}
		after = rows[len(rows)-1].RequestID
		c.progress.at(c.rows, overview.Open)
	}
}

// settled compares the settled rows of requests that Teleport still lists: their issues may have
// been moved since.
func (c *comparison) settled(ctx context.Context) error {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(c.listed)) {
		if !c.known[id] {
			ids = append(ids, id)
		}
	}
	for some := range slices.Chunk(ids, reconcilePage) {
		rows, err := c.view.Of(ctx, some)
		if err != nil {
			return err
		}
		if err := c.page(ctx, rows); err != nil {
			return err
		}
		c.progress.at(c.rows, 0)
	}
	return nil
}

// page brings the facts of rows up to date, and notes those of which something is left to do.
func (c *comparison) page(ctx context.Context, rows []sync.Link) error {
	var ids []string
	for _, l := range rows {
		if l.Bound.ID != "" {
			ids = append(ids, l.Bound.ID)
		}
	}
	shown := make(map[string]sync.Issue, len(ids))
	if len(ids) > 0 {
		issues, err := c.tracker.Issues(ctx, ids)
		if err != nil {
			return err
		}
		for _, issue := range issues {
			shown[issue.ID] = issue
		}
	}
	for _, l := range rows {
		c.known[l.RequestID] = true
		c.rows++
		if err := c.refresh(ctx, &l, shown); err != nil {
			return err
		}
		c.note(ctx, l)
	}
	return nil
}

// refresh merges what both sides say now into a row.
func (c *comparison) refresh(ctx context.Context, l *sync.Link, shown map[string]sync.Issue) error {
	r, listed := c.listed[l.RequestID]
	if !listed && !l.Gone && l.Request.State == sync.StatePending {
		var err error
		var doubt string
		r, listed, doubt, err = sync.LookUp(ctx, c.cluster, l.RequestID)
		switch {
		case err != nil:
			return err
		case doubt != "":
			return fmt.Errorf("compare requests: %s", doubt)
		}
		l.Gone = !listed
	}
	if listed {
		l.Request, _ = sync.MergeRequest(l.Request, r)
	}
	l.SuspectRequest = false
	if l.Bound.ID == "" {
		return nil
	}
	issue, ok := shown[l.Bound.ID]
	if ok {
		l.Issue, _ = sync.MergeIssue(l.Issue, issue)
	}
	l.IssueGone, l.SuspectIssue = !ok, false
	return nil
}

// note keeps a row if something is left to do about it. That it is not yet recorded as settled is
// the agent's own affair.
func (c *comparison) note(ctx context.Context, l sync.Link) {
	steps := slices.DeleteFunc(
		sync.Plan(l, c.policy, time.Now()),
		func(a sync.Action) bool { return a.Kind == sync.ActSettle },
	)
	if len(steps) == 0 {
		return
	}
	d := disagreement{
		RequestID: l.RequestID,
		IssueKey:  issueKey(l),
		Teleport:  string(sync.OutcomeOf(l)),
		Jira:      "no issue",
		Error:     l.LastError,
		row:       true,
	}
	switch {
	case l.IssueGone:
		d.Jira = "not shown by Jira"
	case l.Bound.ID != "":
		d.Jira = l.Issue.Status.Name
	}
	d.Steps = stepReports(steps)
	for _, step := range steps {
		if step.Kind == sync.ActJudge && c.asked < judgedLimit {
			c.asked++
			d.Verdict = c.verdict(ctx, l)
		}
	}
	c.found = append(c.found, d)
}

// verdict says what would follow from the move of an issue. One that cannot be told of does not
// keep the others from being told.
func (c *comparison) verdict(ctx context.Context, l sync.Link) string {
	detail, err := c.tracker.Read(ctx, l.Bound.ID)
	if err != nil {
		return untold + err.Error()
	}
	return c.judged(ctx, l, detail)
}

func (t *terminal) reconciliation(r reconciliation, o db.Overview) {
	if len(r.Disagreements) == 0 {
		agree := fmt.Sprintf("Both sides agree: %d requests in Teleport, %d rows compared.", r.Requests, r.Rows)
		t.print(t.painted(green, agree) + "\n")
		return
	}
	t.printf("%d of %d disagree:\n\n", len(r.Disagreements), max(r.Requests, r.Rows))
	rows := [][]cell{{{"REQUEST", dim}, {"ISSUE", dim}, {"TELEPORT", dim}, {"JIRA", dim}, {"WHAT IS DONE", dim}}}
	for _, d := range r.Disagreements {
		for n, step := range d.Steps {
			row := []cell{{}, {}, {}, {}, {text: step.Action + ": " + legible(step.Cause)}}
			if n == 0 {
				row[0].text, row[1].text, row[2].text, row[3].text = d.RequestID, d.IssueKey, d.Teleport, d.Jira
			}
			rows = append(rows, row)
		}
		for _, remark := range []cell{{legible(d.Verdict), plainPaint}, {brief(d.Error, 200), yellow}} {
			if remark.text != "" {
				rows = append(rows, []cell{{}, {}, {}, {}, {"  " + remark.text, remark.paint}})
			}
		}
	}
	t.table(rows)
	switch {
	case r.DryRun:
		t.print(
			"\nNothing was done (--dry-run). The leader does this by itself when it next compares both sides " +
				"(SYNC_SWEEP_SCHEDULE); `teleport-jira-agent reconcile` has it do so now.\n",
		)
	case r.Led && r.leaderDry:
		t.printf("\nHanded to the leader, %s, which writes nothing while SYNC_DRY_RUN is set: it logs what would be "+
			"done.\n", o.Holder)
	case r.Led:
		t.printf(
			"\nHanded to the leader, %s, which looks at both sides again first. `teleport-jira-agent status` shows how it "+
				"goes.\n",
			o.Holder,
		)
	default:
		t.print("\n" + t.painted(yellow, "Note: "+nobodyLeads(o)+".") + "\n")
	}
}
