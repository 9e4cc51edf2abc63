package jirasim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (c Config) group(name string) (Group, bool) {
	at := slices.IndexFunc(c.Groups, func(g Group) bool { return g.Name == name })
	if at < 0 {
		return Group{}, false
	}
	return c.Groups[at], true
}

// groupsJSON are the groups of an account. Only Cloud shows their ids.
func (s *Server) groupsJSON(q *request, u *User) []object {
	groups := make([]object, 0, len(u.Groups))
	for _, name := range u.Groups {
		g, _ := s.cfg.group(name)
		o := object{"name": g.Name, "self": s.self(q, "group?groupname="+g.Name)}
		if s.cfg.Deployment == Cloud {
			o["groupId"], o["self"] = g.ID, s.self(q, "group?groupId="+g.ID)
		}
		groups = append(groups, o)
	}
	return groups
}

// getUserGroups is Cloud's list of an account's groups, which comes whole.
func (s *Server) getUserGroups(q *request) (answer, error) {
	if err := may(q.user, BrowseUsers, "browse users and groups"); err != nil {
		return answer{}, err
	}
	id := q.query.Get("accountId")
	if id == "" {
		return answer{}, refuse(http.StatusBadRequest, "The accountId query parameter is required.")
	}
	u := s.site.user(func(u *User) bool { return u.AccountID == id })
	if u == nil {
		return answer{}, refuse(http.StatusNotFound, "The user with the accountId '%s' does not exist", id)
	}
	return answer{status: http.StatusOK, body: s.groupsJSON(q, u)}, nil
}

// getUser is Data Center's view of a user. The groups show only where they are asked for; their
// number shows always.
func (s *Server) getUser(q *request) (answer, error) {
	if err := may(q.user, BrowseUsers, "browse users and groups"); err != nil {
		return answer{}, err
	}
	key, name := q.query.Get("key"), q.query.Get("username")
	if key == "" && name == "" {
		return answer{}, refuse(http.StatusBadRequest, "Either the 'username' or the 'key' query parameters need to be "+
			"provided")
	}
	u := s.site.user(func(u *User) bool { return key != "" && u.Key == key || key == "" && u.Name == name })
	switch {
	case u == nil && key != "":
		return answer{}, refuse(http.StatusNotFound, "The user with the key '%s' does not exist", key)
	case u == nil:
		return answer{}, refuse(http.StatusNotFound, "The user named '%s' does not exist", name)
	}
	o, _ := s.userJSON(q, u.Name).(object)
	items := []object{}
	if slices.Contains(list(q.query["expand"]), "groups") {
		items = s.groupsJSON(q, u)
	}
	o["groups"], o["expand"] = object{"size": len(u.Groups), "items": items}, "groups,applicationRoles"
	return answer{status: http.StatusOK, body: o}, nil
}

// user finds an account; nil when there is none.
func (d *site) user(is func(*User) bool) *User {
	for _, u := range d.users {
		if is(u) {
			return u
		}
	}
	return nil
}

// maxPicked bounds the answer of groups/picker, whatever the call asks for.
const maxPicked = 20

// pickGroups finds groups by a part of their names, which Cloud compares with case unless it is
// told otherwise. Who may not browse groups sees none.
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-groups/
func (s *Server) pickGroups(q *request) (answer, error) {
	limit, err := strconv.Atoi(q.query.Get("maxResults"))
	if err != nil || limit <= 0 {
		limit = maxPicked
	}
	anyCase := s.cfg.Deployment == DataCenter || q.query.Get("caseInsensitive") == "true"
	fold := func(name string) string {
		if anyCase {
			return strings.ToLower(name)
		}
		return name
	}
	found := []object{}
	if can(q.user, BrowseUsers) {
		for _, g := range s.cfg.Groups {
			if strings.Contains(fold(g.Name), fold(q.query.Get("query"))) {
				found = append(found, s.groupJSON(g))
			}
		}
	}
	shown := found[:min(limit, maxPicked, len(found))]
	header := fmt.Sprintf("Showing %d of %d matching groups", len(shown), len(found))
	return answer{status: http.StatusOK, body: object{"header": header, "total": len(found), "groups": shown}}, nil
}

// groupJSON is a group by itself. Only Cloud shows its id.
func (s *Server) groupJSON(g Group) object {
	if s.cfg.Deployment == Cloud {
		return object{"name": g.Name, "groupId": g.ID}
	}
	return object{"name": g.Name}
}

// bulkGroups is Cloud's list of groups by their ids.
func (s *Server) bulkGroups(q *request) (answer, error) {
	if err := may(q.user, BrowseUsers, "browse users and groups"); err != nil {
		return answer{}, err
	}
	found := []object{}
	for _, g := range s.cfg.Groups {
		if slices.Contains(q.query["groupId"], g.ID) {
			found = append(found, s.groupJSON(g))
		}
	}
	return answer{
		status: http.StatusOK,
		body:   object{"startAt": 0, "maxResults": 50, "total": len(found), "isLast": true, "values": found},
	}, nil
}
