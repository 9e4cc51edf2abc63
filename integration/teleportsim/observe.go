package teleportsim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gravitational/teleport/api/types"
)

// AuditType is the type of an audit event, named as Teleport names it.
type AuditType string

// The audit events of Access Requests.
const (
	AuditCreate AuditType = "access_request.create"
	AuditUpdate AuditType = "access_request.update"
	AuditReview AuditType = "access_request.review"
	AuditExpire AuditType = "access_request.expire"
	AuditDelete AuditType = "access_request.delete"
)

// AuditEvent is one entry of the audit log. Which fields are filled depends on the type, as in
// Teleport: an update names no requester, a review no delegator.
type AuditEvent struct {
	At        time.Time
	Type      AuditType
	RequestID string
	// User is the requester, on create.
	User string
	// State is the state that was asked for (update) or that resulted (create, review).
	State types.RequestState
	// ProposedState is the reviewer's verdict.
	ProposedState types.RequestState
	Reason        string
	// Expires is when the request itself ends, on create and update.
	Expires time.Time
	// UserKind is "bot" or "user", of who did it; Impersonator is who made the certificate that it
	// was done with. Both are empty where nobody's certificate was used.
	UserKind, Impersonator string
	// Roles are those requested (create) or those that an approval was narrowed to (update).
	Roles []string
	// UpdatedBy is the user who set the state, "<host id>.<cluster>" where tctl did on the host
	// itself, and Delegator the one on whose behalf, as that user said.
	UpdatedBy, Delegator string
	// Reviewer is a review's author, and SubmittedBy who submitted it on the author's behalf, if
	// anybody.
	Reviewer, SubmittedBy string
}

// record appends to the audit log. s.mu is held.
func (s *Server) record(event AuditEvent) {
	event.At = s.now()
	s.audit = append(s.audit, event)
	s.notify()
}

// hostName is how the audit log names tctl on the Auth Service's own host.
func (s *Server) hostName() string { return s.hostID + "." + s.cfg.ClusterName }

// userKind is how the audit log names the kind of a user. s.mu is held.
func (s *Server) userKind(name string) string {
	if user, ok := s.users[name]; ok && user.IsBot() {
		return "bot"
	}
	return "user"
}

// impersonator is who made the certificate of a user: tctl on the host for the agent's, nobody for
// those of people.
func (s *Server) impersonator(name string) string {
	if name == s.cfg.AgentUser {
		return s.hostName()
	}
	return ""
}

// Audit is the audit log of one request, or of all for an empty ID, oldest first.
func (s *Server) Audit(id string) []AuditEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []AuditEvent
	for _, event := range s.audit {
		if id == "" || event.RequestID == id {
			events = append(events, event)
		}
	}
	return events
}

// Request is a copy of a stored request, expired or not; nil when there is none.
func (s *Server) Request(id string) *types.AccessRequestV3 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if request, ok := s.requests[id]; ok {
		return clone(request)
	}
	return nil
}

// Requests are copies of all stored requests, expired or not, oldest first.
func (s *Server) Requests() []*types.AccessRequestV3 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var requests []*types.AccessRequestV3
	for _, request := range s.requests {
		requests = append(requests, clone(request))
	}
	slices.SortFunc(requests, func(a, b *types.AccessRequestV3) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return requests
}

// State is the state of a request; NONE when there is no such request.
func (s *Server) State(id string) types.RequestState {
	if request := s.Request(id); request != nil {
		return request.GetState()
	}
	return types.RequestState_NONE
}

// PluginData is a copy of what each plugin keeps on a request, by the plugin's name; nil when there
// is nothing.
func (s *Server) PluginData(id string) map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.pluginDataRow(id)
	if row == nil {
		return nil
	}
	data := make(map[string]map[string]string)
	for plugin, entry := range row.Entries() {
		data[plugin] = entry.Data
	}
	return data
}

// Call is one RPC that has ended.
type Call struct {
	// RPC is the method's name, as in "Ping".
	RPC string
	// User is who called; empty if the certificate names nobody.
	User     string
	Began    time.Time
	Duration time.Duration
	// Err is what the server answered, if it answered at all.
	Err error
}

// String is one line for a log.
func (c Call) String() string {
	line := fmt.Sprintf("%s by %q in %s", c.RPC, c.User, c.Duration.Round(time.Microsecond))
	if c.Err != nil {
		line += ": " + c.Err.Error()
	}
	return line
}

func (s *Server) beginCall(ctx context.Context, fullMethod string) Call {
	user, _ := callerOf(ctx) // the call itself fails without one
	return Call{RPC: rpcName(fullMethod), User: user, Began: time.Now()}
}

// endCall tells the hook, and hands the error on.
func (s *Server) endCall(call Call, err error) error {
	if s.cfg.OnCall != nil {
		call.Duration, call.Err = time.Since(call.Began), err
		s.cfg.OnCall(call)
	}
	return err
}

// Calls counts the RPCs received since the start or ResetCalls by method name, those that failed
// included.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// ResetCalls sets all counts to zero.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
}

// Wait returns once the condition holds. It is asked now and after every change: of requests,
// plugin data, watches, faults and counts. The condition may call every method of the Server but
// Wait.
func (s *Server) Wait(ctx context.Context, condition func(*Server) bool) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if condition(s) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for a condition on the simulated Teleport: %w", ctx.Err())
		}
	}
}

// notify wakes all who Wait. s.mu is held.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}
