package jirasim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// This file is what people and automation do in the browser. Users go by User.Name, issues by id or
// key. A name that is not configured panics; what Jira refuses is returned as a *Refusal.

// act runs do on an issue as a user who may see it, unless it is archived.
func (s *Server) act(user, issue string, do func(*User, *record) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.mustUser(user)
	if u.Inactive {
		return refuse(http.StatusUnauthorized, "The account of %s is not active.", user)
	}
	r, err := s.writable(u, issue)
	if err != nil {
		return err
	}
	return do(u, r)
}

// Move takes the issue to a status by the first transition that the workflow offers the user from
// here to there.
func (s *Server) Move(issue, user, status string) error { return s.MoveWith(issue, user, status, nil) }

// MoveWith is Move with fields filled in on the transition's screen.
func (s *Server) MoveWith(issue, user, status string, fields map[string]any) error {
	return s.act(user, issue, func(u *User, r *record) error {
		for _, t := range s.available(u, r.now) {
			if t.To == status {
				return s.transition(u, r, t.ID, normal(fields), "")
			}
		}
		return refuse(
			http.StatusBadRequest,
			"The workflow offers %s no transition of %s from %s to %s.",
			user,
			r.now.Key,
			r.now.Status.Name,
			status,
		)
	})
}

// RenameStatus gives a status another name, as an administrator does. It stays the same status,
// with the same id, and histories keep the name that it had at the time of each move.
func (s *Server) RenameStatus(old, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.setup.statuses, func(status Status) bool { return status.Name == old })
	if at < 0 {
		return refuse(http.StatusNotFound, "There is no status %s.", old)
	}
	s.setup.statuses = slices.Clone(s.setup.statuses)
	s.setup.statuses[at].Name = name
	s.setup.transitions = slices.Clone(s.setup.transitions)
	for i, t := range s.setup.transitions {
		if t.To == old {
			s.setup.transitions[i].To = name
		}
		s.setup.transitions[i].From = slices.Clone(t.From)
		for j, from := range t.From {
			if from == old {
				s.setup.transitions[i].From[j] = name
			}
		}
	}
	for _, r := range s.site.issues {
		r.now = r.now.withStatusRenamed(old, name)
		for i, v := range r.index {
			r.index[i].issue = v.issue.withStatusRenamed(old, name)
		}
	}
	return nil
}

// withStatusRenamed is the issue after its status got another name.
func (i *Issue) withStatusRenamed(old, name string) *Issue {
	if i == nil || i.Status.Name != old {
		return i
	}
	renamed := *i
	renamed.Status.Name = name
	return &renamed
}

// ForceStatus sets a status past the workflow and all permissions, as automation does. The history
// names author, or nobody if that is empty.
func (s *Server) ForceStatus(issue, author, status string) error {
	return s.ForceStatusWith(issue, author, status, nil)
}

// ForceStatusWith is ForceStatus in an entry of the history that has metadata, and other items
// beside the status: what an app or a rule does as the author, or a bulk operation.
func (s *Server) ForceStatusWith(issue, author, status string, metadata *HistoryMetadata, beside ...ChangeItem) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if author != "" {
		s.mustUser(author)
	}
	r := s.site.find(issue)
	to, ok := s.status(status)
	if r == nil || !ok || r.now.ArchivedBy != "" {
		return refuse(http.StatusNotFound, "There is no issue %s that can be changed, or no status %s.", issue, status)
	}
	s.edit(r, func(i *Issue) { s.migrate(i, author, to, metadata, beside) })
	return nil
}

// migrate sets the status in one entry with other items, which come first.
func (s *Server) migrate(i *Issue, author string, to Status, metadata *HistoryMetadata, beside []ChangeItem) {
	s.log(i, author, append(slices.Clone(beside), statusItem(i.Status, to))...)
	i.History[len(i.History)-1].Metadata = metadata
	i.Status = to
}

// MigrateWorkflow gives the issues another workflow, as an administrator does: those in a status
// that the map names go to the one that it maps to, each in one entry of its history with the
// workflow, under the administrator's name.
func (s *Server) MigrateWorkflow(author string, statuses map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustUser(author)
	workflow := ChangeItem{
		Field:      "Workflow",
		FieldType:  "jira",
		From:       "10600",
		FromString: "Access workflow",
		To:         "10601",
		ToString:   "Access workflow v2",
	}
	for _, r := range s.site.issues {
		if r.now == nil || statuses[r.now.Status.Name] == "" {
			continue
		}
		to := mustFind(s.setup.statuses, "status", statuses[r.now.Status.Name], func(st Status) bool {
			return st.Name == statuses[r.now.Status.Name]
		})
		s.edit(r, func(i *Issue) { s.migrate(i, author, *to, nil, []ChangeItem{workflow}) })
	}
}

// Comment adds a comment and returns its id.
func (s *Server) Comment(issue, user, body string) (id string, err error) {
	err = s.act(user, issue, func(u *User, r *record) error {
		c, err := s.addComment(u, r, remark{Body: &body}, nil)
		id = c.ID
		return err
	})
	return id, err
}

// CommentTo is Comment to a group alone, or to a service desk's own people (internal).
func (s *Server) CommentTo(issue, user, group, body string) error {
	m, properties := remark{Body: &body}, map[string]json.RawMessage{}
	if group == Internal {
		properties["sd.public.comment"] = json.RawMessage(`{"internal":true}`)
	} else {
		m.Visibility = map[string]any{"type": "group", "value": group}
	}
	return s.act(user, issue, func(u *User, r *record) error {
		_, err := s.addComment(u, r, m, properties)
		return err
	})
}

// Internal names, to CommentTo, the people of a service desk without its customers.
const Internal = "internal"

// EditComment replaces the body of a comment, anybody's.
func (s *Server) EditComment(issue, user, commentID, body string) error {
	return s.act(user, issue, func(u *User, r *record) error {
		at := slices.IndexFunc(r.now.Comments, func(c Comment) bool { return c.ID == commentID })
		if at < 0 {
			return refuse(http.StatusNotFound, "Can not find a comment for the id: %s.", commentID)
		}
		if err := s.checkText("comment", body); err != nil {
			return err
		}
		s.edit(r, func(i *Issue) {
			i.Comments[at].Body, i.Comments[at].UpdatedBy, i.Comments[at].Updated = body, u.Name, i.Updated
		})
		return nil
	})
}

// SetField edits one field; nil empties it.
func (s *Server) SetField(issue, user, field string, value any) error {
	return s.act(user, issue, func(u *User, r *record) error {
		return s.setFields(u, r, normal(map[string]any{field: value}), nil)
	})
}

// SetProperty writes an issue property, as a script would.
func (s *Server) SetProperty(issue, user, key string, value any) error {
	return s.act(user, issue, func(u *User, r *record) error {
		if err := may(u, EditIssues, "edit issues in this project"); err != nil {
			return err
		}
		raw := encode(value)
		if err := checkProperty(key, raw); err != nil {
			return err
		}
		s.setProperty(r, key, raw)
		return nil
	})
}

// CreateIssue makes an issue as POST issue does. Where fields name no project and type, the first
// ones are taken.
func (s *Server) CreateIssue(user string, fields, properties map[string]any) (Issue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := creation{Fields: normal(fields)}
	if c.Fields["project"] == nil {
		c.Fields["project"] = object{"key": s.setup.projects[0].Key}
	}
	if c.Fields["issuetype"] == nil {
		c.Fields["issuetype"] = object{"id": s.setup.types[0].ID}
	}
	for key, value := range properties {
		c.Properties = append(c.Properties, property{Key: key, Value: encode(value)})
	}
	issue, err := s.create(s.mustUser(user), c)
	if err != nil {
		return Issue{}, err
	}
	return *issue, nil
}

// DeleteIssue deletes an issue. Searches show it until the index has caught up.
func (s *Server) DeleteIssue(issue, user string) error {
	return s.act(user, issue, func(u *User, r *record) error {
		if err := may(u, DeleteIssues, "delete issues in this project"); err != nil {
			return err
		}
		s.put(r, nil)
		return nil
	})
}

// MoveToProject moves an issue to another project. Its id stays, its key changes; the former key
// still finds it.
func (s *Server) MoveToProject(issue, user, projectKey string) error {
	return s.act(user, issue, func(u *User, r *record) error {
		p, err := s.visibleProject(u, projectKey)
		if err != nil {
			return err
		}
		s.edit(r, func(i *Issue) {
			key := s.site.newKey(p.Key)
			s.log(i, u.Name,
				ChangeItem{Field: "project", FieldID: "project", FieldType: "jira", FromString: i.Project, ToString: p.Key},
				ChangeItem{Field: "Key", FieldType: "jira", FromString: i.Key, ToString: key})
			i.Project, i.Key = p.Key, key
		})
		return nil
	})
}

// ChangeType gives an issue another type, in one entry of its history with the status where that
// changes, too. Where the other type's workflow lacks the present status the user has to choose
// another, as Jira's dialog asks; "" keeps it.
func (s *Server) ChangeType(issue, user, typ, status string) error {
	return s.act(user, issue, func(u *User, r *record) error {
		if err := may(u, EditIssues, "edit issues in this project"); err != nil {
			return err
		}
		if status == "" {
			status = r.now.Status.Name
		}
		t, known := s.issueType(typ)
		to, _ := s.status(status)
		if !known || to.ID == "" || !t.has(to.Name) {
			return refuse(http.StatusBadRequest, "There is no issue type %s, or its workflow has no status %s.", typ, status)
		}
		s.edit(r, func(i *Issue) {
			was, _ := s.issueType(i.Type)
			items := []ChangeItem{
				{
					Field:      "issuetype",
					FieldID:    "issuetype",
					FieldType:  "jira",
					From:       was.ID,
					FromString: was.Name,
					To:         t.ID,
					ToString:   t.Name,
				},
			}
			if to.ID != i.Status.ID {
				items = append(items, statusItem(i.Status, to))
			}
			s.log(i, u.Name, items...)
			i.Type, i.Status = t.Name, to
		})
		return nil
	})
}

// normal brings values into the form in which a JSON body would have brought them.
func normal(fields map[string]any) map[string]any {
	values := map[string]any{}
	if err := json.Unmarshal(encode(fields), &values); err != nil {
		panic("jirasim: " + err.Error())
	}
	if values == nil { // fields was nil
		return map[string]any{}
	}
	return values
}

// Issue returns an issue as it is now, by id, key or former key.
func (s *Server) Issue(idOrKey string) (Issue, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.site.find(idOrKey); r != nil {
		return *r.now, true
	}
	return Issue{}, false
}

// Issues returns all issues as they are now, oldest first.
func (s *Server) Issues() []Issue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issues()
}

func (s *Server) issues() []Issue {
	all := make([]Issue, 0, len(s.site.issues))
	for _, r := range s.site.issues {
		if r.now != nil {
			all = append(all, *r.now)
		}
	}
	return all
}

// Changed returns a channel that is closed at the next change of any issue.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.site.changed
}

// Wait returns once done is true of all issues, oldest first, as they are at some moment; it asks
// at each change. When ctx ends first it returns an error that lists the issues.
func (s *Server) Wait(ctx context.Context, done func([]Issue) bool) error {
	for {
		s.mu.Lock()
		issues, changed := s.issues(), s.site.changed
		s.mu.Unlock()
		if done(issues) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("jirasim: wait for a change: %w; issues now: %s", ctx.Err(), describe(issues))
		}
	}
}

// WaitIssue is Wait for the first issue that done is true of, and returns it.
func (s *Server) WaitIssue(ctx context.Context, done func(Issue) bool) (found Issue, err error) {
	err = s.Wait(ctx, func(issues []Issue) bool {
		at := slices.IndexFunc(issues, done)
		if at >= 0 {
			found = issues[at]
		}
		return at >= 0
	})
	return found, err
}

func describe(issues []Issue) string {
	var b strings.Builder
	for _, i := range issues {
		fmt.Fprintf(
			&b,
			"[%s %s %q, %d comments, %d changes]",
			i.Key,
			i.Status.Name,
			i.Text("summary"),
			len(i.Comments),
			len(i.History),
		)
	}
	return b.String()
}
