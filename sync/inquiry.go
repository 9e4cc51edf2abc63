package sync

import (
	"context"
	"errors"
)

// inquiry looks up what a policy asks about people, on both sides.
type inquiry struct {
	Policy
	Cluster Cluster
	Tracker Tracker
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
		found, err := q.Cluster.Users(ctx, UserQuery{Name: l.Request.User})
		if err != nil && !errors.Is(err, ErrForbidden) {
			return k, err
		}
		if len(found) == 1 {
			k.Requester = found[0]
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

// usersOf finds who in Teleport a person of Jira is: by the trait, and only where no trait tells, and the operator allows it, by the user's name being
// the e-mail address. A user whose trait names somebody else is not taken by name.
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
