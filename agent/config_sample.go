package agent

import "strings"

// sampleHeader opens the sample. The values stand without quotes, as docker run --env-file and systemd's EnvironmentFile
// take them; a shell would need quotes around those with spaces.
const sampleHeader = `# Configuration of teleport-jira-agent: one environment variable per line, for docker run --env-file or systemd's EnvironmentFile.
# Fill in what is required; what is commented out has its default. A variable marked "secret" can also be given as
# NAME_FILE, the path of a file that holds the value; it is read again when the file changes.
`

// Sample is a commented sample configuration of all variables, in the form of environment variables.
func Sample() string {
	var b strings.Builder
	b.WriteString(sampleHeader)
	group := ""
	for _, s := range settings(new(Config)) {
		if s.group != group {
			group = s.group
			b.WriteString("\n# ---- " + group + "\n")
		}
		b.WriteString("\n# " + s.description() + "\n")
		if s.tag.Get("default") == "" {
			b.WriteString("# example: " + s.example() + "\n")
		}
		if s.tag.Get("required") == "" {
			b.WriteString("#")
		}
		b.WriteString(s.name + "=" + s.tag.Get("default") + "\n")
	}
	return b.String()
}

// Required names the variables that have no default, each with the condition under which it can be left out.
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
