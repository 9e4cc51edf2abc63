package jirasim

import (
	"net/http"
	"slices"
	"strconv"
)

// This file is the API of screens:
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-screens/ . Data Center
// lists screens without pages and has no way to ask which project uses which.

// administers refuses all but Jira's administrators.
func administers(u *User) error {
	if can(u, Administer) {
		return nil
	}
	return refuse(http.StatusForbidden, "You do not have permission to do this: it needs the global permission "+
		"Administer Jira.")
}

// seesScreens lets a project's administrators look at screens, too, where they name the project.
func (s *Server) seesScreens(q *request) error {
	if key := q.query.Get("projectKey"); key != "" && can(q.user, AdministerProjects) {
		_, err := s.visibleProject(q.user, key)
		return err
	}
	return administers(q.user)
}

// pageJSON is a page in the form of most of Cloud's lists.
func pageJSON[T any](q *request, all []T, preset, most int) (answer, error) {
	startAt, maxResults, err := pageParams(q, preset, most)
	if err != nil {
		return answer{}, err
	}
	shown := page(all, startAt, maxResults)
	return answer{status: http.StatusOK, body: object{
		"startAt":    startAt,
		"maxResults": maxResults,
		"total":      len(all),
		"isLast":     startAt+len(shown) >= len(all),
		"values":     shown,
	}}, nil
}

func (s *Server) getScreens(q *request) (answer, error) {
	if err := administers(q.user); err != nil {
		return answer{}, err
	}
	all := make([]object, 0, len(s.setup.screens))
	for _, screen := range s.setup.screens {
		if s.cfg.Deployment == Cloud && !wanted(q, "id", strconv.Itoa(screen.id)) {
			continue
		}
		all = append(all, object{"id": screen.id, "name": screen.name, "description": ""})
	}
	if s.cfg.Deployment == Cloud {
		return pageJSON(q, all, 100, 100)
	}
	startAt, maxResults, err := pageParams(q, 100, 1000)
	return answer{status: http.StatusOK, body: page(all, startAt, maxResults)}, err
}

// screenOf finds the screen of a call, and its tab if the call names one.
func (s *Server) screenOf(q *request) (*screen, error) {
	for _, found := range s.setup.screens {
		if strconv.Itoa(found.id) != q.vars["screen"] {
			continue
		}
		if tab, named := q.vars["tab"]; named && tab != strconv.Itoa(found.tab) {
			return nil, refuse(http.StatusNotFound, "Screen tab with id '%s' does not exist.", tab)
		}
		return found, nil
	}
	return nil, refuse(http.StatusNotFound, "Screen with id '%s' does not exist.", q.vars["screen"])
}

func (s *Server) getTabs(q *request) (answer, error) {
	if err := s.seesScreens(q); err != nil {
		return answer{}, err
	}
	found, err := s.screenOf(q)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: []object{{"id": found.tab, "name": "Field Tab"}}}, nil
}

func (s *Server) getTabFields(q *request) (answer, error) {
	if err := s.seesScreens(q); err != nil {
		return answer{}, err
	}
	found, err := s.screenOf(q)
	if err != nil {
		return answer{}, err
	}
	fields := make([]object, 0, len(found.fields))
	for _, id := range found.fields {
		if f, known := s.field(id); known {
			fields = append(fields, object{"id": f.id, "name": f.name})
		}
	}
	return answer{status: http.StatusOK, body: fields}, nil
}

// getEditMeta shows the fields that the account may edit on the issue's edit screen.
func (s *Server) getEditMeta(q *request) (answer, error) {
	r, err := s.visible(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	p, _ := s.project(r.now.Project)
	t, _ := s.issueType(r.now.Type)
	fields := object{}
	for _, f := range s.fields() {
		if can(q.user, EditIssues) && s.onEditScreen(f, p, t) {
			fields[f.id] = f.meta()
		}
	}
	return answer{status: http.StatusOK, body: object{"fields": fields}}, nil
}

func (s *Server) postTabField(q *request) (answer, error) {
	if err := administers(q.user); err != nil {
		return answer{}, err
	}
	var body struct {
		FieldID string `json:"fieldId"`
	}
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	found, err := s.screenOf(q)
	if err != nil {
		return answer{}, err
	}
	f, err := s.putOnScreen(found, body.FieldID)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: object{"id": f.id, "name": f.name}}, nil
}

// postDefaultScreen puts a field on the default screen, whichever screens projects use.
func (s *Server) postDefaultScreen(q *request) (answer, error) {
	if err := administers(q.user); err != nil {
		return answer{}, err
	}
	if _, err := s.putOnScreen(s.setup.screen(DefaultScreen), q.vars["field"]); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: object{}}, nil
}

// putOnScreen refuses a field that is there, that there is not, or that belongs to a team-managed
// project.
func (s *Server) putOnScreen(to *screen, id string) (field, error) {
	f, known := s.field(id)
	switch {
	case !known || f.owner != "":
		return field{}, refuse(http.StatusBadRequest, "The field with id '%s' does not exist or cannot be on a screen.", id)
	case slices.Contains(to.fields, id):
		return field{}, refuse(http.StatusBadRequest, "The field with id '%s' already exists on the screen.", id)
	}
	to.fields = append(to.fields, id)
	return f, nil
}
