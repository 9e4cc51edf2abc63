package deploy

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// documentedMetric is a metric as METRICS.md tells it. A test of package agent holds that page to
// what the agent shows.
type documentedMetric struct {
	kind   string
	labels []string
}

func documentedMetrics(t *testing.T) map[string]documentedMetric {
	t.Helper()
	page, err := os.ReadFile("METRICS.md")
	require.NoError(t, err)
	known := make(map[string]documentedMetric)
	for _, row := range regexp.MustCompile("(?m)^\\| `(teleport_jira_agent_\\w+)` \\| (\\w+) \\| [^|]+ \\| "+
		"([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		var names []string
		for _, several := range regexp.MustCompile("((?:`\\w+`, )*`\\w+`): ").FindAllStringSubmatch(row[3], -1) {
			names = append(names, regexp.MustCompile(`\w+`).FindAllString(several[1], -1)...)
		}
		known[row[1]] = documentedMetric{kind: row[2], labels: names}
	}
	require.Greater(t, len(known), 20)
	return known
}
