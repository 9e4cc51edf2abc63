package jira

import (
	"fmt"
	"slices"
	"strings"

	"teleport-jira-agent/sync"
)

// findings are the preconditions as they were seen, in the order of the steps.
func (s *Setup) findings() []sync.Finding {
	return []sync.Finding{
		s.fieldFinding(),
		s.searchableFinding(),
		s.contextFinding(),
		s.screenFinding(),
		s.statusesFinding(),
		s.transitionsFinding(),
	}
}

func finding(check string, condition sync.Condition, found string) sync.Finding {
	return sync.Finding{Group: sync.GroupJira, Check: check, Condition: condition, Found: found}
}

// remedied adds the remedy: what the steps for this precondition say.
func (s *Setup) remedied(f sync.Finding) sync.Finding {
	var byHand []string
	byToken, some := true, false
	for _, step := range s.steps() {
		if step.Check != f.Check {
			continue
		}
		some, byToken = true, byToken && step.ByToken
		if !slices.Contains(byHand, step.ByHand) {
			byHand = append(byHand, step.ByHand)
		}
	}
	f.Remedy = strings.Join(byHand, "; then ")
	switch {
	case !some:
	case byToken:
		f.Remedy = "teleport-jira-agent setup --apply; or by hand: " + f.Remedy
	case !s.seen.admin && !s.seen.project.Simplified && f.Check != checkStatuses && f.Check != checkTransitions:
		f.Remedy += " (setup --apply cannot: the agent's account, or its token, lacks the global permission " +
			"Administer Jira; a scoped token needs manage:jira-configuration and manage:jira-project for it)"
	}
	return f
}

func (s *Setup) fieldFinding() sync.Finding {
	name := s.c.cfg.RequestIDField
	field, found := s.seen.one()
	switch {
	case found:
		return finding(checkField, sync.Holds, fmt.Sprintf("%q is %s", field.Name, field.ID))
	case len(s.seen.fields) == 0:
		words := fmt.Sprintf("no custom field %q shows to the agent's account%s", name, s.unplaced())
		return s.remedied(finding(checkField, sync.Fails, words))
	case len(s.seen.fields) == 1:
		field = s.seen.fields[0]
		return s.remedied(
			finding(
				checkField,
				sync.Fails,
				fmt.Sprintf("%s (%q) holds %s, not a line of text", field.ID, field.Name, field.misfit()),
			),
		)
	}
	return s.remedied(
		finding(
			checkField,
			sync.Fails,
			fmt.Sprintf("%d custom fields are named %q: %s", len(s.seen.fields), name, strings.Join(s.fieldIDs(), ", ")),
		),
	)
}

// unplaced is what the account cannot know of a field that does not show to it.
func (s *Setup) unplaced() string {
	if s.seen.admin || s.seen.project.Simplified {
		return ""
	}
	return "; it may exist on no screen, where only Jira's administrators see it"
}

func (s *Setup) fieldIDs() []string {
	var ids []string
	for _, f := range s.seen.fields {
		ids = append(ids, f.ID)
	}
	slices.Sort(ids)
	return ids
}

// whichField is the way out where the configured name means none that can be used.
func (s *Setup) whichField() string {
	if len(s.seen.fields) == 1 {
		return "rename that field, or set JIRA_REQUEST_ID_FIELD to another name, and run setup again"
	}
	return fmt.Sprintf("set JIRA_REQUEST_ID_FIELD to the id of the right one (%s)", strings.Join(s.fieldIDs(), " or "))
}

func (s *Setup) skipped(check string) sync.Finding {
	return finding(check, sync.Skipped, "there is no field to look at")
}

func (s *Setup) searchableFinding() sync.Finding {
	field, found := s.seen.one()
	switch {
	case !found:
		return s.skipped(checkSearchable)
	case field.Searchable == nil:
		return finding(checkSearchable, sync.Doubt, fmt.Sprintf("Jira does not say whether %s can be searched for", field.ID))
	case !*field.Searchable:
		return s.remedied(finding(checkSearchable, sync.Fails, fmt.Sprintf("%s has no searcher, so that issues cannot be "+
			"found by it", field.ID)))
	}
	return finding(checkSearchable, sync.Holds, fmt.Sprintf("%s can be searched for", field.ID))
}

func (s *Setup) contextFinding() sync.Finding {
	field, found := s.seen.one()
	k := s.clicks()
	where := fmt.Sprintf("issue type %q in project %s", k.kind, k.project)
	switch {
	case !found:
		return s.skipped(checkContext)
	case s.seen.scheme.covers == no:
		words := fmt.Sprintf("the field scheme of project %s does not hold %s for issue type %q", k.project, field.ID, k.kind)
		return s.remedied(finding(checkContext, sync.Fails, words))
	case s.seen.offered == yes || s.seen.context.covers == yes:
		return finding(checkContext, sync.Holds, fmt.Sprintf("%s applies to %s", field.ID, where))
	case s.seen.context.covers == no:
		return s.remedied(finding(checkContext, sync.Fails, fmt.Sprintf("%s has no context for %s", field.ID, where)))
	}
	f := finding(checkContext, sync.Doubt, fmt.Sprintf("it cannot be told whether %s applies to %s", field.ID, where))
	if !k.team {
		f.Remedy = "see that it does: " + k.widenContext()
	}
	return f
}

func (s *Setup) screenFinding() sync.Finding {
	field, found := s.seen.one()
	k := s.clicks()
	var names []string
	for _, on := range s.lackingScreens() {
		names = append(names, fmt.Sprintf("%q", on.name))
	}
	lacking := strings.Join(names, " and ")
	switch {
	case !found:
		return s.skipped(checkScreen)
	case s.seen.offered == yes && s.seen.described == no:
		return s.remedied(finding(checkScreen, sync.Fails, fmt.Sprintf("%s is offered when issues of type %q are created "+
			"in project %s, but the description, which the agent "+
			"fills in, is not", field.ID, k.kind, k.project)))
	case s.seen.offered == yes && lacking != "":
		return s.remedied(finding(checkScreen, sync.Doubt, fmt.Sprintf("%s is offered on creation, but is not on %s, "+
			"which the project may edit issues on", field.ID, lacking)))
	case s.seen.edited == no:
		return s.remedied(finding(checkScreen, sync.Doubt, field.ID+" is offered on creation, but not when issues are "+
			"edited: a request ID that somebody takes out of its issue cannot be put back"))
	case s.seen.offered == yes:
		return finding(checkScreen, sync.Holds, fmt.Sprintf("%s is offered when issues of type %q are created in project "+
			"%s", field.ID, k.kind, k.project))
	case lacking != "":
		return s.remedied(finding(checkScreen, sync.Fails, fmt.Sprintf("%s is not on %s", field.ID, lacking)))
	case s.seen.offered == no && s.seen.context.covers == no:
		return finding(checkScreen, sync.Skipped, "without a context the field shows on no screen")
	case s.seen.offered == no:
		return s.remedied(finding(checkScreen, sync.Fails, fmt.Sprintf("%s is not offered when issues of type %q are "+
			"created in project %s", field.ID, k.kind, k.project)))
	}
	f := finding(checkScreen, sync.Doubt, fmt.Sprintf("Jira does not tell the agent's account whether %s is on the "+
		"create screen of project %s", field.ID, k.project))
	f.Remedy = "see that it is: " + k.putOnScreen(k.field)
	return f
}

func (s *Setup) statusesFinding() sync.Finding {
	k, flow := s.clicks(), s.seen.flow
	switch lacking := flow.lacking(); {
	case flow.untold != "":
		f := finding(checkStatuses, sync.Doubt, "Jira does not tell the statuses of the workflow: "+flow.untold)
		f.Remedy = "see that it has those of JIRA_STATUS_*: " + k.addStatuses("those that are missing", "")
		return f
	case s.seen.kind.ID == "":
		return s.remedied(
			finding(
				checkStatuses,
				sync.Fails,
				fmt.Sprintf("project %s has no issue type %q; it has %s", k.project, k.kind, strings.Join(flow.kinds, ", ")),
			),
		)
	case len(lacking) > 0:
		return s.remedied(
			finding(
				checkStatuses,
				sync.Fails,
				fmt.Sprintf("the workflow of issue type %q lacks %s", k.kind, strings.Join(lacking, ", ")),
			),
		)
	case len(flow.spare) > 0:
		f := finding(checkStatuses, sync.Doubt, fmt.Sprintf("the workflow of issue type %q has a status for each outcome, "+
			"but not %s", k.kind, strings.Join(flow.spare, ", ")))
		f.Remedy = "take what was misspelt or removed out of JIRA_STATUS_*, or add it to the workflow"
		return f
	}
	return finding(checkStatuses, sync.Holds, fmt.Sprintf("the workflow of issue type %q has all statuses of "+
		"JIRA_STATUS_*", k.kind))
}

func (s *Setup) transitionsFinding() sync.Finding {
	k, flow := s.clicks(), s.seen.flow
	lacking, untold := flow.movesThatAre(no), strings.Join(flow.movesThatAre(unknown), ", ")
	switch {
	case len(lacking) > 0:
		return s.remedied(finding(checkTransitions, sync.Fails, fmt.Sprintf("the workflow leads the agent's account "+
			"nowhere from %s, in up to %d transitions", strings.Join(lacking, ", "), sync.MaxWay)))
	case len(flow.moves) == 0:
		return finding(checkTransitions, sync.Skipped, "there are no statuses to move between")
	case len(flow.movesThatAsk()) > 0:
		return s.remedied(finding(checkTransitions, sync.Fails, "transitions ask for fields that the agent does not fill "+
			"in: "+strings.Join(flow.movesThatAsk(), ", ")))
	case untold != "":
		f := finding(checkTransitions, sync.Doubt, "no issue is there to ask for the transitions from "+untold)
		f.Remedy = "see that the workflow has them: " + k.addTransitions(untold)
		return f
	}
	leads := "the workflow leads from Pending to each outcome and back"
	if detours := flow.detours(); len(detours) > 0 {
		leads += ": from " + strings.Join(detours, ", from ")
	}
	return finding(checkTransitions, sync.Holds, leads)
}
