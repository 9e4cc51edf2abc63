package agent

import (
	"fmt"
	"slices"
	"strings"
)

// Convert prints a TOML file, of Teleport's own Jira plugin or of this program, in a format: what
// it sets, and what is required beside that. Secrets are not printed; a remark in their place says
// where to put them. What cannot be kept comes back as warnings. An error means that the file
// cannot be read or has Problems, the same that Load finds; files that it names need not exist
// where this runs.
func Convert(file string, f Format) (text string, warnings []string, err error) {
	if file == "" { // which for Load means that there is none
		return "", nil, Problems{{Variable: "--from", Problem: "names no file", Example: "--from /etc/teleport-jira.toml"}}
	}
	l := newLoader(new(Config))
	l.elsewhere = true
	if err := l.readTOML(file); err != nil {
		return "", nil, Problems{{Variable: "--from", Problem: err.Error(), Example: "--from /etc/teleport-jira.toml"}}
	}
	warnings = l.warnings // what check warns of is about a start
	l.decode()
	l.check()
	missing := make(map[string]bool)
	l.problems = slices.DeleteFunc(l.problems, func(p Problem) bool {
		missing[p.Variable] = missing[p.Variable] || p.missing
		return p.missing
	})
	if f == FormatHelm {
		warnings = append(warnings, l.leaveToChart(missing)...)
	}
	var entries []entry
	for _, s := range l.settings {
		if e, ok := l.entry(s, f, missing[s.name]); ok {
			entries = append(entries, e)
		}
	}
	if len(l.problems) > 0 {
		return "", nil, l.inOrder()
	}
	for _, source := range l.httpIgnored {
		warnings = append(warnings, source+" has no equal: webhooks always come over TLS, and are known by Jira's "+
			"signature (WEBHOOK_SECRET)")
	}
	if l.http != "" && !l.cfg.Webhook.Enabled {
		warnings = append(warnings, "[http] is kept and means nothing while WEBHOOK_ENABLED is false: polls need no "+
			"webhook. To have one all the same, switch it on, and give it and Jira's webhook one secret (WEBHOOK_SECRET)")
	}
	head := fmt.Sprintf(
		"teleport-jira-agent, from %s. `teleport-jira-agent configure --format %s` prints all that can be set.\n",
		oneLine(file),
		f,
	)
	for i, warning := range warnings {
		warnings[i] = oneLine(warning)
		head += warnings[i] + ".\n"
	}
	return render(f, head, entries), warnings, nil
}

// leaveToChart takes out what the chart has other values for, or sets by itself, and returns a
// remark on each. Without its key pair the file has no credentials.
func (l *loader) leaveToChart(missing map[string]bool) (remarks []string) {
	for _, s := range l.settings {
		instead, v := chartsOwn[s.name], l.toml[s.name]
		if instead == "" || v.source == "" {
			continue
		}
		remarks = append(remarks, v.source+" is left out: "+instead)
		if s.group == "teleport" {
			missing["TELEPORT_IDENTITY_FILE"] = true
		}
	}
	return remarks
}

// entry is a setting as the file has it; ok is false for one that it does not set and need not.
func (l *loader) entry(s *setting, f Format, missing bool) (e entry, ok bool) {
	value, file := l.lookup(s)
	e = entry{setting: s, notes: []string{s.tag.Get("desc")}}
	inSecret := f == FormatHelm && chartValues[s.name].key != ""
	switch {
	case file != nil && inSecret:
		e.notes = append(e.notes, "It stands in "+file.text+".")
	case file != nil:
		e.value, e.file = file.text, true
	case value != nil && s.secret() && inSecret:
		e.notes = append(e.notes, "It stands in "+value.source+", and is not printed here.")
	case value != nil && s.secret():
		e.value, e.file, e.off = "/run/secrets/"+strings.ToLower(strings.ReplaceAll(s.name, "_", "-")), true, true
		e.notes = append(e.notes, "It stands in "+value.source+", and is not printed here. Put it, alone, into a file "+
			"that only the agent can read, and name that:")
	case value != nil && inSecret:
		e.notes = append(e.notes, "It stands in "+value.text+".")
	case value != nil && slices.Contains(bareKinds, s.field.Kind()):
		e.value = fmt.Sprint(s.field.Interface()) // TRUE, T and .5 are right values, but not in TOML or YAML
	case value != nil:
		e.value = value.text
	case missing:
		e.notes = append(e.notes, "Required, and not in the file; example: "+s.example())
	default:
		return e, false
	}
	switch {
	case f == FormatEnv && strings.ContainsAny(e.value, "\n\r"):
		l.complain(s.name, "has several lines, which an env file cannot hold; use --format toml")
	case f == FormatEnv && (strings.Contains(e.value, `\`) ||
		strings.HasPrefix(e.value, `"`) || strings.HasPrefix(e.value, "'")):
		e.notes = append(
			e.notes,
			`Docker takes it as it stands; for systemd put it in double quotes, with \ before each \ and ".`,
		)
	}
	return e, true
}
