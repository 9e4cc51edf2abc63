package jira

import (
	"errors"
	"net/http"
	"strings"
)

// wrongScope is how Atlassian's gateway refuses, with status 401, a token that is good for other
// calls: {"code":401,"message":"Unauthorized; scope does not match"}. As in
// https://github.com/shridhar-tl/jira-assistant/pull/435
const wrongScope = "scope does not match"

// tokenScope is the scope of a token that the call needs on Cloud.
// https://developer.atlassian.com/cloud/jira/platform/scopes-for-oauth-2-3LO-and-forge-apps/
func (r *request) tokenScope() string {
	first, rest, _ := strings.Cut(r.endpoint, "/")
	reads := r.method == http.MethodGet || first == "search" || rest == "bulkfetch"
	switch first {
	case "myself", "user", "groups", "group":
		return "read:jira-user"
	case "screens", "screenscheme", "issuetypescreenscheme":
		return "manage:jira-project"
	case "config":
		return "manage:jira-configuration"
	case "field":
		if rest != "" || !reads {
			return "manage:jira-configuration"
		}
	}
	if reads {
		return "read:jira-work"
	}
	return "write:jira-work"
}

// remedyFor is otherwise, unless what the call lacks is a scope of the token.
func remedyFor(err error, otherwise string) string {
	var answer *answerError
	if errors.As(err, &answer) && answer.lacksScope != "" {
		return "give the agent's token the scope " + answer.lacksScope + ", or make another that has it, " +
			"with read:jira-work, write:jira-work and read:jira-user, and put it into JIRA_API_TOKEN"
	}
	return otherwise
}
