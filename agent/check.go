package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	stdsync "sync"
	"time"

	"go.uber.org/zap"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/jira"
	"teleport-jira-agent/sync/teleport"
)

const (
	// checkTime bounds the whole of check. Teleport's client takes 10 s to give up an address.
	checkTime = 2 * time.Minute
	// certificateNotice is how little may be left of the webhook's certificate.
	certificateNotice = 7 * 24 * time.Hour
)

// groups in the order in which check tells them.
var groups = []string{
	sync.GroupConfiguration,
	sync.GroupNetwork,
	sync.GroupTeleport,
	sync.GroupJira,
	sync.GroupPostgreSQL,
}

// findingsReport is what check answers with --json.
type findingsReport struct {
	OK       bool           `json:"ok"` // nothing fails
	Findings []sync.Finding `json:"findings"`
}

// Check verifies every precondition, and changes nothing. The error is ErrFindings if one fails.
func (o *Operator) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var ofTeleport, ofJira, ofDatabase []sync.Finding
	var sides stdsync.WaitGroup
	sides.Go(func() { ofTeleport = teleport.Check(ctx, o.cfg.teleport(), o.cfg.neededOfTeleport(), zap.NewNop()) })
	sides.Go(func() { ofJira = jira.Check(ctx, o.cfg.jira(), o.cfg.neededOfJira(), zap.NewNop()) })
	sides.Go(func() {
		cluster, _ := teleport.ClusterOf(o.cfg.teleport()) // teleport.Check says why it cannot be told
		scope := db.Scope{Cluster: cluster, Project: o.cfg.Jira.Project}
		ofDatabase = db.Check(ctx, o.cfg.database(db.CommandInstance+instance(), zap.NewNop()), scope)
	})
	sides.Wait()
	findings := slices.Concat(o.cfg.findings(), ofTeleport, ofJira, ofDatabase)
	slices.SortStableFunc(
		findings,
		func(a, b sync.Finding) int { return slices.Index(groups, a.Group) - slices.Index(groups, b.Group) },
	)
	return o.answerFindings(findings)
}

func (o *Operator) answerFindings(findings []sync.Finding) error {
	fails := slices.ContainsFunc(findings, func(f sync.Finding) bool { return f.Condition == sync.Fails })
	if o.opts.JSON {
		if err := o.answerJSON(findingsReport{OK: !fails, Findings: findings}); err != nil {
			return err
		}
	} else {
		o.term.findings(findings)
		if o.term.err != nil {
			return o.term.err
		}
	}
	if fails {
		return ErrFindings
	}
	return nil
}

func (c *Config) neededOfTeleport() teleport.CheckFor {
	policy := c.settings().Policy
	return teleport.CheckFor{
		Mode:  policy.Mode,
		Users: policy.SelfApproval != sync.SelfAllow && policy.Mode != sync.ModeNotify,
	}
}

func (c *Config) neededOfJira() jira.CheckFor {
	policy := c.settings().Policy
	return jira.CheckFor{Statuses: policy.Statuses, ApproverGroups: policy.ApproverGroups}
}

// findings are about the configuration by itself. What makes it unusable has ended the command
// before.
func (c *Config) findings() []sync.Finding {
	f := &sync.Findings{Group: sync.GroupConfiguration}
	for _, warning := range c.Warnings {
		f.Doubt("configuration", "`teleport-jira-agent configure` prints all variables", "%s", warning)
	}
	if len(c.Warnings) == 0 {
		f.Holds("configuration", "all variables can be read, and none is misspelt")
	}
	if c.Policy.SelfApproval == string(sync.SelfAllow) {
		f.Doubt("configuration.self_approval", "set POLICY_SELF_APPROVAL=deny or strict, unless the workflow keeps people "+
			"from it", "requesters may approve their own requests (POLICY_SELF_APPROVAL=allow)")
	}
	if sync.DecisionMode(c.Teleport.DecisionMode) != sync.ModeNotify &&
		len(c.Policy.Approvers)+len(c.Policy.ApproverGroups) == 0 {
		f.Doubt("configuration.approvers", "set POLICY_APPROVERS or POLICY_APPROVER_GROUPS, or restrict the transitions "+
			"to the approved and denied statuses in the workflow (a condition on them)",
			"whoever may move an issue decides: nobody is named")
	}
	c.webhookFindings(f)
	return f.All
}

func (c *Config) webhookFindings(f *sync.Findings) {
	const check = "webhook.certificate"
	w := c.Webhook
	if !w.Enabled {
		return
	}
	pair, err := newTLSPair(w.TLSCertFile, w.TLSKeyFile, zap.NewNop())
	if err != nil {
		f.Fails(check, "name the PEM files of a certificate and of its key, which belong together and which the agent may "+
			"read", "%s", err)
		return
	}
	ends := pair.expires()
	switch left := time.Until(ends); {
	case left <= 0:
		f.Fails(
			check,
			"renew it: Jira sends no webhook to it",
			"the webhook's certificate expired at %s",
			ends.UTC().Format(time.RFC3339),
		)
	case left < certificateNotice:
		f.Doubt(
			check,
			"renew it; the files are read again when they change",
			"the webhook's certificate expires at %s",
			ends.UTC().Format(time.RFC3339),
		)
	default:
		f.Holds(check, "the webhook's certificate is valid until %s", ends.UTC().Format(time.RFC3339))
	}
	if w.PublicAddr == "" {
		f.Doubt(
			"webhook.address",
			"set WEBHOOK_PUBLIC_ADDR to the https:// address at which Jira reaches "+w.ListenAddr,
			"it is not known at which address Jira reaches the webhook",
		)
		return
	}
	f.Holds("webhook.address", "Jira sends webhooks to %s: Jira settings → System → WebHooks → Create, with the secret "+
		"of WEBHOOK_SECRET, events Issue created, updated and deleted, and "+
		"JQL project = %s", w.PublicAddr, c.Jira.Project)
}

// signs are how the conditions look. A terminal without colour shows them too.
var signs = map[sync.Condition]cell{
	sync.Holds:   {"✓", green},
	sync.Doubt:   {"!", yellow},
	sync.Fails:   {"✗", red},
	sync.Skipped: {"·", dim},
}

// findings writes one line for each, in groups.
func (t *terminal) findings(findings []sync.Finding) {
	group, count := "", make(map[sync.Condition]int)
	for _, f := range findings {
		if count[f.Condition]++; f.Group != group {
			group = f.Group
			t.title(group)
		}
		sign := signs[f.Condition]
		name := f.Check
		if _, rest, found := strings.Cut(f.Check, "."); found {
			name = rest
		}
		line := fmt.Sprintf(
			"  %s %-22s %s",
			t.painted(sign.paint, sign.text),
			strings.ReplaceAll(name, "_", " "),
			legible(f.Found),
		)
		if f.Remedy != "" {
			line += t.painted(bold, " → ") + legible(f.Remedy)
		}
		t.print(line + "\n")
	}
	summary := []string{fmt.Sprintf("%d hold", count[sync.Holds])}
	for _, c := range []struct {
		condition sync.Condition
		words     string
	}{{sync.Doubt, "to look at"}, {sync.Fails, "to mend"}, {sync.Skipped, "not tried"}} {
		if n := count[c.condition]; n > 0 {
			summary = append(summary, t.painted(signs[c.condition].paint, fmt.Sprintf("%d %s", n, c.words)))
		}
	}
	t.print("\n" + strings.Join(summary, ", ") + ".\n")
}
