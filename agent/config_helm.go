package agent

import (
	"reflect"
	"slices"
	"strings"
)

// chartValue is where the Helm chart takes a setting.
type chartValue struct {
	path string // dotted
	// key is that under which the Kubernetes secret that the value names holds the content; empty
	// for a plain value.
	key string
}

// chartValues are those of the chart deploy/helm/teleport-jira-agent, which keeps the names of the
// chart of Teleport's own plugin. What is missing here goes into extraEnv.
// https://goteleport.com/docs/reference/helm-reference/teleport-plugin-jira/
var chartValues = map[string]chartValue{
	"TELEPORT_ADDR":          {path: "teleport.address"},
	"TELEPORT_IDENTITY_FILE": {path: "teleport.identityFromSecret", key: "auth_id"},
	"TELEPORT_DECISION_MODE": {path: "teleport.decisionMode"},
	"JIRA_URL":               {path: "jira.url"},
	"JIRA_USERNAME":          {path: "jira.username"},
	"JIRA_API_TOKEN":         {path: "jira.apiTokenFromSecret", key: "jiraApiToken"},
	"JIRA_PROJECT":           {path: "jira.project"},
	"JIRA_ISSUE_TYPE":        {path: "jira.issueType"},
	"DATABASE_URL":           {path: "database.urlFromSecret", key: "url"},
	"POLICY_APPROVERS":       {path: "policy.approvers"},
	"POLICY_APPROVER_GROUPS": {path: "policy.approverGroups"},
	"POLICY_SELF_APPROVAL":   {path: "policy.selfApproval"},
	"WEBHOOK_PUBLIC_ADDR":    {path: "http.publicAddress"},
	"WEBHOOK_TLS_CERT_FILE":  {path: "http.tlsFromSecret", key: "tls.crt and tls.key"},
	"WEBHOOK_ENABLED":        {path: "webhook.enabled"},
	"WEBHOOK_SECRET":         {path: "webhook.secretFromSecret", key: "secret"},
	"LOG_OUTPUT":             {path: "log.output"},
	"LOG_SEVERITY":           {path: "log.severity"},
}

// chartsOwn are the variables that the chart sets by itself, or has other values for, and what to
// do in their place; nothing about the key that stands beside a certificate.
var chartsOwn = map[string]string{
	"TELEPORT_CLIENT_KEY":  identityInChart,
	"TELEPORT_CLIENT_CRT":  identityInChart,
	"TELEPORT_ROOT_CAS":    identityInChart,
	"JIRA_CA_FILE":         "put it into a ConfigMap, and name that in jira.caFromConfigMap",
	"ADMIN_LISTEN_ADDR":    "the chart sets it, for its probes",
	"WEBHOOK_LISTEN_ADDR":  "the chart sets it, for its Service",
	"WEBHOOK_TLS_KEY_FILE": "",
}

const identityInChart = "the chart takes an identity file, from tbot or tctl auth sign, in place of the key pair"

// writeHelm prints the values of the chart, and below them, as extraEnv, what it has no value for.
func writeHelm(b *strings.Builder, entries []entry) {
	groups := make(map[string][]entry)
	var order []string
	var extra []entry
	for _, e := range entries {
		value, ok := chartValues[e.name]
		_, chartsOwn := chartsOwn[e.name]
		switch group, _, _ := strings.Cut(value.path, "."); {
		case chartsOwn:
		case !ok:
			extra = append(extra, e)
		default:
			if groups[group] == nil {
				order = append(order, group)
			}
			groups[group] = append(groups[group], e)
		}
	}
	for _, group := range order {
		writeHeading(b, group, groups[group])
		for _, e := range groups[group] {
			writeChartValue(b, e)
		}
	}
	writeHeading(b, "extraEnv", extra)
	for _, e := range extra {
		writeNotes(b, "  ", e)
		b.WriteString("  " + mark(e) + "- {name: " + e.variable() + ", value: " + quoted(e.value) + "}\n")
	}
}

// writeHeading opens a group, commented out if all in it is: Helm takes an empty one for the wish
// to have no such values.
func writeHeading(b *strings.Builder, group string, entries []entry) {
	if len(entries) > 0 {
		allOff := !slices.ContainsFunc(entries, func(e entry) bool { return !e.off })
		b.WriteString("\n" + mark(entry{off: allOff}) + group + ":\n")
	}
}

func writeChartValue(b *strings.Builder, e entry) {
	value := chartValues[e.name]
	literal := e.literal()
	if e.field.Type() == reflect.TypeFor[List]() {
		literal = quotedList(e.value)
	}
	if value.key != "" {
		literal = quoted("")
		e.notes = append(e.notes, "The name of the Kubernetes secret that has it as "+value.key+".")
	}
	_, key, _ := strings.Cut(value.path, ".")
	writeNotes(b, "  ", e)
	b.WriteString("  " + mark(e) + key + ": " + literal + "\n")
}

// quotedList writes a list that is kept with commas.
func quotedList(text string) string {
	var entries []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, quoted(entry))
		}
	}
	return "[" + strings.Join(entries, ", ") + "]"
}
