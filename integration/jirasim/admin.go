package jirasim

import (
	"fmt"
	"maps"
	"slices"
)

// This file is what Jira's administrators do in the browser while it runs. They may do all; a name
// that Jira does not know panics, as a defect of the test.

// administer changes the setup.
func (s *Server) administer(change func(*setup)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.setup)
}

func mustFind[T any](all []T, what, name string, is func(T) bool) *T {
	at := slices.IndexFunc(all, is)
	if at < 0 {
		panic(fmt.Sprintf("jirasim: no %s %q", what, name))
	}
	return &all[at]
}

func (d *setup) mustField(id string) *Field {
	return mustFind(d.fields, "field", id, func(f Field) bool { return f.ID == id })
}

func (d *setup) mustScreen(name string) *screen {
	return *mustFind(d.screens, "screen", name, func(s *screen) bool { return s.name == name })
}

func (d *setup) mustStatus(name string) {
	mustFind(d.statuses, "status", name, func(s Status) bool { return s.Name == name })
}

// AddStatus adds a status to the workflow of each issue type.
func (s *Server) AddStatus(status Status) {
	s.administer(func(d *setup) {
		d.statuses = append(slices.Clone(d.statuses), status)
		d.types = slices.Clone(d.types)
		for i, t := range d.types {
			if t.Statuses != nil {
				d.types[i].Statuses = append(slices.Clone(t.Statuses), status.Name)
			}
		}
	})
}

// AddTransition adds an arrow to the workflows.
func (s *Server) AddTransition(t Transition) {
	s.administer(func(d *setup) {
		d.mustStatus(t.To)
		for _, from := range t.From {
			d.mustStatus(from)
		}
		d.transitions = append(slices.Clone(d.transitions), t)
	})
}

// RemoveTransition takes an arrow out of the workflows.
func (s *Server) RemoveTransition(id string) {
	s.administer(func(d *setup) {
		mustFind(d.transitions, "transition", id, func(t Transition) bool { return t.ID == id })
		d.transitions = slices.DeleteFunc(slices.Clone(d.transitions), func(t Transition) bool { return t.ID == id })
	})
}

// SetWorkflow replaces the workflow of all issue types: the status in which issues begin, and all
// arrows.
func (s *Server) SetWorkflow(initial string, transitions ...Transition) {
	s.administer(func(d *setup) {
		d.mustStatus(initial)
		for _, t := range transitions {
			for _, name := range append([]string{t.To}, t.From...) {
				d.mustStatus(name)
			}
		}
		d.initial, d.transitions = initial, slices.Clone(transitions)
	})
}

// TranslateStatus shows a status under another name, as accounts of another language see it;
// histories keep the name itself. An empty name takes that back.
func (s *Server) TranslateStatus(status, shown string) {
	s.administer(func(d *setup) {
		d.mustStatus(status)
		at := slices.IndexFunc(d.statuses, func(s Status) bool { return s.Name == status })
		d.translated = maps.Clone(d.translated)
		d.translated[d.statuses[at].ID] = shown
	})
}

// SkipKeys takes so many keys of a project that no issue gets, as creates that fail late do.
func (s *Server) SkipKeys(project string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.site.nextKey[project] += n
}

// HideIssue lets the security of an issue keep it from a user: it is not found by key, and in no
// search.
func (s *Server) HideIssue(issue, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustUser(user)
	r := s.site.find(issue)
	if r == nil {
		panic("jirasim: no issue " + issue)
	}
	r.secret = map[string]bool{user: true}
}

// ShowIssue lets everybody see an issue again who may browse the project.
func (s *Server) ShowIssue(issue string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.site.find(issue)
	if r == nil {
		panic("jirasim: no issue " + issue)
	}
	r.secret = nil
}

// AddField makes a custom field as it is described; with an empty ID it gets the next one, which is
// returned.
func (s *Server) AddField(f Field) (id string) {
	s.administer(func(d *setup) {
		if f.ID == "" {
			f.ID = d.newFieldID()
		}
		d.addField(f)
		id = f.ID
	})
	return id
}

// RemoveField deletes a custom field. Its values show no more.
func (s *Server) RemoveField(id string) {
	s.administer(func(d *setup) {
		d.mustField(id)
		d.fields = slices.DeleteFunc(slices.Clone(d.fields), func(f Field) bool { return f.ID == id })
		delete(d.contexts, id)
		for _, on := range d.screens {
			on.fields = slices.DeleteFunc(on.fields, func(other string) bool { return other == id })
		}
	})
}

// MakeSearchable gives a custom field the searcher of its type.
func (s *Server) MakeSearchable(id string) {
	s.administer(func(d *setup) { d.mustField(id).Unsearchable = false })
}

// SetFieldProjects limits a custom field to one context for these projects; without any, to the
// global context.
func (s *Server) SetFieldProjects(id string, keys ...string) {
	s.administer(func(d *setup) {
		name := d.mustField(id).Name
		c := fieldContext{id: fmt.Sprint(d.newID()), name: "Context of " + name, global: len(keys) == 0}
		for _, key := range keys {
			c.projects = append(
				c.projects,
				mustFind(d.projects, "project", key, func(p Project) bool { return p.Key == key }).ID,
			)
		}
		d.contexts[id] = []fieldContext{c}
	})
}

// AddFieldToScreen puts a field on a screen; on one that is named "" it puts a field of a
// team-managed project on the issue types.
func (s *Server) AddFieldToScreen(id, name string) {
	s.administer(func(d *setup) {
		if name == "" {
			f := d.mustField(id)
			f.OffScreen, f.NoScreen = false, false
			return
		}
		if on := d.mustScreen(name); !slices.Contains(on.fields, id) {
			on.fields = append(on.fields, id)
		}
	})
}

// RemoveFieldFromScreen takes a field off a screen.
func (s *Server) RemoveFieldFromScreen(id, name string) {
	s.administer(func(d *setup) {
		on := d.mustScreen(name)
		on.fields = slices.DeleteFunc(on.fields, func(other string) bool { return other == id })
	})
}

// SetRequired says which fields must be set on creation, beside project, issuetype and summary.
func (s *Server) SetRequired(ids ...string) {
	s.administer(func(d *setup) { d.required = slices.Clone(ids) })
}

// AddIssueType adds a type, whose workflow has the statuses that it names.
func (s *Server) AddIssueType(t IssueType) {
	s.administer(func(d *setup) { d.types = append(slices.Clone(d.types), t) })
}
