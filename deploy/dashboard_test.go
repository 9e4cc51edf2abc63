package deploy

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// dashboard is the part of Grafana's model that the tests look at.
// https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
type dashboard struct {
	Title, UID string
	Panels     []panel
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct {
		List []struct{ Name, Expr string }
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ UID string }
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct {
		RefID, Expr, LegendFormat string
		Datasource                struct{ UID string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chart, "dashboards", "teleport-jira-agent.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &d))
	require.Greater(t, len(d.Panels), 20)
	return d
}

// filled is a query with values in place of Grafana's variables, those of its own and the
// dashboard's.
func filled(query string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$namespace", ".*", "$job", ".*", "$window",
		"5m").
		Replace(query)
}

// queries calls check with each query of the dashboard's panels.
func queries(t *testing.T, check func(t *testing.T, p panel, query string)) {
	t.Helper()
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			t.Run(p.Title+" "+target.RefID, func(t *testing.T) {
				t.Parallel()
				check(t, p, target.Expr)
			})
		}
	}
}

func TestTheDashboardsQueriesAskForMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	queries(t, func(t *testing.T, _ panel, query string) {
		asksForMetrics(t, filled(query))
		require.NotContains(t, filled(query), "$", "a variable that the dashboard does not have")
	})
}

// TestTheDashboardsQueriesHeedItsVariables: of several installations only the chosen ones are
// shown.
func TestTheDashboardsQueriesHeedItsVariables(t *testing.T) {
	t.Parallel()
	var names []string
	for _, v := range readDashboard(t).Templating.List {
		names = append(names, v.Name)
		if v.Type == "query" {
			inner := strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ", "+v.Name+")")
			asksForMetrics(t, filled(inner))
		}
	}
	require.Equal(t, []string{"datasource", "namespace", "job", "window"}, names)
	queries(t, func(t *testing.T, _ panel, query string) {
		require.Equal(
			t,
			strings.Count(query, "teleport_jira_agent_"),
			strings.Count(query, `{namespace=~"$namespace", job=~"$job"`),
			query,
		)
	})
}

// TestTheDashboardTakesRatesOfCountersAlone, over a window that fits the step or that the reader
// chose; and of every counter.
func TestTheDashboardTakesRatesOfCountersAlone(t *testing.T) {
	t.Parallel()
	queries(t, func(t *testing.T, _ panel, query string) {
		require.Equal(
			t,
			strings.Count(query, "}["),
			strings.Count(query, "[$__rate_interval]")+strings.Count(query, "[$window]"),
			query,
		)
		expr, err := parser.ParseExpr(filled(query))
		require.NoError(t, err)
		parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
			selector, ok := node.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			rated := false
			for _, above := range path {
				if call, ok := above.(*parser.Call); ok && (call.Func.Name == "rate" || call.Func.Name == "increase") {
					rated = true
				}
			}
			metric, isGauge := documentedMetrics(t)[selector.Name]
			require.Equal(t, !isGauge || metric.kind == "counter", rated, query)
			return nil
		})
	})
}

func TestTheDashboardShowsEveryMetric(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join(chart, "dashboards", "teleport-jira-agent.json"))
	require.NoError(t, err)
	for name := range documentedMetrics(t) {
		require.Regexp(t, name+`(_bucket|_count)?[{]`, string(content))
	}
}

func TestTheDashboardsPanelsAreWhole(t *testing.T) {
	t.Parallel()
	var rows []string
	ids := make(map[int]bool)
	for _, p := range readDashboard(t).Panels {
		require.Positive(t, p.ID, p.Title)
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		require.NotEmpty(t, p.Title)
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.FieldConfig.Defaults.Unit, p.Title)
		require.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			refs[target.RefID] = true
			require.Equal(t, "${datasource}", target.Datasource.UID, p.Title)
			require.NotEmpty(t, target.LegendFormat, p.Title)
		}
		require.Len(t, slices.Collect(maps.Keys(refs)), len(p.Targets), p.Title)
	}
	require.Equal(t, []string{"Is it working?", "Requests", "Jira", "Teleport and PostgreSQL", "Expiry"}, rows)
}

func TestTheDashboardsPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	taken := make(map[[2]int]string)
	for _, p := range readDashboard(t).Panels {
		g := p.GridPos
		require.Positive(t, g.W*g.H, p.Title)
		require.LessOrEqual(t, g.X+g.W, 24, p.Title)
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func TestTheDashboardMarksWhenItsAlertsFire(t *testing.T) {
	t.Parallel()
	marks := readDashboard(t).Annotations.List
	require.Len(t, marks, 1)
	require.Contains(t, selectors(t, filled(marks[0].Expr)), "ALERTS")
	for _, rule := range alertRules(t) {
		require.Regexp(t, "^TeleportJiraAgent.+", rule.Alert.Value)
	}
	require.Contains(t, marks[0].Expr, `alertname=~"TeleportJiraAgent.+"`)
}
