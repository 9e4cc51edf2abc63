package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// ruleTests is a file of unit tests in promtool's format, as far as it is used here.
// https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
type ruleTests struct {
	RuleFiles  []string       `json:"rule_files"`
	Evaluation model.Duration `json:"evaluation_interval"`
	Tests      []ruleTest     `json:"tests"`
}

type ruleTest struct {
	Name     string         `json:"name"`
	Interval model.Duration `json:"interval"`
	Input    []struct {
		Series string `json:"series"`
		Values string `json:"values"`
	} `json:"input_series"`
	Expectations []struct {
		Alert string         `json:"alertname"`
		At    model.Duration `json:"eval_time"`
		Fires []firing       `json:"exp_alerts"`
	} `json:"alert_rule_test"`
}

type firing struct {
	Labels      map[string]string `json:"exp_labels"`
	Annotations map[string]string `json:"exp_annotations"`
}

func readRuleTests(t *testing.T) (tests ruleTests) {
	t.Helper()
	content, err := os.ReadFile("alerts.test.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(content, &tests))
	return tests
}

// rules are the alert rules, which Prometheus's own reader takes.
func rules(t *testing.T, path string) []rulefmt.RuleNode {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	groups, errs := rulefmt.Parse(content)
	require.Empty(t, errs)
	require.Len(t, groups.Groups, 1)
	return groups.Groups[0].Rules
}

func alertRules(t *testing.T) []rulefmt.RuleNode {
	t.Helper()
	return rules(t, filepath.Join(chart, "alerts.yaml"))
}

func TestEachAlertFiresWhenItShouldAndNotBefore(t *testing.T) {
	t.Parallel()
	tests := readRuleTests(t)
	require.Equal(t, []string{filepath.Join(chart, "alerts.yaml")}, tests.RuleFiles)
	for _, test := range tests.Tests {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			s, engine := test.samples(t), newEngine(t)
			for _, e := range test.Expectations {
				at := slices.IndexFunc(alertRules(t), func(r rulefmt.RuleNode) bool { return r.Alert.Value == e.Alert })
				require.GreaterOrEqual(t, at, 0, "there is no alert %s", e.Alert)
				fires := evaluate(t, engine, alertRules(t)[at], s, time.Duration(tests.Evaluation), time.Duration(e.At))
				require.ElementsMatch(t, e.Fires, fires, "%s at %s", e.Alert, e.At)
			}
		})
	}
}

// TestEachAlertIsSeenToFireAndToBeSilent holds the tests themselves: a rule that is not among them
// is not tested.
func TestEachAlertIsSeenToFireAndToBeSilent(t *testing.T) {
	t.Parallel()
	fires, silent := make(map[string]bool), make(map[string]bool)
	for _, test := range readRuleTests(t).Tests {
		for _, e := range test.Expectations {
			fires[e.Alert] = fires[e.Alert] || len(e.Fires) > 0
			silent[e.Alert] = silent[e.Alert] || len(e.Fires) == 0
		}
	}
	for _, rule := range alertRules(t) {
		require.True(t, fires[rule.Alert.Value], rule.Alert.Value)
		require.True(t, silent[rule.Alert.Value], rule.Alert.Value)
	}
}

// TestPromtoolAgrees lets Prometheus's own tool run the same tests: their evaluation here is not
// its code. CI installs it.
func TestPromtoolAgrees(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("there is no promtool here; TestEachAlertFiresWhenItShouldAndNotBefore has run the same tests")
	}
	require.NoError(t, err, "install promtool (Debian: the package prometheus)")
	out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", "alerts.test.yaml").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestAlertsTellInstallationsApart: one Prometheus may watch several, and one that leads must not
// hide another that does not.
func TestAlertsTellInstallationsApart(t *testing.T) {
	t.Parallel()
	for _, rule := range alertRules(t) {
		expr, err := parser.ParseExpr(rule.Expr.Value)
		require.NoError(t, err)
		aggregations := 0
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			if a, ok := node.(*parser.AggregateExpr); ok {
				aggregations++
				require.False(t, a.Without, a)
				require.Subset(t, a.Grouping, []string{"namespace", "job"}, a)
			}
			return nil
		})
		require.Positive(t, aggregations, rule.Alert.Value)
	}
}

func TestAlertsAskForMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	for _, rule := range alertRules(t) {
		asksForMetrics(t, rule.Expr.Value)
		require.NotEmpty(t, rule.Labels["severity"], rule.Alert.Value)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert.Value)
		require.NotEmpty(t, rule.Annotations["description"], rule.Alert.Value)
	}
}

// samples are the test's series.
func (r ruleTest) samples(t *testing.T) (s samples) {
	t.Helper()
	for _, input := range r.Input {
		name, values, err := parser.ParseSeriesDesc(input.Series + " " + input.Values)
		require.NoError(t, err, input.Series)
		var list []sample
		for n, v := range values {
			if !v.Omitted {
				list = append(list, sample{at: int64(n) * time.Duration(r.Interval).Milliseconds(), v: v.Value})
			}
		}
		s.add(name, list)
	}
	return s
}

// evaluate returns what of a rule fires at a time: what its expression gives then, and has given at
// each evaluation for as long before as the rule demands.
func evaluate(
	t *testing.T,
	engine *promql.Engine,
	rule rulefmt.RuleNode,
	s samples,
	interval, at time.Duration,
) (fires []firing) {
	t.Helper()
	begin := at - time.Duration(rule.For)
	if begin < 0 {
		return nil
	}
	lasting := make(map[string]int)
	evaluations := 0
	for now := begin; now <= at; now += interval {
		evaluations++
		for _, given := range instant(t, engine, s, rule.Expr.Value, time.UnixMilli(now.Milliseconds())) {
			key := given.Metric.String()
			if lasting[key]++; now == at && lasting[key] == evaluations {
				fires = append(fires, fired(t, rule, given, at))
			}
		}
	}
	return fires
}

// fired is an alert as people get it.
func fired(t *testing.T, rule rulefmt.RuleNode, given promql.Sample, at time.Duration) firing {
	t.Helper()
	data := template.AlertTemplateData(given.Metric.Map(), nil, "", given)
	f := firing{
		Labels:      labels.NewBuilder(given.Metric).Del(labels.MetricName).Labels().Map(),
		Annotations: make(map[string]string),
	}
	for name, text := range rule.Labels {
		f.Labels[name] = text
	}
	for name, text := range rule.Annotations {
		text = "{{$labels := .Labels}}{{$value := .Value}}" + text
		expander := template.NewTemplateExpander(t.Context(), text, name, data, model.Time(at.Milliseconds()), nil, nil, nil)
		expanded, err := expander.Expand()
		require.NoError(t, err)
		f.Annotations[name] = expanded
	}
	return f
}

// asksForMetrics fails the test unless METRICS.md has each metric that a query names, with the
// labels that it matches or groups by. Those of a metric's place, which Prometheus adds, are there
// in any case.
func asksForMetrics(t *testing.T, query string) {
	t.Helper()
	known := documentedMetrics(t)
	found := selectors(t, query)
	require.NotEmpty(t, found, query)
	everywhere := []string{"namespace", "job", "pod", "instance", "le"}
	var available []string
	for name, matched := range found {
		base := name
		if _, ok := known[name]; !ok {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			require.Equal(t, "histogram", known[base].kind, "%s in %s", name, query)
		}
		require.Contains(t, known, base, query)
		require.Subset(t, slices.Concat(known[base].labels, everywhere), matched, query)
		available = append(available, known[base].labels...)
	}
	expr, err := parser.ParseExpr(query)
	require.NoError(t, err)
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			require.Subset(t, slices.Concat(available, everywhere), a.Grouping, query)
		}
		return nil
	})
}
