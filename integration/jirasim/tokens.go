package jirasim

import (
	"net/http"
	"strconv"
	"strings"
)

// getTokens lists the personal access tokens of the account, never the tokens themselves nor which
// of them the call was made with.
// https://confluence.atlassian.com/enterprise/using-personal-access-tokens-1026032365.html
func (s *Server) getTokens(q *request) (answer, error) {
	tokens := []object{}
	for n, c := range s.site.logins {
		if c.User != q.user.Name || c.Username != "" {
			continue
		}
		token := object{"id": n + 1, "name": "token " + strconv.Itoa(n+1), "createdAt": s.timestamp(s.began)}
		if !c.Expires.IsZero() {
			token["expiringAt"] = s.timestamp(c.Expires)
		}
		tokens = append(tokens, token)
	}
	return answer{status: http.StatusOK, body: tokens}, nil
}

// The scopes of tokens, and of OAuth apps:
// https://developer.atlassian.com/cloud/jira/platform/scopes-for-oauth-2-3LO-and-forge-apps/
const (
	ReadWork       = "read:jira-work"
	WriteWork      = "write:jira-work"
	ReadUsers      = "read:jira-user"
	ManageJira     = "manage:jira-configuration"
	ManageProjects = "manage:jira-project"
)

// scopeOf is the scope that a call needs.
func scopeOf(e endpoint) string {
	first, rest, _ := strings.Cut(e.template, "/")
	reads := e.method == http.MethodGet || first == "search" || rest == "bulkfetch"
	switch first {
	case "myself", "user", "groups", "group":
		return ReadUsers
	case "screens", "screenscheme", "issuetypescreenscheme":
		return ManageProjects
	case "config":
		return ManageJira
	case "field":
		if rest != "" || !reads {
			return ManageJira
		}
	}
	if reads {
		return ReadWork
	}
	return WriteWork
}
