package jirasim

import (
	"net/http"
	"slices"
	"strconv"
)

// This file is Cloud's API of field schemes, which say in which projects, and for which types, a
// custom field is. A site without them answers 404:
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-field-schemes/

// association is a field's place in a scheme: for these issue types (by id), or for all.
type association struct{ types []int }

// schemeOf is the id of the field scheme of a project; each has its own.
func (s *Server) schemeOf(projectID string) int {
	return 30_000 + slices.IndexFunc(s.setup.projects, func(p Project) bool { return p.ID == projectID })
}

// associated reports whether the project's field scheme lets the field in.
func (s *Server) associated(f field, p Project, t IssueType) bool {
	if !s.cfg.FieldSchemes || !f.custom || p.TeamManaged {
		return true
	}
	a, in := s.setup.associations[s.schemeOf(p.ID)][f.id]
	typeID, _ := strconv.Atoi(t.ID)
	return in && (len(a.types) == 0 || slices.Contains(a.types, typeID))
}

func (s *Server) schemed(q *request) error {
	if !s.cfg.FieldSchemes {
		return refuse(http.StatusNotFound, "Field schemes are not enabled.")
	}
	return administers(q.user)
}

func (s *Server) getSchemeProjects(q *request) (answer, error) {
	if err := s.schemed(q); err != nil {
		return answer{}, err
	}
	if len(q.query["projectId"]) == 0 {
		return answer{}, refuse(http.StatusBadRequest, "The projectId query parameter is required.")
	}
	all := []object{}
	for _, p := range s.setup.projects {
		if id, _ := strconv.Atoi(p.ID); wanted(q, "projectId", p.ID) && !p.TeamManaged {
			all = append(all, object{"projectId": id, "schemeId": s.schemeOf(p.ID)})
		}
	}
	return pageJSON(q, all, 50, 100)
}

func (s *Server) getSchemeFields(q *request) (answer, error) {
	if err := s.schemed(q); err != nil {
		return answer{}, err
	}
	id, _ := strconv.Atoi(q.vars["scheme"])
	all := []object{}
	for field, a := range s.setup.associations[id] {
		if wanted(q, "fieldId", field) {
			types := []string{}
			for _, t := range a.types {
				types = append(types, strconv.Itoa(t))
			}
			all = append(all, object{"fieldId": field, "restrictedToWorkTypes": types})
		}
	}
	return pageJSON(q, all, 50, 100)
}

func (s *Server) putSchemeFields(q *request) (answer, error) {
	if err := s.schemed(q); err != nil {
		return answer{}, err
	}
	var body map[string][]struct {
		SchemeIDs []int `json:"schemeIds"`
		Types     []int `json:"restrictedToWorkTypes"`
	}
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	for id, items := range body {
		if _, err := s.customField(id); err != nil {
			return answer{}, refuse(http.StatusBadRequest, "The field with id '%s' was not found.", id)
		}
		for _, item := range items {
			for _, scheme := range item.SchemeIDs {
				if s.setup.associations[scheme] == nil {
					s.setup.associations[scheme] = map[string]association{}
				}
				s.setup.associations[scheme][id] = association{types: item.Types}
			}
		}
	}
	return answer{status: http.StatusNoContent}, nil
}
