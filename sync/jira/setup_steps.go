package jira

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The custom field's type and searcher: a line of text, found by its words.
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issue-fields/
const (
	textFieldType    = "com.atlassian.jira.plugin.system.customfieldtypes:textfield"
	textSearcherType = "com.atlassian.jira.plugin.system.customfieldtypes:textsearcher"
	fieldDescription = "The ID of the Teleport access request. Written by teleport-jira-agent."
)

// steps are what is left to do by what was seen, in order: the field, then what depends on it, then
// the workflow, which only people change.
func (s *Setup) steps() []Step {
	var all []Step
	add := func(steps ...Step) { all = append(all, steps...) }
	k := s.clicks()
	if s.seen.kind.ID == "" {
		add(
			Step{
				Check:  checkStatuses,
				What:   fmt.Sprintf("add issue type %q to project %s", k.kind, k.project),
				ByHand: k.addIssueType(),
			},
		)
	}
	field, found := s.seen.one()
	switch {
	case len(s.seen.fields) == 0:
		add(s.fieldStep())
		add(s.screenSteps("")...)
	case found:
		if field.Searchable != nil && !*field.Searchable {
			add(s.searcherStep(field))
		}
		add(s.contextSteps(field)...)
		add(s.schemeSteps(field)...)
		add(s.screenSteps(field.ID)...)
	default:
		add(Step{Check: checkField, What: "settle which custom field holds the request ID", ByHand: s.whichField()})
	}
	if s.seen.described == no {
		add(Step{
			Check:  checkScreen,
			What:   fmt.Sprintf("show the description when issues of type %q are created in project %s", k.kind, k.project),
			ByHand: k.putOnScreen("Description"),
		})
	}
	if words := s.seen.flow.lacking(); len(words) > 0 {
		joined := strings.Join(words, ", ")
		add(Step{
			Check: checkStatuses, What: fmt.Sprintf("add to the workflow of issue type %q: %s", k.kind, joined),
			ByHand: k.addStatuses(joined, s.seen.flow.pending),
		})
	}
	if words := s.seen.flow.movesThatAre(no); len(words) > 0 {
		joined := strings.Join(words, ", ")
		add(Step{Check: checkTransitions, What: "add transitions: " + joined, ByHand: k.addTransitions(joined)})
	}
	if words := s.seen.flow.movesThatAsk(); len(words) > 0 {
		joined := strings.Join(words, ", ")
		add(Step{Check: checkTransitions, What: "let these transitions ask for no field: " +
			joined, ByHand: k.askForNothing(joined)})
	}
	return all
}

// administered reports whether the token may change the project's setup at all.
func (s *Setup) administered() bool { return s.seen.admin && !s.seen.project.Simplified }

func (s *Setup) fieldStep() Step {
	name := s.c.cfg.RequestIDField
	step := Step{
		Check:  checkField,
		What:   fmt.Sprintf("create the custom field %q", name),
		ByHand: s.clicks().createField(),
	}
	if customFieldID.MatchString(name) { // Jira gives the ids
		step.What = "settle which custom field holds the request ID"
		step.ByHand = "set JIRA_REQUEST_ID_FIELD to the name or the id of a text field (single line) that project " +
			s.c.cfg.Project + " has"
		return step
	}
	step.ByToken, step.do = s.administered(), s.createField
	if !s.seen.admin && !s.seen.project.Simplified {
		step.ByHand = s.clicks().lookForField() + step.ByHand
	}
	return step
}

// createField looks once more, right before, whether there is one: Jira makes another of the same
// name without a word.
func (s *Setup) createField(ctx context.Context) error {
	found, _, err := s.c.namedFields(ctx, s.seen)
	if err != nil || len(found) > 0 {
		return err
	}
	return s.c.change(ctx, request{
		op: fmt.Sprintf("create the custom field %q", s.c.cfg.RequestIDField), method: http.MethodPost, endpoint: "field",
		body: map[string]string{
			"name":        s.c.cfg.RequestIDField,
			"description": fieldDescription,
			"type":        textFieldType,
			"searcherKey": textSearcherType,
		},
	})
}

// searcherStep is Cloud's alone: on Data Center the searcher is changed in the browser, and Jira
// reindexed.
func (s *Setup) searcherStep(field fieldJSON) Step {
	what := fmt.Sprintf("give the custom field %s the free text searcher", field.ID)
	return Step{
		Check:   checkSearchable,
		What:    what,
		ByToken: s.administered() && s.c.deployment == Cloud,
		ByHand:  s.clicks().makeSearchable(),
		do: func(ctx context.Context) error {
			return s.c.change(ctx, request{
				op: what, method: http.MethodPut, endpoint: "field/{field}", vars: map[string]string{"field": field.ID},
				body: map[string]string{"searcherKey": textSearcherType},
			})
		},
	}
}

// contextSteps bring the field into the project: by a context of its own, which touches no other
// project, or by adding the issue type to the one there is.
func (s *Setup) contextSteps(field fieldJSON) []Step {
	if s.seen.context.covers != no {
		return nil
	}
	project, kind := s.seen.project, s.seen.kind
	r := request{
		method: http.MethodPost, endpoint: "field/{field}/context", vars: map[string]string{"field": field.ID},
		body: map[string]any{"name": "teleport-jira-agent: " +
			project.Key, "projectIds": []string{project.ID}, "issueTypeIds": []string{}},
	}
	r.op = fmt.Sprintf("give the custom field %s a context for project %s", field.ID, project.Key)
	if limited := s.seen.context.limited; limited != "" {
		r.op = fmt.Sprintf(
			"add issue type %q to the context of the custom field %s for project %s",
			kind.Name,
			field.ID,
			project.Key,
		)
		r.method, r.endpoint, r.vars["context"] = http.MethodPut, "field/{field}/context/{context}/issuetype", limited
		r.body = map[string][]string{"issueTypeIds": {kind.ID}}
	}
	return []Step{
		{
			Check:   checkContext,
			What:    r.op,
			ByToken: s.administered() && s.c.deployment == Cloud,
			ByHand:  s.clicks().widenContext(),
			do:      func(ctx context.Context) error { return s.c.change(ctx, r) },
		},
	}
}

// screenSteps put the field on the screens that are known to lack it. Where none does and the field
// is not offered all the same, a person has to look.
func (s *Setup) screenSteps(fieldID string) []Step {
	var steps []Step
	k := s.clicks()
	if fieldID == "" && customFieldID.MatchString(k.field) {
		return nil // a field that is configured by an id is not made
	}
	for _, screen := range s.lackingScreens() {
		what := fmt.Sprintf("put the custom field %q on screen %q", k.field, screen.name)
		steps = append(steps, Step{
			Check: checkScreen, What: what, ByToken: s.administered(), ByHand: k.putOnScreen(k.field),
			do: func(ctx context.Context) error { return s.putOnScreen(ctx, what, screen) },
		})
	}
	if s.seen.edited == no {
		what := fmt.Sprintf("show the custom field %s when issues of type %q are edited in project %s",
			fieldID, k.kind, k.project)
		steps = append(steps, Step{Check: checkScreen, What: what, ByHand: k.putOnScreen(k.field)})
	}
	outside := s.seen.context.covers == no || s.seen.scheme.covers == no
	if len(steps) > 0 || fieldID == "" || s.seen.offered != no || outside || s.seen.kind.ID == "" {
		return steps
	}
	where := fmt.Sprintf(
		"show the custom field %s when issues of type %q are created in project %s",
		fieldID,
		k.kind,
		k.project,
	)
	by := k.putOnScreen(k.field)
	certain := s.seen.context.covers == yes &&
		slices.ContainsFunc(s.seen.screens, func(on screenSight) bool { return on.create })
	switch {
	case certain: // it is there and hidden
		by = k.showInConfiguration()
	case !k.team:
		by += "; if it is there, " + k.widenContext() + "; if it applies to the project, " + k.showInConfiguration()
	}
	return []Step{{Check: checkScreen, What: where, ByHand: by}}
}

// lackingScreens are those that the field has to be put on. Once it is offered on creation, screens
// that are named for creating belong to other issue types.
func (s *Setup) lackingScreens() []screenSight {
	return slices.DeleteFunc(slices.Clone(s.seen.screens), func(on screenSight) bool {
		return on.has || s.seen.offered == yes && !on.edit && strings.Contains(strings.ToLower(on.name), "create")
	})
}

func (s *Setup) putOnScreen(ctx context.Context, op string, on screenSight) error {
	field, found := s.seen.one()
	if !found {
		return fmt.Errorf("%s: there is no such field", op)
	}
	return s.c.change(ctx, request{
		op: op, method: http.MethodPost, endpoint: "screens/{screen}/tabs/{tab}/fields",
		vars: map[string]string{"screen": strconv.FormatInt(on.id, 10), "tab": strconv.FormatInt(on.tab, 10)},
		body: map[string]string{"fieldId": field.ID},
	})
}
