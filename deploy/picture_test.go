package deploy

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql"
	"github.com/stretchr/testify/require"
)

// pictureOf draws the dashboard as Grafana lays it out, from what its queries have given. It is no
// Grafana: it knows what this dashboard uses.
//
//go:embed testdata/picture.html
var pictureOf string

// drawn is one series of a panel.
type drawn struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
}

// draw writes a picture of the dashboard, rendered by Chromium, and the page that it is made of
// beside it.
func draw(t *testing.T, path string, d dashboard, shown map[string]promql.Matrix) {
	t.Helper()
	series := make(map[int][]drawn)
	height := 0
	for _, p := range d.Panels {
		height = max(height, p.GridPos.Y+p.GridPos.H)
		for _, target := range p.Targets {
			for _, s := range shown[p.Title+" "+target.RefID] {
				one := drawn{Name: legend(target.LegendFormat, s)}
				for _, point := range s.Floats {
					one.Points = append(one.Points, [2]float64{float64(point.T), point.F})
				}
				series[p.ID] = append(series[p.ID], one)
			}
		}
	}
	model, err := os.ReadFile(filepath.Join(chart, "dashboards", "teleport-jira-agent.json"))
	require.NoError(t, err)
	data, err := json.Marshal(series)
	require.NoError(t, err)
	page := strings.NewReplacer("/*DASHBOARD*/", string(model), "/*SERIES*/", string(data)).Replace(pictureOf)
	html := path + ".html"
	require.NoError(t, os.WriteFile(html, []byte(page), 0o600))
	html, err = filepath.Abs(html)
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu",
		"--hide-scrollbars",
		fmt.Sprintf("--window-size=1600,%d", height*36+80), "--screenshot="+path, "file://"+html).
		CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.FileExists(t, path)
}

// legend fills a legend's format with a series' labels.
func legend(format string, s promql.Series) string {
	text := regexp.MustCompile(`{{(\w+)}}`).ReplaceAllStringFunc(format, func(name string) string {
		return s.Metric.Get(strings.Trim(name, "{}"))
	})
	return strings.TrimSpace(text)
}
