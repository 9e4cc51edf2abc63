package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// readTOML takes what the file says. It has the format of Teleport's own Jira plugin, so that an
// operator can keep that one's file, with the other variables as further keys and tables. An error
// means that nothing could be read.
func (l *loader) readTOML(file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	var tables map[string]any
	if err := toml.Unmarshal(text, &tables); err != nil {
		// The longer form of this error would show the lines around, which may hold a token.
		if syntax := new(toml.DecodeError); errors.As(err, &syntax) {
			line, column := syntax.Position()
			return fmt.Errorf("%s is not valid TOML at line %d, column %d", file, line, column)
		}
		return fmt.Errorf("%s is not valid TOML", file)
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		l.readTable(file, name, tables[name])
	}
	return nil
}

func (l *loader) readTable(file, name string, content any) {
	keys, isTable := content.(map[string]any)
	known := l.keysOf(name)
	switch {
	case !isTable:
		l.unknownKey(name+" in "+file, "is outside of any table", "[jira]")
		return
	case name == "http":
		l.http = file
		known = officialHTTPKeys()
	case len(known) == 0:
		l.unknownKey("["+name+"] in "+file, "is no table of this program", "[jira]")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		source := fmt.Sprintf("[%s] %s in %s", name, key, file)
		switch {
		case name == "teleport" && key == "refresh_identity_interval":
			l.warnings = append(l.warnings, source+" is ignored: credentials are read again as soon as their file changes")
		case !slices.Contains(known, key):
			l.unknownKey(source, "is no key of this program", "one of "+strings.Join(known, ", "))
		case name == "http" && officialHTTP[key] == "":
			l.httpIgnored = append(l.httpIgnored, source)
		default:
			l.readKey(name, key, source, keys[key])
		}
	}
}

func (l *loader) readKey(table, key, source string, content any) {
	text, err := tomlText(content)
	variable := strings.ToUpper(table + "_" + key)
	switch {
	case table == "teleport" && key == "identity":
		variable = "TELEPORT_IDENTITY_FILE"
	case table == "teleport" && key == "auth_server":
		variable = "TELEPORT_ADDR"
	case table == "http":
		variable = officialHTTP[key]
	case table == "jira" && key == "api_token" && strings.HasPrefix(text, "/"):
		variable += fileSuffix
	case table == "log":
		text = officialLogWord(key, text)
	}
	s := l.setting(variable)
	if err != nil {
		s.source = source
		l.complain(variable, err.Error())
		return
	}
	if text == "" && !s.mayBeEmpty() {
		return
	}
	if before, twice := l.toml[variable]; twice {
		s.source = source
		l.complain(variable, "is given before by "+before.source)
	}
	l.toml[variable] = given{text: text, source: source}
}

func (l *loader) unknownKey(what, problem, example string) {
	l.problems = append(l.problems, Problem{Variable: what, Problem: problem, Example: example})
}

// keysOf lists the keys that a table may have; none for a table that there is not.
func (l *loader) keysOf(table string) []string {
	var keys []string
	for _, s := range l.settings {
		if s.group != table {
			continue
		}
		keys = append(keys, s.key())
		if s.secret() {
			keys = append(keys, s.key()+strings.ToLower(fileSuffix))
		}
	}
	if table == "teleport" {
		keys = append(keys, "identity", "auth_server")
	}
	return keys
}

// officialHTTP are the variables that mean what a key of the [http] table in a file of Teleport's
// own plugin does. https://github.com/gravitational/teleport/blob/master/integrations/lib/http.go
var officialHTTP = map[string]string{
	"listen_addr": "WEBHOOK_LISTEN_ADDR", "public_addr": "WEBHOOK_PUBLIC_ADDR",
	"https_key_file": "WEBHOOK_TLS_KEY_FILE", "https_cert_file": "WEBHOOK_TLS_CERT_FILE",
}

// officialHTTPKeys are all keys that the table may have; those without a variable are about ways to
// know Jira that its webhooks do not offer.
func officialHTTPKeys() []string {
	return []string{"listen_addr", "public_addr", "https_key_file", "https_cert_file", "basic_auth", "tls", "insecure"}
}

// officialLogWord translates the words that Teleport's own plugin takes in [log]:
// https://github.com/gravitational/teleport/blob/master/integrations/lib/logger/logger.go
func officialLogWord(key, word string) string {
	switch key + "=" + strings.ToLower(word) {
	case "output=error", "output=2":
		return "stderr"
	case "output=out", "output=1":
		return "stdout"
	case "severity=err":
		return "error"
	case "severity=warning":
		return "warn"
	case "format=text":
		return "console"
	}
	return word
}

// tomlText writes a TOML value as the environment would have it: a list with commas, a table as
// JSON.
func tomlText(content any) (string, error) {
	switch v := content.(type) {
	case string:
		return v, nil
	case bool, int64, float64:
		return fmt.Sprint(v), nil
	case map[string]any:
		text, err := json.Marshal(v)
		return string(text), err
	case []any:
		entries := make([]string, len(v))
		for i, entry := range v {
			name, ok := entry.(string)
			if !ok || strings.Contains(name, ",") {
				return "", errors.New("must be a list of strings without a comma")
			}
			entries[i] = name
		}
		return strings.Join(entries, ","), nil
	}
	return "", fmt.Errorf("must be a string, is a %T", content)
}
