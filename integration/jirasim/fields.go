package jirasim

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// Lengths are counted as Java does, in UTF-16 code units: a character outside the basic plane
// counts twice.
const (
	maxSummary   = 255
	maxTextField = 255
	maxText      = 32767
)

// field is a field of an issue that people can set, system or custom.
type field struct {
	id, name string
	typ      fieldKind
	options  []string
	required bool // on creation
	custom   bool
	initial  any            // what a new issue gets without a value; nil: nothing
	jql      bool           // custom fields: there is a searcher
	owner    string         // custom fields: the key of the team-managed project that it is a part of, if any
	contexts []fieldContext // custom fields that have no owner: where it is
	offTeam  bool           // custom fields with an owner: it was not put on the issue types
}

type fieldKind string

const (
	kindSummary  fieldKind = "summary"
	kindLabels   fieldKind = "labels"
	kindDate     fieldKind = "date"
	kindPriority fieldKind = "priority"
	kindText     fieldKind = fieldKind(TextField)
	kindArea     fieldKind = fieldKind(TextArea)
	kindURL      fieldKind = fieldKind(URLField)
	kindNumber   fieldKind = fieldKind(Number)
	kindSelect   fieldKind = fieldKind(Select)
)

// fields are all fields but project and issuetype, which cannot be changed by an edit.
func (s *Server) fields() []field {
	all := []field{
		{id: "summary", name: "Summary", typ: kindSummary, required: true},
		{id: "description", name: "Description", typ: kindArea},
		{id: "environment", name: "Environment", typ: kindArea},
		{id: "labels", name: "Labels", typ: kindLabels},
		{id: "duedate", name: "Due date", typ: kindDate},
		{
			id:      "priority",
			name:    "Priority",
			typ:     kindPriority,
			options: []string{"Highest", "High", "Medium", "Low", "Lowest"},
		},
	}
	for _, f := range s.setup.fields {
		all = append(all, field{
			id:       f.ID,
			name:     f.Name,
			typ:      fieldKind(f.Type),
			options:  f.Options,
			initial:  f.Default,
			custom:   true,
			jql:      !f.Unsearchable,
			owner:    f.Project,
			contexts: s.setup.contexts[f.ID],
			offTeam:  f.OffScreen || f.NoScreen,
		})
	}
	for i := range all {
		all[i].required = all[i].required || slices.Contains(s.setup.required, all[i].id)
	}
	return all
}

func (s *Server) field(id string) (field, bool) {
	for _, f := range s.fields() {
		if f.id == id {
			return f, true
		}
	}
	return field{}, false
}

func cannotBeSet(id string) string {
	return fmt.Sprintf("Field '%s' cannot be set. It is not on the appropriate screen, or unknown.", id)
}

// value checks what someone wants to set the field to. problem is empty if it is accepted; then
// stored is what to keep, nil for nothing.
func (f field) value(given any) (stored any, problem string) {
	if given == nil {
		return nil, f.missing()
	}
	switch f.typ {
	case kindSummary, kindText, kindArea, kindURL:
		return f.textValue(given)
	case kindNumber:
		if _, ok := given.(float64); !ok {
			return nil, "Operation value must be a number"
		}
		return given, ""
	case kindLabels:
		return labelsValue(given)
	case kindDate:
		date, _ := given.(string)
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			return nil, "Error parsing date string: " + fmt.Sprint(given)
		}
		return date, ""
	default:
		return f.optionValue(given)
	}
}

// missing is the complaint about an empty value, if the field must have one.
func (f field) missing() string {
	switch {
	case f.typ == kindSummary:
		return "You must specify a summary of the issue."
	case f.required:
		return f.name + " is required."
	}
	return ""
}

func (f field) textValue(given any) (stored any, problem string) {
	value, ok := given.(string)
	length := len(utf16.Encode([]rune(value)))
	switch {
	case !ok:
		return nil, "Operation value must be a string"
	case strings.TrimSpace(value) == "":
		return nil, f.missing()
	case f.typ == kindSummary && strings.ContainsAny(value, "\r\n"):
		return nil, "The summary is invalid because it contains newline characters."
	case f.typ == kindSummary && length > maxSummary:
		return nil, "Summary can't exceed 255 characters."
	case f.typ == kindText && length > maxTextField:
		return nil, "The entered text is too long. It exceeds the allowed limit of 255 characters."
	case f.typ == kindURL && !strings.HasPrefix(value, "http://") && !strings.HasPrefix(value, "https://"):
		return nil, "The URL '" + value + "' is invalid."
	}
	return value, ""
}

func labelsValue(given any) (stored any, problem string) {
	labels, ok := given.([]any)
	if !ok {
		return nil, "data was not an array"
	}
	for _, label := range labels {
		name, ok := label.(string)
		switch {
		case !ok:
			return nil, "Operation value must be a string"
		case strings.ContainsAny(name, " \t\n"):
			return nil, "The label '" + name + "' contains spaces which is invalid."
		}
	}
	return labels, ""
}

func (f field) optionValue(given any) (stored any, problem string) {
	choice, ok := given.(map[string]any)
	if !ok {
		return nil, "data was not an object"
	}
	key := "value"
	if f.typ == kindPriority {
		key = "name"
	}
	for n, option := range f.options {
		id := strconv.Itoa(n + 1)
		if choice[key] == option || choice["id"] == id {
			return object{key: option, "id": id}, ""
		}
	}
	return nil, fmt.Sprintf("Option id '%v' is not valid", choice["id"])
}

var customField = regexp.MustCompile(`^customfield_([0-9]+)$`)

// customFieldNumber is the N of customfield_N; empty if id is none.
func customFieldNumber(id string) string {
	if m := customField.FindStringSubmatch(id); m != nil {
		return m[1]
	}
	return ""
}

// valueOf is field.value within the limits of this Jira.
func (s *Server) valueOf(f field, given any) (stored any, problem string) {
	stored, problem = f.value(given)
	if text, ok := stored.(string); ok && f.typ == kindArea && problem == "" {
		problem = s.textProblem(text)
	}
	return stored, problem
}

// textProblem is the complaint about a long text; empty where there is none.
func (s *Server) textProblem(text string) string {
	if len(utf16.Encode([]rune(text))) <= s.cfg.MaxText {
		return ""
	}
	limit := strconv.Itoa(s.cfg.MaxText)
	if n := len(limit); n > 3 {
		limit = limit[:n-3] + "," + limit[n-3:]
	}
	return "The entered text is too long. It exceeds the allowed limit of " + limit + " characters."
}

// storable fails for a text that the database does not take.
func (s *Server) storable(texts ...any) error {
	for _, text := range texts {
		if t, ok := text.(string); ok && s.cfg.Unstorable != "" && strings.Contains(t, s.cfg.Unstorable) {
			return refuse(http.StatusInternalServerError, "Internal server error")
		}
	}
	return nil
}

// display is how history shows a value.
func display(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case map[string]any:
		for _, key := range []string{"value", "name"} {
			if name, ok := v[key].(string); ok {
				return name
			}
		}
	case []any:
		parts := make([]string, len(v))
		for i, part := range v {
			parts[i] = fmt.Sprint(part)
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(value)
}

// schema describes the field's type as GET field does.
func (f field) schema() object {
	typ := map[fieldKind]string{
		kindNumber: "number", kindSelect: "option", kindLabels: "array", kindDate: "date", kindPriority: "priority",
	}[f.typ]
	if typ == "" {
		typ = "string"
	}
	o := object{"type": typ}
	if !f.custom {
		o["system"] = f.id
		return o
	}
	number, _ := strconv.Atoi(customFieldNumber(f.id))
	o["custom"] = "com.atlassian.jira.plugin.system.customfieldtypes:" + string(f.typ)
	o["customId"] = number
	return o
}

func (s *Server) getFields(q *request) (answer, error) {
	all := []any{
		object{
			"id":          "project",
			"key":         "project",
			"name":        "Project",
			"custom":      false,
			"searchable":  true,
			"clauseNames": []string{"project"},
			"schema":      object{"type": "project", "system": "project"},
		},
		object{
			"id":          "status",
			"key":         "status",
			"name":        "Status",
			"custom":      false,
			"searchable":  true,
			"clauseNames": []string{"status"},
			"schema":      object{"type": "status", "system": "status"},
		},
	}
	for _, f := range s.fields() {
		// A custom field is hidden from those who can browse no project that has it.
		if f.custom && (!can(q.user, BrowseProjects) || !s.isSomewhere(f) || !s.isPlaced(f)) {
			continue
		}
		all = append(all, s.fieldJSON(f))
	}
	return answer{status: http.StatusOK, body: all}, nil
}

func (s *Server) fieldJSON(f field) object {
	names := []string{f.id}
	if f.custom {
		names = []string{"cf[" + customFieldNumber(f.id) + "]", f.name}
	}
	o := object{
		"id": f.id, "key": f.id, "name": f.name, "custom": f.custom, "orderable": true, "navigable": true,
		"searchable": !f.custom || f.jql, "clauseNames": names, "schema": f.schema(),
	}
	if f.owner != "" {
		p, _ := s.project(f.owner)
		o["scope"] = object{"type": "PROJECT", "project": object{"id": p.ID}}
	}
	return o
}

// isSomewhere reports whether some project has the field.
func (s *Server) isSomewhere(f field) bool {
	return slices.ContainsFunc(s.setup.projects, func(p Project) bool {
		return slices.ContainsFunc(s.setup.types, func(t IssueType) bool { return f.appliesTo(p, t) })
	})
}

// isPlaced reports whether Cloud counts the field as in use: GET field leaves out those on no
// screen.
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issue-fields/
func (s *Server) isPlaced(f field) bool {
	return s.cfg.Deployment == DataCenter || f.owner != "" ||
		slices.ContainsFunc(s.setup.screens, func(on *screen) bool { return slices.Contains(on.fields, f.id) })
}

// appliesTo reports whether issues of the type have the field in the project.
func (f field) appliesTo(p Project, t IssueType) bool {
	switch {
	case !f.custom:
		return true
	case f.owner != "" || p.TeamManaged:
		return f.owner == p.Key
	}
	return covered(f.contexts, p, t)
}
