package jirasim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// This file makes, changes and finds custom fields:
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issue-fields/

// typePrefix is before the names of the types of custom fields and of their searchers.
const typePrefix = "com.atlassian.jira.plugin.system.customfieldtypes:"

// searchers are, by type, what a field can be searched with.
var searchers = map[FieldType][]string{
	TextField: {"textsearcher"}, TextArea: {"textsearcher"}, URLField: {"exacttextsearcher"},
	Number: {"exactnumber", "numberrange"}, Select: {"multiselectsearcher"},
}

// fieldDefinition is the body of POST field. Data Center can limit the field's context at once.
type fieldDefinition struct {
	Name         string   `json:"name"`
	Description  string   `json:"description"`
	Type         string   `json:"type"`
	SearcherKey  string   `json:"searcherKey"`
	ProjectIDs   []int    `json:"projectIds"`
	IssueTypeIDs []string `json:"issueTypeIds"`
}

// postField makes a field, be there another of the same name or not. It is on no screen, and
// searchable only with a searcher.
func (s *Server) postField(q *request) (answer, error) {
	if err := administers(q.user); err != nil {
		return answer{}, err
	}
	var d fieldDefinition
	if err := decode(q.body, &d); err != nil {
		return answer{}, err
	}
	typ := FieldType(strings.TrimPrefix(d.Type, typePrefix))
	known, problems := searchers[typ], map[string]string{}
	if strings.TrimSpace(d.Name) == "" {
		problems["name"] = "You must specify a name for the custom field."
	}
	if known == nil || !strings.HasPrefix(d.Type, typePrefix) {
		problems["type"] = "Invalid custom field type: " + d.Type
	} else if d.SearcherKey != "" && !validSearcher(typ, d.SearcherKey) {
		problems["searcherKey"] = "Invalid searcher for this custom field type: " + d.SearcherKey
	}
	if s.cfg.Deployment == Cloud && (d.ProjectIDs != nil || d.IssueTypeIDs != nil) {
		return answer{}, refuse(http.StatusBadRequest, "Invalid request payload. Refer to the REST API documentation and "+
			"try again.")
	}
	if len(problems) > 0 {
		return answer{}, refuseFields(problems)
	}
	id := s.setup.newFieldID()
	s.setup.addField(Field{ID: id, Name: d.Name, Type: typ, NoScreen: true, Unsearchable: d.SearcherKey == ""})
	if len(d.ProjectIDs)+len(d.IssueTypeIDs) > 0 {
		c := &s.setup.contexts[id][0]
		c.global, c.types = len(d.ProjectIDs) == 0, d.IssueTypeIDs
		for _, p := range d.ProjectIDs {
			c.projects = append(c.projects, strconv.Itoa(p))
		}
	}
	f, _ := s.field(id)
	return answer{status: http.StatusCreated, body: s.fieldJSON(f)}, nil
}

func validSearcher(typ FieldType, key string) bool {
	name, ok := strings.CutPrefix(key, typePrefix)
	return ok && slices.Contains(searchers[typ], name)
}

// putField changes a field's name, description and searcher, each if it is given.
func (s *Server) putField(q *request) (answer, error) {
	if err := administers(q.user); err != nil {
		return answer{}, err
	}
	var body struct {
		Name        *string `json:"name"`
		Description *string `json:"description"`
		SearcherKey *string `json:"searcherKey"`
	}
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	f, err := s.customField(q.vars["field"])
	if err != nil {
		return answer{}, err
	}
	if body.SearcherKey != nil && !validSearcher(f.Type, *body.SearcherKey) {
		return answer{}, refuseField("searcherKey", "Invalid searcher for this custom field type: %s", *body.SearcherKey)
	}
	if body.Name != nil {
		f.Name = *body.Name
	}
	if body.SearcherKey != nil {
		f.Unsearchable = false
	}
	return answer{status: http.StatusNoContent}, nil
}

// customField finds a field, to change it.
func (s *Server) customField(id string) (*Field, error) {
	at := slices.IndexFunc(s.setup.fields, func(f Field) bool { return f.ID == id })
	if at < 0 {
		return nil, refuse(http.StatusNotFound, "The custom field was not found.")
	}
	return &s.setup.fields[at], nil
}

// searchFields is Cloud's list of the fields of company-managed projects, in which administrators
// find those that no project has, too.
func (s *Server) searchFields(q *request) (answer, error) {
	if kinds := list(q.query["type"]); len(kinds) != 1 || kinds[0] != "custom" {
		return answer{}, refuse(http.StatusBadRequest, "jirasim: only type=custom is simulated")
	}
	all := []object{}
	for _, f := range s.fieldsNamed(q.user, q.query.Get("query")) {
		all = append(all, object{"id": f.id, "name": f.name, "schema": f.schema(), "description": ""})
	}
	return pageJSON(q, all, 50, 50)
}

// getCustomFields is Data Center's list of the custom fields.
func (s *Server) getCustomFields(q *request) (answer, error) {
	all := []object{}
	for _, f := range s.fieldsNamed(q.user, q.query.Get("search")) {
		n, _ := strconv.Atoi(customFieldNumber(f.id))
		o := object{
			"id":            f.id,
			"numericId":     n,
			"name":          f.name,
			"type":          string(f.typ),
			"isLocked":      false,
			"isAllProjects": slices.ContainsFunc(f.contexts, func(c fieldContext) bool { return c.global }),
			"projectsCount": 0,
			"screensCount":  0,
		}
		if f.jql {
			o["searcherKey"] = typePrefix + searchers[FieldType(f.typ)][0]
		}
		for _, c := range f.contexts {
			o["projectsCount"] = o["projectsCount"].(int) + len(c.projects)
		}
		for _, on := range s.setup.screens {
			if slices.Contains(on.fields, f.id) {
				o["screensCount"] = o["screensCount"].(int) + 1
			}
		}
		all = append(all, o)
	}
	return pageJSON(q, all, 50, 100)
}

// fieldsNamed are the fields of the site, without those of team-managed projects, whose name
// contains the text.
func (s *Server) fieldsNamed(u *User, text string) []field {
	var found []field
	for _, f := range s.fields() {
		hidden := !can(u, Administer) && (!can(u, BrowseProjects) || !s.isSomewhere(f))
		if f.custom && f.owner == "" && !hidden && strings.Contains(strings.ToLower(f.name), strings.ToLower(text)) {
			found = append(found, f)
		}
	}
	return found
}
