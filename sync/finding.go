package sync

import "fmt"

// Finding is one precondition of the agent's work as it was found, for `check` and `setup`. It says
// what is so, and, unless that is as it should be, what to do about it.
type Finding struct {
	// Group is the side that the precondition belongs to: one of the Group constants.
	Group string `json:"group"`
	// Check is the precondition's own name, which no other has and no release changes:
	// "jira.field.searchable".
	Check string `json:"check"`
	// Condition is how it was found.
	Condition Condition `json:"condition"`
	// Found says in words what was found.
	Found string `json:"found"`
	// Remedy is what to do: a command, or a path of clicks; empty where nothing needs doing.
	Remedy string `json:"remedy,omitempty"`
}

// Condition is how a precondition was found.
type Condition string

// The conditions.
const (
	Holds   Condition = "ok"      // as it should be
	Doubt   Condition = "warning" // it could not be told, or will be trouble later; the agent works
	Fails   Condition = "failed"  // the agent cannot do its part
	Skipped Condition = "skipped" // what it depends on fails
)

// The groups of findings, in the order in which they are told.
const (
	GroupConfiguration = "Configuration"
	GroupNetwork       = "Network"
	GroupTeleport      = "Teleport"
	GroupJira          = "Jira"
	GroupPostgreSQL    = "PostgreSQL"
)

// Findings collects what is found about one group.
type Findings struct {
	Group string
	All   []Finding
}

func (f *Findings) add(check string, c Condition, found, remedy string) {
	f.All = append(f.All, Finding{Group: f.Group, Check: check, Condition: c, Found: found, Remedy: remedy})
}

// Holds notes a precondition that is as it should be.
func (f *Findings) Holds(check, format string, args ...any) {
	f.add(check, Holds, fmt.Sprintf(format, args...), "")
}

// Doubt notes one that could not be told, or that will be trouble later.
func (f *Findings) Doubt(check, remedy, format string, args ...any) {
	f.add(check, Doubt, fmt.Sprintf(format, args...), remedy)
}

// Fails notes one without which the agent cannot do its part.
func (f *Findings) Fails(check, remedy, format string, args ...any) {
	f.add(check, Fails, fmt.Sprintf(format, args...), remedy)
}

// Skipped notes those that could not be tried, since something before them fails.
func (f *Findings) Skipped(because string, checks ...string) {
	for _, check := range checks {
		f.add(check, Skipped, "not tried: "+because, "")
	}
}
