package teleport

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
)

const (
	// defaultRefreshInterval is how often the credential files are read. They are polled, since
	// symlink swaps, as Kubernetes and tbot make them, escape a watch on the file.
	defaultRefreshInterval = 15 * time.Second
	// defaultPingInterval bounds, with the call's own deadline, how long a silent network goes
	// unnoticed.
	defaultPingInterval = 30 * time.Second
	// defaultRedialInterval is the pause between failed dials, each of which takes its own time
	// too.
	defaultRedialInterval = 5 * time.Second
)

// Run looks after the credentials and the connection until ctx ends, and returns nil then.
func (c *Client) Run(ctx context.Context) error {
	var refresh <-chan time.Time
	if c.cfg.RefreshIdentity {
		ticker := time.NewTicker(c.cfg.RefreshInterval)
		defer ticker.Stop()
		refresh = ticker.C
	}
	look := time.NewTimer(c.cfg.PingInterval)
	defer look.Stop()

	var reloaded string // the last failure to reload, to log a state once and not each time it is looked at
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-refresh:
			reloaded = c.refresh(reloaded)
		case <-look.C:
			look.Reset(c.lookAfter(ctx))
		}
	}
}

// Reload reads the credential files now. On an error, the credentials in use stay.
func (c *Client) Reload() error {
	changed, err := c.creds.reload(time.Now())
	if err != nil {
		return sideError("reload the credentials", err)
	}
	if changed {
		c.log.Info("Teleport credentials reloaded", zap.Stringer("files", c.creds.files), zap.Time("expiry", c.Expiry()))
	}
	return nil
}

// refresh is Reload on a timer. It takes and returns what went wrong, and logs that when it begins
// or changes.
func (c *Client) refresh(lastFailure string) string {
	err := c.Reload()
	if err == nil {
		return ""
	}
	if err.Error() != lastFailure {
		c.log.Warn("Teleport credentials not reloaded, those in use stay", zap.Time("expiry", c.Expiry()), zap.Error(err))
	}
	return err.Error()
}

// lookAfter pings over the connection, or dials if there is none, and returns when to look again.
func (c *Client) lookAfter(ctx context.Context) time.Duration {
	if api, err := c.connection(); err == nil {
		_, err := ping(ctx, api, c.cfg.CallTimeout)
		if !isSilence(err) || ctx.Err() != nil {
			return c.cfg.PingInterval
		}
		c.log.Warn("Teleport does not answer, connecting anew", zap.String("addr", c.cfg.Addr), zap.Error(err))
		c.drop(err)
	}
	err := c.dial(ctx)
	switch {
	case ctx.Err() != nil || errors.Is(err, errClosed):
		return c.cfg.PingInterval
	case err != nil:
		c.drop(err)
		c.log.Warn("Teleport is still out of reach", zap.Duration("again_in", c.cfg.RedialInterval), zap.Error(err))
		return c.cfg.RedialInterval
	}
	c.log.Info("connected to Teleport again", zap.String("addr", c.cfg.Addr))
	return c.cfg.PingInterval
}

// isSilence tells a connection that carries no answers from a Teleport that answers with a refusal.
func isSilence(err error) bool {
	if err == nil {
		return false
	}
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	default:
		return false
	}
}
