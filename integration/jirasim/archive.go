package jirasim

import (
	"net/http"
	"time"
)

// Archived issues. What is documented: they can be viewed by their link, nobody can change them, no
// search shows them, and they can be restored.
//
//   - Data Center: https://developer.atlassian.com/server/jira/platform/jira-archiver/,
//     https://help.tempo.io/structure-dc/latest/archived-projects-and-structure. Issues of real
//     instances carry the fields archivedby and archiveddate, null in those that are not archived.
//   - Cloud (Premium):
//     https://developer.atlassian.com/cloud/acli/reference/commands/jira-workitem-archive,
//     https://support.atlassian.com/jira-cloud-administration/docs/archive-a-project/.
//
// Not documented, and simulated in the way that helps a client least: an issue on Cloud does not
// say that it is archived; archiving counts neither as an update nor in the history; writes are
// refused with status 400, and no transition is offered; a query for its id is refused on Data
// Center and finds nothing on Cloud. That reads by id show it, bulkfetch included, follows from the
// link.

// Archive archives an issue, as an administrator does.
func (s *Server) Archive(issue, by string) error {
	return s.act(by, issue, func(u *User, r *record) error {
		next := r.now.clone()
		next.ArchivedBy, next.ArchivedAt = u.Name, s.now()
		s.put(r, next)
		return nil
	})
}

// Restore takes an issue back out of the archive.
func (s *Server) Restore(issue, by string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.visible(s.mustUser(by), issue)
	if err != nil {
		return err
	}
	if r.now.ArchivedBy == "" {
		return refuse(http.StatusBadRequest, "%s is not archived.", r.now.Key)
	}
	next := r.now.clone()
	next.ArchivedBy, next.ArchivedAt = "", time.Time{}
	s.put(r, next)
	return nil
}

// writable finds an issue that u may see and that is not archived.
func (s *Server) writable(u *User, idOrKey string) (*record, error) {
	r, err := s.visible(u, idOrKey)
	if err == nil && r.now.ArchivedBy != "" {
		return nil, refuse(http.StatusBadRequest, "%s is archived, and cannot be changed.", r.now.Key)
	}
	return r, err
}

// searchable is what searches see of a version of an issue: nothing of an archived one.
func (i *Issue) searchable() *Issue {
	if i != nil && i.ArchivedBy != "" {
		return nil
	}
	return i
}
