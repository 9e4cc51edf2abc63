package teleport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gravitational/teleport/api/client"
	userspb "github.com/gravitational/teleport/api/gen/proto/go/teleport/users/v1"
	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/sync"
)

// defaultUserTrait is the trait that holds a person's Jira account id unless the configuration
// names another.
const defaultUserTrait = "jira_account_id"

// userPage is how many users are asked for at once; the Auth Service may give fewer. A user without
// secrets takes a few kilobytes.
const userPage = 200

// Users finds the users that the query picks; nobody, where there is none, is no error. Names and
// trait values must be equal byte by byte. Bots are never among them, nor are users who could not
// log in themselves at this moment: those whose account has expired (Teleport forgets it some time
// later) or is locked after failed logins. ErrForbidden means that the agent's role does not let it
// read users.
func (c *Client) Users(ctx context.Context, q sync.UserQuery) ([]sync.User, error) {
	var found []sync.User
	var err error
	switch {
	case q.Name != "" && q.JiraID != "":
		return nil, &sync.Error{Side: side, Op: "find users", Permanent: true, Err: errors.New("a query is by name or by " +
			"Jira account id, not both")}
	case q.Name != "":
		found, err = c.userByName(ctx, q.Name)
	case q.JiraID != "":
		found, err = c.usersByJiraID(ctx, q.JiraID)
	}
	var e *sync.Error
	if errors.Is(err, sync.ErrForbidden) && errors.As(err, &e) {
		e.Err = fmt.Errorf("%w; grant the agent's role the rule user: [list, read]", e.Err)
	}
	return found, err
}

func (c *Client) userByName(ctx context.Context, name string) ([]sync.User, error) {
	op := fmt.Sprintf("read user %q", name)
	var user types.User
	err := c.call(ctx, op, lookUp, c.cfg.CallTimeout, func(ctx context.Context, api *client.Client) error {
		var err error
		user, err = api.GetUser(ctx, name, false)
		return err
	})
	if errors.Is(err, sync.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if user.GetName() != name || !canLogIn(user, time.Now()) {
		return nil, nil
	}
	return []sync.User{c.user(user)}, nil
}

// usersByJiraID looks at all users. A filter by trait is known neither to this client nor to older
// servers, which would ignore it and give all users as matches.
func (c *Client) usersByJiraID(ctx context.Context, jiraID string) ([]sync.User, error) {
	op := fmt.Sprintf("find users whose trait %s is %q", c.cfg.UserTrait, jiraID)
	query := &userspb.ListUsersRequest{PageSize: userPage}
	var found []sync.User
	for {
		var page *userspb.ListUsersResponse
		err := c.call(ctx, op, lookUp, listTimeout, func(ctx context.Context, api *client.Client) error {
			var err error
			page, err = api.ListUsers(ctx, query)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, user := range page.Users {
			if slices.Contains(user.GetTraits()[c.cfg.UserTrait], jiraID) && canLogIn(user, time.Now()) {
				found = append(found, c.user(user))
			}
		}
		if query.PageToken = page.NextPageToken; query.PageToken == "" {
			return found, nil
		}
	}
}

func (c *Client) user(u types.User) sync.User {
	return sync.User{Name: u.GetName(), JiraIDs: slices.Clone(u.GetTraits()[c.cfg.UserTrait])}
}

// canLogIn reports whether the user is a person who could log in now and review for themselves.
func canLogIn(u types.User, now time.Time) bool {
	bot := u.IsBot() || u.BotGenerationLabel() != ""
	expired := !u.Expiry().IsZero() && !now.Before(u.Expiry())
	locked := u.GetStatus().IsLocked && now.Before(u.GetStatus().LockExpires)
	return !bot && !expired && !locked
}
