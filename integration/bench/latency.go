package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

const (
	// samples is how many requests a time is taken of.
	samples = 50
	// singles is the same where each waits for the one before.
	singles = 20
	// own is what the agent itself may take, beyond the answers of Jira and Teleport: to make an
	// issue, and to bring a decision to Teleport.
	ownCreate, ownDecision = 10 * time.Millisecond, 20 * time.Millisecond
)

// times are a distribution of what was measured.
type times []time.Duration

func (t times) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(t))
	return milliseconds(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)])
}

func (t times) mean() float64 {
	var total time.Duration
	for _, d := range t {
		total += d
	}
	return milliseconds(total / time.Duration(len(t)))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// latency is the time from a request to its issue, and by poll from a move to the state.
func latency(ctx context.Context, b *bench) ([]figure, error) {
	r, err := b.rig(ctx, setting{})
	if err != nil {
		return nil, err
	}
	defer r.close()
	var made times
	for range samples {
		start := time.Now()
		id, err := r.request(0)
		if err != nil {
			return nil, err
		}
		if _, err := r.issue(id); err != nil {
			return nil, err
		}
		made = append(made, time.Since(start))
		if err := r.logs("done", "action", "link", "request_id", id); err != nil {
			return nil, err
		}
	}
	moved, err := r.singles(func(n int) time.Duration { return time.Duration(n) * time.Second / singles })
	if err != nil {
		return nil, err
	}
	half := milliseconds(time.Second / 2)
	return []figure{
		{
			Name:  "request → issue, median",
			Value: made.quantile(0.5),
			Unit:  "ms",
			Bound: new(milliseconds(ownCreate)),
			Note:  fmt.Sprintf("Jira answers at once; p95 %.3g ms", made.quantile(0.95)),
		},
		{
			Name:  "move → state, polls of 1 s, mean",
			Value: moved.mean(),
			Unit:  "ms",
			Bound: new(half + milliseconds(ownDecision)),
			Note:  fmt.Sprintf("%d moves, each by itself, spread between two polls; max %.4g ms", singles, moved.quantile(1)),
		},
	}, nil
}

// webhook is the time from a move to the state with webhooks and without polls, each sent at the
// moment of the move: of single moves, and of 50 in a second.
func webhook(ctx context.Context, b *bench) ([]figure, error) {
	var all []figure
	for _, jiraTakes := range []time.Duration{0, 100 * time.Millisecond} {
		single, burst, err := webhookMoves(ctx, b, jiraTakes)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("move → state by webhook, Jira takes %s, ", jiraTakes)
		all = append(all,
			figure{
				Name: name + "median", Value: single.quantile(0.5), Unit: "ms", Bound: new(milliseconds(jiraTakes + ownDecision)),
				Note: fmt.Sprintf("%d moves, each by itself; p95 %.4g ms", singles, single.quantile(0.95)),
			},
			figure{
				Name:  name + "50 in a second, median",
				Value: burst.quantile(0.5),
				Unit:  "ms",
				Note:  fmt.Sprintf("p95 %.4g ms", burst.quantile(0.95)),
			})
	}
	return all, nil
}

func webhookMoves(ctx context.Context, b *bench, jiraTakes time.Duration) (single, burst times, err error) {
	cert, key := filepath.Join(b.dir, "tls.crt"), filepath.Join(b.dir, "tls.key")
	trusted, err := replica.Certify("bench", cert, key)
	if err != nil {
		return nil, nil, err
	}
	r, err := b.rig(ctx, setting{env: []string{
		"WEBHOOK_ENABLED=true", "WEBHOOK_LISTEN_ADDR=127.0.0.1:0", "WEBHOOK_SECRET=s3cret",
		"WEBHOOK_TLS_CERT_FILE=" + cert, "WEBHOOK_TLS_KEY_FILE=" + key, "SYNC_POLL_SCHEDULE=@every 1h", "SYNC_LOOKBACK=2h",
	}})
	if err != nil {
		return nil, nil, err
	}
	defer r.close()
	line, err := r.agent.WaitLog(r.ctx, "webhook listener")
	if err != nil {
		return nil, nil, err
	}
	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true,
		},
	}
	defer client.CloseIdleConnections()
	r.jira.SetWebhook(
		&jirasim.Webhook{URL: fmt.Sprintf("https://%s/", line.Fields["addr"]), Secret: "s3cret", Client: client},
	)
	defer r.jira.SetWebhook(nil)
	r.jira.SetLatency(jiraTakes)
	if single, err = r.singles(func(int) time.Duration { return 300 * time.Millisecond }); err != nil {
		return nil, nil, err
	}
	burst, err = r.moves()
	return single, burst, err
}

// singles lets a person move issues one after another, each some time after the one before was
// decided, and returns how long it took for each until Teleport had the state.
func (r *rig) singles(rest func(n int) time.Duration) (all times, err error) {
	for n := range singles {
		id, _, err := r.pending(0)
		if err != nil {
			return nil, err
		}
		if err := pause(r.ctx, rest(n)); err != nil {
			return nil, err
		}
		took, err := r.decided(id)
		if err != nil {
			return nil, err
		}
		all = append(all, took)
	}
	return all, nil
}

// moves lets people move issues within a second, and returns how long it took for each until
// Teleport had the state.
func (r *rig) moves() (times, error) {
	keys := make(map[string]string, samples)
	for range samples {
		id, key, err := r.pending(0)
		if err != nil {
			return nil, err
		}
		keys[id] = key
	}
	took, failed := make(times, samples), make([]error, samples)
	var group sync.WaitGroup
	for i, id := range slices.Sorted(maps.Keys(keys)) {
		group.Go(func() {
			<-time.After(time.Duration(i) * time.Second / samples)
			start := time.Now()
			if failed[i] = r.jira.Move(keys[id], "bob", "Approved"); failed[i] != nil {
				return
			}
			failed[i] = r.teleport.Wait(
				r.ctx,
				func(t *teleportsim.Server) bool { return t.State(id) == types.RequestState_APPROVED },
			)
			took[i] = time.Since(start)
		})
	}
	group.Wait()
	return took, errors.Join(failed...)
}
