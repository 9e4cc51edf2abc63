package jira

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	stdsync "sync"
	"time"

	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// Jira gives out the keys of a project one after the other, each when a create begins, and a read
// by key asks the database and not the search index. So the keys after the last one known tell
// whether a create happened. Some keys have no issue: the create failed, or is not finished, or the
// issue was deleted, or this account may not see it.

const (
	// keysAtOnce is how many keys Cloud is asked for in one call.
	keysAtOnce = 100
	// gapCloud and gapDataCenter are how many keys in a row are missing where the keys end. On Data
	// Center each is a call.
	gapCloud      = 20
	gapDataCenter = 5
	// gapUnknown is the same where no key of the project is known at all, since its first issues
	// may all be gone.
	gapUnknown = 25
	// maxKeysCloud and maxKeysDataCenter bound the keys that one Trace looks at: at 10 calls a
	// second some 5 s and 30 s.
	maxKeysCloud      = 5000
	maxKeysDataCenter = 300
	// scanAge is how long what a scan has seen serves other requests.
	scanAge = time.Second
	// lateCreate is how long a missing key below others may still get its issue.
	lateCreate = 2 * time.Minute
	// oldFound is how many issues that were not changed since a time show that no issue below was
	// made after it.
	oldFound = 3
	// maxTraced bounds the agent's own issues that are remembered, at some 500 bytes each.
	maxTraced = 10_000
)

// traces is what is known of a project's keys. The zero value is ready.
type traces struct {
	mu   stdsync.Mutex
	last int // the highest key seen in any answer

	// What follows belongs to whoever holds turn.
	turn    stdsync.Mutex
	low     int       // keys from low to high were looked at
	high    int       // the highest that had an issue
	floor   time.Time // no issue below low was made after it; zero: not known
	ended   time.Time // when the last scan that reached the end did so
	missing map[int]time.Time
	own     map[string][]sync.Issue // the agent's issues, by the request that their property names
	traced  int
}

// noteKey remembers the key of an issue that any answer shows.
func (c *Client) noteKey(key string) {
	if n := c.keyNumber(key); n > 0 {
		c.traces.mu.Lock()
		defer c.traces.mu.Unlock()
		c.traces.last = max(c.traces.last, n)
	}
}

// keyNumber is the number of a key of the configured project; 0 for any other.
func (c *Client) keyNumber(key string) int {
	at := strings.LastIndexByte(key, '-')
	if at < 0 || !strings.EqualFold(key[:at], c.cfg.Project) {
		return 0
	}
	n, _ := strconv.Atoi(key[at+1:])
	return n
}

func (c *Client) key(n int) string { return fmt.Sprintf("%s-%d", c.cfg.Project, n) }

// LastKey is the latest issue key of the project that any answer has shown, or, before the first,
// the newest that the search index shows.
func (c *Client) LastKey(ctx context.Context) (string, error) {
	n := c.lastKey()
	if n == 0 {
		var err error
		s := &scan{Client: c, traces: &c.traces, op: "find the newest issue of project " + c.cfg.Project}
		if n, err = s.newestKey(ctx); err != nil {
			return "", err
		}
	}
	return c.key(n), nil
}

func (c *Client) lastKey() int {
	c.traces.mu.Lock()
	defer c.traces.mu.Unlock()
	return c.traces.last
}

// Trace looks for the issues that the agent's account made for a request by the keys that Jira has
// given out. One scan serves all requests that ask within scanAge. What one call does not get to,
// the next goes on from.
func (c *Client) Trace(
	ctx context.Context, requestID, after string, since time.Time,
) (found []sync.Issue, complete bool, err error) {
	c.traces.turn.Lock()
	defer c.traces.turn.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, false, unanswered(request{op: "look for the issue of request " + requestID}, err)
	}
	s := &scan{Client: c, traces: &c.traces, left: maxKeysDataCenter, op: "look for the issue of request " + requestID}
	if c.deployment == Cloud {
		s.left = maxKeysCloud
	}
	if complete, err = s.run(ctx, after, since); err != nil {
		return nil, false, err
	}
	if !complete {
		c.log.Warn("not all issue keys could be looked at", zap.String("request_id", requestID), zap.String("after", after),
			zap.Int("low", s.low), zap.Int("high", s.high), zap.Int("keys_missing", len(s.missing)))
	}
	for _, issue := range s.own[requestID] {
		now, err := c.readIssue(ctx, issue.ID)
		switch {
		case errors.Is(err, sync.ErrNotFound):
		case err != nil:
			return nil, false, err
		case now.ByAgent && now.Property == requestID:
			found = append(found, now)
		}
	}
	return inOrder(found), complete, nil
}

// scan is one look at the keys.
type scan struct {
	*Client
	*traces
	op   string
	left int // how many keys may still be looked at
}

// run looks at all keys after a number, or since a time where that is zero, and reports whether it
// got to all.
func (s *scan) run(ctx context.Context, afterKey string, since time.Time) (complete bool, err error) {
	after := s.keyNumber(afterKey)
	known := max(after, s.lastKey())
	if known == 0 {
		if known, err = s.newestKey(ctx); err != nil {
			return false, err
		}
	}
	start := max(1, known) // the first key to look at, going up
	if afterKey != "" {
		start = after + 1
	}
	if s.missing == nil || start > s.high+keysAtOnce || s.traced > maxTraced {
		s.low, s.high, s.floor, s.ended = start, start-1, time.Time{}, time.Time{}
		s.missing, s.own, s.traced = make(map[int]time.Time), make(map[string][]sync.Issue), 0
	}
	if time.Since(s.ended) > scanAge {
		if complete, err = s.goUp(ctx, known); err != nil || !complete {
			return false, err
		}
		s.ended = time.Now()
	}
	if afterKey != "" {
		since = time.Time{} // the key says how far down
	}
	return s.goDown(ctx, after, since)
}

// goUp asks again for keys that were missing, and then for those above until no more have an issue.
func (s *scan) goUp(ctx context.Context, known int) (complete bool, err error) {
	var again []int
	for n, first := range s.missing {
		if time.Since(first) > lateCreate {
			delete(s.missing, n)
		} else {
			again = append(again, n)
		}
	}
	slices.Sort(again)
	gap, size := gapDataCenter, 1
	if s.deployment == Cloud {
		gap, size = gapCloud, keysAtOnce
	}
	if known == 0 {
		gap = gapUnknown
	}
	for keys := range slices.Chunk(again, size) {
		if len(keys) > s.left {
			return false, nil
		}
		if _, err := s.look(ctx, keys); err != nil {
			return false, err
		}
	}
	for next := s.high + 1; next <= max(s.high+gap, known); next += size {
		if s.left < size {
			return false, nil
		}
		keys := make([]int, size)
		for i := range keys {
			keys[i] = next + i
		}
		if _, err := s.look(ctx, keys); err != nil {
			return false, err
		}
	}
	return true, nil
}

// goDown looks at the keys below those that were looked at: down to after, or to where issues are
// older than since.
func (s *scan) goDown(ctx context.Context, after int, since time.Time) (complete bool, err error) {
	size := 1
	if s.deployment == Cloud {
		size = keysAtOnce
	}
	for old := 0; s.low > after+1; {
		if !since.IsZero() && !s.floor.IsZero() && !since.Before(s.floor) {
			return true, nil
		}
		var keys []int
		for n := s.low - 1; n > after && len(keys) < size; n-- {
			keys = append(keys, n)
		}
		if len(keys) > s.left {
			return false, nil
		}
		found, err := s.look(ctx, keys)
		if err != nil {
			return false, err
		}
		s.low = keys[len(keys)-1]
		for _, i := range found {
			if i.Updated.Before(since) {
				old++
			}
		}
		if old >= oldFound && !since.IsZero() {
			s.floor = since
		}
	}
	return true, nil
}

// look reads the issues with these keys, and notes which are the agent's and which keys have none.
func (s *scan) look(ctx context.Context, keys []int) ([]sync.Issue, error) {
	s.left -= len(keys)
	found, err := s.byKeys(ctx, keys)
	if err != nil {
		return nil, err
	}
	there := make(map[int]bool)
	for _, i := range found {
		there[s.keyNumber(i.Key)] = true
		known := func(o sync.Issue) bool { return o.ID == i.ID }
		if i.ByAgent && i.Property != "" && !slices.ContainsFunc(s.own[i.Property], known) {
			s.traced++
			s.own[i.Property] = append(s.own[i.Property], i)
		}
	}
	if len(keys) == 1 && len(found) == 1 {
		there[keys[0]] = true // under another key, where it was moved to another project
	}
	top := s.high
	for _, n := range keys {
		if there[n] {
			s.high = max(s.high, n)
			delete(s.missing, n)
		}
	}
	// What lies between the keys that were looked at before and the highest that is there now is
	// missing.
	for _, n := range keys {
		if _, noted := s.missing[n]; !there[n] && !noted && n < s.high {
			s.missing[n] = time.Now()
		}
	}
	for n := top + 1; n < s.high && n < keys[0]; n++ { // looked at one by one before this one was found
		if _, noted := s.missing[n]; !noted {
			s.missing[n] = time.Now()
		}
	}
	return found, nil
}

// byKeys reads issues by key past the search index. An issue that moved to another project comes
// with its new key.
func (s *scan) byKeys(ctx context.Context, numbers []int) ([]sync.Issue, error) {
	keys := make([]string, len(numbers))
	for i, n := range numbers {
		keys[i] = s.key(n)
	}
	return s.issues(ctx, keys, pageSize, s.bulkKeys)
}

// bulkKeys is byKeys where Jira reads many issues at once.
func (s *scan) bulkKeys(ctx context.Context, keys []string) (found []sync.Issue, rest []string, err error) {
	if s.deployment != Cloud {
		return nil, keys, nil
	}
	l, offered, err := s.bulkFetch(ctx, keys, propertyKey)
	if err != nil || !offered {
		return nil, keys, err
	}
	hits := s.readable(l)
	if len(hits) < len(l.issues) {
		return nil, nil, unreadable(search{op: s.op})
	}
	for _, hit := range hits {
		found = append(found, hit.Issue)
	}
	return found, nil, nil
}

// newestKey is the newest key that the search index shows; 0 where it shows no issue of the
// project.
func (s *scan) newestKey(ctx context.Context) (int, error) {
	r := request{
		op: s.op, method: http.MethodPost, endpoint: "search", scope: sync.ScopeSide,
		body: map[string]any{
			"jql":    "project = " + quoted(s.cfg.Project) + " ORDER BY created DESC",
			"fields": []string{"created"}, "maxResults": 1,
		},
	}
	if s.deployment == Cloud {
		r.endpoint = "search/jql"
	}
	var answer struct {
		Issues []json.RawMessage `json:"issues"`
	}
	if _, err := s.do(ctx, r, &answer); err != nil || len(answer.Issues) == 0 {
		return 0, err
	}
	var newest struct{ Key string }
	if err := json.Unmarshal(answer.Issues[0], &newest); err != nil {
		return 0, failure(r, err)
	}
	s.noteKey(newest.Key)
	return s.keyNumber(newest.Key), nil
}
