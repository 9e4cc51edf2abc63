package jirasim

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// available are the transitions that the user is offered: none without the permission, and none of
// an archived issue.
func (s *Server) available(u *User, i *Issue) []Transition {
	var offered []Transition
	for _, t := range s.setup.transitions {
		if can(u, TransitionIssues) && i.ArchivedBy == "" && s.leads(t, i) &&
			(len(t.From) == 0 || slices.Contains(t.From, i.Status.Name)) {
			offered = append(offered, t)
		}
	}
	return offered
}

// leads reports whether the workflow of the issue's type has the transition.
func (s *Server) leads(t Transition, i *Issue) bool {
	typ, _ := s.issueType(i.Type)
	return typ.has(t.To)
}

func (s *Server) getTransitions(q *request) (answer, error) {
	r, err := s.visible(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	withFields := slices.Contains(list(q.query["expand"]), "transitions.fields")
	return answer{status: http.StatusOK, body: object{
		"expand": "transitions", "transitions": s.transitionsJSON(q, r.now, q.query.Get("transitionId"), withFields),
	}}, nil
}

// transitionsJSON lists what is offered; with an id only that one, if it is.
func (s *Server) transitionsJSON(q *request, i *Issue, id string, withFields bool) []any {
	offered := []any{}
	for _, t := range s.available(q.user, i) {
		if id != "" && id != t.ID {
			continue
		}
		to, _ := s.status(t.To)
		o := object{"id": t.ID, "name": t.Name, "to": s.statusJSON(q, to)}
		if s.cfg.Deployment == Cloud {
			o["hasScreen"], o["isGlobal"], o["isInitial"], o["isAvailable"] = t.Screen != nil, len(t.From) == 0, false, true
			o["isConditional"], o["looped"] = false, t.To == i.Status.Name
		}
		if withFields {
			o["fields"] = s.screenJSON(t)
		}
		offered = append(offered, o)
	}
	return offered
}

func (s *Server) screenJSON(t Transition) object {
	fields := object{}
	for _, id := range t.Screen {
		if f, ok := s.field(id); ok {
			f.required = slices.Contains(t.Required, id)
			fields[id] = f.meta()
		}
	}
	return fields
}

// passage is the body of POST transitions.
type passage struct {
	Transition *struct {
		ID text `json:"id"`
	} `json:"transition"`
	Fields     map[string]any  `json:"fields"`
	Update     passageUpdate   `json:"update"`
	Properties []property      `json:"properties"`
	History    json.RawMessage `json:"historyMetadata"`
}

type passageUpdate struct {
	Comment []struct {
		Add struct {
			Body string `json:"body"`
		} `json:"add"`
	} `json:"comment"`
}

func (s *Server) postTransition(q *request) (answer, error) {
	r, err := s.writable(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	var p passage
	if err := decode(q.body, &p); err != nil {
		return answer{}, err
	}
	if p.Transition == nil || p.Transition.ID == "" {
		return answer{}, refuse(http.StatusBadRequest, "Missing 'transition' identifier")
	}
	var comment string
	for _, c := range p.Update.Comment {
		comment = c.Add.Body
	}
	if err := s.transition(q.user, r, string(p.Transition.ID), p.Fields, comment); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// transition moves the issue if the workflow offers that to the user, and sets fields on the way if
// a screen lets them.
func (s *Server) transition(u *User, r *record, id string, fields map[string]any, comment string) error {
	offered := s.available(u, r.now)
	at := slices.IndexFunc(offered, func(t Transition) bool { return t.ID == id })
	if at < 0 {
		return refuse(http.StatusBadRequest, "Transition id '%s' is not valid for this issue.", id)
	}
	t := offered[at]
	values, err := s.screenValues(t, fields, comment)
	if err != nil {
		return err
	}
	if comment != "" {
		if err := s.checkText("comment", comment); err != nil {
			return err
		}
		if err := may(u, AddComments, "comment on this issue"); err != nil {
			return err
		}
	}
	to, _ := s.status(t.To)
	s.edit(r, func(i *Issue) {
		s.storeValues(i, u.Name, values)
		s.setStatus(i, u.Name, to)
		if comment != "" {
			i.Comments = append(i.Comments, Comment{
				ID: s.site.newID(), Author: u.Name, UpdatedBy: u.Name, Body: comment, Created: i.Updated, Updated: i.Updated,
			})
		}
	})
	return nil
}

// screenValues checks what is to be set with the transition, all problems at once.
func (s *Server) screenValues(t Transition, fields map[string]any, comment string) (map[string]any, error) {
	values, problems := map[string]any{}, map[string]string{}
	for id, given := range fields {
		f, known := s.field(id)
		if !known || !slices.Contains(t.Screen, id) {
			problems[id] = cannotBeSet(id)
			continue
		}
		f.required = slices.Contains(t.Required, id)
		stored, problem := f.value(given)
		if problem != "" {
			problems[id] = problem
		}
		values[id] = stored
	}
	if comment != "" && t.Screen == nil {
		problems["comment"] = cannotBeSet("comment")
	}
	for _, id := range t.Required {
		if f, _ := s.field(id); problems[id] == "" && values[id] == nil {
			problems[id] = f.name + " is required."
		}
	}
	if len(problems) > 0 {
		return nil, refuseFields(problems)
	}
	return maps.Clone(values), nil
}

// getChangelog is the history page by page, oldest first.
func (s *Server) getChangelog(q *request) (answer, error) {
	r, err := s.visible(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	startAt, maxResults, err := pageParams(q, 100, s.cfg.Caps.ChangelogPage)
	if err != nil {
		return answer{}, err
	}
	values := make([]any, 0, maxResults)
	for _, c := range page(r.read().History, startAt, maxResults) {
		values = append(values, s.changeJSON(q, c))
	}
	total := len(r.read().History)
	return answer{status: http.StatusOK, body: object{
		"startAt":    startAt,
		"maxResults": maxResults,
		"total":      total,
		"isLast":     startAt+len(values) >= total,
		"values":     values,
	}}, nil
}
