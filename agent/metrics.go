package agent

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/jira"
)

// namespace begins every metric's name.
const namespace = "teleport_jira_agent"

// queueInterval is how often the leader counts its rows for the metrics.
const queueInterval = 10 * time.Second

// metrics is what /metrics shows. It is the engine's Observer. Labels take few values: no request, issue or person is ever one.
type metrics struct {
	registry *prometheus.Registry

	leader, epoch                 prometheus.Gauge
	actions                       *prometheus.CounterVec
	actionSeconds                 *prometheus.HistogramVec
	loops                         *prometheus.CounterVec
	loopSuccess                   *prometheus.GaugeVec
	loopSeconds                   *prometheus.HistogramVec
	decisions                     *prometheus.CounterVec
	decisionLag                   prometheus.Histogram
	refusals                      *prometheus.CounterVec
	jiraCalls                     *prometheus.CounterVec
	jiraSeconds                   *prometheus.HistogramVec
	jiraWait                      prometheus.Histogram
	webhooks                      *prometheus.CounterVec
	open, pending, dueNow, parked prometheus.Gauge
	oldestDue                     prometheus.Gauge
}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry:      prometheus.NewRegistry(),
		leader:        gauge("leader", "1 while this replica leads, else 0."),
		epoch:         gauge("leader_epoch", "Epoch of the term that this replica leads or led last."),
		actions:       counters("actions_total", "Actions tried, by kind and outcome (ok, error, permanent, side).", "action", "outcome"),
		actionSeconds: seconds("action_duration_seconds", "Time that one action took, waits for pace included.", "action"),
		loops:         counters("loops_total", "Polls, lists and sweeps, by outcome (ok, error).", "loop", "outcome"),
		loopSuccess:   gauges("loop_last_success_timestamp_seconds", "When the loop last succeeded, in Unix time.", "loop"),
		loopSeconds:   seconds("loop_duration_seconds", "Time that one poll, list or sweep took.", "loop"),
		decisions:     counters("decisions_total", "Verdicts from Jira that were set in Teleport, by state.", "state"),
		refusals:      counters("refusals_total", "Moves of issues that were refused, by reason.", "reason"),
		jiraCalls:     counters("jira_calls_total", "HTTP calls to Jira, by endpoint, method and status code (0: no answer).", "endpoint", "method", "code"),
		jiraSeconds:   seconds("jira_call_duration_seconds", "Time until Jira answered, by endpoint and method.", "endpoint", "method"),
		webhooks:      counters("webhook_requests_total", "Requests to the webhook listener but GET /status, by status code of the answer (0: none).", "code"),
		open:          gauge("requests_open", "Requests that are not settled. Only the leader counts."),
		pending:       gauge("requests_pending", "Requests that nobody has decided yet."),
		dueNow:        gauge("requests_due", "Requests that wait to be worked on now."),
		parked:        gauge("requests_parked", "Requests whose last error cannot go away by repeating."),
		oldestDue:     gauge("request_oldest_due_seconds", "How long the longest waiting request has been due."),
		decisionLag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "decision_lag_seconds", Help: "Time from a person's move in Jira to the state in Teleport.",
			Buckets: prometheus.ExponentialBuckets(0.125, 2, 14),
		}),
		jiraWait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "jira_pace_wait_seconds", Help: "Time that calls to Jira waited for JIRA_MAX_RPS or a pause that Jira asked for.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
	}
	build := gauges("build_info", "Always 1; the labels tell the version.", "version", "go_version")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(build, m.leader, m.epoch, m.actions, m.actionSeconds, m.loops, m.loopSuccess, m.loopSeconds,
		m.decisions, m.decisionLag, m.refusals, m.jiraCalls, m.jiraSeconds, m.jiraWait, m.webhooks, m.open, m.pending, m.dueNow, m.parked, m.oldestDue,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Acted implements sync.Observer.
func (m *metrics) Acted(kind sync.Kind, err error, took time.Duration) {
	outcome := "ok"
	var failure *sync.Error
	switch {
	case errors.As(err, &failure) && failure.Scope == sync.ScopeSide:
		outcome = "side"
	case errors.As(err, &failure) && failure.Permanent:
		outcome = "permanent"
	case err != nil:
		outcome = "error"
	}
	m.actions.WithLabelValues(string(kind), outcome).Inc()
	m.actionSeconds.WithLabelValues(string(kind)).Observe(took.Seconds())
}

// Looped implements sync.Observer.
func (m *metrics) Looped(loop string, err error, took time.Duration) {
	m.loopSeconds.WithLabelValues(loop).Observe(took.Seconds())
	if err != nil {
		m.loops.WithLabelValues(loop, "error").Inc()
		return
	}
	m.loops.WithLabelValues(loop, "ok").Inc()
	m.loopSuccess.WithLabelValues(loop).SetToCurrentTime()
}

// Decided implements sync.Observer.
func (m *metrics) Decided(state sync.RequestState, lag time.Duration) {
	m.decisions.WithLabelValues(string(state)).Inc()
	m.decisionLag.Observe(lag.Seconds())
}

// Refused implements sync.Observer.
func (m *metrics) Refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// jiraCalled counts one HTTP call.
func (m *metrics) jiraCalled(c jira.CallInfo) {
	m.jiraCalls.WithLabelValues(c.Endpoint, c.Method, strconv.Itoa(c.Code)).Inc()
	m.jiraSeconds.WithLabelValues(c.Endpoint, c.Method).Observe(c.Duration.Seconds())
	m.jiraWait.Observe(c.Waited.Seconds())
}

// webhookAnswered counts one request to the webhook listener.
func (m *metrics) webhookAnswered(code int) { m.webhooks.WithLabelValues(strconv.Itoa(code)).Inc() }

// electorIs shows the state of the election.
func (m *metrics) electorIs(s db.State) {
	m.leader.Set(0)
	if s.Role == db.Leading {
		m.leader.Set(1)
		m.epoch.Set(float64(s.Epoch))
	}
}

// watchIdentity shows when the Teleport identity ends.
func (m *metrics) watchIdentity(expiry func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "teleport_identity_expiry_timestamp_seconds", Help: "When the Teleport identity in use expires, in Unix time.",
	}, func() float64 { return float64(expiry().Unix()) }))
}

// watchCertificate shows when the webhook's certificate ends.
func (m *metrics) watchCertificate(expiry func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "webhook_certificate_expiry_timestamp_seconds", Help: "When the webhook listener's certificate expires, in Unix time.",
	}, func() float64 { return float64(expiry().Unix()) }))
}

// watchQueue counts the rows until the term ends.
func (m *metrics) watchQueue(ctx context.Context, store sync.Store) error {
	defer func() {
		for _, g := range []prometheus.Gauge{m.open, m.pending, m.dueNow, m.parked, m.oldestDue} {
			g.Set(0)
		}
	}()
	ticker := time.NewTicker(queueInterval)
	defer ticker.Stop()
	for {
		now := time.Now()
		if stats, err := store.Stats(ctx, now); err == nil { // the engine's own queries report what keeps PostgreSQL from answering
			m.open.Set(float64(stats.Open))
			m.pending.Set(float64(stats.Pending))
			m.dueNow.Set(float64(stats.Due))
			m.parked.Set(float64(stats.Parked))
			m.oldestDue.Set(0)
			if !stats.OldestDue.IsZero() {
				m.oldestDue.Set(now.Sub(stats.OldestDue).Seconds())
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func seconds(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 10),
	}, labels)
}
