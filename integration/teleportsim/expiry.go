package teleportsim

import "time"

// expiryScan is how often the expiry service looks: a request is gone within a second of its
// expiry.
const expiryScan = 400 * time.Millisecond

// ShiftClock sets the server's clock forward by so much, or back where it is negative, beside what
// it was shifted before.
func (s *Server) ShiftClock(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shift += by
	s.notify()
}

// Now is the time by the server's clock.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// now is Now. s.mu is held.
func (s *Server) now() time.Time { return time.Now().Add(s.shift).UTC() }

// expireAsTimePasses is the expiry service. It leaves alone what PastExpiry keeps.
func (s *Server) expireAsTimePasses(stopping <-chan struct{}) {
	ticker := time.NewTicker(expiryScan)
	defer ticker.Stop()
	for {
		select {
		case <-stopping:
			return
		case <-ticker.C:
			s.mu.Lock()
			s.expireDue(func(id string) bool { return !s.kept[id] })
			s.mu.Unlock()
		}
	}
}

// expireDue deletes every request that is past its expiry and may go, and says how many. s.mu is
// held.
func (s *Server) expireDue(may func(id string) bool) int {
	var due []string
	now := s.now()
	for id, request := range s.requests {
		if now.After(request.Expiry()) && may(id) {
			due = append(due, id)
		}
	}
	for _, id := range due {
		s.expire(id)
	}
	return len(due)
}

// expire deletes a request on behalf of the expiry service, if it is still there. s.mu is held.
func (s *Server) expire(id string) {
	if _, ok := s.requests[id]; !ok {
		return
	}
	s.remove(id)
	if s.cfg.AuditExpiry {
		s.record(AuditEvent{Type: AuditExpire, RequestID: id})
	}
}
