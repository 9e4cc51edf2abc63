package agent

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Format is a form in which a configuration is printed.
type Format string

// The formats.
const (
	FormatEnv  Format = "env"  // for docker run --env-file and systemd's EnvironmentFile
	FormatTOML Format = "toml" // for start --config
	FormatHelm Format = "helm" // values of the chart in deploy/helm
)

// heads open a sample in each format. Values in an env file stand without quotes, as docker run
// --env-file and systemd's EnvironmentFile take them; a shell would need quotes around those with
// spaces.
var heads = map[Format]string{
	FormatEnv: `Configuration of teleport-jira-agent: one environment variable per line, ` +
		`for docker run --env-file or systemd's EnvironmentFile.
Fill in what is required; what is commented out has its default. A variable marked "secret" can also be given as
NAME_FILE, the path of a file that holds the value; it is read again when the file changes.
`,
	FormatTOML: `Configuration of teleport-jira-agent, for start --config. ` +
		`A set environment variable wins over what stands here.
Fill in what is required; what is commented out has its default. A key marked "secret" can also be given as
key_file, the path of a file that holds the value; it is read again when the file changes.
`,
	FormatHelm: `Values of the chart deploy/helm/teleport-jira-agent. ` +
		`Fill in what is required; what is commented out has its default. Secrets are
better kept in a Kubernetes secret of yours, which the values ending in FromSecret name. ` +
		`What is no value of the chart goes into extraEnv.
`,
}

// entry is one setting as it is printed.
type entry struct {
	*setting
	notes []string // one line each
	value string
	file  bool // the value is the path of the file that holds it
	off   bool // commented out
}

// variable is the environment variable of the entry.
func (e entry) variable() string {
	if e.file {
		return e.name + fileSuffix
	}
	return e.name
}

// Sample is a commented sample configuration of all variables.
func Sample(f Format) string {
	var entries []entry
	for _, s := range settings(new(Config)) {
		e := entry{
			setting: s,
			value:   s.tag.Get("default"),
			off:     s.tag.Get("required") == "",
			notes:   []string{s.description()},
		}
		if e.value == "" {
			e.notes = append(e.notes, "example: "+s.example())
		}
		entries = append(entries, e)
	}
	return render(f, heads[f], entries)
}

// Required names the variables that have no default, each with the condition under which it can be
// left out.
func Required() []string {
	var names []string
	for _, s := range settings(new(Config)) {
		switch condition := s.tag.Get("required"); {
		case condition == "":
		case condition == "true" && s.secret():
			names = append(names, s.name+" (or "+s.name+fileSuffix+")")
		case condition == "true":
			names = append(names, s.name)
		default:
			names = append(names, s.name+" ("+condition+")")
		}
	}
	return names
}

// description is the setting's meaning with what its other tags say.
func (s *setting) description() string {
	var notes []string
	switch condition := s.tag.Get("required"); condition {
	case "":
	case "true":
		notes = append(notes, "required")
	default:
		notes = append(notes, "required "+condition)
	}
	if s.secret() {
		notes = append(notes, "secret")
	}
	if len(notes) == 0 {
		return s.tag.Get("desc")
	}
	return s.tag.Get("desc") + " [" + strings.Join(notes, "; ") + "]"
}

// render prints entries in a format, below a head of one or more lines.
func render(f Format, head string, entries []entry) string {
	var b strings.Builder
	for line := range strings.Lines(head) {
		b.WriteString("# " + line)
	}
	switch f {
	case FormatTOML:
		writeTOML(&b, entries)
	case FormatHelm:
		writeHelm(&b, entries)
	default:
		writeEnv(&b, entries)
	}
	return b.String()
}

func writeEnv(b *strings.Builder, entries []entry) {
	writeGroups(b, entries, "\n# ---- %s\n", func(e entry) string { return e.variable() + "=" + e.value })
}

func writeTOML(b *strings.Builder, entries []entry) {
	writeGroups(b, entries, "\n[%s]\n", func(e entry) string {
		key := e.key()
		if e.file {
			key += strings.ToLower(fileSuffix)
		}
		return key + " = " + e.literal()
	})
}

// writeGroups prints each entry on a line below its notes, and a heading, with the group's name in
// place of %s, before each group.
func writeGroups(b *strings.Builder, entries []entry, heading string, line func(entry) string) {
	group := ""
	for _, e := range entries {
		if e.group != group {
			group = e.group
			fmt.Fprintf(b, heading, group)
		}
		b.WriteString("\n")
		writeNotes(b, "", e)
		b.WriteString(mark(e) + line(e) + "\n")
	}
}

func writeNotes(b *strings.Builder, indent string, e entry) {
	for _, note := range e.notes {
		b.WriteString(indent + "# " + oneLine(note) + "\n")
	}
}

func mark(e entry) string {
	if e.off {
		return "#"
	}
	return ""
}

// bareKinds are the kinds of values that TOML and YAML write without quotes.
var bareKinds = []reflect.Kind{reflect.Bool, reflect.Int, reflect.Float64}

// literal is the value as TOML and YAML both write it: a JSON string, for which both have the same
// escapes, but a bare number or truth value.
func (e entry) literal() string {
	if !e.file && e.value != "" && slices.Contains(bareKinds, e.field.Kind()) {
		return e.value
	}
	return quoted(e.value)
}

func quoted(text string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return fmt.Sprintf("%q", text)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
