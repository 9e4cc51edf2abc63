package jirasim

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
)

// creation is the body of POST issue.
type creation struct {
	Fields     map[string]any  `json:"fields"`
	Properties []property      `json:"properties"`
	Update     map[string]any  `json:"update"`
	Transition map[string]any  `json:"transition"`
	History    json.RawMessage `json:"historyMetadata"`
}

func (s *Server) postIssue(q *request) (answer, error) {
	var c creation
	if err := decode(q.body, &c); err != nil {
		return answer{}, err
	}
	issue, add, err := s.draft(q.user, c)
	if err != nil {
		return answer{}, err
	}
	if q.creation != nil {
		s.begin(*q.creation, add)
	} else {
		add()
	}
	return answer{
		status: http.StatusCreated,
		body:   object{"id": issue.ID, "key": issue.Key, "self": s.self(q, "issue/"+issue.ID)},
	}, nil
}

func (s *Server) create(author *User, c creation) (*Issue, error) {
	issue, add, err := s.draft(author, c)
	if err == nil {
		add()
	}
	return issue, err
}

// draft makes an issue that has its id and key, and is there once add is called.
func (s *Server) draft(author *User, c creation) (issue *Issue, add func(), err error) {
	if len(c.Update) > 0 || len(c.Transition) > 0 {
		return nil, nil, refuse(http.StatusBadRequest, "jirasim: update and transition on creation are not simulated")
	}
	project, ok := s.chosenProject(c.Fields["project"])
	if !ok || !can(author, BrowseProjects) {
		return nil, nil, refuseField("project", "valid project is required")
	}
	if err := may(author, CreateIssues, "create issues in this project"); err != nil {
		return nil, nil, err
	}
	typ, ok := s.chosenType(c.Fields["issuetype"])
	if !ok {
		return nil, nil, refuseField("issuetype", "Specify a valid issue type")
	}
	values, err := s.initialValues(project, typ, c.Fields)
	if err != nil {
		return nil, nil, err
	}
	properties, err := checkProperties(c.Properties)
	if err != nil {
		return nil, nil, err
	}
	status, _ := s.status(s.setup.initial)
	now := s.now()
	issue = &Issue{
		ID: s.site.newID(), Key: s.site.newKey(project.Key), Project: project.Key, Type: typ.Name, Status: status,
		Creator: author.Name, Created: now, Updated: now, Fields: values, Properties: properties,
	}
	id, _ := strconv.Atoi(issue.ID)
	return issue, func() {
		r := &record{id: id}
		s.site.byID[issue.ID] = r
		s.site.issues = append(s.site.issues, r)
		s.put(r, issue)
	}, nil
}

// chosenProject reads {"key": …} or {"id": …}.
func (s *Server) chosenProject(given any) (Project, bool) {
	choice, _ := given.(map[string]any)
	for _, p := range s.setup.projects {
		if choice["key"] == p.Key || choice["id"] == p.ID {
			return p, true
		}
	}
	return Project{}, false
}

func (s *Server) chosenType(given any) (IssueType, bool) {
	choice, _ := given.(map[string]any)
	for _, t := range s.setup.types {
		if choice["name"] == t.Name || choice["id"] == t.ID {
			return t, true
		}
	}
	return IssueType{}, false
}

// initialValues checks the fields of a new issue, all problems at once.
func (s *Server) initialValues(p Project, t IssueType, given map[string]any) (map[string]any, error) {
	values, problems := map[string]any{}, map[string]string{}
	for id, value := range given {
		f, known := s.field(id)
		switch {
		case id == "project" || id == "issuetype":
			continue
		case !known || !s.onCreateScreen(f, p, t):
			problems[id] = cannotBeSet(id)
			continue
		}
		stored, problem := s.valueOf(f, value)
		if problem != "" {
			problems[id] = problem
		}
		if stored != nil {
			values[id] = stored
		}
	}
	for _, f := range s.fields() {
		_, ok := given[f.id]
		switch {
		case ok || !f.appliesTo(p, t):
		case f.initial != nil:
			values[f.id] = f.initial
		case f.missing() != "":
			problems[f.id] = f.missing()
		}
	}
	if len(problems) > 0 {
		return nil, refuseFields(problems)
	}
	return values, s.storable(slices.Collect(maps.Values(values))...)
}

// wholeIssue is the view of one issue read by itself.
func (s *Server) wholeIssue(q *request) view {
	v := view{
		fields: list(q.query["fields"]), expand: list(q.query["expand"]), properties: list(q.query["properties"]),
		comments: s.cfg.Caps.InlineComments, histories: s.cfg.Caps.IssueChangelog,
	}
	if len(v.fields) == 0 {
		v.fields = []string{"*all"}
	}
	return v
}

func (s *Server) getIssue(q *request) (answer, error) {
	r, err := s.visible(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: s.issueJSON(q, r.read(), s.wholeIssue(q))}, nil
}

// edition is the body of PUT issue.
type edition struct {
	Fields     map[string]any              `json:"fields"`
	Update     map[string][]map[string]any `json:"update"`
	Properties []property                  `json:"properties"`
	History    json.RawMessage             `json:"historyMetadata"`
}

func (s *Server) putIssue(q *request) (answer, error) {
	r, err := s.writable(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	var e edition
	if err := decode(q.body, &e); err != nil {
		return answer{}, err
	}
	values := maps.Clone(e.Fields)
	if values == nil {
		values = map[string]any{}
	}
	for id, operations := range e.Update {
		for _, operation := range operations {
			value, set := operation["set"]
			if !set || len(operation) != 1 {
				return answer{}, refuse(http.StatusBadRequest, "jirasim: update operations other than set are not simulated")
			}
			values[id] = value
		}
	}
	properties, err := checkProperties(e.Properties)
	if err != nil {
		return answer{}, err
	}
	if err := s.setFields(q.user, r, values, properties); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// setFields edits fields, of those on the edit screen.
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issues/#api-rest-api-2-issue-issueidorkey-put
func (s *Server) setFields(
	author *User,
	r *record,
	values map[string]any,
	properties map[string]json.RawMessage,
) error {
	if err := may(author, EditIssues, "edit issues in this project"); err != nil {
		return err
	}
	p, _ := s.project(r.now.Project)
	t, _ := s.issueType(r.now.Type)
	stored, problems := map[string]any{}, map[string]string{}
	for id, value := range values {
		f, known := s.field(id)
		if !known || !s.onEditScreen(f, p, t) {
			problems[id] = cannotBeSet(id)
			continue
		}
		checked, problem := s.valueOf(f, value)
		if problem != "" {
			problems[id] = problem
		}
		stored[id] = checked
	}
	if len(problems) > 0 {
		return refuseFields(problems)
	}
	s.edit(r, func(i *Issue) {
		s.storeValues(i, author.Name, stored)
		maps.Copy(i.Properties, properties)
	})
	return nil
}

// storeValues sets checked values and logs those that differ as one history entry.
func (s *Server) storeValues(i *Issue, author string, values map[string]any) {
	var items []ChangeItem
	for _, id := range slices.Sorted(maps.Keys(values)) {
		old, value := i.Fields[id], values[id]
		if reflect.DeepEqual(old, value) {
			continue
		}
		f, _ := s.field(id)
		item := ChangeItem{Field: f.id, FieldID: f.id, FieldType: "jira", FromString: display(old), ToString: display(value)}
		if f.custom {
			item.Field, item.FieldType = f.name, "custom"
		}
		items = append(items, item)
		i.Fields[id] = value
		if value == nil {
			delete(i.Fields, id)
		}
	}
	if len(items) > 0 {
		s.log(i, author, items...)
	}
}
