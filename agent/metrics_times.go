package agent

import (
	stdsync "sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teleport-jira-agent/sync"
)

// leaseClock tells what is left of the lease at the moment that it is asked.
type leaseClock struct {
	mu  stdsync.Mutex
	end time.Time // zero while there is none
}

func (l *leaseClock) until(end time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = end
}

func (l *leaseClock) left() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, time.Until(l.end).Seconds())
}

// lastSuccess tells when each loop last succeeded. A watch succeeds for as long as it is open:
// nothing may happen in Teleport for hours, and one whose connection is dead does not stay open
// (see package teleport, which pings). So its time is that of the scrape, or of its end.
type lastSuccess struct {
	desc *prometheus.Desc

	mu   stdsync.Mutex
	at   map[string]time.Time
	open bool // the watch
}

func newLastSuccess() *lastSuccess {
	return &lastSuccess{
		desc: prometheus.NewDesc(namespace+"_loop_last_success_timestamp_seconds",
			"When the loop last succeeded, in Unix time; of an open watch, now.", []string{"loop"}, nil),
		at: make(map[string]time.Time),
	}
}

// now records a success of a loop.
func (l *lastSuccess) now(loop string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[loop] = time.Now()
}

// watching records that the watch is open, or that there is none.
func (l *lastSuccess) watching(open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if open || l.open {
		l.at[sync.LoopWatch] = time.Now()
	}
	l.open = open
}

// Describe implements prometheus.Collector.
func (l *lastSuccess) Describe(descs chan<- *prometheus.Desc) { descs <- l.desc }

// Collect implements prometheus.Collector.
func (l *lastSuccess) Collect(values chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.at[sync.LoopWatch] = time.Now()
	}
	for loop, at := range l.at {
		values <- prometheus.MustNewConstMetric(l.desc, prometheus.GaugeValue, float64(at.UnixMilli())/1000, loop)
	}
}

// intervals tells how long each loop may rest by its schedule, so that one rule of alerting fits
// every configuration.
func intervals(s SyncConfig) *prometheus.GaugeVec {
	g := gauges("loop_interval_seconds", "The longest rest between two runs that the loop's schedule plans; 0 for the "+
		"watch, which has none.", "loop")
	sweep := longest(s.SweepSchedule)
	g.WithLabelValues(sync.LoopWatch).Set(0)
	g.WithLabelValues(sync.LoopPoll).Set(max(longest(s.PollSchedule), longest(s.IdleSchedule)))
	g.WithLabelValues(sync.LoopList).Set(sweep)
	g.WithLabelValues(sync.LoopSweep).Set(sweep)
	return g
}

// longest is the longest time, in seconds, between two of a schedule's next runs. Those of eight
// days are looked at, which have a night and a weekend among them, and a hundred at least, for
// schedules by the month.
func longest(s Schedule) float64 {
	if every, ok := s.Interval(); ok {
		return every.Seconds()
	}
	const (
		days  = 8 * 24 * time.Hour
		least = 100
	)
	first := s.Next(time.Now())
	var rest time.Duration
	for n, last := 0, first; n < least || last.Sub(first) < days; n++ {
		next := s.Next(last)
		if next.IsZero() { // the package cron finds no run within five years
			break
		}
		rest, last = max(rest, next.Sub(last)), next
	}
	return rest.Seconds()
}

// watchReadiness shows what /readyz tells.
func (m *metrics) watchReadiness(r *readiness) {
	m.registry.MustRegister(gaugeOf("ready", "1 while /readyz answers 200, else 0.", func() float64 {
		if r.answer().Ready {
			return 1
		}
		return 0
	}))
}

// watchIdentity shows when the Teleport identity ends.
func (m *metrics) watchIdentity(expiry func() time.Time) {
	m.registry.MustRegister(gaugeOf("teleport_identity_expiry_timestamp_seconds", "When the Teleport identity in use "+
		"expires, in Unix time.",
		func() float64 { return float64(expiry().Unix()) }))
}

// watchCertificate shows when the webhook's certificate ends.
func (m *metrics) watchCertificate(expiry func() time.Time) {
	m.registry.MustRegister(gaugeOf("webhook_certificate_expiry_timestamp_seconds", "When the webhook listener's "+
		"certificate expires, in Unix time.",
		func() float64 { return float64(expiry().Unix()) }))
}
