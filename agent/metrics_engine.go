package agent

import (
	"errors"
	"strconv"
	"time"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
	"teleport-jira-agent/sync/jira"
	"teleport-jira-agent/sync/teleport"
)

var _ sync.Observer = (*metrics)(nil)

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
	m.loops.WithLabelValues(loop, outcomeOf(err)).Inc()
	if err == nil {
		m.loopSuccess.now(loop)
	}
}

// Watching implements sync.Observer.
func (m *metrics) Watching(open bool, err error) {
	m.loopSuccess.watching(open)
	if open || err != nil {
		m.loops.WithLabelValues(sync.LoopWatch, outcomeOf(err)).Inc()
	}
}

// Created implements sync.Observer.
func (m *metrics) Created(lag time.Duration) { m.issueLag.Observe(passed(lag)) }

// Decided implements sync.Observer.
func (m *metrics) Decided(state sync.RequestState, lag time.Duration) {
	m.decisions.WithLabelValues(string(state)).Inc()
	m.decisionLag.Observe(passed(lag))
}

// Refused implements sync.Observer.
func (m *metrics) Refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// jiraCalled counts one HTTP call.
func (m *metrics) jiraCalled(c jira.CallInfo) {
	m.jiraCalls.WithLabelValues(c.Endpoint, c.Method, strconv.Itoa(c.Code)).Inc()
	m.jiraSeconds.WithLabelValues(c.Endpoint, c.Method).Observe(c.Duration.Seconds())
	m.jiraWait.Observe(c.Waited.Seconds())
}

// teleportCalled counts one remote call.
func (m *metrics) teleportCalled(c teleport.CallInfo) {
	m.teleportCalls.WithLabelValues(c.Method, c.Code).Inc()
	m.teleportSeconds.WithLabelValues(c.Method).Observe(c.Duration.Seconds())
}

// stated counts one statement of PostgreSQL's.
func (m *metrics) stated(s db.StatementInfo) {
	m.statementSeconds.WithLabelValues(outcomeOf(s.Err)).Observe(s.Duration.Seconds())
}

// webhookAnswered counts one request to the webhook listener.
func (m *metrics) webhookAnswered(code int) { m.webhooks.WithLabelValues(strconv.Itoa(code)).Inc() }

// electorIs shows the state of the election.
func (m *metrics) electorIs(s db.State) {
	if s.Role != db.Leading {
		m.leader.Set(0)
		m.lease.until(time.Time{})
		return
	}
	m.leader.Set(1)
	m.epoch.Set(float64(s.Epoch))
	m.lease.until(s.LeaseUntil)
}

func outcomeOf(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// passed is a lag between two machines' clocks, of which the other may be ahead.
func passed(lag time.Duration) float64 { return max(0, lag.Seconds()) }
