package sync

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// What people wrote is shown in Jira as plain text. Jira's wiki renderer lets numeric character
// references through and starts no markup at them, so a character that could begin markup, a link
// or a mention where it stands becomes one. What is left alone keeps identifiers and ordinary
// sentences readable in the source, too.
// https://jira.atlassian.com/secure/WikiRendererHelpAction.jspa

// linked matches what renderers turn into a link without any markup: issue keys and host names.
var linked = regexp.MustCompile(`[A-Z][A-Z0-9_]+-[0-9]|(?i:www\.)`)

// heading matches what begins a block at the start of a line.
var heading = regexp.MustCompile(`^(?:h[1-6]|bq)\.`)

// plain renders one line of untrusted text as wiki markup that shows exactly that text. Line breaks
// and other control or invisible formatting characters become spaces.
func plain(s string) string {
	s = oneLine(s)
	runes := append([]rune(s), 0)
	var b strings.Builder
	b.Grow(len(s))
	var before rune
	for i, r := range runes[:len(runes)-1] {
		if isWord(r) || harmless(before, r, runes[i+1]) {
			b.WriteRune(r)
		} else {
			b.WriteString(reference(r))
		}
		before = r
	}
	text := linked.ReplaceAllStringFunc(b.String(), func(match string) string {
		at := strings.IndexAny(match, "-.")
		return match[:at] + reference(rune(match[at])) + match[at+1:]
	})
	if heading.MatchString(text) {
		text = strings.Replace(text, ".", reference('.'), 1)
	}
	return text
}

func reference(r rune) string { return "&#" + strconv.Itoa(int(r)) + ";" }

// harmless reports whether a character that is neither letter nor digit has no meaning to the
// renderer between these two; they are 0 at the ends of the line.
func harmless(before, r, after rune) bool {
	last := after == ' ' || after == 0
	switch r {
	case ' ', ',', '.', '/', '\'', '"', '%', '$', '=':
		return true
	case '-': // not -struck-, an item of a list, or a dash of two
		return isWord(before) && isWord(after) || before == ' ' && after == ' '
	case '_', '@': // not _emphasised_ or a mention
		return isWord(before) && isWord(after)
	case '!', '?', ';': // not !an image!, ??a citation?? or ;)
		return isWord(before) && last
	case ':': // not a scheme or :)
		return isWord(before) && last || unicode.IsDigit(before) && unicode.IsDigit(after)
	case '#': // not an item of a list
		return before != 0 && isWord(after)
	}
	return false
}

// plainLines renders untrusted text, each line as plain does. Several lines are set off from the
// agent's own as in an e-mail that quotes another, each behind a mark: none can pass for a line of
// the agent. They are joined by the wiki's forced line break.
func plainLines(s string) string {
	s = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n"))
	for limit := maxQuote; ; limit /= 2 {
		var lines []string
		for line := range strings.FieldsFuncSeq(cut(s, limit), breaksLine) {
			lines = append(lines, plain(line))
		}
		text := strings.Join(lines, "")
		if len(lines) > 1 {
			text = quoteBreak + strings.Join(lines, quoteBreak)
		}
		if len(text) <= maxQuote {
			return text
		}
	}
}

// quoteBreak begins a line of quoted text.
const quoteBreak = `\\> `

// breaksLine reports what readers see as the end of a line, whatever system the text came from.
func breaksLine(r rune) bool {
	switch r {
	case '\n', '\r', '\v', '\f', '\u0085', '\u2028', '\u2029':
		return true
	}
	return false
}

// name is plain for one user name, role or resource ID.
func name(s string) string { return plain(cut(s, maxItem)) }

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// oneLine turns all white space and control characters into single spaces and drops what is
// invisible (format characters such as bidirectional overrides) or no text at all.
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
	units, end := 0, 0 // end is the last place at which the mark fits
	for i, r := range s {
		if units < limit {
			end = i
		}
		if units += utf16.RuneLen(r); units > limit {
			return s[:end] + "…"
		}
	}
	return s
}
