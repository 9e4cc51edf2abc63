package jira

import (
	"cmp"
	"fmt"
)

// clicks are the ways through Jira's pages, which differ between Cloud, a team-managed project on
// Cloud, and Data Center. Cloud is renaming "issue" to "work item" and "project" to "space", so
// that the older word stands in brackets.
//
// https://support.atlassian.com/jira-cloud-administration/docs/configure-a-custom-field/
// https://support.atlassian.com/jira-cloud-administration/docs/work-with-issue-workflows/
// https://support.atlassian.com/jira-software-cloud/docs/customize-an-issues-fields-in-next-gen-projects/
// https://support.atlassian.com/jira-software-cloud/docs/manage-how-work-flows-in-your-team-managed-project/
// https://confluence.atlassian.com/adminjiraserver/configuring-custom-field-contexts-1047552717.html
// https://confluence.atlassian.com/display/AdminJIRAServer072/Configuring+a+custom+field
type clicks struct {
	dataCenter, team     bool
	project, kind, field string
}

// clicks name the issue type and the field as Jira's pages do, also where they are configured by
// id.
func (s *Setup) clicks() clicks {
	k := clicks{
		dataCenter: s.c.deployment == DataCenter, team: s.seen.project.Simplified,
		project: s.c.cfg.Project, kind: cmp.Or(s.seen.kind.Name, s.c.cfg.IssueType), field: s.c.cfg.RequestIDField,
	}
	if field, found := s.seen.one(); found {
		k.field = cmp.Or(field.Name, k.field)
	}
	return k
}

// fieldsPage is where the site's custom fields are.
func (k clicks) fieldsPage() string {
	if k.dataCenter {
		return "Administration (cog) → Issues → Custom fields"
	}
	return "Settings (cog) → Work items (Issues) → Fields (Custom fields)"
}

// projectSettings is where the project's own settings begin.
func (k clicks) projectSettings() string {
	if k.dataCenter {
		return "project " + k.project + " → Project settings"
	}
	return "project " + k.project + " → More actions (...) beside its name → Space settings (Project settings)"
}

func (k clicks) createField() string {
	switch {
	case k.team:
		return fmt.Sprintf(
			"%s → Work types (Issue types) → %s → Create field → Short text → name it %q → Save changes",
			k.projectSettings(),
			k.kind,
			k.field,
		)
	case k.dataCenter:
		return fmt.Sprintf("%s → Add custom field → Text Field (single line) → name it %q → Create → tick the screens of "+
			"project %s → Update; it comes with the Free Text "+
			"Searcher and a global context", k.fieldsPage(), k.field, k.project)
	}
	return fmt.Sprintf("%s → Create new field → Short text (plain text only) → name it %q → Create → add it to the "+
		"screens of project %s; it comes with the Free Text "+
		"Searcher and a global context", k.fieldsPage(), k.field, k.project)
}

// lookForField is for who cannot see fields that are on no screen: GET field leaves them out, and
// Jira makes another of the same name without a word.
func (k clicks) lookForField() string {
	return fmt.Sprintf("first have a Jira administrator look for %q: %s; if it is there, %s; if not, ",
		k.field, k.fieldsPage(), k.putOnScreen(k.field))
}

func (k clicks) makeSearchable() string {
	if k.dataCenter {
		return fmt.Sprintf("%s → Actions (cog) beside %q → Edit → Search template: Free Text Searcher → Update; then "+
			"Administration (cog) → System → Indexing → Re-index",
			k.fieldsPage(), k.field)
	}
	return fmt.Sprintf(
		"%s → More (...) beside %q → Edit details → Search template: Free Text Searcher → Save",
		k.fieldsPage(),
		k.field,
	)
}

func (k clicks) widenContext() string {
	if k.dataCenter {
		return fmt.Sprintf("%s → Actions (cog) beside %q → Configure → Edit Configuration (or Add new context) → choose "+
			"issue type %s, and project %s or the global context → Modify",
			k.fieldsPage(), k.field, k.kind, k.project)
	}
	return fmt.Sprintf("%s → More (...) beside %q → Contexts and default value → Edit context (or Add new context) → "+
		"choose project %s and issue type %s → Modify (Add)",
		k.fieldsPage(), k.field, k.project, k.kind)
}

// putOnScreen needs no screen's name: the project's page of screens says which are used for what.
func (k clicks) putOnScreen(field string) string {
	switch {
	case k.team:
		return fmt.Sprintf("%s → Work types (Issue types) → %s → drag the field %q from the right into the layout → Save "+
			"changes", k.projectSettings(), k.kind, field)
	case k.dataCenter:
		return fmt.Sprintf(
			"%s → Screens → the screens beside Create Issue and Edit Issue of %s → Select Field: %q",
			k.projectSettings(),
			k.kind,
			field,
		)
	}
	return fmt.Sprintf("%s → Work items (Issues) → Screens → the screens beside Edit Issue and Create Issue of %s → "+
		"Select Field: %q", k.projectSettings(), k.kind, field)
}

// configuration is where the project says of its fields which are hidden and which required.
func (k clicks) configuration() string {
	if k.dataCenter {
		return fmt.Sprintf("%s → Fields → the configuration of %s → pencil (edit)", k.projectSettings(), k.kind)
	}
	return fmt.Sprintf(
		"%s → Work items (Issues) → Fields → the configuration of %s → Actions → Edit fields",
		k.projectSettings(),
		k.kind,
	)
}

func (k clicks) showInConfiguration() string {
	if k.dataCenter {
		return fmt.Sprintf("%s → Show beside %q", k.configuration(), k.field)
	}
	return fmt.Sprintf("%s → Show beside %q; or, on a site with field schemes, %s",
		k.configuration(), k.field, k.addToScheme())
}

func (k clicks) addToScheme() string {
	return fmt.Sprintf("Settings (cog) → Work items (Issues) → Field schemes → the scheme of project %s → add %q for %s",
		k.project, k.field, k.kind)
}

func (k clicks) makeOptional(field string) string {
	if k.team {
		return fmt.Sprintf(
			"%s → Work types (Issue types) → %s → the field %q → untick Required → Save changes",
			k.projectSettings(),
			k.kind,
			field,
		)
	}
	return fmt.Sprintf("%s → Optional beside %q", k.configuration(), field)
}

func (k clicks) addIssueType() string {
	return fmt.Sprintf("%s → Work types (Issue types) → Actions → Edit → add %q; or set JIRA_ISSUE_TYPE to one that "+
		"the project has", k.projectSettings(), k.kind)
}

// workflow leads to the editor of the workflow of the issue type; publish is how its changes are
// made to count.
func (k clicks) workflow() (editor, publish string) {
	switch {
	case k.team:
		return fmt.Sprintf(
			"%s → Work types (Issue types) → %s → Edit workflow",
			k.projectSettings(),
			k.kind,
		), "Update workflow"
	case k.dataCenter:
		return fmt.Sprintf(
			"%s → Workflows → pencil (edit) beside the workflow of %s → Diagram",
			k.projectSettings(),
			k.kind,
		), "Publish Draft"
	}
	return fmt.Sprintf(
		"%s → Work items (Issues) → Workflows → pencil (edit) beside the workflow of %s",
		k.projectSettings(),
		k.kind,
	), "Update workflow"
}

// addStatuses gives the new statuses transitions from all others, and those of back, which are
// there, transitions from the new ones.
func (k clicks) addStatuses(words, back string) string {
	editor, publish := k.workflow()
	if k.dataCenter {
		if back != "" {
			back = "; tick it for " + back + ", too"
		}
		return fmt.Sprintf("%s → Add status → %s, each with the tick \"Allow all statuses to transition to this one\"%s → "+
			"%s", editor, words, back, publish)
	}
	if back != "" {
		back = " and to " + back
	}
	return fmt.Sprintf(
		"%s → Status → add %s → Transition → from Any status to each of them%s → %s",
		editor,
		words,
		back,
		publish,
	)
}

func (k clicks) addTransitions(words string) string {
	editor, publish := k.workflow()
	add := "Transition"
	if k.dataCenter {
		add = "Add transition"
	}
	return fmt.Sprintf("%s → %s → %s, without a screen that asks for fields → %s", editor, add, words, publish)
}

func (k clicks) askForNothing(words string) string {
	editor, publish := k.workflow()
	return fmt.Sprintf("%s → the transition (%s) → no screen, or one without these fields; no rule or validator that "+
		"requires them → %s", editor, words, publish)
}
