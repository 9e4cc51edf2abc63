package teleportsim

import (
	"context"
	"maps"
	"slices"
	"time"

	userspb "github.com/gravitational/teleport/api/gen/proto/go/teleport/users/v1"
	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/teleport/api/utils"
	"github.com/gravitational/trace"
)

// maxUserPage is the most users that one answer holds, however many were asked for.
const maxUserPage = 200

// User is a user of the cluster. The agent's own exists from the start, as a bot.
type User struct {
	Name string
	// Traits are what the identity provider, or an administrator, says of the user.
	Traits map[string][]string
	// Role, if set, is what the user may do from now on, as with SetRole.
	Role *Role
	// Bot: it is a Machine ID bot's.
	Bot bool
	// LockedUntil is when the lock after failed logins ends; zero without one.
	LockedUntil time.Time
	// Expires is when a temporary user ends; zero for never. One that is past it stays until
	// DeleteUser, as where the backend or a cache is slow.
	Expires time.Time
}

func newUser(u User) (*types.UserV2, error) {
	made, err := types.NewUser(u.Name)
	if err != nil {
		return nil, trace.Wrap(err)
	}
	user := made.(*types.UserV2)
	user.SetTraits(maps.Clone(u.Traits))
	if u.Bot {
		user.Metadata.Labels = map[string]string{types.BotLabel: u.Name, types.BotGenerationLabel: "1"}
	}
	if !u.LockedUntil.IsZero() {
		user.SetLocked(u.LockedUntil, "too many failed logins")
	}
	if !u.Expires.IsZero() {
		user.SetExpiry(u.Expires)
	}
	return user, nil
}

// SetUser makes or replaces a user.
func (s *Server) SetUser(u User) error {
	user, err := newUser(u)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[u.Name] = user
	if u.Role != nil {
		s.roles[u.Name] = *u.Role
		delete(s.roleless, u.Name)
	}
	s.notify()
	return nil
}

// DeleteUser is "tctl users rm": it deletes a user, and with it what the user may do. All its calls
// are refused then.
func (s *Server) DeleteUser(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, name)
	delete(s.roles, name)
	s.notify()
}

// ensureUser makes a user unless it exists. The agent's is never made again.
func (s *Server) ensureUser(name string) error {
	made, err := newUser(User{Name: name})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.users[name]; !known && name != s.cfg.AgentUser {
		s.users[name] = made
	}
	return nil
}

func errNoUser(name string) error { return trace.NotFound("user %q not found", name) }

// usersService is what the network sees of users. Everything that it does not define is
// Unimplemented.
// https://github.com/gravitational/teleport/blob/master/lib/auth/users/usersv1/service.go
type usersService struct {
	userspb.UnimplementedUsersServiceServer
	server *Server
}

// GetUser answers one user. Everybody may read themselves.
func (u *usersService) GetUser(ctx context.Context, query *userspb.GetUserRequest) (*userspb.GetUserResponse, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	u.server.mu.Lock()
	defer u.server.mu.Unlock()
	name := query.Name
	if name == "" && query.CurrentUser {
		name = caller
	}
	switch {
	case query.WithSecrets:
		return nil, errSecrets()
	case name != caller:
		if err := u.server.roles[caller].check(types.KindUser, types.VerbRead); err != nil {
			return nil, err
		}
	}
	user, ok := u.server.users[name]
	if !ok {
		return nil, errNoUser(name)
	}
	return &userspb.GetUserResponse{User: utils.CloneProtoMsg(user)}, nil
}

// ListUsers answers one page of all users, in order of their names. The token of a page is the name
// that it begins with.
func (u *usersService) ListUsers(
	ctx context.Context,
	query *userspb.ListUsersRequest,
) (*userspb.ListUsersResponse, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	u.server.mu.Lock()
	defer u.server.mu.Unlock()
	if query.WithSecrets {
		return nil, errSecrets()
	}
	if err := u.server.roles[caller].check(types.KindUser, types.VerbList, types.VerbRead); err != nil {
		return nil, err
	}
	size := int(query.PageSize)
	if size <= 0 || size > maxUserPage {
		size = maxUserPage
	}
	page := &userspb.ListUsersResponse{}
	for _, name := range slices.Sorted(maps.Keys(u.server.users)) {
		user := u.server.users[name]
		switch {
		case name < query.PageToken, query.Filter != nil && !query.Filter.Match(user):
		case len(page.Users) == size:
			page.NextPageToken = name
			return page, nil
		default:
			page.Users = append(page.Users, utils.CloneProtoMsg(user))
		}
	}
	return page, nil
}

// errSecrets refuses what only the Auth Service's own administrator role may read.
func errSecrets() error { return trace.AccessDenied("this request can be only executed by an admin") }
