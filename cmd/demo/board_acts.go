package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/teleportsim"
)

const (
	// admin is who acts through "tctl requests approve" and "tctl requests deny".
	admin = "admin@example.com"

	// databaseActTime bounds a stop and a start of PostgreSQL, which take a second.
	databaseActTime = 30 * time.Second

	// The sides that can be broken.
	sideJira, sideDatabase = "jira", "postgres"
)

// actors are the people of Jira as whom a visitor acts.
func actors() []string { return []string{approver, "alice", "mallory"} }

// order is what the page sends with an act. Which fields are needed depends on the act.
type order struct {
	As    string `json:"as"`    // who acts in Jira
	Issue string `json:"issue"` // key
	To    string `json:"to"`    // status
	Text  string `json:"text"`  // of a comment

	Request  string   `json:"request"` // ID
	User     string   `json:"user"`    // requester or reviewer
	Roles    []string `json:"roles"`
	Reason   string   `json:"reason"`
	Lifetime int      `json:"lifetime"` // seconds that the request waits for a decision
	Reviews  uint32   `json:"reviews"`  // how many of one mind resolve it
	Approve  bool     `json:"approve"`

	Replica string `json:"replica"` // name
	Side    string `json:"side"`    // sideJira or sideDatabase
}

// errOrder is an order that does not make sense, unlike one that a side refuses.
var errOrder = errors.New("this cannot be done")

// acts are what a visitor can do, by the last part of the path.
func acts() map[string]func(*board, context.Context, order) error {
	return map[string]func(*board, context.Context, order) error{
		"move":    (*board).move,
		"comment": (*board).comment,
		"request": (*board).request,
		"review":  (*board).review,
		"decide":  (*board).decide,
		"expire":  (*board).expire,
		"kill":    onReplica((*slot).kill),
		"freeze":  onReplica((*slot).freeze),
		"thaw":    onReplica((*slot).thaw),
		"restart": onReplica((*slot).restart),
		"break":   (*board).breakSide,
		"mend":    (*board).mendSide,
	}
}

// act does what the page asks for: 204, or an error with a message for the visitor. The first act
// ends the tour, so that the two do not get into each other's way.
func (b *board) act(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("act")
	do, known := acts()[name]
	if !known {
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no act %q", name))
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "an act is ordered in JSON: set Content-Type: application/json")
		return
	}
	var o order
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		refuse(w, http.StatusBadRequest, "the order of the act cannot be read: "+err.Error())
		return
	}
	b.mu.Lock()
	takeOver := b.takeOver
	b.mu.Unlock()
	if takeOver != nil {
		takeOver()
	}
	// What was begun is brought to its end, even if the page is closed meanwhile.
	err := do(b, context.WithoutCancel(r.Context()), o)
	b.changed.ring()
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, errOrder):
		refuse(w, http.StatusBadRequest, err.Error())
	default:
		refuse(w, http.StatusConflict, err.Error())
	}
}

// actor is who acts in Jira.
func (o order) actor() (string, error) {
	if !slices.Contains(actors(), o.As) {
		return "", fmt.Errorf("%w: nobody called %q acts here, only %s", errOrder, o.As, strings.Join(actors(), ", "))
	}
	return o.As, nil
}

func (b *board) move(_ context.Context, o order) error {
	who, err := o.actor()
	if err != nil {
		return err
	}
	return b.world.jira.Move(o.Issue, who, o.To)
}

func (b *board) comment(_ context.Context, o order) error {
	who, err := o.actor()
	if err != nil {
		return err
	}
	_, err = b.world.jira.Comment(o.Issue, who, o.Text)
	return err
}

func (b *board) request(_ context.Context, o order) error {
	if o.User == "" || len(o.Roles) == 0 || o.Roles[0] == "" {
		return fmt.Errorf("%w: a request needs a user and a role", errOrder)
	}
	if week := 7 * 24 * 3600; o.Lifetime < 0 || o.Lifetime > week { // Teleport lets none wait longer
		return fmt.Errorf("%w: a request cannot live for %d seconds", errOrder, o.Lifetime)
	}
	_, err := b.world.teleport.CreateRequest(teleportsim.Request{
		User:      o.User,
		Roles:     o.Roles,
		Reason:    o.Reason,
		TTL:       time.Duration(o.Lifetime) * time.Second,
		Approvals: o.Reviews,
		Denials:   o.Reviews,
	})
	return err
}

func (b *board) review(_ context.Context, o order) error {
	if o.User == "" {
		return fmt.Errorf("%w: a review needs a reviewer", errOrder)
	}
	// Teleport lets nobody review their own requests; the simulated web UI leaves that to whoever
	// calls it.
	if request := b.world.teleport.Request(o.Request); request != nil && request.GetUser() == o.User {
		return fmt.Errorf("%s made this request, and cannot review it: Teleport lets nobody review their own", o.User)
	}
	return b.world.teleport.Review(o.Request, o.User, o.Approve, o.Reason)
}

func (b *board) decide(_ context.Context, o order) error {
	if o.Approve {
		return b.world.teleport.Approve(o.Request, admin, o.Reason)
	}
	return b.world.teleport.Deny(o.Request, admin, o.Reason)
}

func (b *board) expire(_ context.Context, o order) error { return b.world.teleport.Expire(o.Request) }

// onReplica makes an act of what is done to the replica that the order names.
func onReplica(do func(*slot) error) func(*board, context.Context, order) error {
	return func(b *board, _ context.Context, o order) error {
		at := slices.IndexFunc(b.world.slots, func(s *slot) bool { return s.name == o.Replica })
		if at < 0 {
			return fmt.Errorf("%w: there is no replica %q", errOrder, o.Replica)
		}
		return do(b.world.slots[at])
	}
}

func (b *board) breakSide(ctx context.Context, o order) error { return b.setBroken(ctx, o.Side, true) }

func (b *board) mendSide(ctx context.Context, o order) error { return b.setBroken(ctx, o.Side, false) }

// setBroken breaks or mends a side. Doing it twice is no mistake: two pages may be open.
func (b *board) setBroken(ctx context.Context, side string, broken bool) error {
	b.faulting.Lock()
	defer b.faulting.Unlock()
	if b.isBroken(side) == broken && (side == sideJira || side == sideDatabase) {
		return nil
	}
	var told string
	switch side {
	case sideJira:
		b.world.jira.SetDown(broken)
		told = "Jira's REST interface answers again"
		if broken {
			told = "Jira's REST interface answers nobody any more; people still use the board"
		}
	case sideDatabase:
		if err := b.world.setDatabase(ctx, !broken); err != nil {
			return err
		}
		told = "PostgreSQL runs again"
		if broken {
			told = "PostgreSQL has crashed"
		}
	default:
		return fmt.Errorf("%w: %q is neither %s nor %s", errOrder, side, sideJira, sideDatabase)
	}
	b.mu.Lock()
	b.broken[side] = broken
	b.mu.Unlock()
	b.world.screen.say("demo", told)
	return nil
}

func (b *board) isBroken(side string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken[side]
}

// setDatabase starts PostgreSQL again, or stops it as a crash would.
func (w *world) setDatabase(ctx context.Context, up bool) error {
	ctx, cancel := context.WithTimeout(ctx, databaseActTime)
	defer cancel()
	if up {
		return w.database.Start(ctx)
	}
	return w.database.Stop(ctx, pgtest.Immediate)
}
