package sync

import "slices"

// MaxWay is how many transitions an issue is taken through at the most to get where it belongs.
const MaxWay = 6

// Way says where an issue is to be brought, and through which statuses it may be led. Names and ids
// are those of Statuses.
type Way struct {
	// To are the statuses to reach: the first that the workflow leads to.
	To []string
	// Via are statuses to go through rather than others: those of Pending.
	Via []string
	// Avoid are statuses that stand for another outcome: gone through only on a way that was seen
	// to lead on.
	Avoid []string
	// Never are statuses that are not gone through at all.
	Never []string
	// Visited are the statuses that the issue has been in on this way. None is entered twice.
	Visited []Status
}

// Workflow is what is known of where an issue can be moved.
type Workflow struct {
	// Offered are the statuses that a transition leads to from where the issue is now.
	Offered []Status
	// Seen are those that issues were offered lately in another status; known is false where none
	// was asked about.
	Seen func(Status) (to []Status, known bool)
	// Statuses are all that the workflow has; nil when that is not known.
	Statuses []Status
}

// Arrived reports whether the way ends in this status.
func (w Way) Arrived(s Status) bool { return isAmong(w.To, s) }

// Next is the status to move an issue to next, one of those that it is offered where it is: on the
// way to the first of To that the workflow leads to. Where none is offered and none was seen
// further on, it goes to where nobody has looked yet. It finds none when nothing is left to try, or
// no step.
func (w Way) Next(at Status, flow Workflow) (next Status, ok bool) {
	for _, want := range w.To {
		if next, ok := w.toward(want, at, flow); ok {
			return next, true
		}
	}
	return Status{}, false
}

// toward is Next for one of To.
func (w Way) toward(want string, at Status, flow Workflow) (next Status, ok bool) {
	steps := MaxWay
	for _, s := range w.Visited {
		if !sameStatus(s, at) {
			steps--
		}
	}
	wanted := func(s Status) bool { return s.Is(want) }
	passed := func(s Status) bool {
		visited := func(v Status) bool { return sameStatus(v, s) }
		return w.Arrived(s) || isAmong(w.Never, s) || slices.ContainsFunc(w.Visited, visited)
	}
	free := func(s Status) bool { return !passed(s) && !isAmong(w.Avoid, s) }
	if next, ok := flow.search(at, steps, wanted, free); ok {
		return next, true
	}
	if next, ok := flow.search(at, steps, wanted, func(s Status) bool { return !passed(s) }); ok {
		return next, true
	}
	if flow.Statuses != nil && !slices.ContainsFunc(flow.Statuses, wanted) {
		return Status{}, false // it cannot be reached
	}
	unknown := func(s Status) bool {
		_, known := flow.Seen(s)
		return !known && free(s)
	}
	pending := func(s Status) bool { return unknown(s) && isAmong(w.Via, s) }
	if next, ok := flow.search(at, steps-1, pending, free); ok {
		return next, true
	}
	return flow.search(at, steps-1, unknown, free)
}

// search finds the shortest way to a status that end accepts, in at most so many steps and through
// statuses that pass accepts, and returns the first step of it.
func (f Workflow) search(at Status, steps int, end, pass func(Status) bool) (first Status, ok bool) {
	type path struct{ first, last Status }
	met := []Status{at}
	var level []path
	for _, s := range f.Offered {
		level = append(level, path{s, s})
	}
	for ; steps > 0 && len(level) > 0; steps-- {
		var further []path
		for _, p := range level {
			if slices.ContainsFunc(met, func(s Status) bool { return sameStatus(s, p.last) }) {
				continue
			}
			if end(p.last) {
				return p.first, true
			}
			met = append(met, p.last)
			if !pass(p.last) {
				continue
			}
			to, _ := f.Seen(p.last)
			for _, s := range to {
				further = append(further, path{p.first, s})
			}
		}
		level = further
	}
	return Status{}, false
}

func isAmong(names []string, s Status) bool { return slices.ContainsFunc(names, s.Is) }

// Way is how to bring an issue to a status that shows an outcome. While the request is pending no
// status that stands for a decision is gone through.
func (p Policy) Way(to Outcome, pending bool) Way {
	w := Way{To: p.named(to)}
	for _, o := range outcomes {
		switch {
		case o == to:
		case o == OutcomePending:
			w.Via = p.named(o)
		case pending && o != OutcomeExpired:
			w.Never = append(w.Never, p.named(o)...)
		default:
			w.Avoid = append(w.Avoid, p.named(o)...)
		}
	}
	return w
}
