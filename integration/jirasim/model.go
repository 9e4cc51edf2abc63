package jirasim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Issue is an issue as it was at one moment. It and all that it refers to must not be changed.
type Issue struct {
	ID, Key string
	Project string // key
	Type    string // name
	Status  Status
	Creator string // user name
	// ArchivedBy is the user name of who archived the issue; empty while it is not archived.
	ArchivedBy string
	ArchivedAt time.Time
	Created    time.Time
	Updated    time.Time
	// Fields are the values of all other fields by id, custom and system, in the form in which JSON
	// carries them.
	Fields     map[string]any
	Comments   []Comment // oldest first
	History    []Change  // oldest first
	Properties map[string]json.RawMessage
}

// Text is the value of a text field; empty if it has none.
func (i Issue) Text(field string) string {
	text, _ := i.Fields[field].(string)
	return text
}

// Comment is a comment on an issue. Authors are user names.
type Comment struct {
	ID                string
	Author, UpdatedBy string
	Body              string
	Created, Updated  time.Time
	Properties        map[string]json.RawMessage
	// JSDPublic: the customers of a service desk see it, once its issue is in one. So does every
	// comment that was not made internal.
	JSDPublic bool
	// Visibility are the group or role to which the comment shows; nil: to everybody who sees the
	// issue.
	Visibility map[string]any
}

// Change is one entry of an issue's history. Author is a user name; empty if Jira does not tell.
type Change struct {
	ID     string
	Author string
	At     time.Time
	Items  []ChangeItem
	// Metadata says what led to the change; nil: nothing is told.
	Metadata *HistoryMetadata
}

// HistoryMetadata is what the software that made a change told of it:
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issues/, "historyMetadata".
type HistoryMetadata struct {
	Type        string              `json:"type,omitempty"`
	Description string              `json:"description,omitempty"`
	Actor       *HistoryParticipant `json:"actor,omitempty"`
	Generator   *HistoryParticipant `json:"generator,omitempty"`
	Cause       *HistoryParticipant `json:"cause,omitempty"`
}

// HistoryParticipant is somebody or something that had a part in a change.
type HistoryParticipant struct {
	ID          string `json:"id,omitempty"`
	Type        string `json:"type,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	URL         string `json:"url,omitempty"`
}

// ChangeItem is one field's change.
type ChangeItem struct {
	Field, FieldID, FieldType      string
	From, FromString, To, ToString string
}

// site is everything that Jira keeps.
type site struct {
	users   map[string]*User // by Name
	logins  []Credential
	issues  []*record          // in order of creation
	byID    map[string]*record // deleted ones too
	byKey   map[string]*record // former keys of moved issues too
	nextID  int                // of issues, comments and history entries
	nextKey map[string]int     // by project key
	changed chan struct{}      // closed at the next change
	// unfinished are issues whose creation Jira has begun: each function finishes one.
	unfinished []func()
}

// record is an issue through time.
type record struct {
	id  int
	now *Issue // nil: deleted
	// held is what reads show in place of now; nil: nothing holds them back.
	held *Issue
	// secret are the names of users who may not see the issue.
	secret map[string]bool
	// index is what searches see: versions in the order in which they show. The first is the one
	// that shows now, or that will first.
	index []version
}

type version struct {
	issue *Issue // nil: deleted or archived
	shows time.Time
}

func newSite(cfg Config) site {
	d := site{
		users:   map[string]*User{},
		logins:  slices.Clone(cfg.Credentials),
		byID:    map[string]*record{},
		byKey:   map[string]*record{},
		nextID:  10000,
		nextKey: map[string]int{},
		changed: make(chan struct{}),
	}
	for n, u := range cfg.Users {
		if u.AccountID == "" {
			u.AccountID = "712020:" + u.Name
		}
		if u.Key == "" {
			u.Key = fmt.Sprintf("JIRAUSER%d", 10100+n)
		}
		if u.DisplayName == "" {
			u.DisplayName = u.Name
		}
		if u.AccountType == "" {
			u.AccountType = "atlassian"
		}
		if u.TimeZone == "" {
			u.TimeZone = "America/St_Johns"
		}
		if u.Permissions == nil {
			u.Permissions = AllPermissions()
		}
		if _, err := time.LoadLocation(u.TimeZone); err != nil {
			panic("jirasim: bad Config: user " + u.Name + ": " + err.Error())
		}
		d.users[u.Name] = &u
	}
	return d
}

func (d *site) newID() string {
	d.nextID++
	return strconv.Itoa(d.nextID)
}

func (d *site) newKey(project string) string {
	d.nextKey[project]++
	return fmt.Sprintf("%s-%d", project, d.nextKey[project])
}

// find returns the record of an issue that is not deleted, by id, key or former key.
func (d *site) find(idOrKey string) *record {
	r := d.byID[idOrKey]
	if r == nil {
		r = d.byKey[strings.ToUpper(idOrKey)]
	}
	if r == nil || r.now == nil {
		return nil
	}
	return r
}

// clone makes a version that may be changed: containers are new, their contents are shared.
func (i *Issue) clone() *Issue {
	next := *i
	next.Fields = maps.Clone(i.Fields)
	next.Comments = slices.Clone(i.Comments)
	next.History = slices.Clone(i.History)
	next.Properties = maps.Clone(i.Properties)
	return &next
}

// clock is what Jira takes for the time.
func (s *Server) clock() time.Time { return s.cfg.Now().Add(time.Duration(s.shift.Load())) }

// now is the time that is stored with a change.
func (s *Server) now() time.Time { return s.clock().Truncate(s.cfg.TimePrecision) }

// put makes issue (nil: deleted) the present version of r, tells webhooks, shows it to searches
// after the lag, and wakes waiters.
func (s *Server) put(r *record, issue *Issue) {
	now := s.indexTime()
	shows := s.cfg.Now().Add(s.lag())
	if !s.frozen.IsZero() && !shows.After(s.frozen) {
		shows = s.frozen.Add(1)
	}
	if n := len(r.index); n > 0 && shows.Before(r.index[n-1].shows) {
		shows = r.index[n-1].shows // the index takes changes of one issue in order
	}
	s.tell(r.now, issue)
	r.now = issue
	r.index = append(r.index, version{issue: issue.searchable(), shows: shows})
	for len(r.index) > 1 && !r.index[1].shows.After(now) {
		r.index = r.index[1:]
	}
	if issue != nil {
		s.site.byKey[issue.Key] = r
	}
	close(s.site.changed)
	s.site.changed = make(chan struct{})
}

// edit applies change to a copy of the issue and makes that the present version, updated now.
func (s *Server) edit(r *record, change func(*Issue)) *Issue {
	next := r.now.clone()
	next.Updated = s.now()
	change(next)
	s.put(r, next)
	return next
}

// read is what the calls that read one issue show of it.
func (r *record) read() *Issue {
	if r.held != nil {
		return r.held
	}
	return r.now
}

// indexed is what a search sees of r; nil: nothing.
func (r *record) indexed(now time.Time) *Issue {
	var seen *Issue
	for _, v := range r.index {
		if v.shows.After(now) {
			break
		}
		seen = v.issue
	}
	return seen
}

// log appends an entry to the history of an issue that is being edited.
func (s *Server) log(i *Issue, author string, items ...ChangeItem) {
	i.History = append(i.History, Change{ID: s.site.newID(), Author: author, At: i.Updated, Items: items})
}

// setStatus is the whole effect of a transition on the issue.
func (s *Server) setStatus(i *Issue, author string, to Status) {
	s.log(i, author, statusItem(i.Status, to))
	i.Status = to
}

func statusItem(from, to Status) ChangeItem {
	return ChangeItem{
		Field: "status", FieldID: "status", FieldType: "jira",
		From: from.ID, FromString: from.Name, To: to.ID, ToString: to.Name,
	}
}

func (s *Server) status(name string) (Status, bool) {
	for _, status := range s.setup.statuses {
		if strings.EqualFold(status.Name, name) {
			return status, true
		}
	}
	return Status{}, false
}

func (s *Server) issueType(name string) (IssueType, bool) {
	for _, t := range s.setup.types {
		if t.Name == name {
			return t, true
		}
	}
	return IssueType{}, false
}

func (s *Server) project(idOrKey string) (Project, bool) {
	for _, p := range s.setup.projects {
		if p.ID == idOrKey || strings.EqualFold(p.Key, idOrKey) {
			return p, true
		}
	}
	return Project{}, false
}
