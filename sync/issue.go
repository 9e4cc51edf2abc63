package sync

import (
	"strings"
	"time"
)

// Status is a Jira workflow status. Names may be translated to the account's language; IDs are
// stable.
type Status struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Is reports whether a configured status, a name in any case or an ID, means this one.
func (s Status) Is(nameOrID string) bool {
	return s.ID != "" && s.ID == nameOrID || s.Name != "" && strings.EqualFold(s.Name, nameOrID)
}

// Issue is what Jira last said of an issue.
type Issue struct {
	// ID is Jira's numeric id, in decimal. It outlives a move to another project; the key does not.
	ID  string `json:"id"`
	Key string `json:"key"`
	// Project is the key of the project that the issue is in.
	Project string `json:"project"`
	// Type is the name of the issue type. People may change it; what decides is the status all the
	// same.
	Type   string `json:"type,omitempty"`
	Status Status `json:"status"`
	// RequestID is the content of the custom field. Anybody who may edit the issue can type one in.
	RequestID string `json:"request_id"`
	// Property is the content of the issue property teleportAccessRequestId, where it was read
	// (Find, Read).
	Property string `json:"property,omitempty"`
	// ByAgent tells that the agent's own account created the issue, where it was read (Find, Read).
	ByAgent bool `json:"by_agent,omitempty"`
	// Updated is Jira's own time of the last change, to the millisecond at best.
	Updated time.Time `json:"updated"`
	// Archived tells whether the issue is archived: read-only for everybody until somebody restores
	// it.
	Archived Archival `json:"archived,omitempty"`
	// Assumed is when the agent concluded from what it did that the issue is in Status, which Jira
	// has not shown yet. Zero where it has.
	Assumed time.Time `json:"assumed,omitzero"`

	// AsOf is Jira's own clock when it gave this answer, to the second; zero where the answer does
	// not tell. FromIndex tells that a search index said it, which may lag. Both belong to one
	// answer and are not recorded.
	AsOf      time.Time `json:"-"`
	FromIndex bool      `json:"-"`
}

// Archival tells whether an issue is archived.
type Archival string

// What can be known of it. Not every answer of Jira tells.
const (
	ArchivalUnknown Archival = ""
	Archived        Archival = "yes"
	NotArchived     Archival = "no"
)

// Person is a Jira user. Which fields are filled depends on the deployment and on the person's
// privacy settings.
type Person struct {
	AccountID   string // Cloud only
	Name        string // Data Center only: the user name
	Key         string // Data Center only
	Email       string // empty where it is hidden
	DisplayName string
	Active      bool
	App         bool // not a person: an app, an automation rule or a customer-portal account
	Agent       bool // the account that the agent itself uses
}

// ID is what tells the person from all others: the account id on Cloud, the key or name on Data
// Center. Empty when Jira did not say who it was.
func (p Person) ID() string {
	switch {
	case p.AccountID != "" && p.AccountID != "unknown":
		return p.AccountID
	case p.Key != "":
		return p.Key
	}
	return p.Name
}

// Is reports whether an id names the person: the account id on Cloud, the key or the name, in any
// case, on Data Center.
func (p Person) Is(id string) bool {
	return id != "" && id != "unknown" && (id == p.AccountID || id == p.Key || strings.EqualFold(id, p.Name))
}

// Move is one change of an issue's status, out of its history.
type Move struct {
	ID     string // of the history entry
	Author Person
	At     time.Time
	From   Status
	To     Status
	// Beside are the ids or names of other fields that the same entry of the history changed:
	// "Workflow", "issuetype".
	Beside []string
	// Generator names the app or rule that the entry says it comes from (historyMetadata); empty
	// where it names none.
	Generator string
}

// Comment is a comment on an issue, its body in wiki markup.
type Comment struct {
	ID      string
	Author  Person
	Body    string
	Created time.Time
	// Edited: somebody else than the author changed it last.
	Edited bool
	// Restricted: not everybody who sees the issue sees the comment (visibility, or internal to a
	// service desk).
	Restricted bool
	// Key is the agent's own mark, as given to Tracker.Comment; empty on people's comments.
	Key string
}

// Detail is a fresh read of one issue with all that a decision needs.
type Detail struct {
	Issue    Issue
	Moves    []Move    // oldest first; at least back to the one that led to the present status
	Comments []Comment // newest first
}

// Draft is an issue to be created.
type Draft struct {
	RequestID   string // goes into the custom field and the issue property
	Summary     string // one line, at most 255 characters
	Description string // wiki markup
}

// IssueRef names an issue, as Teleport's plugin data keeps it.
type IssueRef struct {
	ID  string
	Key string
}
