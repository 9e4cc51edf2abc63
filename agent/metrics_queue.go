package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teleport-jira-agent/sync"
)

const (
	// queueInterval is how often the leader counts its rows for the metrics.
	queueInterval = 10 * time.Second
	// queueShare is the part of the time that counting may take of PostgreSQL: of 100,000 open rows
	// it takes some 200 ms, and then comes every 20 s.
	queueShare = 1.0 / 100
)

// queueGauges are the leader's rows, counted. A replica that does not lead shows zeros.
type queueGauges struct{ open, pending, due, parked, oldestDue prometheus.Gauge }

func newQueueGauges() queueGauges {
	return queueGauges{
		open:      gauge("requests_open", "Requests that are not settled. Only the leader counts."),
		pending:   gauge("requests_pending", "Requests that nobody has decided yet."),
		due:       gauge("requests_due", "Requests that wait to be worked on now."),
		parked:    gauge("requests_parked", "Requests whose last error cannot go away by repeating."),
		oldestDue: gauge("request_oldest_due_seconds", "How long the longest waiting request has been due."),
	}
}

func (q queueGauges) all() []prometheus.Collector {
	return []prometheus.Collector{q.open, q.pending, q.due, q.parked, q.oldestDue}
}

// show sets all of them; that of no rows is zero.
func (q queueGauges) show(stats sync.Stats, now time.Time) {
	q.open.Set(float64(stats.Open))
	q.pending.Set(float64(stats.Pending))
	q.due.Set(float64(stats.Due))
	q.parked.Set(float64(stats.Parked))
	q.oldestDue.Set(0)
	if !stats.OldestDue.IsZero() {
		q.oldestDue.Set(now.Sub(stats.OldestDue).Seconds())
	}
}

// watchQueue counts the rows until the term ends.
func (m *metrics) watchQueue(ctx context.Context, store sync.Store) error {
	defer m.queue.show(sync.Stats{}, time.Time{})
	for {
		now := time.Now()
		if stats, err := store.Stats(
			ctx,
			now,
		); err == nil { // the engine's own queries report what keeps PostgreSQL from answering
			m.queue.show(stats, now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(queueInterval, time.Duration(float64(time.Since(now))/queueShare))):
		}
	}
}
