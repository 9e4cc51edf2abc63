package jira

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"teleport-jira-agent/sync"
)

// jiraTime reads Jira's times, which come with the offset as +0000, +00:00 or Z, with and without
// milliseconds, and in places as milliseconds since 1970. null is the zero time.
type jiraTime struct{ time.Time }

func (t *jiraTime) UnmarshalJSON(raw []byte) error {
	if bytes.Equal(raw, []byte("null")) {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		t.Time = time.UnixMilli(ms).UTC()
		return nil
	}
	// Go accepts a fraction of a second where the layout has none.
	for _, layout := range []string{"2006-01-02T15:04:05Z0700", time.RFC3339, "2006-01-02T15:04:05Z07"} {
		if at, err := time.Parse(layout, text); err == nil {
			t.Time = at.UTC()
			return nil
		}
	}
	return fmt.Errorf("%q is no time with an offset", bounded(text, 40))
}

// asOf is Jira's clock when it gave an answer; zero where that does not tell.
func asOf(h http.Header) time.Time {
	at, _ := http.ParseTime(h.Get("Date"))
	return at
}

type personJSON struct {
	AccountID   string `json:"accountId"`
	AccountType string `json:"accountType"`
	Name        string `json:"name"`
	Key         string `json:"key"`
	Email       string `json:"emailAddress"`
	DisplayName string `json:"displayName"`
	Active      *bool  `json:"active"` // absent says nothing against the account
}

// person is who Jira names; the zero Person when it names nobody.
func (c *Client) person(p *personJSON) sync.Person {
	if p == nil {
		return sync.Person{}
	}
	who := sync.Person{
		AccountID: p.AccountID, Name: p.Name, Key: p.Key,
		Email: p.Email, DisplayName: p.DisplayName, Active: p.Active == nil || *p.Active,
		// Data Center has no account types. One that is not known, as "unknown" or that of an agent
		// of another kind, is no person.
		App: p.AccountType != "" && p.AccountType != "atlassian",
	}
	if c.deployment == Cloud || p.AccountID != "" {
		who.Name, who.Key = "", "" // left from before Cloud had account ids, they identify nobody there
	}
	who.Agent = samePerson(who, c.self)
	return who
}

// samePerson compares by the strongest mark that both have. Names and keys are not the same thing.
func samePerson(a, b sync.Person) bool {
	switch {
	case a.AccountID != "" || b.AccountID != "":
		return a.AccountID == b.AccountID && a.AccountID != "unknown"
	case a.Key != "" && b.Key != "":
		return a.Key == b.Key
	}
	return a.Name != "" && a.Name == b.Name
}

type statusJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (s statusJSON) status() sync.Status { return sync.Status{ID: s.ID, Name: s.Name} }

// issueJSON leaves the fields unread: the name of the custom field is known only at run time.
type issueJSON struct {
	ID         string                     `json:"id"`
	Key        string                     `json:"key"`
	Fields     map[string]json.RawMessage `json:"fields"`
	Properties map[string]json.RawMessage `json:"properties"`
	Changelog  *changelogJSON             `json:"changelog"`
}

// searchFields are the fields of an issue that issue reads.
func (c *Client) searchFields() []string {
	fields := []string{c.field.id, "status", "project", "issuetype", "updated", "created", "creator"}
	if c.deployment == DataCenter {
		fields = append(fields, archivedField)
	}
	return fields
}

// issue reads what searchFields asked for.
func (c *Client) issue(in issueJSON) (sync.Issue, error) {
	var (
		status  statusJSON
		project struct {
			Key string `json:"key"`
		}
		kind struct {
			Name string `json:"name"`
		}
		updated   jiraTime
		requestID *string
		creator   *personJSON
	)
	err := errors.Join(
		field(in, "status", &status),
		field(in, "project", &project),
		field(in, "issuetype", &kind),
		field(in, "updated", &updated),
		field(in, c.field.id, &requestID),
		field(in, "creator", &creator),
	)
	switch {
	case err != nil:
		return sync.Issue{}, err
	case in.ID == "" || in.Key == "" || status == statusJSON{} || updated.IsZero():
		return sync.Issue{}, errors.New("the issue comes without its id, key, status or time of change")
	}
	out := sync.Issue{
		ID: in.ID, Key: in.Key, Project: project.Key, Type: kind.Name, Status: status.status(), Updated: updated.Time,
		ByAgent: c.person(creator).Agent, Archived: archival(in),
	}
	if requestID != nil {
		out.RequestID = *requestID
	}
	c.noteKey(out.Key)
	out.Property = in.property()
	return out, nil
}

// property is the issue property that holds the request ID. Data Center's document nests properties
// within properties, Jira's answers have been seen flat. A property that is not a string is not the
// agent's.
func (in issueJSON) property() (value string) {
	properties := in.Properties
	var nested map[string]json.RawMessage
	if json.Unmarshal(properties["properties"], &nested) == nil && nested != nil {
		properties = nested
	}
	_ = json.Unmarshal(properties[propertyKey], &value)
	return value
}

// field decodes one field of an issue into out, which stays as it is when the field is absent.
func field(in issueJSON, name string, out any) error {
	raw, ok := in.Fields[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("field %s: %w", name, err)
	}
	return nil
}

type changelogJSON struct {
	StartAt   int           `json:"startAt"`
	Total     *int          `json:"total"`
	Histories []historyJSON `json:"histories"`
}

type historyJSON struct {
	ID       string       `json:"id"`
	Author   *personJSON  `json:"author"`
	Created  jiraTime     `json:"created"`
	Items    []itemJSON   `json:"items"`
	Metadata metadataJSON `json:"historyMetadata"`
}

// itemJSON is the change of one field.
type itemJSON struct {
	Field      string `json:"field"`
	FieldID    string `json:"fieldId"`
	FieldType  string `json:"fieldtype"`
	From       string `json:"from"`
	FromString string `json:"fromString"`
	To         string `json:"to"`
	ToString   string `json:"toString"`
}

// isStatus reports whether it is the status that changed. fieldId is often absent. A custom field
// may be called Status too.
func (i itemJSON) isStatus() bool {
	byName := i.FieldID == "" && strings.EqualFold(i.Field, "status") && !strings.EqualFold(i.FieldType, "custom")
	return i.FieldID == "status" || byName
}

// beside are the fields that changed together with the status.
func (h historyJSON) beside() []string {
	var fields []string
	for _, i := range h.Items {
		if !i.isStatus() {
			fields = append(fields, cmp.Or(i.FieldID, i.Field))
		}
	}
	return fields
}

// metadataJSON is what the software that made a change told of it.
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issues/
type metadataJSON struct {
	Generator *struct {
		ID          string `json:"id"`
		Type        string `json:"type"`
		DisplayName string `json:"displayName"`
	} `json:"generator"`
}

// generator names the app or rule; empty where none is named.
func (m metadataJSON) generator() string {
	if m.Generator == nil {
		return ""
	}
	return cmp.Or(m.Generator.DisplayName, m.Generator.ID, m.Generator.Type)
}

type commentsJSON struct {
	Total    int           `json:"total"`
	Comments []commentJSON `json:"comments"`
}

type commentJSON struct {
	ID           string         `json:"id"`
	Author       *personJSON    `json:"author"`
	UpdateAuthor *personJSON    `json:"updateAuthor"`
	Body         string         `json:"body"`
	Created      jiraTime       `json:"created"`
	Updated      jiraTime       `json:"updated"`
	Properties   []propertyJSON `json:"properties"` // absent unless expanded
	Visibility   map[string]any `json:"visibility"` // the group or role that alone sees it
	JSDPublic    *bool          `json:"jsdPublic"`  // Cloud only; false: internal to a service desk
}

type propertyJSON struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

// numeric reads an id as a number; 0 for one that is none.
func numeric(id string) int64 {
	n, _ := strconv.ParseInt(id, 10, 64)
	return n
}
