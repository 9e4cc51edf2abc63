package jirasim

import (
	"net/http"
	"slices"
	"strconv"
)

// This file is Cloud's way from a project to its screens: project -> issue type screen scheme ->
// (by issue type) screen scheme -> screens.
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issue-type-screen-schemes/

// schemeEntry is the screen scheme of an issue type in an issue type screen scheme.
type schemeEntry struct {
	scheme, screenScheme int
	typeID               string // or "default"
	project              Project
	screens              ScreenScheme
}

// schemeEntries are those of all company-managed projects, each of which has an issue type screen
// scheme of its own.
func (s *Server) schemeEntries() []schemeEntry {
	var all []schemeEntry
	for n, p := range s.setup.projects {
		if p.TeamManaged {
			continue
		}
		scheme := 10_400 + n
		all = append(
			all,
			schemeEntry{
				scheme:       scheme,
				screenScheme: 20_000 + 100*n,
				typeID:       "default",
				project:      p,
				screens:      s.setup.screensOf(p, ""),
			},
		)
		for m, t := range s.setup.types {
			if _, own := p.TypeScreens[t.Name]; own {
				all = append(all, schemeEntry{
					scheme: scheme, screenScheme: 20_001 + 100*n + m, typeID: t.ID, project: p, screens: s.setup.screensOf(p, t.Name),
				})
			}
		}
	}
	return all
}

// wanted reports whether a call asks for this id; one that names none asks for all.
func wanted(q *request, parameter, id string) bool {
	return len(q.query[parameter]) == 0 || slices.Contains(q.query[parameter], id)
}

func (s *Server) getProjectScreenSchemes(q *request) (answer, error) {
	if err := administers(q.user); err != nil {
		return answer{}, err
	}
	if len(q.query["projectId"]) == 0 {
		return answer{}, refuse(http.StatusBadRequest, "The projectId query parameter is required.")
	}
	all := []object{}
	for _, e := range s.schemeEntries() {
		if e.typeID == "default" && wanted(q, "projectId", e.project.ID) {
			all = append(all, object{
				"issueTypeScreenScheme": object{"id": strconv.Itoa(e.scheme), "name": e.project.Key +
					": Issue Type Screen Scheme", "description": ""},
				"projectIds": []string{e.project.ID},
			})
		}
	}
	return pageJSON(q, all, 50, 100)
}

func (s *Server) getScreenSchemeMapping(q *request) (answer, error) {
	if err := administers(q.user); err != nil {
		return answer{}, err
	}
	all := []object{}
	for _, e := range s.schemeEntries() {
		if scheme := strconv.Itoa(e.scheme); wanted(q, "issueTypeScreenSchemeId", scheme) {
			all = append(
				all,
				object{"issueTypeId": e.typeID, "issueTypeScreenSchemeId": scheme, "screenSchemeId": strconv.Itoa(e.screenScheme)},
			)
		}
	}
	return pageJSON(q, all, 50, 100)
}

// getScreenSchemes shows create, edit and view only where they differ from the default.
func (s *Server) getScreenSchemes(q *request) (answer, error) {
	if err := administers(q.user); err != nil {
		return answer{}, err
	}
	all := []object{}
	for _, e := range s.schemeEntries() {
		if !wanted(q, "id", strconv.Itoa(e.screenScheme)) {
			continue
		}
		screens := object{"default": s.setup.screen(DefaultScreen).id}
		for operation, name := range map[string]string{
			"create": e.screens.Create, "edit": e.screens.Edit, "view": e.screens.View,
		} {
			if name != DefaultScreen {
				screens[operation] = s.setup.screen(name).id
			}
		}
		all = append(all, object{"id": e.screenScheme, "name": e.project.Key +
			": Screen Scheme", "description": "", "screens": screens})
	}
	return pageJSON(q, all, 25, 100)
}
