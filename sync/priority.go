package sync

import "context"

// Priority is how a call to Jira ranks among those that wait for their turn at the pace that all
// calls share. It decides who is next, never whether a call is made.
type Priority int

// The priorities, highest first.
const (
	// PriorityPeople: somebody moved an issue and looks at it. Reading it, deciding, and putting it
	// back go ahead of all else; a move costs a few calls, and people make few.
	PriorityPeople Priority = iota
	// PriorityWork is everything else that is done for one request, and polls.
	PriorityWork
	// PriorityBulk is what goes through everything and is in nobody's way a minute later: sweeps,
	// and what recovers a lost database.
	PriorityBulk
)

type priorityKey struct{}

// WithPriority marks the calls that are made with the context.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// PriorityOf is the priority of calls that are made with the context: PriorityWork unless it says
// another.
func PriorityOf(ctx context.Context) Priority {
	if p, ok := ctx.Value(priorityKey{}).(Priority); ok {
		return p
	}
	return PriorityWork
}
