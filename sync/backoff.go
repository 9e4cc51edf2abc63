package sync

import (
	"math/rand/v2"
	"time"
)

// Back-off of one request: full jitter below a ceiling that doubles with each failure.
const (
	firstBackoff = 5 * time.Second
	maxBackoff   = 15 * time.Minute
	// firstParked is when a parked request is tried again although no fact changed, twice as long
	// later each time, up to parkedRetry: what was refused once, a right that somebody was just
	// changing, may be granted a while later.
	firstParked = 10 * time.Minute
	parkedRetry = 24 * time.Hour
	// sideBackoff and maxSideBackoff bound the pause of a whole side, and of the loops that read
	// it.
	sideBackoff    = time.Second
	maxSideBackoff = 30 * time.Second
)

// backoff is a random wait after the given number of failures in a row, at least 1. The lower half
// of the range is left out: a retry at once is what a side in trouble needs least.
func backoff(failures int, first, ceiling time.Duration) time.Duration {
	d := ceiling
	if shift := failures - 1; shift < 20 && first<<shift < ceiling {
		d = first << shift
	}
	return d/2 + rand.N(d/2)
}
