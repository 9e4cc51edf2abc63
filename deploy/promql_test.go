package deploy

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

// samples are series in memory, which Prometheus's own engine queries. That engine is what the
// rules and the dashboard are tested with: it brings few dependencies, unlike Prometheus's package
// rules, which brings the clients of three clouds.
type samples []storage.Series

// sample is one value of a series.
type sample struct {
	at int64 // in milliseconds
	v  float64
}

var _ chunks.Sample = sample{}

// add appends a series, whose values are in the order of time.
func (s *samples) add(name labels.Labels, values []sample) {
	list := make([]chunks.Sample, len(values))
	for i, v := range values {
		list[i] = v
	}
	*s = append(*s, storage.NewListSeries(name, list))
}

// Querier implements storage.Queryable.
func (s samples) Querier(int64, int64) (storage.Querier, error) {
	return querier{Querier: storage.NoopQuerier(), all: s}, nil
}

type querier struct {
	storage.Querier
	all samples
}

// Select implements storage.Querier.
func (q querier) Select(
	_ context.Context,
	_ bool,
	_ *storage.SelectHints,
	matchers ...*labels.Matcher,
) storage.SeriesSet {
	matching := slices.DeleteFunc(slices.Clone(q.all), func(s storage.Series) bool {
		return slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) })
	})
	slices.SortFunc(matching, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return &seriesSet{rest: matching}
}

type seriesSet struct {
	rest samples
	now  storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.rest) == 0 {
		return false
	}
	s.now, s.rest = s.rest[0], s.rest[1:]
	return true
}

func (s *seriesSet) At() storage.Series                { return s.now }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

func newEngine(t *testing.T) *promql.Engine {
	t.Helper()
	engine := promql.NewEngine(
		promql.EngineOpts{
			MaxSamples:       50_000_000,
			Timeout:          time.Minute,
			LookbackDelta:    5 * time.Minute,
			EnableAtModifier: true,
		},
	)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	return engine
}

// instant is what a query gives at a time.
func instant(t *testing.T, engine *promql.Engine, s samples, query string, at time.Time) promql.Vector {
	t.Helper()
	q, err := engine.NewInstantQuery(t.Context(), s, nil, query, at)
	require.NoError(t, err, query)
	defer q.Close()
	result := q.Exec(t.Context())
	require.NoError(t, result.Err, query)
	vector, err := result.Vector()
	require.NoError(t, err, query)
	return slices.Clone(vector)
}

// selectors are the metrics that a query names, with the labels that it matches.
func selectors(t *testing.T, query string) map[string][]string {
	t.Helper()
	expr, err := parser.ParseExpr(query)
	require.NoError(t, err, query)
	found := make(map[string][]string)
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			found[selector.Name] = append(found[selector.Name], matched(selector)...)
		}
		return nil
	})
	return found
}

func matched(selector *parser.VectorSelector) (names []string) {
	for _, m := range selector.LabelMatchers {
		if m.Name != labels.MetricName {
			names = append(names, m.Name)
		}
	}
	return names
}

func (s sample) T() int64                      { return s.at }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }
