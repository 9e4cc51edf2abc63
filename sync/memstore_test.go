package sync

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	stdsync "sync"
	"time"
)

// memStore keeps rows in memory, by the contract of Store.
type memStore struct {
	mu       stdsync.Mutex
	links    map[string]*Link
	activity map[string][]Activity
	hints    map[string]*memHint // by issue
	cursor   time.Time
	names    StatusNames
	loops    map[string]string // what is wrong with each
	epoch    int64
	marks    int // how many were given to rows
	hinted   chan struct{}
	asked    chan struct{}
}

type memHint struct {
	Hint
	due time.Time
}

func newMemStore() *memStore {
	return &memStore{
		links: make(map[string]*Link), activity: make(map[string][]Activity), hints: make(map[string]*memHint),
		loops: make(map[string]string), hinted: make(chan struct{}, 1), asked: make(chan struct{}, 1),
	}
}

// hint is what a webhook does, on whichever replica. It reports whether a row names the issue.
func (s *memStore) hint(issueID string, claimed time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if l.Bound.ID != issueID {
			continue
		}
		h := s.hints[issueID]
		switch {
		case h == nil:
			h = &memHint{Hint: Hint{IssueID: issueID, Claimed: claimed}}
			s.hints[issueID] = h
		case claimed.IsZero() || h.Claimed.IsZero():
			h.Claimed = time.Time{}
		case claimed.After(h.Claimed):
			h.Claimed = claimed
		}
		h.Looks, h.Seq, h.due = 0, h.Seq+1, time.Now()
		return true
	}
	return false
}

// operatorMark is what an operator's command does to a row.
type operatorMark string

const (
	markRetry   operatorMark = "retry"
	markRecheck operatorMark = "recheck"
	markDrop    operatorMark = "drop"
	markAsk     operatorMark = "compare all"
)

// mark is what an operator's command does, without leading. It reports whether there is a row.
func (s *memStore) mark(id string, m operatorMark) bool {
	if m == markAsk {
		notify(s.asked)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[id]
	if l == nil {
		return false
	}
	l.touched()
	switch m {
	case markRetry:
		if l.Dropped {
			l.SettledAt = time.Time{}
		}
		l.Dropped = false
	case markRecheck:
		l.SuspectRequest, l.SuspectIssue = !l.Gone, l.Bound.ID != ""
	case markDrop:
		l.Dropped, l.LastError = true, ""
	case markAsk:
	}
	return true
}

func (s termStore) Hints(ctx context.Context, limit int) (due []Hint, next time.Duration, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	for _, h := range s.hints {
		wait := time.Until(h.due)
		switch {
		case wait > 0 && (next == 0 || wait < next):
			next = wait
		case wait <= 0 && len(due) < limit:
			for _, l := range s.links {
				if l.Bound.ID == h.IssueID {
					h.Recorded, h.Open = l.Issue.Updated, l.SettledAt.IsZero()
				}
			}
			due = append(due, h.Hint)
		}
	}
	return due, next, nil
}

func (s termStore) Heeded(ctx context.Context, heeded []Heeded) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, done := range heeded {
		h := s.hints[done.IssueID]
		switch {
		case h == nil || h.Seq != done.Seq:
		case done.Again == 0:
			delete(s.hints, done.IssueID)
		default:
			h.Looks, h.due = h.Looks+1, time.Now().Add(done.Again)
		}
	}
	return nil
}

func (s termStore) SawStatuses(ctx context.Context, statuses []Status, at time.Time) (StatusNames, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, status := range statuses {
		i := slices.IndexFunc(s.names, func(n StatusName) bool { return n.ID == status.ID && n.Name == status.Name })
		if i < 0 {
			s.names = append(s.names, StatusName{ID: status.ID, Name: status.Name, First: at, Last: at})
			continue
		}
		s.names[i].Last = at
	}
	return slices.Clone(s.names), nil
}

func (s termStore) Condition(ctx context.Context, loop, problem string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.loops[loop] = problem
	return nil
}

// termStore is a memStore as one term sees it.
type termStore struct {
	*memStore
	epoch int64
}

// term begins a new term, which fences off all earlier ones.
func (s *memStore) term() termStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	return termStore{s, s.epoch}
}

func (s termStore) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.mu.Lock()
	if s.epoch != s.memStore.epoch {
		s.mu.Unlock()
		return ErrNotLeader
	}
	return nil
}

func (l *Link) touched() {
	l.Seq++
	l.Due, l.Parked, l.Attempts = time.Now(), false, 0
}

func (s termStore) ObserveRequests(ctx context.Context, requests []Request) error {
	return s.observeRequests(ctx, requests, false)
}

func (s termStore) Recover(ctx context.Context, requests []Request) error {
	return s.observeRequests(ctx, requests, true)
}

func (s termStore) RecoverIssues(ctx context.Context, issues []Issue, due time.Time, apart time.Duration) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	named := make(map[string]bool)
	for _, l := range s.links {
		named[l.Bound.ID] = true
	}
	for n, i := range issues {
		if s.links[i.RequestID] == nil && !named[i.ID] {
			s.insert(Link{
				RequestID: i.RequestID, Request: Request{ID: i.RequestID, State: StatePending}, SuspectRequest: true,
				Work: Work{Due: due.Add(time.Duration(n) * apart), Begun: EffectCreate, BegunAt: time.Now()},
			})
		}
	}
	return nil
}

// insert makes a row, with a mark that no other row has, nor had it in a store that was lost.
func (s *memStore) insert(l Link) {
	s.marks++
	l.Seq, l.Mark = 1, fmt.Sprintf("%d-%d", time.Now().UnixNano(), s.marks)
	s.links[l.RequestID] = &l
}

func (s termStore) observeRequests(ctx context.Context, requests []Request, recovering bool) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, r := range requests {
		l := s.links[r.ID]
		if l == nil {
			switch {
			case recovering:
				s.insert(Link{RequestID: r.ID, Request: r, Work: Work{Due: time.Now(), Begun: EffectCreate, BegunAt: time.Now()}})
			case r.State == StatePending:
				s.insert(Link{RequestID: r.ID, Request: r, Work: Work{Due: time.Now()}})
			}
			continue
		}
		if merged, changed := MergeRequest(l.Request, r); changed {
			l.Request = merged
			l.touched()
		}
		if l.Gone && r.State == StatePending && !l.SuspectRequest {
			l.SuspectRequest = true
			l.touched()
		}
	}
	return nil
}

func (s termStore) Learn(ctx context.Context, l Link, seen Seen) (Link, error) {
	if err := s.begin(ctx); err != nil {
		return l, err
	}
	defer s.mu.Unlock()
	row := s.links[l.RequestID]
	informed, _, _, changed := l.Learn(row, seen)
	if changed {
		row.Due, row.Parked, row.Attempts = time.Now(), false, 0
	}
	informed.Strays = slices.Clone(informed.Strays)
	return informed, nil
}

func (s termStore) SuspectRequests(ctx context.Context, ids []string) error {
	return s.suspect(ctx, func(l *Link) bool {
		if l.Gone || l.SuspectRequest || !slices.Contains(ids, l.RequestID) || !l.SettledAt.IsZero() {
			return false
		}
		l.SuspectRequest = true
		return true
	})
}

func (s termStore) SuspectIssues(ctx context.Context, ids []string, urgent bool) error {
	return s.suspect(ctx, func(l *Link) bool {
		if l.SuspectIssue || l.Bound.ID == "" || !slices.Contains(ids, l.Bound.ID) || !l.SettledAt.IsZero() && !l.IssueGone {
			return false
		}
		l.SuspectIssue, l.Urgent = true, l.Urgent || urgent
		return true
	})
}

func (s termStore) EndDryRun(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, l := range s.links {
		if strings.HasPrefix(l.LastError, DryRunError) {
			l.Due = time.Now()
		}
	}
	return nil
}

func (s termStore) suspect(ctx context.Context, mark func(*Link) bool) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, l := range s.links {
		if mark(l) {
			l.touched()
		}
	}
	return nil
}

func (s termStore) ObserveIssues(ctx context.Context, issues []Issue, cursor time.Time) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, i := range issues {
		s.observeIssue(i)
	}
	if cursor.After(s.cursor) {
		s.cursor = cursor
	}
	return nil
}

func (s termStore) observeIssue(i Issue) {
	for _, l := range s.links {
		if l.Bound.ID == i.ID {
			if merged, changed := MergeIssue(l.Issue, i); changed {
				l.Urgent = l.Urgent || l.Issue.Status != Status{} && l.Issue.Status != merged.Status
				news := Differ(l.Issue, merged)
				l.Issue = merged
				if news || l.Parked || l.Attempts > 0 || l.SettledAt.IsZero() && OutcomeOf(*l) != OutcomePending {
					l.touched()
				}
			}
			return
		}
	}
	l := s.links[i.RequestID]
	switch {
	case l == nil:
	case l.Bound.ID == "":
		if now := time.Now(); l.Due.IsZero() || l.Due.After(now) {
			l.Due = now
		}
	case !slices.Contains(l.Strays, i.ID):
		l.Strays = append(l.Strays, i.ID)
		l.touched()
	}
}

func (s termStore) Cursor(ctx context.Context) (time.Time, error) {
	if err := s.begin(ctx); err != nil {
		return time.Time{}, err
	}
	defer s.mu.Unlock()
	return s.cursor, nil
}

func (s termStore) Due(
	ctx context.Context,
	now time.Time,
	limit int,
	skip []string,
) (due []Link, next time.Time, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer s.mu.Unlock()
	due = s.where(
		func(l *Link) bool { return !l.Due.IsZero() && !l.Due.After(now) && !slices.Contains(skip, l.RequestID) },
	)
	slices.SortStableFunc(due, func(a, b Link) int {
		switch {
		case a.Urgent == b.Urgent:
			return 0
		case a.Urgent:
			return -1
		}
		return 1
	})
	if len(due) >= limit {
		return due[:limit], time.Time{}, nil
	}
	if waiting := s.where(func(l *Link) bool { return l.Due.After(now) && !slices.Contains(skip, l.RequestID) }); len(
		waiting,
	) > 0 {
		next = waiting[0].Due
	}
	return due, next, nil
}

// where returns copies of the rows that match, longest due first.
func (s *memStore) where(match func(*Link) bool) []Link {
	var found []Link
	for _, l := range s.links {
		if match(l) {
			found = append(found, l.copied())
		}
	}
	slices.SortFunc(found, func(a, b Link) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.RequestID, b.RequestID))
	})
	return found
}

func (l *Link) copied() Link {
	c := *l
	c.Commented = slices.Clone(l.Commented)
	c.Answered = slices.Clone(l.Answered)
	c.Strays = slices.Clone(l.Strays)
	return c
}

func (s termStore) Save(ctx context.Context, l Link, done ...Activity) (Link, error) {
	if err := s.begin(ctx); err != nil {
		return Link{}, err
	}
	defer s.mu.Unlock()
	row := s.links[l.RequestID]
	due := row.Work
	if due.Bound.ID == "" && l.Bound.ID != "" && l.Issue.ID == l.Bound.ID {
		row.Issue = l.Issue
	}
	row.Work = l.copied().Work
	if row.Dropped != l.Dropped {
		row.SettledAt = due.SettledAt
	}
	if row.Seq == l.Seq {
		row.SuspectRequest, row.SuspectIssue, row.Urgent = l.SuspectRequest, l.SuspectIssue, false
	} else {
		row.Due, row.Parked, row.Attempts = due.Due, due.Parked, due.Attempts
	}
	s.activity[l.RequestID] = append(s.activity[l.RequestID], done...)
	if row.Seq == l.Seq && row.Dropped == l.Dropped {
		saved := l.copied()
		saved.Urgent = false
		return saved, nil
	}
	return row.copied(), nil
}

func (s termStore) Open(ctx context.Context, after string, limit int) ([]Link, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	open := s.where(func(l *Link) bool { return (l.SettledAt.IsZero() || l.IssueGone) && l.RequestID > after })
	slices.SortFunc(open, func(a, b Link) int { return cmp.Compare(a.RequestID, b.RequestID) })
	return open[:min(limit, len(open))], nil
}

func (s termStore) PendingIssues(ctx context.Context, limit int) (ids []string, some bool, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, false, err
	}
	defer s.mu.Unlock()
	unknown := func(l *Link) bool { return l.SuspectRequest && l.Bound.ID == "" } // of a row that was recovered
	pending := s.where(func(l *Link) bool { return OutcomeOf(*l) == OutcomePending && !unknown(l) })
	for _, l := range pending {
		if l.Bound.ID != "" && len(ids) < limit {
			ids = append(ids, l.Bound.ID)
		}
	}
	return ids, len(pending) > 0, nil
}

func (s termStore) Prune(ctx context.Context, before time.Time) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	old := s.where(func(l *Link) bool { return !l.SettledAt.IsZero() && l.SettledAt.Before(before) })
	for _, l := range old {
		delete(s.links, l.RequestID)
	}
	return len(old), nil
}

func (s termStore) Stats(ctx context.Context, now time.Time) (stats Stats, err error) {
	if err := s.begin(ctx); err != nil {
		return stats, err
	}
	defer s.mu.Unlock()
	for _, l := range s.links {
		if l.SettledAt.IsZero() {
			stats.Open++
		}
		if !l.Due.IsZero() && !l.Due.After(now) {
			stats.Due++
		}
	}
	return stats, nil
}

// row returns a copy of a row.
func (s *memStore) row(id string) Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.links[id]; l != nil {
		return l.copied()
	}
	return Link{}
}
