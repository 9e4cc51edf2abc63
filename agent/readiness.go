package agent

import (
	"maps"
	"slices"
	"strings"
	stdsync "sync"
	"time"

	"teleport-jira-agent/db"
	"teleport-jira-agent/sync"
)

// readiness is what /readyz tells. A replica is ready while it can do its part: a leader works on
// both sides, a standby could take over. That it is not the leader makes no replica unready.
type readiness struct {
	engine *sync.Health
	dryRun bool

	mu      stdsync.Mutex
	waiting map[string]error // sides that are not connected yet
	expiry  func() time.Time // of the Teleport identity in use; nil while it is not known
	elector db.State
	elected bool // the elector has spoken
}

// readyAnswer is the body of /readyz.
type readyAnswer struct {
	Role    string   `json:"role"` // "leader" or "standby"
	Ready   bool     `json:"ready"`
	Epoch   int64    `json:"epoch,omitempty"`
	DryRun  bool     `json:"dry_run,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
}

func newReadiness() *readiness {
	return &readiness{engine: sync.NewHealth(), waiting: make(map[string]error)}
}

func (r *readiness) waitFor(side string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[side] = err
}

func (r *readiness) reached(side string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, side)
}

// identityUntil tells where to ask when the Teleport identity ends.
func (r *readiness) identityUntil(expiry func() time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expiry = expiry
}

func (r *readiness) electorIs(s db.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.elector, r.elected = s, true
}

// answer is the present state.
func (r *readiness) answer() readyAnswer {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := readyAnswer{Role: "standby", DryRun: r.dryRun}
	for _, side := range slices.Sorted(maps.Keys(r.waiting)) {
		text := r.waiting[side].Error()
		if !strings.HasPrefix(text, side+": ") { // the sides' own errors begin with it
			text = side + ": " + text
		}
		a.Reasons = append(a.Reasons, text)
	}
	if r.expiry != nil {
		if reason := identityProblem(r.expiry(), time.Now()); reason != "" {
			a.Reasons = append(a.Reasons, reason)
		}
	}
	if len(r.waiting) == 0 {
		switch {
		case !r.elected:
			a.Reasons = append(a.Reasons, "leader election: not begun yet")
		case r.elector.Role == db.Leading:
			a.Role, a.Epoch = "leader", r.elector.Epoch
			a.Reasons = append(a.Reasons, r.engine.Problems()...)
		case r.elector.Role == db.Connecting:
			reason := "leader election: not connected to PostgreSQL"
			if r.elector.Err != nil {
				reason += ": " + r.elector.Err.Error()
			}
			a.Reasons = append(a.Reasons, reason)
		}
	}
	a.Ready = len(a.Reasons) == 0
	return a
}

// electorChanged takes what the elector tells.
func (p *process) electorChanged(s db.State) {
	p.ready.electorIs(s)
	p.metrics.electorIs(s)
}
