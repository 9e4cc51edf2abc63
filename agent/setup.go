package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	shipped "teleport-jira-agent/deploy/teleport"
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/jira"
)

// setupReport is what setup answers with --json.
type setupReport struct {
	OK       bool             `json:"ok"` // Jira lacks nothing
	Applied  []string         `json:"applied"`
	Steps    []setupStep      `json:"steps"` // that are left
	Findings []sync.Finding   `json:"findings"`
	Teleport []teleportObject `json:"teleport"`
	// Problem is why applying stopped.
	Problem string `json:"problem,omitempty"`
}

type setupStep struct {
	What   string `json:"what"`
	Apply  bool   `json:"apply"` // `setup --apply` does it
	ByHand string `json:"by_hand"`
}

// teleportObject is a file for Teleport, and what to do with it.
type teleportObject struct {
	Name    string `json:"name"`
	Use     string `json:"use"`
	Content string `json:"content"`
}

// Setup tells what Jira lacks for the agent to work, does it if apply is set and the token may, and
// tells which role the agent needs in Teleport. The error is ErrFindings if something is left that
// fails.
func (o *Operator) Setup(ctx context.Context, apply bool) error {
	setup, err := jira.PlanSetup(ctx, o.cfg.jira(), o.cfg.settings().Policy.Statuses, zap.NewNop())
	if err != nil {
		return fmt.Errorf("look at Jira's setup: %w; `teleport-jira-agent check` says more", err)
	}
	defer setup.Close()
	report := setupReport{Applied: []string{}, Steps: []setupStep{}}
	if apply {
		line := newProgress(o.opts.Err, o.opts.Environ, "setting up Jira, step")
		err = setup.Apply(ctx, func(done, total int, _ string) { line.at(done, total) })
		line.end()
		report.Applied = append(report.Applied, setup.Done()...)
		if err != nil {
			report.Problem = err.Error()
		}
	}
	for _, step := range setup.Steps() {
		report.Steps = append(report.Steps, setupStep{What: step.What, Apply: step.ByToken, ByHand: step.ByHand})
	}
	report.Findings = setup.Findings()
	report.OK = report.Problem == "" &&
		!slices.ContainsFunc(report.Findings, func(f sync.Finding) bool { return f.Condition == sync.Fails })
	if report.Teleport, err = o.cfg.teleportObjects(); err != nil {
		return err
	}
	if o.opts.JSON {
		err = o.answerJSON(report)
	} else {
		o.term.setup(report)
		err = o.term.err
	}
	if err == nil && !report.OK {
		return ErrFindings
	}
	return err
}

// teleportObjects are the resources that the agent needs in Teleport for the configured decision
// mode, with what is configured put in.
func (c *Config) teleportObjects() ([]teleportObject, error) {
	role := "role-" + c.Teleport.DecisionMode + ".yaml"
	objects := []teleportObject{
		{Name: role, Use: "tctl create -f " + role},
		{Name: "bot.yaml", Use: "with tbot in Kubernetes: tctl create -f bot.yaml; elsewhere: tctl bots add jira-agent " +
			"--roles=jira-agent"},
		{Name: "tbot-directory.yaml", Use: "tbot beside the agent: tbot start -c tbot-directory.yaml"},
		{Name: "tbot-kubernetes.yaml", Use: "tbot in Kubernetes, which writes a secret"},
		{Name: "user.yaml", Use: "without tbot: tctl create -f user.yaml, then tctl auth sign --user=jira-agent " +
			"--out=identity --ttl=8760h"},
	}
	configured := strings.NewReplacer("teleport.example.com:443", c.Teleport.Addr, "jira_account_id", c.Teleport.UserTrait)
	for i := range objects {
		content, err := shipped.Files.ReadFile(objects[i].Name)
		if err != nil {
			return nil, err
		}
		objects[i].Content = configured.Replace(string(content))
	}
	return objects, nil
}

func (t *terminal) setup(r setupReport) {
	t.title("Jira")
	for _, what := range r.Applied {
		t.printf("  %s done: %s\n", t.painted(green, "✓"), legible(what))
	}
	if r.Problem != "" {
		t.printf("  %s %s\n", t.painted(red, "✗"), legible(r.Problem))
	}
	for n, step := range r.Steps {
		t.printf("  %d. %s\n", n+1, legible(step.What))
		if step.Apply {
			t.print("     teleport-jira-agent setup --apply does it\n")
		}
		t.printf("     by hand: %s\n", legible(step.ByHand))
	}
	if len(r.Steps) == 0 {
		t.printf("  %s nothing is left to do\n", t.painted(green, "✓"))
	}
	for _, f := range r.Findings {
		if f.Condition == sync.Doubt {
			t.printf("  %s %s %s %s\n", t.painted(yellow, "!"), legible(f.Found), t.painted(bold, "→"), legible(f.Remedy))
		}
	}
	t.title("Teleport")
	for _, object := range r.Teleport {
		t.printf("\n%s\n%s", t.painted(bold, "# "+object.Name+": "+object.Use), object.Content)
	}
}
