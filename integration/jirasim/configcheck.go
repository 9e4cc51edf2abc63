package jirasim

import (
	"fmt"
	"net/http"
	"slices"
)

func (c Config) check() {
	must := func(ok bool, format string, args ...any) {
		if !ok {
			panic("jirasim: bad Config: " + fmt.Sprintf(format, args...))
		}
	}
	must(c.Deployment == Cloud || c.Deployment == DataCenter, "Deployment %q", c.Deployment)
	must(len(c.Projects) > 0 && len(c.IssueTypes) > 0, "a project and an issue type are needed")
	status := func(name string) bool {
		return slices.ContainsFunc(c.Statuses, func(s Status) bool { return s.Name == name })
	}
	must(status(c.Initial), "initial status %q is not among the statuses", c.Initial)
	for _, t := range c.IssueTypes {
		must(t.has(c.Initial), "issue type %s lacks the initial status %q", t.Name, c.Initial)
		for _, name := range t.Statuses {
			must(status(name), "issue type %s has unknown status %q", t.Name, name)
		}
	}
	for _, t := range c.Transitions {
		must(status(t.To), "transition %s leads to unknown status %q", t.ID, t.To)
		for _, from := range t.From {
			must(status(from), "transition %s begins at unknown status %q", t.ID, from)
		}
	}
	for _, f := range c.Fields {
		must(customFieldNumber(f.ID) != "", "custom field id %q is not customfield_N", f.ID)
	}
	for _, p := range c.Projects {
		must(
			slices.Contains([]string{"", "software", "business", ServiceDesk}, p.Type),
			"project %s is of type %q",
			p.Key,
			p.Type,
		)
		must(!p.TeamManaged || c.Deployment == Cloud, "project %s is team-managed, which only Cloud has", p.Key)
	}
	c.checkScreens(must)
	for _, u := range c.Users {
		for _, name := range u.Groups {
			_, known := c.group(name)
			must(known, "user %s is in unknown group %q", u.Name, name)
		}
	}
	for _, cred := range c.Credentials {
		known := slices.ContainsFunc(c.Users, func(u User) bool { return u.Name == cred.User })
		must(known, "credential for unknown user %q", cred.User)
	}
	for route := range c.EndpointLimits {
		known := slices.ContainsFunc(endpoints(), func(e endpoint) bool { return e.route() == route })
		must(known, "EndpointLimits: no endpoint %q", route)
	}
}

// checkScreens checks what refers to projects and screens.
func (c Config) checkScreens(must func(ok bool, format string, args ...any)) {
	project := func(key string) (Project, bool) {
		at := slices.IndexFunc(c.Projects, func(p Project) bool { return p.Key == key })
		if at < 0 {
			return Project{}, false
		}
		return c.Projects[at], true
	}
	screen := func(name string) bool {
		return name == "" || name == DefaultScreen ||
			slices.ContainsFunc(c.Screens, func(s Screen) bool { return s.Name == name })
	}
	for _, f := range c.Fields {
		for _, key := range f.Projects {
			_, known := project(key)
			must(known, "field %s is limited to unknown project %q", f.ID, key)
		}
		owner, known := project(f.Project)
		must(
			f.Project == "" || known && owner.TeamManaged,
			"field %s is a part of %q, which is no team-managed project",
			f.ID,
			f.Project,
		)
	}
	for _, p := range c.Projects {
		schemes := []ScreenScheme{p.Screens}
		for typ, scheme := range p.TypeScreens {
			must(slices.ContainsFunc(c.IssueTypes, func(t IssueType) bool { return t.Name == typ }), "project %s has screens "+
				"for unknown issue type %q", p.Key, typ)
			schemes = append(schemes, scheme)
		}
		for _, s := range schemes {
			must(screen(s.Create) && screen(s.Edit) && screen(s.View), "project %s uses an unknown screen in %+v", p.Key, s)
		}
	}
}

// checkEndpoint panics unless some endpoint fits: a fault that can never happen would make a test
// vacuous.
func checkEndpoint(method, template string) {
	for _, e := range endpoints() {
		if (method == "" || e.method == method) && (template == "" || e.template == template) {
			return
		}
	}
	panic(
		fmt.Sprintf(
			"jirasim: no endpoint %s %s (methods as %s, templates as %s)",
			method,
			template,
			http.MethodPost,
			"issue/{issue}/transitions",
		),
	)
}
