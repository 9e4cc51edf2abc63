package agent

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// fileSuffix after the name of a secret's variable makes the name of the variable that holds its
// file.
const fileSuffix = "_FILE"

// setting is one variable: the field of Config that it fills, and what its tags say.
type setting struct {
	group  string // lower case, as the TOML table: "jira"
	name   string // JIRA_URL
	field  reflect.Value
	tag    reflect.StructTag
	source string // where its value was found, if not in the environment
}

func (s *setting) secret() bool { return s.field.Type() == reflect.TypeFor[Secret]() }

func (s *setting) mayBeEmpty() bool { return s.tag.Get("empty") == "allowed" }

// key is the setting's name in its TOML table: the variable's in lower case without the table's.
func (s *setting) key() string {
	return strings.TrimPrefix(strings.ToLower(s.name), s.group+"_")
}

// example is a right value: one that shows the form, else the default.
func (s *setting) example() string {
	if e := s.tag.Get("example"); e != "" {
		return e
	}
	return s.tag.Get("default")
}

// settings lists every variable that fills cfg, in the order of the fields.
func settings(cfg *Config) []*setting {
	var all []*setting
	groups := reflect.ValueOf(cfg).Elem()
	for i := range groups.NumField() {
		group := groups.Field(i)
		if group.Kind() != reflect.Struct {
			continue
		}
		for j := range group.NumField() {
			tag := group.Type().Field(j).Tag
			all = append(all, &setting{
				group: strings.ToLower(groups.Type().Field(i).Name),
				name:  tag.Get("envconfig"),
				field: group.Field(j),
				tag:   tag,
			})
		}
	}
	return all
}

// given is a value as an operator wrote it.
type given struct {
	text   string
	source string // the TOML key; empty for the environment
}

// loader carries what Load knows so far.
type loader struct {
	cfg      *Config
	settings []*setting

	// Both are keyed by variable; the variable of a secret's file counts as one of its own.
	environ map[string]given
	toml    map[string]given
	// elsewhere says that the configuration is for another machine: the files that it names are not
	// looked at.
	elsewhere bool
	// http is the file with an [http] table, as Teleport's own plugin has it, and httpIgnored names
	// its keys that mean nothing here.
	http        string
	httpIgnored []string
	// unknown are the variables in the environment that look like ours and are not, sorted.
	unknown []string

	problems Problems
	warnings []string
}

func newLoader(cfg *Config) *loader {
	return &loader{cfg: cfg, settings: settings(cfg), environ: map[string]given{}, toml: map[string]given{}}
}

// setting finds a setting by its variable, or that of its file; nil if there is none.
func (l *loader) setting(variable string) *setting {
	for _, s := range l.settings {
		if s.name == variable || s.secret() && s.name+fileSuffix == variable {
			return s
		}
	}
	return nil
}

// serviceLink matches the variables that Kubernetes sets in every container for each service of the
// namespace, which may well be named jira or database:
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$`)

// readEnviron takes the variables that are settings. Others that begin like one are worth a
// warning, not more: they may belong to another program.
func (l *loader) readEnviron(environ []string) {
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		s := l.setting(name)
		switch {
		case text == "" && (s == nil || !s.mayBeEmpty()):
		case s != nil:
			l.environ[name] = given{text: text}
		case l.looksLikeOurs(name) && !serviceLink.MatchString(name):
			l.unknown = append(l.unknown, name)
		}
	}
	slices.Sort(l.unknown)
	for _, name := range l.unknown {
		l.warnings = append(l.warnings, name+" is set in the environment, but is no variable of this program")
	}
	l.preferCredentialsOfEnviron()
}

func (l *loader) looksLikeOurs(name string) bool {
	return slices.ContainsFunc(
		l.settings,
		func(s *setting) bool { return strings.HasPrefix(name, strings.ToUpper(s.group)+"_") },
	)
}

// preferCredentialsOfEnviron drops the credentials of the TOML file if the environment names the
// other kind: an identity file and a key pair exclude each other, so the two are one choice, and
// the environment wins.
func (l *loader) preferCredentialsOfEnviron() {
	identity, pair := []string{
		"TELEPORT_IDENTITY_FILE",
	}, []string{
		"TELEPORT_CLIENT_KEY",
		"TELEPORT_CLIENT_CRT",
		"TELEPORT_ROOT_CAS",
	}
	inEnviron := func(name string) bool { return l.environ[name].text != "" }
	drop := func(names []string) {
		maps.DeleteFunc(l.toml, func(name string, _ given) bool { return slices.Contains(names, name) })
	}
	if slices.ContainsFunc(identity, inEnviron) {
		drop(pair)
	}
	if slices.ContainsFunc(pair, inEnviron) {
		drop(identity)
	}
}

// decode fills every field from the first source that has a value for it.
func (l *loader) decode() {
	for _, s := range l.settings {
		value, file := l.lookup(s)
		switch {
		case file != nil:
			s.source = file.source
			l.decodeSecretFile(s, strings.TrimSpace(file.text))
		case value != nil:
			s.source = value.source
			l.decodeValue(s, value.text)
		case s.tag.Get("default") != "":
			l.decodeValue(s, s.tag.Get("default"))
		case s.tag.Get("required") == "true":
			l.complainMissing(s.name, "is missing"+l.unknownNeighbours(s))
		}
	}
}

// lookup finds what was given for a setting: its value, or the file that holds it, or neither.
func (l *loader) lookup(s *setting) (value, file *given) {
	for _, from := range []map[string]given{l.environ, l.toml} {
		v, isValue := from[s.name]
		f, isFile := from[s.name+fileSuffix]
		isFile = isFile && s.secret()
		if isValue && isFile {
			s.source = v.source
			l.complain(s.name, "is set, and so is "+s.name+fileSuffix+": set one of the two")
		}
		switch {
		case isValue:
			return &v, nil
		case isFile:
			return nil, &f
		}
	}
	return nil, nil
}

// unknownNeighbours helps with a misspelled name, by telling which variables of the same group are
// set and not known.
func (l *loader) unknownNeighbours(s *setting) string {
	var near []string
	for _, name := range l.unknown {
		if strings.HasPrefix(name, strings.ToUpper(s.group)+"_") {
			near = append(near, name)
		}
	}
	if len(near) == 0 {
		return ""
	}
	return " (set, but unknown: " + strings.Join(near, ", ") + ")"
}

func (l *loader) decodeSecretFile(s *setting, path string) {
	if l.elsewhere {
		return
	}
	secret, err := newSecretFile(path)
	if err != nil {
		l.complain(s.name+fileSuffix, err.Error())
		return
	}
	s.field.Set(reflect.ValueOf(secret))
}

func (l *loader) decodeValue(s *setting, text string) {
	if s.secret() {
		s.field.Set(reflect.ValueOf(NewSecret(text)))
		return
	}
	text = strings.TrimSpace(text)
	if err := decodeField(s.field, text); err != nil {
		l.complain(s.name, decodeProblem(s, text, err))
	}
}

// decodeField converts text as envconfig does for a field of this type. envconfig.Process reads the
// process's environment and stops at the first error. To report all errors, and to take values from
// elsewhere too, it is given a struct of this one field, with the text as the default of a variable
// that cannot exist, since its name contains "=".
func decodeField(field reflect.Value, text string) error {
	if text == "" {
		return nil
	}
	spec := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: "Field",
		Type: field.Addr().Type(),
		Tag:  reflect.StructTag(fmt.Sprintf(`envconfig:"=" default:%q`, text)),
	}}))
	spec.Elem().Field(0).Set(field.Addr())
	return envconfig.Process("", spec.Interface())
}
