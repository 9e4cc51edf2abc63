package jirasim

import (
	"slices"
	"strings"
)

// candidates are all that a search may show: those that its clauses name by id or key, where it
// shows no others, else every issue. It is what keeps a search for a few ids among 100,000 issues
// as cheap as Jira's index does.
func (s *Server) candidates(parsed search) []*record {
	if !parsed.restricted {
		return s.site.issues
	}
	return parsed.named
}

// named are the records that a query names by id or key. ok is false for a query that may show
// others, too.
func (s *Server) named(where *node) (named []*record, ok bool) {
	switch {
	case where == nil:
		return nil, false
	case where.op == "and":
		for _, part := range where.parts {
			if named, ok := s.named(&part); ok {
				return named, true
			}
		}
		return nil, false
	case where.op != "clause":
		return nil, false
	}
	c := where.clause
	if !slices.Contains([]string{"id", "key", "issue", "issuekey"}, strings.ToLower(c.field)) ||
		c.op != "=" && c.op != "in" {
		return nil, false
	}
	for _, operand := range c.operands {
		if r := s.site.find(operand.text); r != nil && !slices.Contains(named, r) {
			named = append(named, r)
		}
	}
	return named, true
}
