package sync

import "slices"

// maxWay is how many transitions an issue is taken through at the most to get where it belongs.
const maxWay = 6

// Way says where an issue is to be brought, and through which statuses it may be led. Names and ids are those of
// Statuses.
type Way struct {
	// To are the statuses to reach: the first that the workflow leads to.
	To []string
	// Via are statuses to go through rather than others: those of Pending.
	Via []string
	// Avoid are statuses that stand for another outcome: gone through only on a way that was seen to lead on.
	Avoid []string
	// Never are statuses that are not gone through at all.
	Never []string
	// Visited are the statuses that the issue has been in on this way. None is entered twice.
	Visited []Status
}

// Arrived reports whether the way ends in this status.
func (w Way) Arrived(s Status) bool { return slices.ContainsFunc(w.To, s.Is) }

// Way is how to bring an issue to a status that shows an outcome. While the request is pending no status that stands
// for a decision is gone through.
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
