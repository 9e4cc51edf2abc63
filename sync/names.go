package sync

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// StatusName is a name under which Jira showed a status. Jira translates the names of statuses into
// the language of the account that asks, and shows in an issue's history what a status was called
// when it was moved: ids tell that two names are of one status
// (https://github.com/apache/incubator-devlake/issues/3991).
type StatusName struct {
	ID, Name string
	// First and Last are when it was first and last seen, by Jira's clock.
	First, Last time.Time
}

// StatusNames are all names under which the statuses of the project were seen.
type StatusNames []StatusName

// of are the names of one status, the one seen last at the end.
func (n StatusNames) of(id string) []StatusName {
	var names []StatusName
	for _, name := range n {
		if id != "" && name.ID == id {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b StatusName) int { return a.Last.Compare(b.Last) })
	return names
}

// Latest reports whether this is the name that a status was seen under last.
func (n StatusNames) Latest(id, name string) bool {
	names := n.of(id)
	return len(names) > 0 && names[len(names)-1].Name == name
}

// calledSo reports whether a status had been seen under this name by then.
func (n StatusNames) calledSo(s Status, at time.Time) bool {
	return slices.ContainsFunc(n.of(s.ID), func(name StatusName) bool {
		return strings.EqualFold(name.Name, s.Name) && !name.First.After(at)
	})
}

// Meaning is what a status stands for, by its name or id, or else by a name under which it was seen
// before. The latter is in doubt until the history of an issue confirms it (Judge).
func (p Policy) Meaning(s Status) (o Outcome, ok bool) {
	if o, ok := p.Statuses.Outcome(s); ok {
		return o, true
	}
	for _, former := range slices.Backward(p.Names.of(s.ID)) {
		if o, ok := p.Statuses.Outcome(Status{Name: former.Name}); ok {
			return o, true
		}
	}
	return "", false
}

// Shows reports whether a status stands for the outcome, by its name or id, or else by a name of
// before.
func (p Policy) Shows(s Status, o Outcome) bool {
	if _, ok := p.Statuses.Outcome(s); ok {
		return p.Statuses.Shows(s, o)
	}
	return slices.ContainsFunc(
		p.Names.of(s.ID),
		func(n StatusName) bool { return p.Statuses.Shows(Status{Name: n.Name}, o) },
	)
}

// named are the names and ids of the statuses of an outcome: those that are configured, each
// followed by the ids of statuses that were seen under it.
func (p Policy) named(o Outcome) []string {
	var all []string
	for _, configured := range p.Statuses[o] {
		all = append(all, configured)
		for _, seen := range p.Names {
			if strings.EqualFold(seen.Name, configured) && !slices.Contains(all, seen.ID) && !p.claimed(seen.ID, configured) {
				all = append(all, seen.ID)
			}
		}
	}
	return all
}

// claimed reports whether a status is now called otherwise than so, by a name that is configured
// too.
func (p Policy) claimed(id, so string) bool {
	names := p.Names.of(id)
	now := names[len(names)-1].Name
	_, configured := p.Statuses.Outcome(Status{Name: now})
	return configured && !strings.EqualFold(now, so)
}

// Missing says which configured statuses the project had and has no longer, in words for the
// operator. Present are the statuses that it has now.
func (p Policy) Missing(present []Status) []string {
	var missing []string
	for _, o := range outcomes {
		for _, configured := range p.Statuses[o] {
			is := func(s Status) bool { return s.Is(configured) }
			was := func(n StatusName) bool { return Status{ID: n.ID, Name: n.Name}.Is(configured) }
			i := slices.IndexFunc(p.Names, was)
			if i < 0 || slices.ContainsFunc(present, is) {
				continue
			}
			text := fmt.Sprintf("the %s status %q is no longer in project %s", o, configured, p.Project)
			id := p.Names[i].ID
			if n := slices.IndexFunc(present, func(s Status) bool { return s.ID == id }); n >= 0 {
				text += fmt.Sprintf(": it is called %q now; configure that name, or its id %s", present[n].Name, id)
			}
			if !slices.Contains(missing, text) {
				missing = append(missing, text)
			}
		}
	}
	return missing
}
