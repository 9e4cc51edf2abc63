package jirasim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// This file is Cloud's API of field contexts:
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issue-custom-field-contexts/

// contextsOf are those of the field that the call names, for administrators.
func (s *Server) contextsOf(q *request) ([]fieldContext, error) {
	if err := administers(q.user); err != nil {
		return nil, err
	}
	f, err := s.customField(q.vars["field"])
	if err == nil && f.Project != "" {
		err = refuse(http.StatusNotFound, "The custom field was not found.")
	}
	return s.setup.contexts[q.vars["field"]], err
}

func (s *Server) getContexts(q *request) (answer, error) {
	contexts, err := s.contextsOf(q)
	if err != nil {
		return answer{}, err
	}
	all := make([]object, 0, len(contexts))
	for _, c := range contexts {
		all = append(
			all,
			object{
				"id":              c.id,
				"name":            c.name,
				"description":     "",
				"isGlobalContext": c.global,
				"isAnyIssueType":  len(c.types) == 0,
			},
		)
	}
	return pageJSON(q, all, 50, 100)
}

// getContextProjects lists each project of each context; a global context is one entry without a
// project.
func (s *Server) getContextProjects(q *request) (answer, error) {
	contexts, err := s.contextsOf(q)
	if err != nil {
		return answer{}, err
	}
	all := []object{}
	for _, c := range contexts {
		if !wanted(q, "contextId", c.id) {
			continue
		}
		if c.global {
			all = append(all, object{"contextId": c.id, "isGlobalContext": true})
		}
		for _, id := range c.projects {
			all = append(all, object{"contextId": c.id, "projectId": id})
		}
	}
	return pageJSON(q, all, 50, 100)
}

// getContextTypes lists each issue type of each context; a context for all types is one entry
// without a type.
func (s *Server) getContextTypes(q *request) (answer, error) {
	contexts, err := s.contextsOf(q)
	if err != nil {
		return answer{}, err
	}
	all := []object{}
	for _, c := range contexts {
		if len(c.types) == 0 {
			all = append(all, object{"contextId": c.id, "isAnyIssueType": true})
		}
		for _, id := range c.types {
			all = append(all, object{"contextId": c.id, "issueTypeId": id})
		}
	}
	return pageJSON(q, all, 50, 100)
}

// putContextTypes adds issue types to a context that is limited to some.
func (s *Server) putContextTypes(q *request) (answer, error) {
	contexts, err := s.contextsOf(q)
	if err != nil {
		return answer{}, err
	}
	var body struct {
		IssueTypeIDs []string `json:"issueTypeIds"`
	}
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	at := slices.IndexFunc(contexts, func(c fieldContext) bool { return c.id == q.vars["context"] })
	if at < 0 {
		return answer{}, refuse(http.StatusNotFound, "The custom field context was not found.")
	}
	for _, id := range body.IssueTypeIDs {
		known := slices.ContainsFunc(s.setup.types, func(t IssueType) bool { return t.ID == id })
		if !known || contexts[at].global || slices.Contains(contexts[at].types, id) {
			return answer{}, refuse(http.StatusBadRequest, "The issue type with id '%s' cannot be added to the context.", id)
		}
	}
	if len(contexts[at].types) > 0 { // without any it is for all types already
		contexts[at].types = append(slices.Clone(contexts[at].types), body.IssueTypeIDs...)
	}
	return answer{status: http.StatusNoContent}, nil
}

func (s *Server) postContext(q *request) (answer, error) {
	contexts, err := s.contextsOf(q)
	if err != nil {
		return answer{}, err
	}
	var body struct {
		Name         string   `json:"name"`
		Description  string   `json:"description"`
		ProjectIDs   []string `json:"projectIds"`
		IssueTypeIDs []string `json:"issueTypeIds"`
	}
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	global := len(body.ProjectIDs) == 0
	switch {
	case strings.TrimSpace(body.Name) == "":
		return answer{}, refuse(http.StatusBadRequest, "The context name is required.")
	case global && slices.ContainsFunc(contexts, func(c fieldContext) bool { return c.global }):
		return answer{}, refuse(http.StatusBadRequest, "The field already has a global context.")
	}
	if err := s.freeProjects(contexts, body.ProjectIDs); err != nil {
		return answer{}, err
	}
	c := fieldContext{
		id:       strconv.Itoa(s.setup.newID()),
		name:     body.Name,
		global:   global,
		projects: body.ProjectIDs,
		types:    body.IssueTypeIDs,
	}
	s.setup.contexts[q.vars["field"]] = append(contexts, c)
	return answer{status: http.StatusCreated, body: object{
		"id": c.id, "name": c.name, "description": body.Description, "projectIds": c.projects, "issueTypeIds": c.types,
	}}, nil
}

func (s *Server) putContextProjects(q *request) (answer, error) {
	contexts, err := s.contextsOf(q)
	if err != nil {
		return answer{}, err
	}
	var body struct {
		ProjectIDs []string `json:"projectIds"`
	}
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	at := slices.IndexFunc(contexts, func(c fieldContext) bool { return c.id == q.vars["context"] })
	switch {
	case at < 0:
		return answer{}, refuse(http.StatusNotFound, "The custom field context was not found.")
	case contexts[at].global:
		return answer{}, refuse(http.StatusBadRequest, "Projects cannot be added to the global context.")
	}
	if err := s.freeProjects(contexts, body.ProjectIDs); err != nil {
		return answer{}, err
	}
	contexts[at].projects = append(slices.Clone(contexts[at].projects), body.ProjectIDs...)
	return answer{status: http.StatusNoContent}, nil
}

// freeProjects refuses projects that do not exist, are team-managed, or have a context of the field
// by name.
func (s *Server) freeProjects(contexts []fieldContext, ids []string) error {
	for _, id := range ids {
		p, known := s.project(id)
		if !known || p.ID != id || p.TeamManaged {
			return refuse(http.StatusNotFound, "The project with id '%s' was not found.", id)
		}
		if slices.ContainsFunc(contexts, func(c fieldContext) bool { return slices.Contains(c.projects, id) }) {
			return refuse(http.StatusBadRequest, "The project with id '%s' is already associated with a context of this "+
				"field.", id)
		}
	}
	return nil
}
