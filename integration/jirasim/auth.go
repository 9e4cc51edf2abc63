package jirasim

import (
	"net/http"
	"slices"
	"strings"
)

// authenticate finds out whose call it is.
func (s *Server) authenticate(q *request) *Refusal {
	username, password, basic := q.BasicAuth()
	token, bearer := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	for _, c := range s.site.logins {
		user := s.site.users[c.User]
		ok := basic && c.Username != "" && c.Username == username && c.Token == password ||
			bearer && c.Username == "" && c.Token == token
		expired := !c.Expires.IsZero() && !s.clock().Before(c.Expires)
		if ok && !user.Inactive && !expired {
			q.user = user
			if wanted := scopeOf(*q.endpoint); c.Scopes != nil && !slices.Contains(c.Scopes, wanted) {
				return &Refusal{Status: http.StatusUnauthorized, body: object{
					"code": http.StatusUnauthorized, "message": "Unauthorized; scope does not match",
				}}
			}
			return nil
		}
	}
	refusal := refuse(http.StatusUnauthorized, "You are not authenticated. Authentication required to perform this "+
		"operation.")
	if s.cfg.Deployment == Cloud {
		refusal = refuse(http.StatusUnauthorized, "Client must be authenticated to access this resource.")
	}
	refusal.header = http.Header{
		"Www-Authenticate":     {`Basic realm="jirasim"`},
		"X-Seraph-Loginreason": {"AUTHENTICATED_FAILED"},
	}
	return refusal
}

func can(u *User, permission string) bool { return slices.Contains(u.Permissions, permission) }

// may refuses with 403 unless u has the permission.
func may(u *User, permission, what string) error {
	if can(u, permission) {
		return nil
	}
	return refuse(http.StatusForbidden, "You do not have permission to %s.", what)
}

// visible finds an issue that u may see. To others it does not exist.
func (s *Server) visible(u *User, idOrKey string) (*record, error) {
	r := s.site.find(idOrKey)
	if r != nil && can(u, BrowseProjects) && r.shownTo(u) {
		return r, nil
	}
	if s.cfg.Deployment == Cloud {
		return nil, refuse(http.StatusNotFound, "Issue does not exist or you do not have permission to see it.")
	}
	return nil, refuse(http.StatusNotFound, "Issue Does Not Exist")
}

// shownTo reports whether neither the security nor a fault hides it from u.
func (r *record) shownTo(u *User) bool { return !r.secret[u.Name] && u.blindTo != r }

func (s *Server) visibleProject(u *User, idOrKey string) (Project, error) {
	p, ok := s.project(idOrKey)
	if !ok || !can(u, BrowseProjects) {
		return Project{}, refuse(http.StatusNotFound, "No project could be found with key '%s'.", idOrKey)
	}
	return p, nil
}

// SetCredentials replaces all credentials, as when a token is rotated or revoked.
func (s *Server) SetCredentials(credentials ...Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range credentials {
		s.mustUser(c.User)
	}
	s.site.logins = slices.Clone(credentials)
}

// UpdateUser changes an account: its permissions, its groups, whether it is active, its e-mail
// address, anything but its Name.
func (s *Server) UpdateUser(name string, change func(*User)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := *s.mustUser(name)
	u.Permissions, u.Groups = slices.Clone(u.Permissions), slices.Clone(u.Groups)
	change(&u)
	u.Name = name
	for _, group := range u.Groups {
		if _, known := s.cfg.group(group); !known {
			panic("jirasim: no group " + group)
		}
	}
	s.site.users[name] = &u
}

// mustUser panics for a name that is not configured: a defect of the test.
func (s *Server) mustUser(name string) *User {
	u, ok := s.site.users[name]
	if !ok {
		panic("jirasim: no user " + name)
	}
	return u
}
