package jirasim

import (
	"net/http"
	"strconv"
)

// getTokens lists the personal access tokens of the account, never the tokens themselves nor which of them the call was made with.
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
