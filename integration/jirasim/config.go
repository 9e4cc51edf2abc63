package jirasim

import (
	"cmp"
	"slices"
	"time"
	_ "time/tzdata" // JQL needs users' time zones on machines without a zone database, too

	"github.com/google/uuid"
)

// Deployment is a kind of Jira, spelled as serverInfo.deploymentType spells it.
type Deployment string

// The two deployments.
const (
	Cloud      Deployment = "Cloud"
	DataCenter Deployment = "Server"
)

// The permissions that the simulator knows, by their keys in mypermissions.
const (
	BrowseProjects   = "BROWSE_PROJECTS"
	CreateIssues     = "CREATE_ISSUES"
	EditIssues       = "EDIT_ISSUES"
	TransitionIssues = "TRANSITION_ISSUES"
	AddComments      = "ADD_COMMENTS"
	DeleteIssues     = "DELETE_ISSUES"
	// Administer is the global permission "Administer Jira".
	Administer = "ADMINISTER"
	// AdministerProjects is the right of a project's administrators.
	AdministerProjects = "ADMINISTER_PROJECTS"
	// BrowseUsers is the global permission "Browse users and groups".
	BrowseUsers = "USER_PICKER"
)

// AllPermissions are the permissions of a project's ordinary member, and of a User whose
// Permissions are nil.
func AllPermissions() []string {
	return []string{BrowseProjects, CreateIssues, EditIssues, TransitionIssues, AddComments, DeleteIssues, BrowseUsers}
}

// Config describes a Jira. Example returns a complete one to start from.
type Config struct {
	Deployment Deployment
	// Version is what serverInfo says, such as "9.12.7".
	Version string
	// BasePath is put before /rest/api/2: "" or, for example, "/ex/jira/<cloud id>".
	BasePath string

	// Projects: the first is the one that CreateIssue uses by default. All share issue types,
	// workflows and, unless a field is limited, fields.
	Projects   []Project
	IssueTypes []IssueType
	Statuses   []Status
	// Initial is the name of the status in which issues begin.
	Initial     string
	Transitions []Transition
	// Fields are the custom fields.
	Fields []Field
	// Screens are those beside DefaultScreen.
	Screens []Screen
	// Required are ids of fields that must be set on creation, beside project, issuetype and
	// summary.
	Required []string

	Users       []User
	Groups      []Group
	Credentials []Credential

	// SystemTimeZone is the zone in which timestamps are rendered. Empty: UTC.
	SystemTimeZone string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// TimePrecision is the unit of stored times; zero: a millisecond. Some databases under Data
	// Center keep seconds.
	TimePrecision time.Duration
	// IndexLag tells, for each change, how long searches do not see it; nil: no lag.
	IndexLag func() time.Duration
	// MaxText is the length of a description or comment that is refused above, in UTF-16 units;
	// zero: 32,767. Some instances have a lower jira.text.field.character.limit.
	MaxText int
	// Unstorable is a text that the database does not take: a write that holds it is answered with
	// 500, and has no effect.
	Unstorable string
	// FieldSchemes: field schemes say where custom fields are, beside contexts (newer Clouds). At
	// first they hold none.
	FieldSchemes bool
	// NestedProperties shows the properties of an issue within another "properties", as Data
	// Center's document has it.
	NestedProperties bool
	// Caps bound pages; zero values become the deployment's own.
	Caps Caps

	// RateLimit applies to each endpoint and method by itself on Cloud, and to each user as a whole
	// on Data Center.
	RateLimit RateLimit
	// EndpointLimits override RateLimit on Cloud, by "METHOD endpoint" as Call.Route spells it.
	EndpointLimits map[string]RateLimit
	// LimitIssueWrites enforces Cloud's bounds of 20 writes in 2 s and 100 in 30 s on one issue.
	LimitIssueWrites bool

	// OnCall, if set, is told each call when it is over. It must not call the server back.
	OnCall func(Call)
}

// Project is a Jira project.
type Project struct {
	ID, Key, Name string
	// Type is the projectTypeKey: "software", "business" or "service_desk"; empty: "software".
	Type string
	// Screens say which screens the operations on the project's issues use; empty names:
	// DefaultScreen, for creation without the fields that are OffScreen.
	Screens ScreenScheme
	// TypeScreens override Screens for issue types, by name.
	TypeScreens map[string]ScreenScheme
	// TeamManaged: people of the project run it (Cloud): it has no screens and no fields but the
	// system's and those that are its own (Field.Project).
	TeamManaged bool
}

// ScreenScheme names the screens of the three operations. An empty Create, Edit or View is
// DefaultScreen.
type ScreenScheme struct{ Create, Edit, View string }

// DefaultScreen is the screen that every Jira has. All fields are on it but those with NoScreen.
const DefaultScreen = "Default Screen"

// Screen is a screen with one tab. Fields are the ids of those on it, beside project and issuetype,
// which every screen has.
type Screen struct {
	Name   string
	Fields []string
}

// ServiceDesk is the type of a project whose issues have customers, who see the public comments.
const ServiceDesk = "service_desk"

// IssueType is a type of issue.
type IssueType struct {
	ID, Name string
	// Statuses are the names of those that the workflow of this type has; nil: all. They include
	// Config.Initial.
	Statuses []string
}

// has reports whether the workflow of the type has a status.
func (t IssueType) has(status string) bool {
	return t.Statuses == nil || slices.Contains(t.Statuses, status)
}

// Status is a workflow status. Category is "new", "indeterminate" or "done".
type Status struct{ ID, Name, Category string }

// Transition is an arrow of the workflow. From and To are status names; an empty From makes it
// global: it is offered in each status, including To itself.
type Transition struct {
	ID, Name string
	From     []string
	To       string
	// Screen are the ids of fields that may be set with the transition; nil: it has no screen, and
	// nothing may be set.
	Screen []string
	// Required are the ids of fields on the screen that must be set.
	Required []string
}

// User is an account. People, apps and the agent are told apart by AccountType alone, as in Jira.
type User struct {
	// Name is the user name on Data Center. On Cloud it is never shown; the Go API goes by it on
	// both.
	Name string
	// AccountID (Cloud) and Key (Data Center) are derived from Name if empty.
	AccountID, Key string
	Email          string
	HideEmail      bool
	DisplayName    string
	// AccountType is "atlassian", "app" or "customer"; empty: "atlassian".
	AccountType string
	Inactive    bool
	// Groups are the names of the groups that the account is in.
	Groups []string
	// TimeZone is the zone in which this account's JQL dates are read; empty: America/St_Johns,
	// half an hour off the full hours.
	TimeZone string
	// Permissions of the account in all projects; nil: AllPermissions.
	Permissions []string

	blindTo *record // an issue that one call is not shown
}

// Group is a group of users.
type Group struct {
	Name string
	// ID (Cloud) is derived from Name if empty.
	ID string
}

// Credential lets a client in as User. With a Username it is basic authentication, without one a
// bearer token.
type Credential struct {
	User, Username, Token string
	// Scopes are what the token may be used for, such as read:jira-work; nil: for all that the
	// account may do.
	Scopes []string
	// Expires is when it lets nobody in any more; the zero time: never.
	Expires time.Time
}

// FieldType is the type of a custom field.
type FieldType string

// The types of custom fields that the simulator knows.
const (
	TextField FieldType = "textfield" // one line; JQL: ~ !~ is
	TextArea  FieldType = "textarea"  // wiki markup; JQL: ~ !~ is
	URLField  FieldType = "url"       // JQL: = != in is
	Number    FieldType = "float"     // JQL: is
	Select    FieldType = "select"    // JQL: is
)

// Field is a custom field.
type Field struct {
	ID   string // customfield_N
	Name string
	Type FieldType
	// Options of a Select field.
	Options []string
	// OffScreen: the field is not on the create screen, so it cannot be set on creation.
	OffScreen bool
	// NoScreen: the field is on no screen that Config does not put it on by name.
	NoScreen bool
	// Unsearchable: the field was made without a searcher, so JQL does not know it.
	Unsearchable bool
	// Projects are the keys of the projects that the field's one context is limited to; nil: the
	// context is global; empty: there is none.
	Projects []string
	// Project is the key of the team-managed project that the field is a part of; empty: it belongs
	// to the site.
	Project string
	// Default is what an issue gets that is created without a value; nil: nothing.
	Default any
}

// Caps bound what one answer holds.
type Caps struct {
	// SearchPage bounds a page of a search: 100 (Cloud, with fields), 1000 (Data Center).
	SearchPage int
	// IDPage bounds a page of a Cloud search for nothing but id or key: 5000.
	IDPage int
	// CommentPage bounds a page of comments: 100 (Cloud), 1000 (Data Center).
	CommentPage int
	// InlineComments bounds the field comment inside an issue on Cloud: 20.
	InlineComments int
	// InlineChangelog bounds expand=changelog on Cloud in searches and bulkfetch: 40. GET issue
	// shows IssueChangelog: 100.
	InlineChangelog, IssueChangelog int
	// ChangelogPage bounds a page of GET issue/{issue}/changelog: 100.
	ChangelogPage int
	// ResultWindow bounds startAt + maxResults on Data Center: 10000.
	ResultWindow int
}

// RateLimit is a token bucket: PerSecond tokens flow in, Burst fit. The zero RateLimit limits
// nothing.
type RateLimit struct {
	PerSecond float64
	Burst     int
}

// FixedLag is an IndexLag that is always d.
func FixedLag(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// Example is a complete Jira of either deployment: the projects OPS, OLD and the service desk HELP,
// the statuses To Do (initial), Pending, Approved, Denied and Expired with transitions named
// otherwise, the field teleportAccessRequestId, and the users agent, alice, bob and mallory (alice
// hides her e-mail address; alice and bob are in the group approvers) and the app automation. The
// agent's credentials are AgentUsername with AgentToken, on Data Center also AgentToken as a bearer
// token.
func Example(d Deployment) Config {
	c := Config{
		Deployment: d,
		Version:    "9.12.7",
		Projects: []Project{
			{ID: "10100", Key: "OPS", Name: "Operations"},
			{ID: "10101", Key: "OLD", Name: "Archive"},
			{ID: "10102", Key: "HELP", Name: "Help desk", Type: ServiceDesk},
		},
		IssueTypes: []IssueType{{ID: "10200", Name: "Task"}, {ID: "10201", Name: "Bug"}},
		Statuses: []Status{
			{ID: "10300", Name: "To Do", Category: "new"},
			{ID: "10301", Name: "Pending", Category: "indeterminate"},
			{ID: "10302", Name: "Approved", Category: "done"},
			{ID: "10303", Name: "Denied", Category: "done"},
			{ID: "10304", Name: "Expired", Category: "done"},
		},
		Initial: "To Do",
		Transitions: []Transition{
			{ID: "11", Name: "Queue for a decision", From: []string{"To Do", "Approved", "Denied", "Expired"}, To: "Pending"},
			{ID: "21", Name: "Give the go-ahead", From: []string{"To Do", "Pending", "Denied", "Expired"}, To: "Approved"},
			{ID: "31", Name: "Turn down", From: []string{"To Do", "Pending", "Approved", "Expired"}, To: "Denied"},
			{ID: "41", Name: "Let lapse", From: []string{"To Do", "Pending", "Approved", "Denied"}, To: "Expired"},
		},
		Fields: []Field{{ID: "customfield_10042", Name: "teleportAccessRequestId", Type: TextField}},
		Users: []User{
			{Name: "agent", Email: "agent@example.com", DisplayName: "Teleport Agent"},
			{
				Name:        "alice",
				Email:       "alice@example.com",
				DisplayName: "Alice Liddell",
				HideEmail:   true,
				Groups:      []string{"approvers", "everybody"},
			},
			{Name: "bob", Email: "bob@example.com", DisplayName: "Bob Cratchit", Groups: []string{"approvers", "everybody"}},
			{Name: "mallory", Email: "mallory@example.com", DisplayName: "Mallory Archer", Groups: []string{"everybody"}},
			{Name: "automation", DisplayName: "Automation for Jira", AccountType: "app"},
		},
		Groups:      []Group{{Name: "approvers"}, {Name: "everybody"}},
		Credentials: []Credential{{User: "agent", Username: AgentUsername, Token: AgentToken}},
	}
	if d == DataCenter {
		c.Credentials = append(c.Credentials, Credential{User: "agent", Token: AgentToken})
		return c
	}
	// https://developer.atlassian.com/cloud/jira/platform/rate-limiting/, burst limits.
	c.Version = "1001.0.0-SNAPSHOT"
	c.RateLimit = RateLimit{PerSecond: 100, Burst: 100}
	c.LimitIssueWrites = true
	return c
}

// The credentials of the agent in Example.
const (
	AgentUsername = "agent@example.com"
	AgentToken    = "jirasim-agent-token"
)

// withDefaults fills what may be left empty and panics on a description that contradicts itself: a
// defect of the test.
func (c Config) withDefaults() Config {
	set := func(n *int, cloud, dataCenter int) {
		if *n == 0 && c.Deployment == Cloud {
			*n = cloud
		}
		if *n == 0 {
			*n = dataCenter
		}
	}
	set(&c.Caps.SearchPage, 100, 1000)
	set(&c.Caps.IDPage, 5000, 1000)
	set(&c.Caps.CommentPage, 100, 1000)
	set(&c.Caps.InlineComments, 20, 1<<30)
	set(&c.Caps.InlineChangelog, 40, 1<<30)
	set(&c.Caps.IssueChangelog, 100, 1<<30)
	set(&c.Caps.ChangelogPage, 100, 100)
	set(&c.Caps.ResultWindow, 1<<30, 10000)
	c.MaxText = cmp.Or(c.MaxText, maxText)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TimePrecision == 0 {
		c.TimePrecision = time.Millisecond
	}
	if c.IndexLag == nil {
		c.IndexLag = FixedLag(0)
	}
	c.Groups = slices.Clone(c.Groups)
	for i, g := range c.Groups {
		c.Groups[i].ID = cmp.Or(g.ID, uuid.NewSHA1(uuid.NameSpaceOID, []byte(g.Name)).String())
	}
	c.check()
	return c
}
