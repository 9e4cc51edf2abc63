package db

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// session is the elector's connection. The lock belongs to it and ends with it; after any error it
// is closed, never used again, because the server may have granted what the client gave up waiting
// for.
type session struct {
	*Elector
	conn    *pgx.Conn
	healthy bool // it could stand by or lead
}

// connect opens a session and verifies that it can carry the lock.
func (e *Elector) connect(ctx context.Context) (*session, error) {
	const op = "connect for the election"
	conn, err := dedicated(ctx, e.config.URL(), e.config.Instance, nil)
	if err != nil {
		return nil, failure(op, err)
	}
	s := &session{Elector: e, conn: conn}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	if err := s.verify(ctx); err != nil {
		s.close()
		return nil, failure(op, err)
	}
	return s, nil
}

// verify refuses what would break the protocol unseen.
func (s *session) verify(ctx context.Context) error {
	var pid uint32
	var version int
	err := s.conn.QueryRow(ctx, "SELECT pg_backend_pid(), current_setting('server_version_num')::int "+
		"/ 10000", pgx.QueryExecModeSimpleProtocol).
		Scan(&pid, &version)
	if err != nil {
		return err
	}
	if version < oldestServer {
		return fmt.Errorf(
			"%w: it needs PostgreSQL %d or newer, the server is version %d",
			ErrUnsuitable,
			oldestServer,
			version,
		)
	}
	// A pooler hands out process numbers of its own.
	if told := s.conn.PgConn().PID(); told != pid {
		return fmt.Errorf("%w: a connection pooler stands before the server (process %d answered for process %d), and the "+
			"leader's lock needs a session of its own; use the server's own address",
			ErrUnsuitable, pid, told)
	}
	limit := lockTime(s.config.Lease)
	err = configure(ctx, s.conn, map[string]time.Duration{
		"idle_session_timeout":                limit,
		"idle_in_transaction_session_timeout": limit,
		"statement_timeout":                   s.callTime(),
		"lock_timeout":                        s.callTime(),
	})
	if err != nil {
		return err
	}
	var set int64
	if err := s.conn.QueryRow(ctx, "SELECT setting::bigint FROM pg_settings WHERE name = 'idle_session_timeout'").
		Scan(&set); err != nil {
		return err
	}
	if set != limit.Milliseconds() {
		return fmt.Errorf("%w: idle_session_timeout is %d ms after it was set to %d ms, so a frozen leader would keep the "+
			"lock", ErrUnsuitable, set, limit.Milliseconds())
	}
	if err := s.outlast(ctx, limit); err != nil {
		return err
	}
	// With it the server notices within a second that a client died amid a statement. Some systems
	// and providers do not have it.
	if err := configure(
		ctx,
		s.conn,
		map[string]time.Duration{"client_connection_check_interval": time.Second},
	); err != nil {
		s.config.Log.Debug("client_connection_check_interval cannot be set", zap.Error(failure("configure the session", err)))
	}
	// By this lock, which all replicas of the scope share and nobody waits for, View.Overview finds
	// them.
	_, err = s.conn.Exec(ctx, "SELECT pg_advisory_lock_shared($1::int4, $2::int4)", memberClass, s.object)
	if err != nil {
		return err
	}
	_, err = s.conn.Exec(ctx, "LISTEN "+s.channel)
	return err
}

// outlast lets the server bear with a silent network for at least as long as with a silent session.
// Where it gives up sooner, by the server's configuration or by parameters of the URL, a leader
// that is well inside its lease would lose the lock to a short break. That costs a change of leader
// and not safety, since the next one settles; so a setting that cannot be raised is no reason to
// refuse the server.
// https://www.postgresql.org/docs/current/runtime-config-connection.html#RUNTIME-CONFIG-TCP-SETTINGS
func (s *session) outlast(ctx context.Context, limit time.Duration) error {
	var timeout, keepalive int64 // in milliseconds; zero: the system's own, which are far longer
	err := s.conn.QueryRow(ctx, `
		SELECT current.timeout, (current.idle + current.interval * current.count) * 1000 FROM (
			SELECT max(setting::bigint) FILTER (WHERE name = 'tcp_user_timeout') AS timeout,
				max(setting::bigint) FILTER (WHERE name = 'tcp_keepalives_idle') AS idle,
				max(setting::bigint) FILTER (WHERE name = 'tcp_keepalives_interval') AS interval,
				max(setting::bigint) FILTER (WHERE name = 'tcp_keepalives_count') AS count
			FROM pg_settings WHERE name LIKE 'tcp%') AS current`).Scan(&timeout, &keepalive)
	if err != nil {
		return err
	}
	for name, borne := range map[string]int64{"tcp_user_timeout": timeout, "tcp_keepalives_idle": keepalive} {
		if borne == 0 || borne >= limit.Milliseconds() {
			continue
		}
		err := failure("configure the session", configure(ctx, s.conn, map[string]time.Duration{name: limit}))
		s.config.Log.Info(
			"the server would give up a silent network before a silent session; raised for the election's "+
				"session",
			zap.String("setting", name),
			zap.Int64("bears_ms", borne),
			zap.Int64("session_ms", limit.Milliseconds()),
			zap.Error(err),
		)
	}
	return nil
}

// worked notes that the session can take part.
func (s *session) worked() {
	s.healthy = true
	s.recovered()
}

// acquire stands by until the session has the lock, and returns when it surely had it. The lock is
// asked for and not waited for: a waiting statement would hold back vacuum on the whole server.
func (s *session) acquire(ctx context.Context) (acquired time.Time, err error) {
	for {
		won, err := s.tryLock(ctx)
		if err != nil {
			return time.Time{}, failure("ask for the leader's lock", err)
		}
		if won {
			return time.Now(), nil
		}
		if !s.healthy {
			s.worked()
			s.enter(State{Role: Standby})
			s.config.Log.Info("standing by")
		}
		told, err := s.wait(ctx, time.Now().Add(s.pollInterval()))
		if err != nil {
			return time.Time{}, failure("stand by", err)
		}
		if told {
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(notifyJitter)):
			}
		}
		if ctx.Err() != nil {
			return time.Time{}, ctx.Err()
		}
	}
}

func (s *session) tryLock(ctx context.Context) (won bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.callTime())
	defer cancel()
	var readOnly, standby bool
	err = s.conn.QueryRow(ctx, `
		SELECT read_only, pg_is_in_recovery(),
			CASE WHEN read_only THEN false ELSE pg_try_advisory_lock($1::int4, $2::int4) END
		FROM (SELECT current_setting('transaction_read_only')::bool AS read_only) AS s`,
		lockClass, s.object).Scan(&readOnly, &standby, &won)
	switch {
	case err != nil:
		return false, err
	case standby:
		return false, errStandby
	case readOnly:
		return false, errWritesOff
	}
	return won, nil
}

// wait sleeps until a time, or until ctx ends, or until a leader's resignation is notified (told).
// It passes hints on, and reads the socket all the time, so that the end of the session is noticed
// at once: that is its error.
func (s *session) wait(ctx context.Context, until time.Time) (told bool, err error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		notification, err := s.conn.WaitForNotification(ctx)
		switch {
		case err == nil && notification.Channel == s.channel:
			return true, nil
		case err == nil:
			s.passOn(notification.Payload)
		case err != nil && ctx.Err() != nil && !s.conn.IsClosed():
			return false, nil
		case err != nil:
			return false, err
		}
		if ctx.Err() != nil ||
			!time.Now().Before(until) { // notifications that are there already are told without a look at either
			return false, nil
		}
	}
}

// asked is what a notification on the hints' channel says when it is no hint: an operator wants
// both sides compared (View.Ask).
const asked = "compare"

// passOn tells the process what the leader was told.
func (s *session) passOn(payload string) {
	tell := s.config.OnHint
	if payload == asked {
		tell = s.config.OnAsk
	}
	if tell != nil {
		tell()
	}
}

// begin starts the next term. handedOver tells that the leader before had resigned. That mark is
// taken away with the same statement, so that it says nothing about this term until this term's own
// leader resigns: a candidate that stops while it settles leaves it off. The statement waits for
// transactions that are fenced by the term before; if they take too long the session ends, and the
// lock with it.
func (s *session) begin(ctx context.Context) (term *Term, handedOver bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Lease)
	defer cancel()
	start := time.Now()
	scope := s.config.Scope.String()
	_, err = s.conn.Exec(ctx, `
		INSERT INTO leadership (name, epoch, term, holder, resigned) VALUES ($1, 0, $2, '', true) ON CONFLICT DO NOTHING`,
		scope, uuid.Nil.String())
	if err != nil {
		return nil, false, failure("begin a term", err)
	}
	if _, err := s.conn.Exec(ctx, "LISTEN "+s.config.Scope.hintChannel()); err != nil {
		return nil, false, failure("begin a term", err)
	}
	var epoch int64
	err = s.conn.QueryRow(ctx, `
		WITH before AS (SELECT epoch, resigned FROM leadership WHERE name = $1 FOR UPDATE)
		UPDATE leadership AS l SET epoch = before.epoch + 1, term = $2, holder = $3, acquired_at = now(), renewed_at = now(),
			resigned = false
		FROM before WHERE l.name = $1 RETURNING l.epoch, before.resigned`, scope, uuid.NewString(),
		clean(s.config.Instance)).Scan(&epoch, &handedOver)
	if err != nil {
		return nil, false, failure("begin a term", err)
	}
	return newTerm(epoch, s.config.Lease, start), handedOver, nil
}

// settle holds the lock without working until a time. When ctx ends before that, it gives the lock
// up without a word about the leader before, which may still be inside its lease.
func (s *session) settle(ctx context.Context, term *Term, until time.Time) error {
	settling, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if err := s.hold(settling, term); err != nil {
		return err
	}
	if ctx.Err() != nil {
		s.unlock(ctx)
		return ctx.Err()
	}
	return nil
}

// lead runs the leader's work while it holds the lease, and returns when the work has returned:
// with what it returned, and why the lease was lost if it was.
func (s *session) lead(ctx context.Context, term *Term, lead func(context.Context, *Term) error) (result, lost error) {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	term.onLoss(func(cause error) { cancel(cause) })

	watch, wake := context.WithCancel(work)
	defer wake()
	returned := make(chan error, 1)
	go func() {
		defer wake()
		returned <- lead(work, term)
	}()
	if err := s.hold(watch, term); err != nil {
		term.end(err)
	}
	result = <-returned
	return result, term.lossCause()
}

// hold sends heartbeats until ctx ends. Its error says why the lease is lost.
func (s *session) hold(ctx context.Context, term *Term) error {
	for beat := time.Now().Add(s.heartbeatInterval()); ; {
		if _, err := s.wait(ctx, beat); err != nil {
			return fmt.Errorf("%w: the leader's session ended: %w", sync.ErrNotLeader, failure("hold the leader's lock", err))
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the lease is not lost by that
		}
		if now := time.Now(); !now.Before(beat) {
			if err := s.heartbeat(ctx, term, now); err != nil {
				return err
			}
			beat = now.Add(s.heartbeatInterval())
		}
	}
}

// heartbeat proves that the session lives, that the term is still the present one and that the
// server takes writes, and resets the server's idle timeout: a leader that could not record what it
// does does nothing. What it writes is no part of a key, so it does not wait for transactions
// behind the fence. It outlives ctx, for a statement that is broken off would cost the session.
func (s *session) heartbeat(ctx context.Context, term *Term, start time.Time) error {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), term.Until())
	defer cancel()
	const renew = "UPDATE leadership SET renewed_at = now() WHERE name = $1 AND epoch = $2"
	tag, err := s.conn.Exec(ctx, renew, s.config.Scope.String(), term.Epoch)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the heartbeat failed: %w", sync.ErrNotLeader, failure("send a heartbeat", err))
	case tag.RowsAffected() == 0:
		return fmt.Errorf("%w: another term than epoch %d has begun", sync.ErrNotLeader, term.Epoch)
	}
	if err := term.extend(start); err != nil {
		return err
	}
	state := s.State()
	state.LeaseUntil = term.Until()
	s.enter(state)
	return nil
}

// resign hands the leadership over, when no work of the term goes on any more. It reports whether
// it could: without a live session the next leader waits, as after a crash.
func (s *session) resign(ctx context.Context, term *Term) bool {
	if s.conn.IsClosed() {
		return false
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.callTime())
	defer cancel()
	tag, err := s.conn.Exec(
		call,
		"UPDATE leadership SET resigned = true WHERE name = $1 AND epoch = $2",
		s.config.Scope.String(),
		term.Epoch,
	)
	if err != nil {
		return false
	}
	s.unlock(ctx)
	return tag.RowsAffected() == 1
}

// unlock frees the lock and wakes the standbys. If it fails, the end of the session does the
// former.
func (s *session) unlock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.callTime())
	defer cancel()
	_, err := s.conn.Exec(
		ctx,
		"SELECT pg_advisory_unlock($1::int4, $2::int4), pg_notify($3, '')",
		lockClass,
		s.object,
		s.channel,
	)
	if err != nil {
		s.config.Log.Debug("the leader's lock ends with its session", zap.Error(failure("unlock", err)))
	}
}

// close ends the session, and with it whatever it holds.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.conn.Close(ctx) //nolint:gosec // it is gone either way
}
