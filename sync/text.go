package sync

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// What people wrote is shown in Jira as plain text. Jira's wiki renderer lets numeric character references through and
// starts no markup at them, so every character that could begin markup, a link or a mention becomes one. Those that
// keep identifiers readable (a-b, a_b, a.b, a@b, a/b) stay where they stand between letters or digits, where they begin nothing.
// https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa

// Limits of Jira in characters, which it counts in UTF-16 units.
const (
	maxSummary = 255
	// maxQuote bounds one quoted text of a person in its escaped form, and maxList one list (roles, resources, suggested reviewers): a
	// description or comment takes 32,767.
	maxQuote = 14_000
	maxList  = 5_000
	maxItem  = 256 // of one user name, role or resource ID, before it is escaped
)

// issueKey matches what Jira would turn into a link to an issue.
var issueKey = regexp.MustCompile(`([A-Z][A-Z0-9_]+)-([0-9])`)

// webName matches the beginning of what some renderers turn into a link without a scheme.
var webName = regexp.MustCompile(`(?i)(www)\.`)

// plain renders one line of untrusted text as wiki markup that shows exactly that text. Line breaks and other control or
// invisible formatting characters become spaces.
func plain(s string) string {
	runes := []rune(oneLine(s))
	var b strings.Builder
	for i, r := range runes {
		switch {
		case r == ' ' || r == ',' || isWord(r):
			b.WriteRune(r)
		case strings.ContainsRune("-_.@/", r) && i > 0 && i < len(runes)-1 && isWord(runes[i-1]) && isWord(runes[i+1]):
			b.WriteRune(r)
		case r == '/' && (i == 0 || runes[i-1] == ' '):
			b.WriteRune(r) // a resource ID starts with one
		default:
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	text := issueKey.ReplaceAllString(b.String(), "$1&#45;$2")
	return webName.ReplaceAllString(text, "$1&#46;")
}

// plainLines renders untrusted text of several lines, each as plain does, joined by the wiki's forced line break.
func plainLines(s string) string {
	s = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n"))
	for limit := maxQuote; ; limit /= 2 {
		var lines []string
		for line := range strings.SplitSeq(cut(s, limit), "\n") {
			lines = append(lines, plain(line))
		}
		if text := strings.Join(lines, `\\`); len(text) <= maxQuote {
			return text
		}
	}
}

// name is plain for one user name, role or resource ID.
func name(s string) string { return plain(cut(s, maxItem)) }

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// oneLine turns all white space and control characters into single spaces and drops what is invisible (format
// characters such as bidirectional overrides) or no text at all.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.Join(strings.Fields(s), " ")
}

// cut shortens a text to at most limit UTF-16 units, at a character, with a mark.
func cut(s string, limit int) string {
	if len(utf16.Encode([]rune(s))) <= limit {
		return s
	}
	units := 1 // for the mark
	for i, r := range s {
		units += utf16.RuneLen(r)
		if units > limit {
			return s[:i] + "…"
		}
	}
	return s
}

// draft is the issue for a request.
func draft(r Request) Draft {
	return Draft{RequestID: r.ID, Summary: summary(r), Description: description(r)}
}

func summary(r Request) string {
	asked := strings.Join(r.Roles, ", ")
	if asked == "" {
		asked = strings.Join(r.Resources, ", ")
	}
	return cut(oneLine(r.User+" requested "+asked), maxSummary)
}

func description(r Request) string {
	var b strings.Builder
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(&b, "*%s:* %s\n", label, value)
		}
	}
	line("User", name(r.User))
	line("Roles", listed(r.Roles, ", "))
	line("Resources", listed(r.Resources, `\\`))
	line("Reason", plainLines(r.Reason))
	line("Suggested reviewers", listed(r.SuggestedReviewers, ", "))
	line("Request ID", plain(r.ID))
	line("Requested", stamp(r.Created))
	line("Request expires", stamp(r.Expires))
	line("Access would end", stamp(r.AccessExpires))
	if r.URL != "" {
		line("Link", "["+r.URL+"]")
	}
	b.WriteString("\nMove this issue to an approved or denied status to decide the request. " +
		"To give a reason, first write a comment with a line such as _Reason: on call this week_.")
	return b.String()
}

// listed shows the first items of a list and how many more there are.
func listed(items []string, separator string) string {
	var shown []string
	size := 0
	for i, item := range items {
		text := name(item)
		if size += len(text) + len(separator); size > maxList {
			shown = append(shown, fmt.Sprintf("and %d more, see Teleport", len(items)-i))
			break
		}
		shown = append(shown, text)
	}
	return strings.Join(shown, separator)
}

// stamp shows a time to the second in UTC, with its colons kept from the wiki renderer.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func reviewText(r Review) string {
	text := fmt.Sprintf("*%s* reviewed the request in Teleport: *%s*.", name(r.Author), r.Verdict)
	return withReason(text, r.Reason)
}

func resolutionText(l Link, o Outcome) string {
	switch o {
	case OutcomeExpired:
		return "The Access Request has *expired* or was deleted before anybody decided it. Please make a new one if access is still needed."
	case OutcomePromoted:
		text := "The Access Request was *promoted* to membership in an access list"
		if l.Request.PromotedTo != "" {
			text += ": " + name(l.Request.PromotedTo)
		}
		return withReason(text+".", l.Request.ResolveReason)
	}
	return withReason(fmt.Sprintf("The Access Request is *%s*.", o), l.Request.ResolveReason)
}

func refusalText(v Verdict) string {
	return "This move does not decide the Access Request, and nothing was changed in Teleport. " + v.Refusal
}

func withReason(text, reason string) string {
	if strings.TrimSpace(reason) == "" {
		return text
	}
	return text + "\n\nReason given: " + plainLines(reason)
}
