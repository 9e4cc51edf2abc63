package db

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/sync"
)

// testLease is the shortest that is allowed.
const testLease = minLease

// election is what the replicas of a test have in common. It fails the test if two lead at once.
type election struct {
	t       *testing.T
	leaders atomic.Int32
}

// reign is one call of lead.
type reign struct {
	replica *replica
	term    *Term
	ctx     context.Context
	began   time.Time
	ended   chan time.Time // receives when the reign's context has ended and lead returns
	result  chan error     // what lead shall return without waiting for that
}

// replica is an elector that runs.
type replica struct {
	elector *Elector
	states  chan State
	reigns  chan *reign
	stop    context.CancelFunc
	done    chan error
}

// join starts a replica, with changes to its configuration.
func (e *election) join(databaseURL string, changes ...func(*ElectorConfig)) *replica {
	e.t.Helper()
	r := &replica{states: make(chan State, 10000), reigns: make(chan *reign, 100), done: make(chan error, 1)}
	config := ElectorConfig{
		URL: always(databaseURL), Scope: board, Instance: "test", Lease: testLease, Log: zap.NewNop(),
		OnState: func(s State) { r.states <- s },
	}
	for _, change := range changes {
		change(&config)
	}
	var err error
	r.elector, err = NewElector(config)
	require.NoError(e.t, err)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() {
		r.done <- r.elector.Run(ctx, func(ctx context.Context, term *Term) error { return e.lead(ctx, r, term) })
		close(r.done)
	}()
	e.t.Cleanup(func() { stop(); <-r.done }) //nolint:errcheck // only the end of Run matters
	return r
}

// lead leads until its context ends.
func (e *election) lead(ctx context.Context, r *replica, term *Term) error {
	if n := e.leaders.Add(1); n != 1 {
		e.t.Errorf("%d replicas lead at once", n)
	}
	defer e.leaders.Add(-1)
	if err := term.Check(); err != nil {
		e.t.Errorf("a reign began without a lease: %v", err)
	}
	reign := &reign{
		replica: r,
		term:    term,
		ctx:     ctx,
		began:   time.Now(),
		ended:   make(chan time.Time, 1),
		result:  make(chan error, 1),
	}
	r.reigns <- reign
	select {
	case err := <-reign.result:
		return err
	case <-ctx.Done():
		reign.ended <- time.Now()
		return ctx.Err()
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		require.Fail(t, "waited in vain", "for %s", what)
		panic("unreachable")
	}
}

// until waits for a state.
func (r *replica) until(t *testing.T, what string, is func(State) bool) State {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case s := <-r.states:
			if is(s) {
				return s
			}
		case <-timeout:
			require.Fail(t, "waited in vain", "for %s", what)
		}
	}
}

func (r *replica) role(t *testing.T, role Role) State {
	t.Helper()
	return r.until(t, string(role), func(s State) bool { return s.Role == role })
}

// next is the next reign of any of the replicas.
func next(t *testing.T, replicas ...*replica) *reign {
	t.Helper()
	timeout := time.After(patience)
	for {
		for _, r := range replicas {
			select {
			case reign := <-r.reigns:
				return reign
			case <-timeout:
				require.Fail(t, "nobody leads")
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// killLeader ends the session that holds the lock.
func killLeader(t *testing.T, d *DB) {
	t.Helper()
	require.Equal(t, 1, scalar[int](t, d, `
		SELECT count(pg_terminate_backend(pid)) FROM pg_locks
		WHERE locktype = 'advisory' AND classid = $1 AND granted AND database = (SELECT oid FROM pg_database
			WHERE datname = current_database())`, lockClass))
}

func TestElector_OneOfThreeLeadsAndHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	e := &election{t: t}
	var replicas []*replica
	for i := range 3 {
		replicas = append(
			replicas,
			e.join(d.config.URL(), func(c *ElectorConfig) { c.Instance, c.Lease = fmt.Sprint(i), 5*time.Second }),
		)
	}
	for epoch := int64(1); len(replicas) > 0; epoch++ {
		joined := time.Now()
		reign := next(t, replicas...)
		require.Less(t, time.Since(joined), 5*time.Second, "it was handed over: nobody settles")
		require.Equal(t, epoch, reign.term.Epoch)
		require.Equal(t, reign.replica.elector.config.Instance, scalar[string](t, d, "SELECT holder FROM leadership"))
		leader := reign.replica.role(t, Leading)
		require.Equal(t, epoch, leader.Epoch)
		require.NoError(t, leader.Err)
		require.WithinDuration(t, time.Now(), leader.LeaseUntil, 5*time.Second)

		var rest []*replica
		for _, r := range replicas {
			if r != reign.replica {
				rest = append(rest, r)
				if epoch == 1 {
					r.role(t, Standby)
				}
				require.Equal(t, Standby, r.elector.State().Role)
				require.Empty(t, r.reigns)
			}
		}
		reign.replica.stop()
		require.NoError(t, receive(t, reign.replica.done, "the end of Run"))
		require.ErrorIs(t, reign.term.Check(), sync.ErrNotLeader)
		replicas = rest
	}
	require.True(t, scalar[bool](t, d, "SELECT resigned FROM leadership"))
}

func TestElector_SettlesAfterTheLeadersSessionWasKilled(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	e := &election{t: t}
	first := e.join(d.config.URL())
	reign := next(t, first)
	second := e.join(d.config.URL())
	second.role(t, Standby)

	killed := time.Now()
	killLeader(t, d)
	ended := receive(t, reign.ended, "the end of the reign")
	require.Less(
		t,
		ended.Sub(killed),
		testLease,
		"it is noticed at once, not by the next heartbeat or the end of the lease",
	)
	require.ErrorIs(t, reign.term.Check(), sync.ErrNotLeader)
	require.ErrorIs(t, context.Cause(reign.ctx), sync.ErrNotLeader)

	after := next(t, first, second)
	require.Greater(
		t,
		after.began.Sub(killed),
		testLease*11/10,
		"the new leader waits until the lease of the old one has surely ended",
	)
	require.Greater(t, after.term.Epoch, reign.term.Epoch)
	require.False(t, scalar[bool](t, d, "SELECT resigned FROM leadership"))
}

func TestElector_KeepsLeadingByHeartbeats(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	e := &election{t: t}
	const lease = 3 * time.Second
	r := e.join(d.config.URL(), func(c *ElectorConfig) { c.Lease = lease })
	reign := next(t, r)
	first := reign.term.Until()
	r.until(
		t,
		"a heartbeat after the end of the first lease",
		func(s State) bool { return s.LeaseUntil.Sub(first) > lease },
	)
	require.NoError(t, reign.term.Check())
	require.NoError(t, reign.ctx.Err())
	require.Equal(t, int64(1), scalar[int64](t, d, "SELECT epoch FROM leadership"))
}

func TestElector_StoppedWhileSettlingSaysNothingOfTheLeaderBefore(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	exec(
		t,
		d,
		"INSERT INTO leadership (name, epoch, term, holder, resigned) VALUES ($1, 41, gen_random_uuid(), 'crashed', false)",
		board.String(),
	)
	e := &election{t: t}
	long := func(c *ElectorConfig) { c.Lease = 3 * time.Second } // so that it surely still settles when it is stopped
	first := e.join(d.config.URL(), long)
	require.Equal(t, int64(42), first.role(t, Settling).Epoch)
	first.stop()
	require.NoError(t, receive(t, first.done, "the end of Run"))
	require.Empty(t, first.reigns)
	require.False(t, scalar[bool](t, d, "SELECT resigned FROM leadership"))

	second := e.join(d.config.URL(), long)
	second.role(t, Settling)
	require.Equal(t, int64(43), next(t, second).term.Epoch)
}

func TestElector_ResignsWhenLeadReturnsAndPassesItsErrorOn(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]error{"error": errors.New("bad configuration"), "nil": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := migrated(t)
			e := &election{t: t}
			r := e.join(d.config.URL())
			reign := next(t, r)
			reign.result <- result
			require.Equal(t, result, receive(t, r.done, "the end of Run"))
			require.True(t, scalar[bool](t, d, "SELECT resigned FROM leadership"))
			require.ErrorIs(t, reign.term.Check(), sync.ErrNotLeader)
		})
	}
}

func TestElector_StandsByAgainWhenTheStoreSaidThatAnotherLeads(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	e := &election{t: t}
	r := e.join(d.config.URL())
	next(t, r).result <- fmt.Errorf("save: %w", sync.ErrNotLeader)
	require.GreaterOrEqual(t, next(t, r).term.Epoch, int64(2))
}

func TestElector_LosesTheLeaseWhenAnotherTermHasBegun(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	e := &election{t: t}
	reign := next(t, e.join(d.config.URL()))
	store := d.Store(board, reign.term.Epoch)
	require.NoError(t, store.ObserveRequests(t.Context(), []sync.Request{request("a")}))

	exec(t, d, "UPDATE leadership SET epoch = epoch + 1, resigned = false")
	require.ErrorIs(t, store.ObserveRequests(t.Context(), []sync.Request{request("b")}), sync.ErrNotLeader)
	receive(t, reign.ended, "the end of the reign")
	require.ErrorIs(t, reign.term.Check(), sync.ErrNotLeader)
	require.Greater(t, next(t, reign.replica).term.Epoch, reign.term.Epoch+1)
}

func TestElector_BeginsNoTermWhileATransactionOfTheLastOneIsOpen(t *testing.T) {
	t.Parallel()
	d, _ := newStore(t)
	exec(t, d, "UPDATE leadership SET resigned = true")
	tx, err := connect(t, d.config.URL()).Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, (&store{db: d, scope: board.String(), epoch: 1}).fence(t.Context(), tx))

	e := &election{t: t}
	r := e.join(d.config.URL())
	blocked := r.until(t, "a failure to begin", func(s State) bool { return s.Err != nil })
	var failure *Error
	require.ErrorAs(t, blocked.Err, &failure)
	require.Contains(t, []string{"55P03", "57014"}, failure.Code, "%v", blocked.Err)
	require.Empty(t, r.reigns)
	_, err = tx.Exec(t.Context(), "INSERT INTO cursors VALUES ($1, now())", board.String())
	require.NoError(t, err, "the old term's transaction is not disturbed")
	require.NoError(t, tx.Commit(t.Context()))
	require.GreaterOrEqual(t, next(t, r).term.Epoch, int64(2))
}

func TestElector_WaitsForLeadBeforeItGivesUpTheLock(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	e := &election{t: t}
	release, draining := make(chan struct{}), make(chan struct{})
	elector, err := NewElector(ElectorConfig{URL: d.config.URL, Scope: board, Lease: 5 * time.Second, Log: zap.NewNop()})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- elector.Run(ctx, func(ctx context.Context, term *Term) error {
			stop()
			<-ctx.Done()
			close(draining)
			<-release
			return term.Check() // what is left of the lease may be used to finish
		})
	}()
	receive(t, draining, "the drain")
	other := e.join(d.config.URL(), func(c *ElectorConfig) { c.Lease = 5 * time.Second })
	other.role(t, Standby)
	require.Empty(t, other.reigns)
	require.False(t, scalar[bool](t, d, "SELECT resigned FROM leadership"))
	close(release)
	require.NoError(t, receive(t, done, "the end of Run"))
	next(t, other)
}

func TestElector_TakesPartInTheElectionOfItsScopeOnly(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	for _, project := range []string{"ONE", "TWO"} {
		scope := Scope{Cluster: board.Cluster, Project: project}
		r := (&election{t: t}).join(d.config.URL(), func(c *ElectorConfig) { c.Scope = scope })
		require.Equal(t, int64(1), next(t, r).term.Epoch)
		require.NoError(t, d.Store(scope, 1).ObserveIssues(t.Context(), nil, t0))
	}
}

func TestNewElector_RefusesALeaseThatIsTooShort(t *testing.T) {
	t.Parallel()
	_, err := NewElector(ElectorConfig{URL: always("postgres://"), Lease: time.Second - 1, Log: zap.NewNop()})
	require.ErrorContains(t, err, "at least 1s")
}

func TestElector_RefusesAReadOnlyServer(t *testing.T) {
	t.Parallel()
	d := migrated(t)
	name := scalar[string](t, d, "SELECT current_database()")
	exec(t, d, "ALTER DATABASE "+name+" SET default_transaction_read_only = on")
	e := &election{t: t}
	r := e.join(d.config.URL())
	refused := r.until(t, "a refusal", func(s State) bool { return s.Err != nil })
	require.ErrorContains(t, refused.Err, "the server is read-only")
	require.Equal(t, Connecting, refused.Role)
	require.Empty(t, r.reigns)

	exec(
		t,
		d,
		"BEGIN; SET TRANSACTION READ WRITE; ALTER DATABASE "+name+" SET default_transaction_read_only = off; COMMIT",
	)
	next(t, r)
}

func TestElector_WaitsForAServerThatIsDownAndSaysSoOnce(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, open(t, server.URL("postgres")).Migrate(t.Context()))
	require.NoError(t, server.Stop(t.Context(), pgtest.Fast))

	log, lines := observed()
	e := &election{t: t}
	r := e.join(server.URL("postgres"), func(c *ElectorConfig) { c.Log = log })
	for range 4 {
		down := r.until(t, "a failed attempt", func(s State) bool { return s.Err != nil })
		require.True(t, Retryable(down.Err), "%v", down.Err)
	}
	require.Len(t, lines.FilterMessageSnippet("cannot take part").All(), 1)

	require.NoError(t, server.Start(t.Context()))
	reign := next(t, r)
	require.NoError(t, r.role(t, Leading).Err)
	require.Len(t, lines.FilterMessageSnippet("taking part in the election again").All(), 1)

	require.NoError(t, server.Restart(t.Context(), pgtest.Immediate))
	receive(t, reign.ended, "the end of the reign")
	require.Greater(t, next(t, r).term.Epoch, reign.term.Epoch)

	password, err := url.Parse(server.URL("postgres"))
	require.NoError(t, err)
	secret, _ := password.User.Password()
	require.NotEmpty(t, secret)
	for _, line := range lines.All() {
		require.NotContains(t, fmt.Sprint(line.Message, line.ContextMap()), secret)
	}
}

func TestElector_StopsInTimeWhenTheServerFreezes(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context(), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, open(t, server.URL("postgres")).Migrate(t.Context()))
	e := &election{t: t}
	r := e.join(server.URL("postgres"))
	reign := next(t, r)

	require.NoError(t, server.Pause(t.Context()))
	until := reign.term.Until()
	ended := receive(t, reign.ended, "the end of the reign")
	require.WithinDuration(t, until, ended, testLease*3/4, "with its lease")
	require.ErrorIs(t, reign.term.Check(), sync.ErrNotLeader)
	require.NoError(t, server.Resume())
	require.Greater(t, next(t, r).term.Epoch, reign.term.Epoch)
}
