package agent

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/jira"
	"teleport-jira-agent/sync/teleport"
)

var errTest = errors.New("test")

func every(t *testing.T, spec string) (s Schedule) {
	t.Helper()
	require.NoError(t, s.Decode(spec))
	return s
}

func testMetrics(t *testing.T) *metrics {
	t.Helper()
	return newMetrics("v1.2.3", SyncConfig{
		PollSchedule: every(t, "@every 5s"), IdleSchedule: every(t, "@every 1m"), SweepSchedule: every(t, "@every 10m"),
	})
}

// usedMetrics have a value in every series: all happened that they tell of.
func usedMetrics(t *testing.T) *metrics {
	t.Helper()
	m := testMetrics(t)
	m.watchReadiness(newReadiness())
	m.watchIdentity(time.Now)
	m.watchCertificate(time.Now)
	m.electorIs(db.State{Role: db.Leading, Epoch: 3, LeaseUntil: time.Now().Add(time.Hour)})
	m.Acted(sync.ActCreate, nil, time.Second)
	m.Looped(sync.LoopPoll, nil, time.Second)
	m.Watching(true, nil)
	m.Created(time.Second)
	m.Decided(sync.StateApproved, time.Second)
	m.Refused("self")
	m.jiraCalled(
		jira.CallInfo{
			Endpoint: "/rest/api/2/issue",
			Method:   http.MethodPost,
			Code:     http.StatusCreated,
			Duration: time.Second,
		},
	)
	m.teleportCalled(teleport.CallInfo{Method: "Ping", Code: "OK", Duration: time.Millisecond})
	m.stated(db.StatementInfo{Duration: time.Millisecond})
	m.webhookAnswered(http.StatusOK)
	return m
}

// documented is one metric as METRICS.md tells it, or as the registry shows it.
type documented struct {
	Kind   string
	Labels []string
}

func TestThePageOfTheMetricsTellsWhatThereIs(t *testing.T) {
	t.Parallel()
	families, err := usedMetrics(t).registry.Gather()
	require.NoError(t, err)
	shown := make(map[string]documented)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), namespace+"_") {
			continue
		}
		require.Regexp(t, `^[A-Z0-9].*[^.]\.$`, f.GetHelp(), f.GetName())
		shown[f.GetName()] = documented{Kind: strings.ToLower(f.GetType().String()), Labels: labelsOf(f.GetMetric()[0])}
	}
	page, err := os.ReadFile("../deploy/METRICS.md")
	require.NoError(t, err)
	onPage := make(map[string]documented)
	row := regexp.MustCompile(
		"(?m)^\\| `(" + namespace + "_\\w+)` \\| (\\w+) \\| [^|]+ \\| ([^|]*)\\| [^|]+ \\| [^|]+ \\| [^|]*\\|$",
	)
	for _, columns := range row.FindAllStringSubmatch(string(page), -1) {
		var labels []string
		for _, several := range regexp.MustCompile("((?:`\\w+`, )*`\\w+`): ").FindAllStringSubmatch(columns[3], -1) {
			labels = append(labels, regexp.MustCompile(`\w+`).FindAllString(several[1], -1)...)
		}
		slices.Sort(labels)
		require.NotContains(t, onPage, columns[1])
		onPage[columns[1]] = documented{Kind: columns[2], Labels: labels}
	}
	require.Equal(t, shown, onPage)
	require.Len(t, onPage, strings.Count(string(page), "\n| `"+namespace), "a row that cannot be read")
}

func labelsOf(m *dto.Metric) (names []string) {
	for _, label := range m.GetLabel() {
		names = append(names, label.GetName())
	}
	slices.Sort(names)
	return names
}

// TestEveryMetricIsUsedInTheTestOfThePage: one without a value would be gathered by nobody, and missed there.
func TestEveryMetricIsUsedInTheTestOfThePage(t *testing.T) {
	t.Parallel()
	m := usedMetrics(t)
	descs := make(chan *prometheus.Desc, 1000)
	m.registry.Describe(descs)
	close(descs)
	described := make(map[string]bool)
	for desc := range descs {
		if name := regexp.MustCompile(`fqName: "(` + namespace + `_\w+)"`).FindStringSubmatch(desc.String()); name != nil {
			described[name[1]] = true
		}
	}
	families, err := m.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		delete(described, f.GetName())
	}
	require.Empty(t, slices.Collect(maps.Keys(described)))
}

func TestTheMetricsKeepPrometheussConventions(t *testing.T) {
	t.Parallel()
	families, err := usedMetrics(t).registry.Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestThePageTellsEveryRefusal(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../deploy/METRICS.md")
	require.NoError(t, err)
	files, err := os.ReadDir("../sync")
	require.NoError(t, err)
	var reasons []string
	for _, file := range files {
		if strings.HasSuffix(file.Name(), "_test.go") || !strings.HasSuffix(file.Name(), ".go") {
			continue
		}
		source, err := os.ReadFile("../sync/" + file.Name())
		require.NoError(t, err)
		for _, constant := range regexp.MustCompile(`\brefused[A-Z]\w+ += "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
			reasons = append(reasons, constant[1])
		}
	}
	require.Greater(t, len(reasons), 10)
	_, table, found := strings.Cut(string(page), "| reason |")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1])
	}
	require.ElementsMatch(t, reasons, documented)
}

// value is that of the series whose labels' values are these.
func value(t *testing.T, m *metrics, name string, labels ...string) float64 {
	t.Helper()
	families, err := m.registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, series := range f.GetMetric() {
			var values []string
			for _, label := range series.GetLabel() {
				values = append(values, label.GetValue())
			}
			if f.GetName() == namespace+"_"+name && slices.Equal(values, labels) {
				return series.GetGauge().
					GetValue() +
					series.GetCounter().
						GetValue() +
					float64(series.GetHistogram().GetSampleCount())
			}
		}
	}
	require.Fail(t, "no such series", "%s %q", name, labels)
	return 0
}

func TestAWatchSucceedsForAsLongAsItIsOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics(t)
		age := func() float64 {
			return float64(time.Now().UnixMilli())/1000 - value(t, m, "loop_last_success_timestamp_seconds", sync.LoopWatch)
		}
		m.Watching(false, errTest)
		require.NotContains(t, m.loopSuccess.at, sync.LoopWatch, "it was never open")
		m.Watching(true, nil)
		time.Sleep(time.Hour)
		require.InDelta(t, 0, age(), 0.001)
		m.Watching(false, errTest)
		time.Sleep(time.Minute)
		require.InDelta(t, 60, age(), 0.001)
		m.Watching(false, errTest)
		require.InDelta(t, 60, age(), 0.001, "that it could not be opened again is no success")
		m.Watching(true, nil)
		m.Watching(false, nil)
		require.InDelta(t, 2, value(t, m, "loops_total", sync.LoopWatch, "ok"), 0)
		require.InDelta(t, 3, value(t, m, "loops_total", sync.LoopWatch, "error"), 0, "the end of a term is no error")
	})
}

func TestALoopThatFailsKeepsTheTimeOfItsLastSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics(t)
		m.Looped(sync.LoopPoll, nil, time.Second)
		then := float64(time.Now().Unix())
		time.Sleep(time.Minute)
		m.Looped(sync.LoopPoll, errTest, time.Second)
		require.InDelta(t, then, value(t, m, "loop_last_success_timestamp_seconds", sync.LoopPoll), 0.001)
	})
}

func TestWhatIsLeftOfTheLeaseIsToldAsOfTheScrape(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := testMetrics(t)
		left := func() float64 { return value(t, m, "leader_lease_left_seconds") }
		require.Zero(t, left())
		m.electorIs(db.State{Role: db.Settling, Epoch: 1, LeaseUntil: time.Now().Add(10 * time.Second)})
		require.Zero(t, left(), "one that settles does not lead")
		m.electorIs(db.State{Role: db.Leading, Epoch: 1, LeaseUntil: time.Now().Add(10 * time.Second)})
		time.Sleep(3 * time.Second)
		require.InDelta(t, 7, left(), 0.001)
		m.electorIs(db.State{Role: db.Leading, Epoch: 1, LeaseUntil: time.Now().Add(10 * time.Second)})
		require.InDelta(t, 10, left(), 0.001)
		time.Sleep(time.Minute)
		require.Zero(t, left(), "never negative")
		m.electorIs(db.State{Role: db.Leading, Epoch: 1, LeaseUntil: time.Now().Add(10 * time.Second)})
		m.electorIs(db.State{Role: db.Standby})
		require.Zero(t, left(), "a lease that was given up")
		require.InDelta(t, 1, value(t, m, "leader_epoch"), 0, "the last one")
	})
}

func TestALagIsNeverNegative(t *testing.T) {
	t.Parallel()
	m := testMetrics(t)
	m.Created(-time.Hour)
	m.Decided(sync.StateDenied, -time.Hour)
	for _, histogram := range []prometheus.Histogram{m.issueLag, m.decisionLag} {
		var shown dto.Metric
		require.NoError(t, histogram.Write(&shown))
		require.EqualValues(t, 1, shown.GetHistogram().GetSampleCount())
		require.Zero(t, shown.GetHistogram().GetSampleSum())
	}
}

func TestTheIntervalOfALoopIsTheLongestThatItsSchedulePlans(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]time.Duration{
		"@every 5s":             5 * time.Second,
		"*/5 * * * *":           5 * time.Minute,
		"*/5 9-16 * * *":        16*time.Hour + 5*time.Minute,
		"*/5 9-16 * * 1-5":      64*time.Hour + 5*time.Minute,
		"CRON_TZ=UTC 0 3 * * 0": 7 * 24 * time.Hour,
		"CRON_TZ=UTC 0 3 1 * *": 31 * 24 * time.Hour,
	} {
		require.InDelta(t, want.Seconds(), longest(every(t, spec)), 3600, spec) // a day of a change of clocks is longer
	}
	m := newMetrics(
		"v1",
		SyncConfig{
			PollSchedule:  every(t, "@every 5s"),
			IdleSchedule:  every(t, "@every 1m"),
			SweepSchedule: every(t, "@every 10m"),
		},
	)
	require.InDelta(t, 60, value(t, m, "loop_interval_seconds", sync.LoopPoll), 0, "the longer one")
	require.InDelta(t, 600, value(t, m, "loop_interval_seconds", sync.LoopSweep), 0)
}

func TestReadinessIsAMetric(t *testing.T) {
	t.Parallel()
	m, r := testMetrics(t), newReadiness()
	m.watchReadiness(r)
	require.Zero(t, value(t, m, "ready"))
	r.electorIs(db.State{Role: db.Standby})
	require.InDelta(t, 1, value(t, m, "ready"), 0)
	r.waitFor("jira", io.EOF)
	require.Zero(t, value(t, m, "ready"))
}
