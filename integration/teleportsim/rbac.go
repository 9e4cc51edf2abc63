package teleportsim

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
)

// Role is what one user may do. Users without a role can do what everybody can: see and watch their
// own requests.
type Role struct {
	// Rules are the verbs allowed by resource kind, as in a role's allow.rules.
	Rules map[string][]string
	// Deny are the verbs refused by resource kind, whatever is allowed, as in a role's deny.rules.
	// "*" stands for any kind or verb, here and in Rules.
	Deny map[string][]string
	// ReviewRoles are the requested roles that the user may review, as in
	// allow.review_requests.roles; "*" is all.
	ReviewRoles []string
	// SubmitForUsers are the users for whom the user may submit reviews, as in
	// allow.review_requests.submit_for_users; an asterisk stands for any characters. Servers before
	// 18.11 do not know the rule.
	SubmitForUsers []string
}

// PluginRole is the role that Teleport's documentation gives to an access request plugin.
// https://goteleport.com/docs/identity-governance/access-request-plugins/ssh-approval-jira/
func PluginRole() Role {
	return Role{Rules: map[string][]string{
		types.KindAccessRequest:    {types.VerbList, types.VerbRead, types.VerbUpdate},
		types.KindAccessPluginData: {types.VerbUpdate},
	}}
}

// PluginRoleWithReview is PluginRole with what a plugin needs to submit reviews for the users that
// it finds by a trait.
func PluginRoleWithReview() Role {
	role := PluginRole()
	role.Rules[types.KindUser] = []string{types.VerbList, types.VerbRead}
	role.SubmitForUsers = []string{"*"}
	return role
}

// SetRole replaces what a user may do, from the next call on.
func (s *Server) SetRole(user string, role Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[user] = role
	delete(s.roleless, user)
	s.notify()
}

// RemoveRole deletes the role that the user has, which is called as the user is: all calls of the
// user are refused until SetRole.
func (s *Server) RemoveRole(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.roles, user)
	s.roleless[user] = true
	s.notify()
}

// Lock is "tctl lock --user": all calls of the user are refused, while open watches go on.
func (s *Server) Lock(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked[user] = true
	s.notify()
}

// Unlock ends a lock.
func (s *Server) Unlock(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.locked, user)
	s.notify()
}

// errDenied is the text that all refusals of a caller as such have.
const errDenied = "access denied"

// authorize is what comes before every call: who calls must exist with all roles, and not be
// locked. https://github.com/gravitational/teleport/blob/master/lib/auth/grpcserver.go
// (GRPCServer.authenticate)
func (s *Server) authorize(ctx context.Context) error {
	caller, err := callerOf(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.users[caller] == nil:
		return trace.Wrap(errNoUser(caller), errDenied)
	case s.roleless[caller]:
		return trace.Wrap(trace.NotFound("role %v is not found", caller), errDenied)
	case s.locked[caller]:
		return trace.AccessDenied(errDenied)
	}
	return nil
}

// check reports the first of the verbs that the role does not allow on the kind.
func (r Role) check(kind string, verbs ...string) error {
	for _, verb := range verbs {
		if hasRule(r.Deny, kind, verb) || !hasRule(r.Rules, kind, verb) {
			return trace.AccessDenied("access denied to perform action %q on %q", verb, kind)
		}
	}
	return nil
}

// hasRule reports whether the rules name the verb on the kind, themselves or by an asterisk.
func hasRule(rules map[string][]string, kind, verb string) bool {
	for _, k := range []string{kind, types.Wildcard} {
		if slices.Contains(rules[k], verb) || slices.Contains(rules[k], types.Wildcard) {
			return true
		}
	}
	return false
}

// resource is the role as the network sees it.
func (r Role) resource(name string) (*types.RoleV6, error) {
	spec := types.RoleSpecV6{
		Allow: types.RoleConditions{Rules: rules(r.Rules)},
		Deny:  types.RoleConditions{Rules: rules(r.Deny)},
	}
	if len(r.ReviewRoles) > 0 {
		spec.Allow.ReviewRequests = &types.AccessReviewConditions{Roles: r.ReviewRoles}
	}
	role, err := types.NewRole(name, spec)
	if err != nil {
		return nil, trace.Wrap(err)
	}
	return role.(*types.RoleV6), nil
}

func rules(verbs map[string][]string) []types.Rule {
	var list []types.Rule
	for _, kind := range slices.Sorted(maps.Keys(verbs)) {
		if len(verbs[kind]) > 0 {
			list = append(list, types.NewRule(kind, verbs[kind]))
		}
	}
	return list
}

// checkPluginData is check for plugin data, which either the kind that it belongs to or its own
// kind allows.
func (r Role) checkPluginData(kind string, verbs ...string) error {
	for _, verb := range verbs {
		if r.check(kind, verb) == nil {
			continue
		}
		if err := r.check(types.KindAccessPluginData, verb); err != nil {
			return err
		}
	}
	return nil
}

// maySubmitFor reports whether the user may submit reviews whose author is somebody else.
func (r Role) maySubmitFor(author string) bool {
	return slices.ContainsFunc(r.SubmitForUsers, func(pattern string) bool {
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		return regexp.MustCompile(`(?s)^` + strings.Join(parts, ".*") + `$`).MatchString(author)
	})
}

// mayReview reports whether the user's review directives cover every role that was asked for.
// Nobody reviews their own request.
func (r Role) mayReview(user string, request *types.AccessRequestV3) bool {
	if user == request.GetUser() || len(r.ReviewRoles) == 0 {
		return false
	}
	for _, role := range request.GetOriginalRoles() {
		if !slices.Contains(r.ReviewRoles, "*") && !slices.Contains(r.ReviewRoles, role) {
			return false
		}
	}
	return true
}
