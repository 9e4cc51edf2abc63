package sync

import (
	stdsync "sync"
	"time"
)

// Recent keeps answers that are believed for a while. It is safe for concurrent use.
type Recent[V any] struct {
	age  time.Duration
	most int

	mu   stdsync.Mutex
	kept map[string]recent[V]
}

type recent[V any] struct {
	answer V
	until  time.Time
}

// NewRecent makes one that keeps at most so many answers, each until it is so old.
func NewRecent[V any](most int, age time.Duration) *Recent[V] {
	return &Recent[V]{age: age, most: most, kept: make(map[string]recent[V])}
}

// Get is the answer to a question; ok is false when there is none, or it is too old at now.
func (r *Recent[V]) Get(question string, now time.Time) (answer V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.kept[question]
	return k.answer, ok && now.Before(k.until)
}

// Put keeps an answer to a question that was asked at now. Where there is no room all others are
// forgotten.
func (r *Recent[V]) Put(question string, answer V, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) >= r.most {
		clear(r.kept)
	}
	r.kept[question] = recent[V]{answer: answer, until: now.Add(r.age)}
}
