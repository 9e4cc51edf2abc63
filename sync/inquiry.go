package sync

import (
	"context"
	"errors"
	"time"
)

const (
	// requesterAge is how long is believed what Teleport said of a requester. Of that only the
	// trait counts, and only against a requester who has another e-mail address in Jira than in
	// Teleport; it keeps one whose requests are decided in a row to one call.
	requesterAge = 5 * time.Minute
	// maxRequesters bounds how many are kept, at some 200 bytes each.
	maxRequesters = 10_000
)

// inquiry looks up what a policy asks about people, on both sides.
type inquiry struct {
	Policy
	Cluster    Cluster
	Tracker    Tracker
	Requesters *Recent[User] // nil: they are asked for each time
}

// about learns what the policy asks about the person who moved the issue of a row.
func (q inquiry) about(ctx context.Context, l Link, p Person) (k Known, err error) {
	if len(q.ApproverGroups) > 0 && !q.approves(p, nil) {
		k.Groups, err = q.Tracker.Groups(ctx, p)
		if k.GroupsHidden = errors.Is(err, ErrForbidden); err != nil && !k.GroupsHidden {
			return k, err
		}
	}
	if q.SelfApproval != SelfAllow {
		if k.Requester, err = q.requester(ctx, l.Request.User); err != nil {
			return k, err
		}
	}
	if q.Mode == ModeReview {
		k.Users, err = q.usersOf(ctx, p)
		if k.UsersHidden = errors.Is(err, ErrForbidden); err != nil && !k.UsersHidden {
			return k, err
		}
	}
	return k, nil
}

// requester is what Teleport knows of a user by name; zero where it knows none, or this identity
// may not read users.
func (q inquiry) requester(ctx context.Context, name string) (user User, err error) {
	now := time.Now()
	if q.Requesters != nil {
		if user, ok := q.Requesters.Get(name, now); ok {
			return user, nil
		}
	}
	found, err := q.Cluster.Users(ctx, UserQuery{Name: name})
	if err != nil && !errors.Is(err, ErrForbidden) {
		return User{}, err
	}
	if len(found) == 1 {
		user = found[0]
	}
	if q.Requesters != nil {
		q.Requesters.Put(name, user, now)
	}
	return user, nil
}

// usersOf finds who in Teleport a person of Jira is: by the trait, and only where no trait tells,
// and the operator allows it, by the user's name being the e-mail address. A user whose trait names
// somebody else is not taken by name.
func (q inquiry) usersOf(ctx context.Context, p Person) ([]User, error) {
	users, err := q.Cluster.Users(ctx, UserQuery{JiraID: p.ID()})
	if err != nil || len(users) > 0 || !q.EmailFallback || p.Email == "" {
		return users, err
	}
	users, err = q.Cluster.Users(ctx, UserQuery{Name: p.Email})
	if len(users) == 1 && len(users[0].JiraIDs) > 0 {
		users = nil
	}
	return users, err
}
