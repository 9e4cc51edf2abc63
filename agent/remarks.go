package agent

import (
	"strings"
	stdsync "sync"
	"time"

	"go.uber.org/zap"
)

// remarkEvery is how often, at most, the same thing is logged again.
const remarkEvery = time.Minute

// remarks logs what strangers can cause as often as they like: each kind of it at once, and then
// once a minute at most, with how often it happened unlogged. Safe for concurrent use.
type remarks struct {
	log *zap.Logger

	mu    stdsync.Mutex
	kinds map[string]*remark
}

type remark struct {
	logged   time.Time
	unlogged int
}

func newRemarks(log *zap.Logger) *remarks {
	return &remarks{log: log, kinds: make(map[string]*remark)}
}

// warn logs the message, which must be one of few, unless it just did.
func (r *remarks) warn(message string, fields ...zap.Field) {
	if unlogged, ok := r.turn(message); ok {
		r.log.Warn(message, append(fields, zap.Int("unlogged_before", unlogged))...)
	}
}

// turn reports whether it is time to log the message again, and how often it was not.
func (r *remarks) turn(message string) (unlogged int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kind := r.kinds[message]
	if kind == nil {
		kind = &remark{}
		r.kinds[message] = kind
	}
	if now := time.Now(); now.Sub(kind.logged) >= remarkEvery {
		kind.logged, unlogged, kind.unlogged = now, kind.unlogged, 0
		return unlogged, true
	}
	kind.unlogged++
	return 0, false
}

// Write takes the lines of net/http about connections that came to nothing, such as failed
// handshakes.
func (r *remarks) Write(line []byte) (int, error) {
	r.warn("a connection came to nothing", zap.String("cause", strings.TrimSpace(string(line))))
	return len(line), nil
}
