package teleport

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/teleport/api/utils"
	"github.com/gravitational/trace"

	"teleport-jira-agent/sync"
)

// pageSize keeps a page of large requests within maxMessageSize, and one page's work short.
const pageSize = 200

// Requests implements sync.Cluster. An error of page ends the list and is returned as it is.
func (c *Client) Requests(ctx context.Context, page func([]sync.Request) error) error {
	return c.eachPage(ctx, nil, func(found []*types.AccessRequestV3) error { return page(c.convertAll(found)) })
}

// requestPage is what is done with one page of a list. An error of it ends the list.
type requestPage func([]*types.AccessRequestV3) error

// eachPage calls page for each page of what Teleport lists; an error of page ends the list and is
// returned as it is.
func (c *Client) eachPage(ctx context.Context, filter *types.AccessRequestFilter, page requestPage) error {
	query := &proto.ListAccessRequestsRequest{Limit: pageSize, Filter: filter}
	for {
		answer, err := c.listPage(ctx, query)
		if err != nil {
			return err
		}
		if err := page(answer.AccessRequests); err != nil {
			return err
		}
		if answer.NextKey == "" {
			return nil
		}
		query.StartKey = answer.NextKey
	}
}

// listPage reads one page. An Auth Service too old for pages gives all requests as one.
func (c *Client) listPage(
	ctx context.Context,
	query *proto.ListAccessRequestsRequest,
) (*proto.ListAccessRequestsResponse, error) {
	var answer *proto.ListAccessRequestsResponse
	err := c.call(
		ctx,
		"list access requests",
		wholeSide,
		listTimeout,
		func(ctx context.Context, api *client.Client) error {
			var err error
			answer, err = api.ListAccessRequests(ctx, query)
			if trace.IsNotImplemented(err) {
				answer = &proto.ListAccessRequestsResponse{}
				answer.AccessRequests, err = api.ListAllAccessRequests(ctx, query)
			}
			return err
		},
	)
	return answer, err
}

// Request implements sync.Cluster. A request past its Expires is returned for as long as Teleport
// keeps it.
func (c *Client) Request(ctx context.Context, id string) (sync.Request, error) {
	op := "read access request " + id
	if id == "" { // an empty filter would match any request
		return sync.Request{}, requestError(op, sync.ErrNotFound)
	}
	var found []*types.AccessRequestV3
	err := c.call(ctx, op, readOne, c.cfg.CallTimeout, func(ctx context.Context, api *client.Client) error {
		var err error
		// Teleport looks a request up by ID in its backend; anything else would come from a cache.
		found, err = api.ListAllAccessRequests(
			ctx,
			&proto.ListAccessRequestsRequest{Filter: &types.AccessRequestFilter{ID: id}, Limit: 1},
		)
		return err
	})
	if err != nil {
		return sync.Request{}, err
	}
	for _, r := range found {
		if r.GetName() == id {
			return convert(r, c.webURL()), nil
		}
	}
	return sync.Request{}, requestError(op, sync.ErrNotFound)
}

// Decide implements sync.Cluster.
func (c *Client) Decide(ctx context.Context, id string, d sync.Decision) error {
	op := fmt.Sprintf("set access request %s to %s", id, d.State)
	var state types.RequestState
	switch d.State {
	case sync.StateApproved:
		state = types.RequestState_APPROVED
	case sync.StateDenied:
		state = types.RequestState_DENIED
	default:
		return &sync.Error{Side: side, Op: op, Permanent: true, Err: errors.New("a decision approves or denies")}
	}
	ctx = utils.WithDelegator(ctx, d.Delegator)
	return c.call(ctx, op, decideOnly, c.cfg.CallTimeout, func(ctx context.Context, api *client.Client) error {
		return api.SetAccessRequestState(
			ctx,
			types.AccessRequestUpdate{RequestID: id, State: state, Reason: cut(d.Reason, maxReason)},
		)
	})
}

func (c *Client) convertAll(requests []*types.AccessRequestV3) []sync.Request {
	webURL := c.webURL()
	out := make([]sync.Request, 0, len(requests))
	for _, r := range requests {
		out = append(out, convert(r, webURL))
	}
	return out
}

// errEnough ends a list that has shown what was looked for.
var errEnough = errors.New("seen enough")

// Listed implements sync.Cluster. The search finds the ID in the names of users, roles and
// resources, too.
func (c *Client) Listed(ctx context.Context, id string) (bool, error) {
	listed := false
	filter := &types.AccessRequestFilter{SearchKeywords: []string{id}}
	err := c.eachPage(ctx, filter, func(found []*types.AccessRequestV3) error {
		listed = slices.ContainsFunc(found, func(r *types.AccessRequestV3) bool { return r.GetName() == id })
		if listed {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return false, err
	}
	return listed, nil
}
