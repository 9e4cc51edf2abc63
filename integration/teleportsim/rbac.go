package teleportsim

import (
	"regexp"
	"slices"
	"strings"

	"github.com/gravitational/teleport/api/types"
	"github.com/gravitational/trace"
)

// Role is what one user may do. Users without a role can do what everybody can: see and watch their own requests.
type Role struct {
	// Rules are the verbs allowed by resource kind, as in a role's allow.rules.
	Rules map[string][]string
	// ReviewRoles are the requested roles that the user may review, as in allow.review_requests.roles; "*" is all.
	ReviewRoles []string
	// SubmitForUsers are the users for whom the user may submit reviews, as in allow.review_requests.submit_for_users; an asterisk stands for any
	// characters. Servers before 18.11 do not know the rule.
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

// PluginRoleWithReview is PluginRole with what a plugin needs to submit reviews for the users that it finds by a trait.
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
	s.notify()
}

// check reports the first of the verbs that the role does not allow on the kind.
func (r Role) check(kind string, verbs ...string) error {
	for _, verb := range verbs {
		if !slices.Contains(r.Rules[kind], verb) {
			return trace.AccessDenied("access denied to perform action %q on %q", verb, kind)
		}
	}
	return nil
}

// checkPluginData is check for plugin data, which either the kind that it belongs to or its own kind allows.
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

// mayReview reports whether the user's review directives cover every role that was asked for. Nobody reviews
// their own request.
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
