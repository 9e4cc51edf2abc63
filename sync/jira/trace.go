package jira

import (
	"context"
	"time"

	"teleport-jira-agent/sync"
)

// LastKey implements sync.Tracker.
func (c *Client) LastKey() string { return "" }

// Trace implements sync.Tracker.
func (c *Client) Trace(context.Context, string, string, time.Time) (found []sync.Issue, complete bool, err error) {
	return nil, false, nil
}

// Statuses implements sync.Tracker.
func (c *Client) Statuses(context.Context) ([]sync.Status, error) { return nil, nil }
