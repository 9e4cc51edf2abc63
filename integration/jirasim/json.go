package jirasim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type object = map[string]any

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("jirasim: cannot encode an answer: " + err.Error())
	}
	return raw
}

// decode reads a body into v and refuses what the operation does not know, as Jira's parser does.
func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return refuse(http.StatusBadRequest, "Invalid request payload. Refer to the REST API documentation and try again. "+
			"(%s)", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return refuse(http.StatusBadRequest, "Invalid request payload. Refer to the REST API documentation and try again. "+
			"(more follows)")
	}
	return nil
}

// text is a JSON string; a number is taken as one, as Jira's parser does.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	var n json.Number
	if json.Unmarshal(raw, &n) == nil && raw[0] != '"' {
		*t = text(n)
		return nil
	}
	return json.Unmarshal(raw, (*string)(t))
}

// names is a list of strings, or one string that holds them separated by commas.
type names []string

func (n *names) UnmarshalJSON(raw []byte) error {
	var joined string
	if json.Unmarshal(raw, &joined) == nil {
		*n = list([]string{joined})
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(n))
}

// timestampLayout is how Jira writes times.
const timestampLayout = "2006-01-02T15:04:05.000-0700"

func (s *Server) timestamp(t time.Time) string { return t.In(s.zone).Format(timestampLayout) }

func (s *Server) self(q *request, path string) string {
	return "http://" + q.Host + s.cfg.BasePath + apiPath + path
}

// userJSON is an account as q.user sees it; nil for the empty name.
func (s *Server) userJSON(q *request, name string) any {
	u := s.site.users[name]
	if u == nil {
		return nil
	}
	o := object{"displayName": u.DisplayName, "active": !u.Inactive, "timeZone": u.TimeZone}
	if s.cfg.Deployment == DataCenter {
		o["self"] = s.self(q, "user?username="+u.Name)
		o["name"], o["key"], o["emailAddress"] = u.Name, u.Key, u.Email
		return o
	}
	o["self"] = s.self(q, "user?accountId="+u.AccountID)
	o["accountId"], o["accountType"] = u.AccountID, u.AccountType
	if u.Email != "" && (!u.HideEmail || q.user.Name == u.Name) {
		o["emailAddress"] = u.Email
	}
	return o
}

func (s *Server) statusJSON(q *request, status Status) object {
	category := map[string]object{
		"new":           {"id": 2, "key": "new", "name": "To Do"},
		"indeterminate": {"id": 4, "key": "indeterminate", "name": "In Progress"},
		"done":          {"id": 3, "key": "done", "name": "Done"},
	}[status.Category]
	name := cmp.Or(s.setup.translated[status.ID], status.Name)
	return object{
		"self":           s.self(q, "status/"+status.ID),
		"id":             status.ID,
		"name":           name,
		"description":    "",
		"statusCategory": category,
	}
}

func (s *Server) projectJSON(q *request, p Project) object {
	o := object{
		"self":           s.self(q, "project/"+p.ID),
		"id":             p.ID,
		"key":            p.Key,
		"name":           p.Name,
		"projectTypeKey": cmp.Or(p.Type, "software"),
	}
	if s.cfg.Deployment == Cloud {
		o["simplified"] = p.TeamManaged
	}
	return o
}

func (s *Server) typeJSON(q *request, t IssueType) object {
	return object{"self": s.self(q, "issuetype/"+t.ID), "id": t.ID, "name": t.Name, "description": "", "subtask": false}
}

// view says what of an issue is shown.
type view struct {
	fields     []string
	expand     []string
	properties []string
	// comments and histories bound what is shown inside an issue.
	comments, histories int
}

// list splits what is given as a repeated or comma-separated parameter.
func list(values []string) []string {
	var items []string
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
	}
	return items
}

// shows reports whether a field is among those asked for: names, *all, *navigable (all but
// comment), and -name to leave out.
func (v view) shows(field string) bool {
	shown := len(v.fields) > 0 && strings.HasPrefix(v.fields[0], "-")
	for _, f := range v.fields {
		switch {
		case f == field, f == "*all", f == "*navigable" && field != "comment":
			shown = true
		case f == "-"+field:
			shown = false
		}
	}
	return shown
}

// idOnly reports whether nothing but id and key are asked for.
func (v view) idOnly() bool {
	for _, f := range v.fields {
		if f != "id" && f != "key" {
			return false
		}
	}
	return len(v.expand) == 0 && len(v.properties) == 0
}

func (s *Server) issueJSON(q *request, i *Issue, v view) object {
	o := object{
		"id":     i.ID,
		"key":    i.Key,
		"self":   s.self(q, "issue/"+i.ID),
		"expand": "renderedFields,names,schema,operations,editmeta,changelog,transitions",
	}
	fields := object{}
	for id, value := range s.allFields(q, i, v) {
		if v.shows(id) {
			fields[id] = value
		}
	}
	o["fields"] = fields
	if slices.Contains(v.expand, "changelog") {
		o["changelog"] = s.changelogJSON(q, i, v.histories)
	}
	if slices.Contains(v.expand, "transitions") {
		o["transitions"] = s.transitionsJSON(q, i, "", false)
	}
	if len(v.properties) > 0 {
		properties := object{}
		for _, key := range v.properties {
			if value, ok := i.Properties[key]; ok {
				properties[key] = value
			}
		}
		o["properties"] = properties
		if s.cfg.NestedProperties {
			o["properties"] = object{"properties": properties}
		}
	}
	return o
}

func (s *Server) allFields(q *request, i *Issue, v view) object {
	o := object{
		"created": s.timestamp(i.Created), "updated": s.timestamp(i.Updated),
		"creator": s.userJSON(q, i.Creator), "reporter": s.userJSON(q, i.Creator),
		"status": s.statusJSON(q, i.Status), "labels": []any{}, "resolution": nil, "assignee": nil,
	}
	if s.cfg.Deployment == DataCenter {
		o["archivedby"], o["archiveddate"] = nil, nil
		if i.ArchivedBy != "" {
			o["archivedby"], o["archiveddate"] = s.userJSON(q, i.ArchivedBy), s.timestamp(i.ArchivedAt)
		}
	}
	p, ok := s.project(i.Project)
	if ok {
		o["project"] = s.projectJSON(q, p)
	}
	t, ok := s.issueType(i.Type)
	if ok {
		o["issuetype"] = s.typeJSON(q, t)
	}
	// A field without a context here is hidden, whatever value it kept from before.
	for _, f := range s.fields() {
		if _, preset := o[f.id]; f.appliesTo(p, t) && (!preset || i.Fields[f.id] != nil) {
			o[f.id] = i.Fields[f.id]
		}
	}
	shown := i.Comments[:min(v.comments, len(i.Comments))]
	comments := make([]any, 0, len(shown))
	for _, c := range shown {
		comments = append(comments, s.commentJSON(q, i, c, false))
	}
	o["comment"] = object{"comments": comments, "maxResults": len(shown), "total": len(i.Comments), "startAt": 0}
	return o
}

// changelogJSON is expand=changelog: on Cloud the most recent entries, newest first; on Data Center
// all, oldest first.
func (s *Server) changelogJSON(q *request, i *Issue, most int) object {
	history := slices.Clone(i.History)
	if s.cfg.Deployment == Cloud {
		slices.Reverse(history)
	}
	history = history[:min(most, len(history))]
	histories := make([]any, 0, len(history))
	for _, c := range history {
		histories = append(histories, s.changeJSON(q, c))
	}
	return object{"startAt": 0, "maxResults": len(histories), "total": len(i.History), "histories": histories}
}

func (s *Server) changeJSON(q *request, c Change) object {
	items := make([]any, 0, len(c.Items))
	for _, item := range c.Items {
		o := object{
			"field":      item.Field,
			"fieldtype":  item.FieldType,
			"from":       orNull(item.From),
			"fromString": orNull(item.FromString),
			"to":         orNull(item.To),
			"toString":   orNull(item.ToString),
		}
		if s.cfg.Deployment == Cloud && item.FieldID != "" {
			o["fieldId"] = item.FieldID
		}
		items = append(items, o)
	}
	o := object{"id": c.ID, "created": s.timestamp(c.At), "items": items}
	if author := s.userJSON(q, c.Author); author != nil {
		o["author"] = author
	}
	if c.Metadata != nil {
		o["historyMetadata"] = c.Metadata
	}
	return o
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (s *Server) commentJSON(q *request, i *Issue, c Comment, withProperties bool) object {
	o := object{
		"self": s.self(q, "issue/"+i.ID+"/comment/"+c.ID), "id": c.ID, "body": c.Body,
		"author": s.userJSON(q, c.Author), "updateAuthor": s.userJSON(q, c.UpdatedBy),
		"created": s.timestamp(c.Created), "updated": s.timestamp(c.Updated),
	}
	if withProperties {
		o["properties"] = propertyList(c.Properties)
	}
	if c.Visibility != nil {
		o["visibility"] = c.Visibility
	}
	if s.cfg.Deployment == Cloud {
		o["jsdPublic"] = c.JSDPublic
	}
	return o
}

type property struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

func propertyList(properties map[string]json.RawMessage) []property {
	all := make([]property, 0, len(properties))
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		all = append(all, property{Key: key, Value: properties[key]})
	}
	return all
}

// pageParams reads startAt and maxResults. A maxResults above the cap is lowered to it.
func pageParams(q *request, preset, most int) (startAt, maxResults int, err error) {
	startAt, err = intParam(q, "startAt", 0)
	if err != nil {
		return 0, 0, err
	}
	maxResults, err = intParam(q, "maxResults", preset)
	if err != nil {
		return 0, 0, err
	}
	if startAt < 0 || maxResults < 0 {
		return 0, 0, refuse(http.StatusBadRequest, "startAt and maxResults must not be negative.")
	}
	return startAt, min(maxResults, most), nil
}

func intParam(q *request, name string, preset int) (int, error) {
	value := q.query.Get(name)
	if value == "" {
		return preset, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "The value '%s' of the query parameter '%s' is not a number.", value, name)
	}
	return n, nil
}

// page cuts [startAt, startAt+maxResults) out of all.
func page[T any](all []T, startAt, maxResults int) []T {
	from := min(startAt, len(all))
	return all[from:min(from+maxResults, len(all))]
}
