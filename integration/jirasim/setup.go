package jirasim

import (
	"cmp"
	"slices"
	"strconv"
)

// setup is what administrators can change while Jira runs, through the API or in the browser.
// Guarded by Server.mu. It begins as Config says; Config itself is read without a lock and keeps
// nothing of it.
type setup struct {
	projects     []Project
	types        []IssueType
	statuses     []Status
	transitions  []Transition
	initial      string            // the status in which issues begin
	translated   map[string]string // what statuses are called in the language of the accounts, by id
	fields       []Field
	required     []string
	contexts     map[string][]fieldContext      // by field id
	screens      []*screen                      // the first is DefaultScreen
	associations map[int]map[string]association // by field scheme and field id
	lastID       int                            // of fields, contexts and screens
}

// screen is a screen with its one tab.
type screen struct {
	id, tab int
	name    string
	fields  []string // ids, without project and issuetype
}

// fieldContext says where a field is: in the projects (by id) or, if it is global, in all; for the
// issue types (by id) or, if there are none, for all.
type fieldContext struct {
	id, name string
	global   bool
	projects []string
	types    []string
}

// covered reports whether a field with these contexts is in the project, for the issue type. A
// context that names the project overrides the global one.
// https://confluence.atlassian.com/adminjiraserver/configuring-custom-field-contexts-1047552717.html
func covered(contexts []fieldContext, p Project, t IssueType) bool {
	at := slices.IndexFunc(contexts, func(c fieldContext) bool { return slices.Contains(c.projects, p.ID) })
	if at < 0 {
		at = slices.IndexFunc(contexts, func(c fieldContext) bool { return c.global })
	}
	return at >= 0 && (len(contexts[at].types) == 0 || slices.Contains(contexts[at].types, t.ID))
}

// createScreen is where issues are created by default, once a field is OffScreen.
const createScreen = "Create Screen"

func newSetup(cfg Config) setup {
	d := setup{
		projects: slices.Clone(cfg.Projects), types: slices.Clone(cfg.IssueTypes), statuses: slices.Clone(cfg.Statuses),
		transitions: slices.Clone(cfg.Transitions), required: slices.Clone(cfg.Required),
		initial: cfg.Initial, translated: map[string]string{},
		contexts: map[string][]fieldContext{}, associations: map[int]map[string]association{}, lastID: 10600,
	}
	d.screens = []*screen{
		{
			id:     1,
			tab:    10,
			name:   DefaultScreen,
			fields: []string{"summary", "description", "environment", "labels", "duedate", "priority"},
		},
	}
	if slices.ContainsFunc(cfg.Fields, func(f Field) bool { return f.OffScreen }) {
		d.screens = append(d.screens, &screen{id: 4, tab: 40, name: createScreen, fields: slices.Clone(d.screens[0].fields)})
	}
	for _, f := range cfg.Fields {
		d.addField(f)
	}
	for _, s := range cfg.Screens {
		d.screens = append(d.screens, &screen{id: d.newID(), tab: d.newID(), name: s.Name, fields: slices.Clone(s.Fields)})
	}
	return d
}

// withoutSetup takes out of a Config what belongs to setup.
func (c *Config) withoutSetup() {
	c.Projects, c.IssueTypes, c.Statuses, c.Transitions = nil, nil, nil, nil
	c.Fields, c.Required, c.Screens = nil, nil, nil
	c.Initial = ""
}

func (d *setup) newID() int {
	d.lastID++
	return d.lastID
}

// newFieldID is above all that there are.
func (d *setup) newFieldID() string {
	for _, f := range d.fields {
		n, _ := strconv.Atoi(customFieldNumber(f.ID))
		d.lastID = max(d.lastID, n)
	}
	return "customfield_" + strconv.Itoa(d.newID())
}

// addField adds a field with its context, and puts it on the screens that its description says.
func (d *setup) addField(f Field) {
	d.fields = append(d.fields, f)
	if f.Project != "" {
		return
	}
	c := fieldContext{id: strconv.Itoa(d.newID()), name: "Default Configuration Scheme for " +
		f.Name, global: f.Projects == nil}
	for _, p := range d.projects {
		if slices.Contains(f.Projects, p.Key) {
			c.projects = append(c.projects, p.ID)
		}
	}
	if c.global || len(c.projects) > 0 {
		d.contexts[f.ID] = []fieldContext{c}
	}
	for _, s := range d.screens {
		if (s.name == DefaultScreen || s.name == createScreen && !f.OffScreen) && !f.NoScreen {
			s.fields = append(s.fields, f.ID)
		}
	}
}

func (d *setup) screen(name string) *screen {
	for _, s := range d.screens {
		if s.name == name {
			return s
		}
	}
	return nil
}

// screensOf are the screens of the operations in a project; every name is filled.
func (d *setup) screensOf(p Project, typ string) ScreenScheme {
	scheme, own := p.TypeScreens[typ]
	if !own {
		scheme = p.Screens
	}
	create := DefaultScreen
	if d.screen(createScreen) != nil {
		create = createScreen
	}
	return ScreenScheme{
		Create: cmp.Or(scheme.Create, create),
		Edit:   cmp.Or(scheme.Edit, DefaultScreen),
		View:   cmp.Or(scheme.View, DefaultScreen),
	}
}

func (s *Server) onCreateScreen(f field, p Project, t IssueType) bool {
	return s.onScreen(f, p, t, s.setup.screensOf(p, t.Name).Create)
}

func (s *Server) onEditScreen(f field, p Project, t IssueType) bool {
	return s.onScreen(f, p, t, s.setup.screensOf(p, t.Name).Edit)
}

// onScreen reports whether the field shows on a screen: it must be there, and be one of the
// project. A team-managed project has no screens.
func (s *Server) onScreen(f field, p Project, t IssueType, name string) bool {
	switch {
	case !f.appliesTo(p, t), !s.associated(f, p, t):
		return false
	case p.TeamManaged:
		return !f.offTeam
	}
	return slices.Contains(s.setup.screen(name).fields, f.id)
}
