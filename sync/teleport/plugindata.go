package teleport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/sync"
)

// pluginName and the keys are those of Teleport's own Jira plugin, so that each finds the other's
// issues
// (https://github.com/gravitational/teleport/blob/master/integrations/access/jira/plugindata.go).
// An empty value and an absent key are the same.
const (
	pluginName = "jira"

	keyIssueID       = "issue_id"
	keyIssueKey      = "issue_key"
	keyUser          = "user"
	keyRoles         = "roles"   // joined with commas
	keyCreated       = "created" // seconds since the epoch
	keyRequestReason = "request_reason"
	keyReviews       = "reviews_count"
	keyResolution    = "resolution" // in lower case
	keyResolveReason = "resolve_reason"

	// keyClaim is the agent's own, as is the next: the mark of who claimed the request. The
	// official plugin keeps keys that it does not know.
	keyClaim = "claim"
	// keyAfter is the latest issue key that was known then.
	keyAfter = "claim_after"
)

// maxText bounds each free text in plugin data, in bytes: the row, which all plugins share, may
// hold 1,000,000.
const maxText = 4096

// errNoPluginData: the row is gone (Teleport drops it an hour after the access would have ended) or
// was never written.
var errNoPluginData = errors.New("no plugin data")

// claimData is the first write for a request, as the official plugin makes it. expected demands
// that nobody else was there: of no key a value.
func claimData(r sync.Request) (set, expected map[string]string) {
	set = map[string]string{
		keyUser:          cut(r.User, maxText),
		keyRoles:         strings.Join(r.Roles, ","),
		keyRequestReason: cut(r.Reason, maxText),
		keyReviews:       count(len(r.Reviews)),
	}
	if !r.Created.IsZero() {
		set[keyCreated] = strconv.FormatInt(r.Created.Unix(), 10)
	}
	expected = make(map[string]string)
	for _, key := range []string{
		keyIssueID, keyIssueKey, keyUser, keyRoles, keyCreated, keyRequestReason, keyReviews, keyResolution, keyResolveReason,
	} {
		expected[key] = ""
	}
	return set, expected
}

// resolveData is the write of a resolution over data. expected pins what the write is based on.
func resolveData(data map[string]string, resolution, reason string, reviews int) (set, expected map[string]string) {
	set = map[string]string{
		keyResolution:    resolution,
		keyResolveReason: cut(reason, maxText),
		keyReviews:       count(reviews),
	}
	expected = map[string]string{
		keyIssueID:    data[keyIssueID],
		keyResolution: data[keyResolution],
	}
	return set, expected
}

// count is a number as plugin data keeps it: none is empty.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// contains reports whether data has all of want; an absent key and an empty value are the same.
func contains(data, want map[string]string) bool {
	for key, value := range want {
		if data[key] != value {
			return false
		}
	}
	return true
}

// Claim implements sync.Cluster. The usual case, nobody was there, costs one call.
func (c *Client) Claim(
	ctx context.Context,
	r sync.Request,
	mark, after string,
) (ref sync.IssueRef, mine bool, err error) {
	op := "claim access request " + r.ID
	set, expected := claimData(r)
	set[keyClaim], set[keyAfter] = mark, after
	err = c.update(ctx, op, r.ID, set, expected)
	if err == nil {
		return sync.IssueRef{}, true, nil
	}
	if !errors.Is(err, sync.ErrChanged) {
		return sync.IssueRef{}, false, err
	}
	data, readErr := c.pluginData(ctx, op, r.ID)
	if errors.Is(readErr, errNoPluginData) { // it was there a moment ago
		return sync.IssueRef{}, false, err
	}
	if readErr != nil {
		return sync.IssueRef{}, false, readErr
	}
	ref = sync.IssueRef{ID: data[keyIssueID], Key: data[keyIssueKey]}
	return ref, ref.ID == "" && data[keyClaim] == mark, nil
}

// Reclaim implements sync.Cluster.
func (c *Client) Reclaim(ctx context.Context, requestID, mark, after string) error {
	return c.update(ctx, "take over the claim of access request "+requestID, requestID,
		map[string]string{keyClaim: mark, keyAfter: after}, map[string]string{keyIssueID: ""})
}

// Linked implements sync.Cluster.
func (c *Client) Linked(ctx context.Context, requestID string) (sync.PluginData, error) {
	data, err := c.pluginData(ctx, "look up the issue of access request "+requestID, requestID)
	if errors.Is(err, errNoPluginData) {
		return sync.PluginData{}, nil
	}
	return sync.PluginData{
		Claimed: err == nil,
		Issue:   sync.IssueRef{ID: data[keyIssueID], Key: data[keyIssueKey]}, Resolution: sync.Outcome(data[keyResolution]),
		Mark: data[keyClaim], After: data[keyAfter],
	}, err
}

// Link implements sync.Cluster.
func (c *Client) Link(ctx context.Context, requestID string, ref sync.IssueRef) error {
	op := fmt.Sprintf("link access request %s to issue %s", requestID, ref.Key)
	if ref.ID == "" { // would be written as "no issue"
		return &sync.Error{Side: side, Op: op, Permanent: true, Err: errors.New("the issue has no id")}
	}
	set := map[string]string{keyIssueID: ref.ID, keyIssueKey: ref.Key}
	err := c.update(ctx, op, requestID, set, map[string]string{keyIssueID: ""})
	if !errors.Is(err, sync.ErrChanged) {
		return err
	}
	data, readErr := c.pluginData(ctx, op, requestID)
	switch {
	case errors.Is(readErr, errNoPluginData):
		return err
	case readErr != nil:
		return readErr
	case data[keyIssueID] == ref.ID:
		return nil
	}
	return requestError(
		op,
		fmt.Errorf("%w: the plugin data names issue %s (id %s)", sync.ErrChanged, data[keyIssueKey], data[keyIssueID]),
	)
}

// Resolve implements sync.Cluster. A resolution that is there already stays; a different one is
// replaced. The usual case, the issue is named and the first resolution recorded, costs one call.
func (c *Client) Resolve(
	ctx context.Context,
	requestID string,
	ref sync.IssueRef,
	resolution, reason string,
	reviews int,
) error {
	op := fmt.Sprintf("record resolution %s of access request %s", resolution, requestID)
	if ref.ID != "" {
		set, expected := resolveData(map[string]string{keyIssueID: ref.ID}, resolution, reason, reviews)
		err := c.update(ctx, op, requestID, set, expected)
		switch {
		case errors.Is(err, sync.ErrNotFound):
			return nil
		case !errors.Is(err, sync.ErrChanged):
			return err
		}
	}
	data, err := c.pluginData(ctx, op, requestID)
	if errors.Is(err, errNoPluginData) {
		return nil
	}
	if err != nil {
		return err
	}
	set, expected := resolveData(data, resolution, reason, reviews)
	if contains(data, set) {
		return nil
	}
	err = c.update(ctx, op, requestID, set, expected)
	if errors.Is(err, sync.ErrNotFound) {
		return nil
	}
	return err
}

// pluginData reads the plugin's entry for one request, or errNoPluginData.
func (c *Client) pluginData(ctx context.Context, op, requestID string) (map[string]string, error) {
	var rows []types.PluginData
	err := c.call(
		ctx,
		op+": read plugin data",
		readOne,
		c.cfg.CallTimeout,
		func(ctx context.Context, api *client.Client) error {
			var err error
			rows, err = api.GetPluginData(
				ctx,
				types.PluginDataFilter{Kind: types.KindAccessRequest, Resource: requestID, Plugin: pluginName},
			)
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if entry := row.Entries()[pluginName]; entry != nil && row.GetName() == requestID {
			return maps.Clone(entry.Data), nil
		}
	}
	return nil, errNoPluginData
}

// update writes the plugin's entry for one request by compare-and-swap.
func (c *Client) update(ctx context.Context, op, requestID string, set, expected map[string]string) error {
	return c.call(ctx, op, writeData, c.cfg.CallTimeout, func(ctx context.Context, api *client.Client) error {
		return api.UpdatePluginData(ctx, types.PluginDataUpdateParams{
			Kind:     types.KindAccessRequest,
			Resource: requestID,
			Plugin:   pluginName,
			Set:      set,
			Expect:   expected,
		})
	})
}
