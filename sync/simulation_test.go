package sync

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	stdsync "sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"
	"go.uber.org/zap"
)

var (
	seeds    = flag.Int("sync.seeds", 1000, "how many seeds the simulation runs")
	firstOne = flag.Uint64("sync.seed", 1, "the first seed")
)

// TestSimulation lets seeded people, faults, crashes and changes of leader act on both sides,
// checks the invariants at every effect, and after the faults have ended that both sides agree. A
// failing seed prints what happened.
func TestSimulation(t *testing.T) {
	t.Parallel()
	for n := range uint64(*seeds) {
		seed := *firstOne + n
		synctest.Test(t, func(t *testing.T) {
			s := newSimulation(seed)
			s.run()
			if len(s.broken) > 0 {
				t.Errorf("seed %d (go test ./sync -run TestSimulation -sync.seeds 1 -sync.seed %d):\n  %s\nsteps:\n  %s",
					seed, seed, strings.Join(s.broken, "\n  "), strings.Join(s.steps, "\n  "))
			}
		})
		if t.Failed() {
			return
		}
	}
}

const (
	simSteps    = 120
	simRequests = 6
)

// simulation is one run. Its random source is used by one goroutine at a time: the one that holds
// mu.
type simulation struct {
	mu     stdsync.Mutex
	random *rand.Rand
	faulty bool
	steps  []string
	broken []string
	began  time.Time

	policy  Policy
	cluster *memCluster
	tracker *memTracker
	store   *memStore
	replica *replica
	created int
	// lostIssues are requests whose issue somebody deleted: no other is made.
	lostIssues map[string]bool
	// archived are requests whose issue somebody archived and nobody restored.
	archived map[string]bool
	// lie is what is said falsely at the moment, and lied until when something was last said
	// falsely by both of two answers.
	lie  string
	lied time.Time
	// absent is the issue that Jira says falsely not to have, to the operation absentFor, or to all
	// where that is empty.
	absent, absentFor string
	// stood: the index stood still at some time, or Jira's clock was set: no search may have shown
	// what changed then of a settled request, or of one whose row was lost.
	stood bool
	// hidden are requests whose issue a search may once have missed: somebody archived it or wrote
	// into its field.
	hidden map[string]bool
}

// replica is one term of one process: killed, it has no further effect, as a process has none.
type replica struct {
	memLease
	cancel context.CancelFunc
	ended  chan struct{}
	dry    bool // in a dry run
	before int  // writes to both sides before the term
}

func newSimulation(seed uint64) *simulation {
	s := &simulation{
		random:  rand.New(rand.NewPCG(seed, seed)),
		cluster: newMemCluster(), tracker: newMemTracker(), store: newMemStore(), began: time.Now(), faulty: true,
		lostIssues: make(map[string]bool), hidden: make(map[string]bool), archived: make(map[string]bool),
	}
	s.policy = testPolicy
	s.policy.Mode = []DecisionMode{ModeState, ModeReview, ModeState, ModeReview, ModeNotify}[s.random.IntN(5)]
	s.note("mode %s", s.policy.Mode)
	s.cluster.onBehalf = true
	s.cluster.offset = []time.Duration{0, 0, 2 * time.Hour, -2 * time.Hour}[s.random.IntN(4)]
	s.note("Teleport's clock is ahead by %s", s.cluster.offset)
	s.cluster.users = []User{
		{Name: "user of acc-bob", JiraIDs: []string{"acc-bob"}},
		{Name: "user of acc-eve", JiraIDs: []string{"acc-eve"}},
		{Name: "alice@example.com", JiraIDs: []string{"acc-alice"}},
	}
	s.tracker.lag = time.Duration(s.random.IntN(60)) * time.Second
	s.tracker.stale = time.Duration(s.random.IntN(20)) * time.Second
	s.tracker.dataCenter = s.random.IntN(2) == 0
	s.tracker.ahead = []time.Duration{0, 0, 3 * time.Hour, -3 * time.Hour}[s.random.IntN(4)]
	s.tracker.finish = s.late
	s.tracker.absent = s.isAbsent
	if shape := s.random.IntN(4); shape < 2 {
		s.tracker.lead(simWorkflows[shape], append(slices.Clone(allStatuses), backlogStatus)...)
		s.tracker.initial = []Status{todoStatus, backlogStatus}[shape]
	}
	s.note("Jira's clock is ahead by %s, Data Center: %t", s.tracker.ahead, s.tracker.dataCenter)
	s.tracker.memory = &memMemory{
		known:  make(map[string]bool),
		astray: func() bool { return s.isFaulty() && s.roll(10) == 0 },
	}
	for _, f := range []*faults{&s.cluster.faults, &s.tracker.faults} {
		f.set(s.before, s.after)
		f.delay = func() time.Duration { return time.Duration(s.roll(400)) * time.Millisecond }
	}
	return s
}

// simWorkflows lead from each status to some: with Pending in the middle, and with a way of two
// steps to it.
var simWorkflows = []map[string][]Status{
	{
		"To Do": {
			pendingStatus,
		},
		"Backlog":  {todoStatus},
		"Pending":  {approvedStatus, deniedStatus, expiredStatus, todoStatus},
		"Approved": {pendingStatus},
		"Denied":   {pendingStatus},
		"Expired":  {pendingStatus},
	},
	{
		"Backlog": {
			todoStatus,
			approvedStatus,
		},
		"To Do":    {pendingStatus, backlogStatus},
		"Pending":  {approvedStatus, deniedStatus, expiredStatus},
		"Approved": {todoStatus, deniedStatus},
		"Denied":   {backlogStatus},
		"Expired":  {todoStatus},
	},
}

// late is how late Jira finishes a create, whose answer is lost then.
func (s *simulation) late() time.Duration {
	if !s.isFaulty() || s.roll(12) > 0 {
		return 0
	}
	late := time.Duration(1+s.roll(30)) * time.Second
	s.note("a create is finished after %s", late)
	return late
}

// isAbsent reports whether Jira says falsely, for a while, that it has no such issue. That it has
// none with a new key it does not say: nothing could tell that from a create that never happened.
func (s *simulation) isAbsent(op, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return id == s.absent && op != "trace" && (s.absentFor == "" || s.absentFor == op)
}

func (s *simulation) roll(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

func (s *simulation) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, fmt.Sprintf("%8.1fs ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

func (s *simulation) violated(format string, args ...any) {
	s.note("VIOLATED: "+format, args...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, fmt.Sprintf(format, args...))
}

// before is a call that fails without an effect, in the ways in which calls fail.
func (s *simulation) before(op string) error {
	if s.refuses(op) {
		return &Error{Side: "teleport", Op: op, Scope: ScopeSide, Err: errors.New("access denied")}
	}
	if !s.isFaulty() || s.roll(100) >= 6 {
		return nil
	}
	kind := s.roll(4)
	s.note("%s fails (%d)", op, kind)
	e := &Error{Side: "side", Op: op, Err: errors.New("simulated")}
	switch kind {
	case 0:
		e.Scope = ScopeSide
	case 1:
		e.Scope, e.Uncertain = ScopeSide, true // a time-out that had no effect
	case 2:
		e.Scope, e.RetryAfter = ScopeSide, time.Duration(s.roll(20))*time.Second
	}
	return e
}

// after is an answer that is lost although the call had its effect; sometimes the process dies with
// it.
func (s *simulation) after(op string) error {
	if !s.isFaulty() || s.roll(100) >= 8 {
		return nil
	}
	s.note("the answer to %s is lost", op)
	if s.roll(3) == 0 {
		s.note("and the process dies with it")
		s.mu.Lock()
		r := s.replica
		s.mu.Unlock()
		r.kill()
	}
	return errLost
}

func (s *simulation) isFaulty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faulty
}

// kill ends a replica without a last word.
func (r *replica) kill() {
	r.lost.Store(true)
	r.cancel()
}

// lead starts a new term.
func (s *simulation) lead() {
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{
		cancel: cancel,
		ended:  make(chan struct{}),
		dry:    s.isFaulty() && s.roll(5) == 0,
		before: written(s.cluster, s.tracker),
	}
	if r.dry {
		s.note("a dry run")
	}
	s.mu.Lock()
	s.replica = r
	s.mu.Unlock()
	engine := &Engine{
		Settings: Settings{
			Policy:      s.policy,
			Poll:        cron.Every(5 * time.Second),
			Idle:        cron.Every(time.Minute),
			Sweep:       cron.Every(10 * time.Minute),
			Lookback:    2 * time.Minute,
			Retention:   1000 * time.Hour,
			Concurrency: 3,
			DryRun:      r.dry,
		},
		Store: dyingStore{
			s.store.term(),
			r,
		},
		Cluster:  checkedCluster{s.cluster, s},
		Tracker:  checkedTracker{s.tracker, s},
		Lease:    r,
		Health:   NewHealth(),
		Observer: nopObserver{},
		Log:      zap.NewNop(),
		Hinted:   s.store.hinted,
		Asked:    s.store.asked,
	}
	go func() {
		defer close(r.ended)
		_ = engine.Run(ctx)
	}()
}

// dyingStore takes no record of a process that was killed, not even its last words.
type dyingStore struct {
	Store
	r *replica
}

func (d dyingStore) Save(ctx context.Context, l Link, done ...Activity) (Link, error) {
	if err := d.r.Check(); err != nil {
		return Link{}, err
	}
	return d.Store.Save(ctx, l, done...)
}

// checkedCluster holds each decision to the invariants.
type checkedCluster struct {
	*memCluster
	s *simulation
}

func (c checkedCluster) Decide(ctx context.Context, id string, d Decision) error {
	if c.s.policy.Mode != ModeState {
		c.s.violated("the state of %s is set in mode %s", id, c.s.policy.Mode)
	}
	return c.checked(id, d.State, func(p Person) bool { return delegator(p) == d.Delegator }, func() error {
		return c.memCluster.Decide(ctx, id, d)
	})
}

func (c checkedCluster) Review(ctx context.Context, id string, review Review) (after Request, err error) {
	if c.s.policy.Mode != ModeReview {
		c.s.violated("%s is reviewed in mode %s", id, c.s.policy.Mode)
	}
	err = c.checked(
		id,
		review.Verdict,
		func(p Person) bool { return "user of "+p.AccountID == review.Author },
		func() error {
			after, err = c.memCluster.Review(ctx, id, review)
			return err
		},
	)
	return after, err
}

// checked makes a call that brings a verdict to Teleport: only for a pending request, and only
// after a move by one of those whom who accepts.
func (c checkedCluster) checked(id string, verdict RequestState, who func(Person) bool, call func() error) error {
	c.mu.Lock()
	state := StatePending
	if r := c.requests[id]; r != nil {
		state = r.State
	}
	had := len(c.verdictsOn(id))
	c.mu.Unlock()
	err := call()
	c.mu.Lock()
	took := c.verdictsOn(id)[had:]
	c.mu.Unlock()
	if len(took) > 0 {
		c.s.note("decided %s", took[0])
		if state != StatePending {
			c.s.violated("%s was %s and is overwritten: %s", id, state, took[0])
		}
		if !c.s.admitted(id, verdict, who) {
			c.s.violated("%s without a move by that person", took[0])
		}
	}
	return err
}

// verdictsOn are the calls that had an effect on one request. c.mu is held.
func (c checkedCluster) verdictsOn(id string) []string {
	return slices.DeleteFunc(slices.Clone(c.decided), func(d string) bool { return !strings.HasPrefix(d, id+" ") })
}

// admitted finds the move of an admitted person behind a verdict.
func (s *simulation) admitted(id string, verdict RequestState, who func(Person) bool) bool {
	s.tracker.mu.Lock()
	ever := slices.Clone(s.tracker.deleted)
	s.tracker.mu.Unlock()
	for _, issue := range append(ever, s.tracker.madeFor(id)...) {
		if issue.Issue.Property != id {
			continue
		}
		for _, m := range issue.Moves {
			shown, _ := testPolicy.Statuses.Outcome(m.To)
			if RequestState(shown) == verdict && who(m.Author) && slices.Contains([]Person{bob, eve}, m.Author) {
				return true
			}
		}
	}
	return false
}

// checkedTracker holds creates and comments to the invariants.
type checkedTracker struct {
	*memTracker
	s *simulation
}

func (c checkedTracker) Create(ctx context.Context, d Draft, commit func(context.Context) error) (Issue, error) {
	i, err := c.memTracker.Create(ctx, d, commit)
	if n := len(c.madeFor(d.RequestID)); n > 1 {
		c.s.violated("%s has %d issues", d.RequestID, n)
	}
	return i, err
}

// movedBy tells of a move by the agent to a status that stands for a decision which Teleport does
// not know.
func (c checkedTracker) held(id string) {
	c.mu.Lock()
	issue := c.issues[id]
	var last Move
	var made string
	if issue != nil && len(issue.Moves) > 0 {
		last = issue.Moves[len(issue.Moves)-1]
		made = issue.Issue.Property
	}
	c.mu.Unlock()
	shown, _ := testPolicy.Statuses.Outcome(last.To)
	if last.Author.Agent && isDecision(RequestState(shown)) && c.s.stateIn(made) == StatePending {
		c.s.violated("the agent moved issue %s to %s, and Teleport says pending", id, last.To.Name)
	}
}

func (c checkedTracker) Move(
	ctx context.Context, id string, from Status, way Way, commit func(context.Context, Status) error,
) (Issue, error) {
	i, err := c.memTracker.Move(ctx, id, from, way, commit)
	c.held(id)
	return i, err
}

func (c checkedTracker) Comment(ctx context.Context, id, key, body string, commit func(context.Context) error) error {
	err := c.memTracker.Comment(ctx, id, key, body, commit)
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, decided := 0, false
	issue := c.issues[id]
	if issue == nil {
		return err
	}
	for _, comment := range issue.Comments {
		if comment.Key == key {
			seen++
		}
		outcome, _ := strings.CutPrefix(comment.Key, resolutionPrefix)
		decided = decided || isDecision(RequestState(outcome))
	}
	if seen > 1 {
		c.s.violated("issue %s carries %d comments %s", id, seen, key)
	}
	if decided && strings.HasPrefix(key, resolutionPrefix+string(OutcomeExpired)) {
		c.s.violated("issue %s was told a decision, and now that its request ended undecided", id)
	}
	return err
}

func (s *simulation) run() {
	s.lead()
	for range simSteps {
		s.step()
		time.Sleep(time.Duration(s.roll(8000)) * time.Millisecond)
	}
	s.mu.Lock()
	s.faulty = false
	s.mu.Unlock()
	s.tell("")
	s.jiraTellsTheTruth()
	s.note("the faults end")
	if s.replica.dry {
		s.replica.kill()
	}
	for n := range s.created { // what is dropped need not agree
		s.store.mark(fmt.Sprintf("req-%d", n+1), markRetry)
	}
	s.succeed()
	time.Sleep(90 * time.Second) // Jira answers again
	synctest.Wait()
	s.haveIssues()
	time.Sleep(45 * time.Minute) // back-offs, the grace of an uncertain create, a sweep
	synctest.Wait()
	s.neverClosedForLong()
	s.agree()
	s.replica.kill()
	<-s.replica.ended
}

// succeed replaces the leader if it has died.
func (s *simulation) succeed() {
	if s.replica.lost.Load() {
		<-s.replica.ended
		if s.replica.dry && written(s.cluster, s.tracker) != s.replica.before {
			s.violated("a dry run has written")
		}
		s.lead()
		s.note("a new leader")
	}
}

// step is one thing that happens.
func (s *simulation) step() {
	s.succeed()
	id := fmt.Sprintf("req-%d", 1+s.roll(simRequests))
	s.neverClosedForLong()
	switch s.roll(25) {
	case 0, 1:
		if s.created < simRequests {
			s.created++
			id = fmt.Sprintf("req-%d", s.created)
			s.note("%s is requested", id)
			s.cluster.add(Request{
				ID: id, State: StatePending, User: "alice@example.com", Created: s.there(),
				ApprovalsNeeded: 1 + s.roll(2),
				Expires:         s.there().Add([]time.Duration{2 * time.Minute, 10 * time.Minute, 3 * time.Hour}[s.roll(3)]).UTC(),
			})
		}
	case 2, 3, 4:
		s.personMoves(id)
	case 5:
		s.change(id, "reviewed", func(r *Request) {
			if len(r.Reviews) < 3 && r.State == StatePending && !r.PastExpiry(s.there()) {
				r.Reviews = append(r.Reviews, Review{Author: fmt.Sprintf("reviewer-%d", len(r.Reviews)), Verdict: StateApproved})
			}
		})
	case 6:
		to := []RequestState{StateApproved, StateDenied, StatePromoted}[s.roll(3)]
		s.change(id, "resolved in Teleport: "+string(to), func(r *Request) {
			if r.State == StatePending && !r.PastExpiry(s.there()) {
				r.State = to
			}
		})
	case 7:
		if s.exists(id) && s.roll(2) == 0 {
			s.note("%s is deleted", id)
			s.cluster.remove(id)
		}
	case 8:
		s.note("the watches break")
		s.cluster.breakWatches()
	case 9:
		s.note("the process is killed")
		s.replica.kill()
	case 10:
		if own := s.tracker.madeFor(id); len(own) > 0 && s.linked(id) && !s.archived[id] {
			held := []string{"", "req-1", "req-2", "something"}[s.roll(4)]
			s.note("somebody writes %q into the field of %s", held, id)
			s.hidden[id] = true
			s.tracker.setField(own[0].Issue.ID, held)
		}
	case 11:
		s.note("eve makes an issue that holds %s and moves it", id)
		s.tracker.forge(id, eve, allStatuses[s.roll(len(allStatuses))])
	case 12:
		if own := s.tracker.madeFor(id); len(own) > 0 && s.roll(4) == 0 && !s.archived[id] {
			s.note("somebody deletes the issue of %s", id)
			s.lostIssues[id] = true
			s.tracker.remove(own[0].Issue.ID)
		}
	case 13:
		if s.roll(4) == 0 {
			s.note("the database is lost")
			s.replica.kill()
			<-s.replica.ended
			s.store = newMemStore()
			s.lead()
		}
	case 14:
		if own := s.tracker.madeFor(id); len(own) > 0 && s.linked(id) {
			s.archived[id], s.hidden[id] = !s.archived[id], true
			s.note("somebody archives the issue of %s: %v", id, s.archived[id])
			s.tracker.archive(own[0].Issue.ID, s.archived[id])
			if !s.archived[id] { // and does something with it
				s.tracker.setField(own[0].Issue.ID, own[0].Issue.RequestID)
			}
		}
	case 15, 16:
		s.webhook(id)
	case 17:
		s.operator(id)
	case 18:
		if s.roll(4) == 0 {
			s.tracker.begin([]Status{todoStatus, pendingStatus}[s.roll(2)])
			s.note("new issues begin in another status, perhaps")
		}
	case 21, 22:
		s.jiraLies(id)
	case 23:
		s.note("others make issues")
		s.tracker.skipKeys(1 + s.roll(30))
	case 24:
		ahead := time.Duration(s.roll(5)-2) * time.Hour
		s.note("Jira's clock is set: ahead by %s", ahead)
		s.stood = true
		s.tracker.pull(func(t *memTracker) { t.ahead = ahead })
	case 19, 20:
		s.tell([]string{"", "", lieRight, lieBlind, lieRefused}[s.roll(5)])
	}
}

// What a side says falsely for a while.
const (
	lieRight   = "the right to list is lost"           // Teleport shows nothing, and says that it may not
	lieBlind   = "nothing is found, with the right"    // all answers of Teleport agree, and are wrong
	lieRefused = "the agent's user is gone, or locked" // every call is refused
)

// jiraLies begins or ends what Jira says falsely: an issue is not there, or the index stands still.
func (s *simulation) jiraLies(id string) {
	issues := s.tracker.madeFor(id)
	switch n := s.roll(4); {
	case n == 0 && len(issues) > 0:
		op := []string{"", "read", "comment", "move", "issues"}[s.roll(5)]
		s.note("Jira says that the issue of %s is not there, to %q", id, op)
		s.mu.Lock()
		s.absent, s.absentFor = issues[0].Issue.ID, op
		s.mu.Unlock()
	case n == 1:
		s.note("the index stands still")
		s.stood = true
		s.tracker.pull(func(t *memTracker) { t.frozen = time.Now() })
	default:
		s.note("Jira says what is so")
		s.jiraTellsTheTruth()
	}
}

func (s *simulation) jiraTellsTheTruth() {
	s.mu.Lock()
	s.absent = ""
	s.mu.Unlock()
	s.tracker.pull(func(t *memTracker) { t.frozen = time.Time{} })
}

// tell begins to say something falsely, in place of what was said so before.
func (s *simulation) tell(lie string) {
	s.note("a lie: %q", lie)
	s.mu.Lock()
	if s.lie == lieBlind {
		s.lied = time.Now()
	}
	s.lie = lie
	s.mu.Unlock()
	s.cluster.lie(func(c *memCluster) {
		c.right, c.blind = ListRightGranted, lie == lieBlind
		if lie == lieRight {
			c.right = ListRightLacking
		}
	})
}

// refuses reports whether Teleport refuses every call at the moment.
func (s *simulation) refuses(op string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lie == lieRefused && slices.Contains(teleportCalls, op)
}

var teleportCalls = []string{
	"watch",
	"list",
	"request",
	"listed",
	"list right",
	"decide",
	"users",
	"review",
	"claim",
	"reclaim",
	"linked",
	"link",
	"resolve",
}

// neverClosedForLong: what Teleport holds as pending is closed for no longer than a lie lasts, and
// the time until both sides are compared.
func (s *simulation) neverClosedForLong() {
	s.mu.Lock()
	lying := s.lie == lieBlind || !s.lied.IsZero() && time.Since(s.lied) < 15*time.Minute
	s.mu.Unlock()
	for n := 1; n <= s.created && !lying; n++ { // what is archived nobody can open again
		id := fmt.Sprintf("req-%d", n)
		for _, issue := range s.tracker.madeFor(id) {
			move, _ := lastMove(issue.Moves, issue.Issue.Status)
			if move.Author.Agent && sameStatus(move.To, expiredStatus) && s.undecided(id) && !s.archived[id] {
				s.violated("%s is held by Teleport, and the agent closed its issue: %+v", id, s.store.row(id))
			}
		}
	}
}

// haveIssues: a request whose issue is uncertain has it soon after Jira answers again, unless it
// waits for something else.
func (s *simulation) haveIssues() {
	for n := 1; n <= s.created; n++ {
		id := fmt.Sprintf("req-%d", n)
		row := s.store.row(id)
		waits := s.lostIssues[id] || row.Attempts > 1 || row.SuspectRequest || row.Parked || row.Gone
		own := row.Request.Created.Equal(s.cluster.created(id)) // the row is not one of a lost database
		if row.Begun == EffectCreate && s.undecided(id) && !waits && own && len(s.tracker.madeFor(id)) == 0 {
			s.violated("%s has no issue yet: %+v; %v", id, row.Work, s.cluster.plugin[id])
		}
	}
}

// there is the time by Teleport's clock.
func (s *simulation) there() time.Time { return time.Now().Add(s.cluster.offset).UTC() }

// operator marks a row, as the commands do, at any moment of its worker's run. Whoever leads may
// not hear of it.
func (s *simulation) operator(id string) {
	mark := []operatorMark{markRetry, markRecheck, markDrop, markAsk}[s.roll(4)]
	s.note("an operator: %s %s (a row: %t)", mark, id, s.store.mark(id, mark))
	if s.roll(4) > 0 {
		notify(s.store.hinted)
	}
}

// webhook is one about an issue of a request, or one that somebody forged or sent again: it may say
// anything, and the leader may not hear of it.
func (s *simulation) webhook(id string) {
	issues := s.tracker.of(id)
	if len(issues) == 0 {
		return
	}
	issue := issues[s.roll(len(issues))].Issue
	claimed := []time.Time{{}, issue.Updated, issue.Updated.Add(-time.Hour), time.Now().Add(1000 * time.Hour)}[s.roll(4)]
	noted := s.store.hint(issue.ID, claimed)
	told := s.roll(4) > 0
	s.note(
		"a webhook says that issue %s changed at %s (noted: %t, told: %t)",
		issue.ID,
		claimed.Format(time.TimeOnly),
		noted,
		told,
	)
	if told {
		notify(s.store.hinted)
	}
}

// personMoves lets anybody who can reach the board move an issue.
func (s *simulation) personMoves(id string) {
	issues := s.tracker.madeFor(id)
	if len(issues) == 0 || s.archived[id] {
		return
	}
	alice := Person{AccountID: "acc-alice", Email: "alice@example.com", Active: true}
	robot := Person{AccountID: "acc-app", Active: true, App: true}
	who := []Person{bob, eve, alice, robot, {}}[s.roll(5)]
	to := allStatuses[s.roll(len(allStatuses))]
	s.note("%q moves the issue of %s to %s", who.ID(), id, to.Name)
	s.tracker.person(issues[0].Issue.ID, who, to)
	if s.roll(2) == 0 {
		s.webhook(id)
	}
}

func (s *simulation) exists(id string) bool {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.cluster.requests[id] != nil
}

func (s *simulation) change(id, what string, edit func(*Request)) {
	if !s.exists(id) {
		return
	}
	s.note("%s is %s", id, what)
	s.cluster.change(id, edit)
}

// agree checks that both sides say the same in the end.
func (s *simulation) agree() {
	if left := s.store.hints; len(left) > 0 {
		s.violated("%d hints are kept for ever", len(left))
	}
	for n := 1; n <= s.created; n++ {
		id := fmt.Sprintf("req-%d", n)
		issues := s.tracker.madeFor(id)
		switch {
		case len(issues) > 0:
			s.agreeOn(id, s.store.row(id), issues[0])
		case s.undecided(id) && !s.lostIssues[id]:
			s.violated("%s is pending and has no issue: %+v", id, s.store.row(id).Work)
		}
	}
}

func (s *simulation) agreeOn(id string, row Link, issue Detail) {
	outcome := OutcomeOf(row)
	if row.RequestID == "" {
		// The database was lost, Teleport has forgotten the request, and no search found the issue
		// then.
		if s.undecided(id) || !s.hidden[id] && !s.stood {
			s.violated("%s has an issue in %s and no row", id, issue.Issue.Status.Name)
		}
		return
	}
	_, known := testPolicy.Statuses.Outcome(issue.Issue.Status)
	settled := !row.SettledAt.IsZero()
	if s.archived[id] {
		if !settled && !row.Parked {
			s.violated("%s has an archived issue and is neither parked nor settled: %+v", id, row.Work)
		}
		return
	}
	// No search shows an issue whose field was emptied, and sweeps look at open rows only.
	unseen := settled && (issue.Issue.RequestID == "" || s.stood)
	elsewhere := !known && (row.Placed || settled) || unseen
	if !testPolicy.Statuses.Shows(issue.Issue.Status, outcome) && !elsewhere {
		s.violated("%s is %s and its issue is in %s: %+v", id, outcome, issue.Issue.Status.Name, row.Work)
	}
	slices.Reverse(issue.Comments)
	if told := toldOutcome(issue.Comments); isDecision(RequestState(told)) && told != outcome {
		s.violated("%s was told to be %s and is %s: %+v", id, told, outcome, row.Work)
	}
	keys := keysOf(issue)
	for _, r := range row.Request.Reviews {
		if !slices.Contains(keys, "review:"+r.Author) {
			s.violated("%s: the review by %s is not on the issue: %v; %+v", id, r.Author, keys, row.Work)
		}
	}
	switch now := s.stateIn(id); {
	case now.Resolved() && row.Gone && !s.lied.IsZero():
		// Decided while all answers said that it had ended, and listed no more.
	case now != "" && now != row.Request.State:
		s.violated("%s is %s in Teleport and %s in the row", id, now, row.Request.State)
	case outcome == OutcomePending && issue.Issue.RequestID != id:
		s.violated("%s is pending and its field holds %q: %+v", id, issue.Issue.RequestID, row)
	case outcome == OutcomePending:
	case !settled:
		s.violated("%s is %s and not settled: %+v", id, outcome, row.Work)
	case toldOutcome(issue.Comments) != outcome:
		s.violated("%s is %s and the issue does not say so: %v; %+v", id, outcome, keys, row.Work)
	}
}

// linked reports whether Teleport's plugin data names the issue. Before that an emptied field, or
// the archive, and a lost database together leave no trace of it.
func (s *simulation) linked(id string) bool {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.cluster.plugin[id]["issue_id"] != ""
}

// undecided reports whether a request can still be decided.
func (s *simulation) undecided(id string) bool {
	return s.stateIn(id) == StatePending && !s.cluster.get(id).PastExpiry(s.there())
}

// stateIn is a request's state in Teleport; empty when it is gone.
func (s *simulation) stateIn(id string) RequestState {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	if r := s.cluster.requests[id]; r != nil {
		return r.State
	}
	return ""
}
