package agent

import (
	"slices"
	"strings"
)

// chartValue is where the Helm chart takes a setting.
type chartValue struct {
	path string // dotted
	// key is that under which the Kubernetes secret that the value names holds the content; empty for a plain value.
	key string
}

// chartValues are those of the chart deploy/helm/teleport-jira-agent, which keeps the names of the chart of Teleport's own plugin. What is missing here
// goes into extraEnv. https://goteleport.com/docs/reference/helm-reference/teleport-plugin-jira/
var chartValues = map[string]chartValue{
	"TELEPORT_ADDR":          {path: "teleport.address"},
	"TELEPORT_IDENTITY_FILE": {path: "teleport.identityFromSecret", key: "auth_id"},
	"JIRA_URL":               {path: "jira.url"},
	"JIRA_USERNAME":          {path: "jira.username"},
	"JIRA_API_TOKEN":         {path: "jira.apiTokenFromSecret", key: "jiraApiToken"},
	"JIRA_PROJECT":           {path: "jira.project"},
	"JIRA_ISSUE_TYPE":        {path: "jira.issueType"},
	"DATABASE_URL":           {path: "database.urlFromSecret", key: "url"},
	"WEBHOOK_PUBLIC_ADDR":    {path: "http.publicAddress"},
	"WEBHOOK_TLS_CERT_FILE":  {path: "http.tlsFromSecret", key: "tls.crt and tls.key"},
	"WEBHOOK_ENABLED":        {path: "webhook.enabled"},
	"WEBHOOK_SECRET":         {path: "webhook.secretFromSecret", key: "secret"},
	"LOG_OUTPUT":             {path: "log.output"},
	"LOG_SEVERITY":           {path: "log.severity"},
}

// chartsOwn are the variables that the chart sets by itself, or has other values for (volumes, a private CA).
var chartsOwn = map[string]bool{
	"TELEPORT_CLIENT_KEY": true, "TELEPORT_CLIENT_CRT": true, "TELEPORT_ROOT_CAS": true, "JIRA_CA_FILE": true,
	"ADMIN_LISTEN_ADDR": true, "WEBHOOK_LISTEN_ADDR": true, "WEBHOOK_TLS_KEY_FILE": true,
}

// writeHelm prints the values of the chart, and below them, as extraEnv, what it has no value for.
func writeHelm(b *strings.Builder, entries []entry) {
	groups := make(map[string][]entry)
	var order []string
	var extra []entry
	for _, e := range entries {
		value, ok := chartValues[e.name]
		switch group, _, _ := strings.Cut(value.path, "."); {
		case chartsOwn[e.name]:
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

// writeHeading opens a group, commented out if all in it is: Helm takes an empty one for the wish to have no such values.
func writeHeading(b *strings.Builder, group string, entries []entry) {
	if len(entries) > 0 {
		allOff := !slices.ContainsFunc(entries, func(e entry) bool { return !e.off })
		b.WriteString("\n" + mark(entry{off: allOff}) + group + ":\n")
	}
}

func writeChartValue(b *strings.Builder, e entry) {
	value := chartValues[e.name]
	literal := e.literal()
	if value.key != "" {
		literal = quoted("")
		e.notes = append(e.notes, "The name of the Kubernetes secret that has it as "+value.key+".")
	}
	_, key, _ := strings.Cut(value.path, ".")
	writeNotes(b, "  ", e)
	b.WriteString("  " + mark(e) + key + ": " + literal + "\n")
}
