package agent

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with the configuration. It never holds a secret.
type Problem struct {
	// Variable is the environment variable, or what else is meant: a flag or a key that the TOML
	// file should not have.
	Variable string
	// Source is the TOML key that the value came from; empty for the environment.
	Source  string
	Problem string
	// Example is a right value.
	Example string
	// missing says that there is no value, where the others say that there is a wrong one.
	missing bool
}

// String is the problem on one line.
func (p Problem) String() string {
	line := p.Variable
	if p.Source != "" {
		line += " (" + p.Source + ")"
	}
	line += ": " + p.Problem
	if p.Example != "" {
		line += "; example: " + p.Example
	}
	return oneLine(line)
}

func oneLine(text string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(text) }

// Problems are all that is wrong with a configuration, in the order of the variables in Config. As
// an error it has one line for each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// complain notes what is wrong with a variable, the first thing only: the rest mostly follows from
// it. An empty text means that nothing is.
func (l *loader) complain(variable, problem string) {
	example := ""
	if s := l.setting(variable); s != nil {
		example = s.example()
	}
	l.complainWith(variable, problem, example)
}

// complainWith is complain with another example than the variable's own; empty: none.
func (l *loader) complainWith(variable, problem, example string) {
	if problem == "" || l.hasProblem(variable) {
		return
	}
	p := Problem{Variable: variable, Problem: problem, Example: example}
	if s := l.setting(variable); s != nil {
		p.Source = s.source
	}
	l.problems = append(l.problems, p)
}

// unlike is a variable's own example, unless that is the value that is refused.
func (l *loader) unlike(variable, refused string) string {
	if s := l.setting(variable); s != nil && !strings.EqualFold(s.example(), refused) {
		return s.example()
	}
	return ""
}

// complainMissing notes that a variable has no value.
func (l *loader) complainMissing(variable, problem string) {
	if l.hasProblem(variable) {
		return
	}
	l.complain(variable, problem)
	l.problems[len(l.problems)-1].missing = true
}

// complainOfFile notes what a check finds about the file that a variable names. A file of another
// machine is not looked at.
func (l *loader) complainOfFile(variable, path string, check func(path string) string) {
	if !l.elsewhere {
		l.complain(variable, check(path))
	}
}

func (l *loader) hasProblem(variable string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Variable == variable })
}

// inOrder sorts the problems as the variables stand in Config; what is no variable comes last.
func (l *loader) inOrder() Problems {
	rank := func(p Problem) int {
		name := strings.TrimSuffix(p.Variable, fileSuffix)
		i := slices.IndexFunc(
			l.settings,
			func(s *setting) bool { return s.name == p.Variable || s.secret() && s.name == name },
		)
		if i < 0 {
			return len(l.settings)
		}
		return i
	}
	slices.SortStableFunc(l.problems, func(a, b Problem) int { return rank(a) - rank(b) })
	return l.problems
}

// quote shows a value that is no secret, on one line and not at any length.
func quote(value string) string {
	const enough = 80 // characters; of a longer one the beginning suffices to recognise it
	if utf8.RuneCountInString(value) > enough {
		value = string([]rune(value)[:enough]) + "…"
	}
	return fmt.Sprintf("%q", value)
}
