package sync

// Finding is one precondition of the agent's work as it was found, for `check` and `setup`. It says what is so, and, unless that is as it should be, what
// to do about it.
type Finding struct {
	// Group is the side that the precondition belongs to: one of the Group constants.
	Group string `json:"group"`
	// Check is the precondition's own name, which no other has and no release changes: "jira.field.searchable".
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
