package teleport

import (
	"context"
	"errors"
	"slices"

	"github.com/gravitational/teleport/api/client"
	"github.com/gravitational/teleport/api/client/proto"
	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/sync"
)

// ListRight implements sync.Cluster. It reads the agent's own roles, as everybody may. Where they
// do not tell, a request by somebody else in the list does: without the right Teleport shows the
// agent's own, and those that it may review.
func (c *Client) ListRight(ctx context.Context) (sync.ListRight, error) {
	var roles []types.Role
	const op = "read the agent's own roles"
	err := c.call(ctx, op, lookUp, c.cfg.CallTimeout, func(ctx context.Context, api *client.Client) error {
		var err error
		roles, err = api.GetCurrentUserRoles(ctx)
		return err
	})
	var e *sync.Error
	if errors.As(err, &e) && e.Scope == sync.ScopeSide {
		return sync.ListRightUnknown, err
	}
	if right := listRight(roles); err == nil && right != sync.ListRightUnknown {
		return right, nil
	}
	return c.shownListRight(ctx)
}

// shownListRight is what the first page of the list shows of the right.
func (c *Client) shownListRight(ctx context.Context) (sync.ListRight, error) {
	answer, err := c.listPage(ctx, &proto.ListAccessRequestsRequest{Limit: pageSize})
	if err != nil {
		return sync.ListRightUnknown, err
	}
	self := c.creds.current.Load().leaf.Subject.CommonName
	if slices.ContainsFunc(answer.AccessRequests, func(r *types.AccessRequestV3) bool { return r.GetUser() != self }) {
		return sync.ListRightGranted, nil
	}
	return sync.ListRightUnknown, nil
}

// ruling is what the rules of one kind, allow or deny, say of a verb.
type ruling int

const (
	silent      ruling = iota
	conditional        // they name it under a condition, which only Teleport can judge
	named
)

// listRight is what roles together say of the right to list all requests, which takes both verbs. A
// denial wins. No role at all says nothing: whoever may call Teleport has one.
func listRight(roles []types.Role) sync.ListRight {
	if len(roles) == 0 {
		return sync.ListRightUnknown
	}
	right := sync.ListRightGranted
	for _, verb := range []string{types.VerbList, types.VerbRead} {
		allowed, refused := rulingOf(roles, types.Allow, verb), rulingOf(roles, types.Deny, verb)
		switch {
		case refused == named || allowed == silent:
			return sync.ListRightLacking
		case refused == conditional || allowed == conditional:
			right = sync.ListRightUnknown
		}
	}
	return right
}

func rulingOf(roles []types.Role, condition types.RoleConditionType, verb string) ruling {
	found := silent
	for _, role := range roles {
		for _, rule := range role.GetRules(condition) {
			switch {
			case !names(rule.Resources, types.KindAccessRequest) || !names(rule.Verbs, verb):
			case rule.Where == "":
				return named
			default:
				found = conditional
			}
		}
	}
	return found
}

func names(list []string, want string) bool {
	return slices.Contains(list, want) || slices.Contains(list, types.Wildcard)
}
