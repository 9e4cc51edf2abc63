package agent

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// namespace begins every metric's name.
const namespace = "teleport_jira_agent"

// metrics is what /metrics shows; deploy/METRICS.md says what each is for. It is the engine's
// Observer (metrics_engine.go). Labels take few values: no request, issue or person is ever one.
type metrics struct {
	registry *prometheus.Registry

	leader, epoch prometheus.Gauge
	lease         leaseClock
	queue         queueGauges

	actions          *prometheus.CounterVec
	actionSeconds    *prometheus.HistogramVec
	loops            *prometheus.CounterVec
	loopSuccess      *lastSuccess
	loopSeconds      *prometheus.HistogramVec
	issueLag         prometheus.Histogram
	decisions        *prometheus.CounterVec
	decisionLag      prometheus.Histogram
	refusals         *prometheus.CounterVec
	jiraCalls        *prometheus.CounterVec
	jiraSeconds      *prometheus.HistogramVec
	jiraWait         prometheus.Histogram
	teleportCalls    *prometheus.CounterVec
	teleportSeconds  *prometheus.HistogramVec
	statementSeconds *prometheus.HistogramVec
	webhooks         *prometheus.CounterVec
}

// newMetrics registers all but what has to be asked of parts that are not there yet
// (metrics_times.go).
func newMetrics(version string, s SyncConfig) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		leader:   gauge("leader", "1 while this replica leads, else 0."),
		epoch:    gauge("leader_epoch", "Epoch of the term that this replica leads or led last."),
		queue:    newQueueGauges(),
		actions: counters(
			"actions_total",
			"Actions tried, by kind and outcome (ok, error, permanent, side).",
			"action",
			"outcome",
		),
		actionSeconds: seconds("action_duration_seconds", "Time that one action took, waits for pace included.", "action"),
		loops: counters("loops_total", "Polls, lists, sweeps and watches, by outcome (ok, error).", "loop",
			"outcome"),
		loopSuccess: newLastSuccess(),
		loopSeconds: seconds("loop_duration_seconds", "Time that one poll, list or sweep took.", "loop"),
		issueLag: lag("issue_lag_seconds", "Time from the making of a request to that of its issue, of requests made "+
			"while this replica led."),
		decisions:   counters("decisions_total", "Verdicts from Jira that were set in Teleport, by state.", "state"),
		decisionLag: lag("decision_lag_seconds", "Time from a person's move in Jira to the state in Teleport."),
		refusals:    counters("refusals_total", "Moves of issues that were refused, by reason.", "reason"),
		jiraCalls: counters("jira_calls_total", "HTTP calls to Jira, by endpoint, method and status code (0: no "+
			"answer).", "endpoint", "method", "code"),
		jiraSeconds: seconds(
			"jira_call_duration_seconds",
			"Time until Jira answered, by endpoint and method.",
			"endpoint",
			"method",
		),
		jiraWait: histogram(
			"jira_pace_wait_seconds",
			"Time that calls to Jira waited for JIRA_MAX_RPS or a pause that "+
				"Jira asked for.",
			prometheus.ExponentialBuckets(0.001, 4, 9),
		), // to 65 s: no call waits longer than maxWait of package jira, 30 s, at a time
		teleportCalls: counters(
			"teleport_calls_total",
			"Remote calls to Teleport, by method and gRPC status code.",
			"method",
			"code",
		),
		teleportSeconds: seconds("teleport_call_duration_seconds", "Time until Teleport answered, by method.", "method"),
		statementSeconds: histograms("postgresql_statement_duration_seconds", "Time that PostgreSQL took for one "+
			"statement, by outcome (ok, error).",
			prometheus.ExponentialBuckets(0.0005, 4, 9), "outcome"), // to 33 s; the lease bounds a statement
		webhooks: counters("webhook_requests_total", "Requests to the webhook listener but GET /status, by status code of "+
			"the answer (0: none).", "code"),
	}
	build := gauges("build_info", "Always 1; the labels tell the version.", "version", "go_version")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(build, m.leader, m.epoch,
		gaugeOf("leader_lease_left_seconds", "How long this replica may go on leading without another heartbeat; 0 while "+
			"it does not lead.", m.lease.left),
		m.actions, m.actionSeconds, m.loops, m.loopSuccess, m.loopSeconds, intervals(s),
		m.issueLag, m.decisions, m.decisionLag, m.refusals, m.jiraCalls, m.jiraSeconds, m.jiraWait,
		m.teleportCalls, m.teleportSeconds, m.statementSeconds, m.webhooks,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.queue.all()...)
	return m
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

// gaugeOf is asked for its value when it is scraped.
func gaugeOf(name, help string, value func() float64) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value)
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(
		prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets},
	)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(
		prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets},
		labels,
	)
}

// seconds is of what takes 5 ms to 19 s.
func seconds(name, help string, labels ...string) *prometheus.HistogramVec {
	return histograms(name, help, prometheus.ExponentialBuckets(0.005, 2.5, 10), labels...)
}

// lag is of what people wait for: an eighth of a second to 17 minutes.
func lag(name, help string) prometheus.Histogram {
	return histogram(name, help, prometheus.ExponentialBuckets(0.125, 2, 14))
}
