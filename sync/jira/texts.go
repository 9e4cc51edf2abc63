package jira

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"teleport-jira-agent/sync"
)

const (
	// maxShortened is how often a text is shortened that Jira refuses.
	maxShortened = 4
	// minShortened, in UTF-16 units, is the length of a text that is not refused for its length.
	minShortened = 500
	// shortened stands where a text was cut.
	shortened = "…\n\n(Jira takes no longer text here; the whole text is in Teleport.)"
)

// sendText makes a write that carries people's text in the named field. A text that Jira refuses is
// shortened and sent again: the limit is the instance's own (jira.text.field.character.limit), and
// how it counts, too. An answer 5xx concerns this text alone while Jira answers another call.
// https://support.atlassian.com/jira/kb/how-to-change-the-character-limit-of-text-fields-in-jira/
func (c *Client) sendText(ctx context.Context, field, text string, send func(text string) error) error {
	refused := send(text)
	err := refused
	size := units(text)
	for try := 0; try < maxShortened && size > minShortened && refusesText(err, field); try++ {
		size = smallerLimit(err, size)
		err = send(shorten(text, size))
	}
	if refusesText(err, field) {
		err = refused
	}
	return c.narrow(ctx, err)
}

// refusesText reports whether Jira may have refused a call for the length of the text in this
// field.
func refusesText(err error, field string) bool {
	var answer *answerError
	if !errors.As(err, &answer) {
		return false
	}
	named := len(answer.fields) == 0 && answer.fromJira || slices.Contains(answer.fields, field)
	return answer.code == http.StatusRequestEntityTooLarge || answer.code == http.StatusBadRequest && named
}

// grouped matches a number, with or without marks between its thousands.
var grouped = regexp.MustCompile(`\d{1,3}(?:[.,'’\x{a0}\x{202f} ]\d{3})+|\d+`)

// smallerLimit is the greatest number below size that Jira's words name, else half of size.
func smallerLimit(err error, size int) int {
	limit := 0
	var answer *answerError
	if errors.As(err, &answer) {
		for _, number := range grouped.FindAllString(strings.Join(answer.words, " "), -1) {
			n, _ := strconv.Atoi(strings.Join(digits.FindAllString(number, -1), ""))
			if n < size {
				limit = max(limit, n)
			}
		}
	}
	if limit < minShortened {
		limit = size / 2
	}
	return limit
}

// shorten cuts a text to at most size UTF-16 units, at white space. Its last paragraph, which says
// what to do, stays.
func shorten(text string, size int) string {
	head, last := text, ""
	if at := strings.LastIndex(text, "\n\n"); at >= 0 && units(text[at:]) <= size/3 {
		head, last = text[:at], text[at:]
	}
	left := size - units(shortened) - units(last)
	end := 0
	for i, r := range head {
		if left -= utf16.RuneLen(r); left < 0 {
			break
		}
		if r == ' ' || r == '\n' || end == 0 {
			end = i
		}
	}
	return strings.TrimRight(head[:end], `\> `) + shortened + last
}

// units is how long a text is as Jira counts.
func units(text string) (n int) {
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

// narrow finds out how far an answer 5xx to a write reaches: where Jira answers another call, it is
// the trouble of this write alone, as with a text that the database does not take. The effect stays
// uncertain.
func (c *Client) narrow(ctx context.Context, err error) error {
	var e *sync.Error
	if code := codeOf(err); code < 500 || code == http.StatusServiceUnavailable || !errors.As(err, &e) {
		return err
	}
	r := request{op: "see whether Jira answers", method: http.MethodGet, endpoint: "myself", scope: sync.ScopeSide}
	_, probe := c.do(ctx, r, nil)
	if probe == nil {
		e.Scope = sync.ScopeRequest
	}
	return err
}
