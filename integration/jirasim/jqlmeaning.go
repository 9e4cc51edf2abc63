package jirasim

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// search is a query that was understood.
type search struct {
	matches func(*Issue) bool
	compare func(a, b *Issue) int
	// bounded: it restricts the search.
	bounded bool
	// absent are complaints about issues that the query names and that are not there.
	absent []string
	// restricted: it shows none but those named by id or key.
	restricted bool
	named      []*record
}

// interpreter gives a parsed query its meaning for one user at one moment.
type interpreter struct {
	s      *Server
	user   *User
	now    time.Time
	absent []string
}

// understand refuses a query that Jira would refuse or that is not simulated.
func (s *Server) understand(u *User, jql string) (search, error) {
	where, order, err := parseJQL(jql)
	if err != nil {
		return search{}, err
	}
	in := &interpreter{s: s, user: u, now: s.now()}
	result := search{matches: func(*Issue) bool { return true }, bounded: where != nil}
	if where != nil {
		if result.matches, err = in.node(*where); err != nil {
			return search{}, err
		}
	}
	if result.compare, err = in.order(order); err != nil {
		return search{}, err
	}
	result.absent = in.absent
	result.named, result.restricted = s.named(where)
	return result, nil
}

func (in *interpreter) node(n node) (func(*Issue) bool, error) {
	if n.op == "clause" {
		return in.clause(n.clause)
	}
	parts := make([]func(*Issue) bool, len(n.parts))
	for i, part := range n.parts {
		matches, err := in.node(part)
		if err != nil {
			return nil, err
		}
		parts[i] = matches
	}
	return func(i *Issue) bool {
		matches := func(part func(*Issue) bool) bool { return part(i) }
		switch n.op {
		case "or":
			return slices.ContainsFunc(parts, matches)
		case "not":
			return !parts[0](i)
		}
		return !slices.ContainsFunc(parts, func(part func(*Issue) bool) bool { return !part(i) })
	}, nil
}

func (in *interpreter) clause(c clause) (func(*Issue) bool, error) {
	switch field := strings.ToLower(c.field); field {
	case "project":
		return in.project(c)
	case "id", "key", "issue", "issuekey":
		return in.issue(c)
	case "status":
		return in.status(c)
	case "issuetype", "type":
		return in.issueType(c)
	case "updated", "updateddate", "created", "createddate":
		return in.date(c, field)
	case "creator":
		return in.creator(c)
	case "description":
		return in.description(c)
	}
	ids := in.customFields(c.field)
	if len(ids) == 0 {
		return nil, refuse(
			http.StatusBadRequest,
			"Field '%s' does not exist or you do not have permission to view it.",
			c.field,
		)
	}
	return in.customField(c, ids)
}

func unsupported(c clause) error {
	return refuse(http.StatusBadRequest, "The operator '%s' is not supported by the '%s' field.", c.op, c.field)
}

// membership makes a matcher for = != in, not in over the values that the operands stand for.
func membership(c clause, values []string, of func(*Issue) string) (func(*Issue) bool, error) {
	negative := c.op == "!=" || c.op == "not in"
	if !negative && c.op != "=" && c.op != "in" {
		return nil, unsupported(c)
	}
	meant := make(map[string]bool, len(values))
	for _, v := range values {
		meant[v] = true
	}
	return func(i *Issue) bool { return meant[of(i)] != negative }, nil
}

func (in *interpreter) project(c clause) (func(*Issue) bool, error) {
	var keys []string
	for _, operand := range c.operands {
		at := slices.IndexFunc(in.s.setup.projects, func(p Project) bool {
			return strings.EqualFold(p.Key, operand.text) || strings.EqualFold(p.Name, operand.text) || p.ID == operand.text
		})
		if at < 0 || !can(in.user, BrowseProjects) {
			return nil, refuse(http.StatusBadRequest, "The value '%s' does not exist for the field 'project'.", operand.text)
		}
		keys = append(keys, in.s.setup.projects[at].Key)
	}
	return membership(c, keys, func(i *Issue) string { return i.Project })
}

// issue takes ids and keys, also former ones. One that does not exist is left out on Cloud and
// refused on Data Center.
func (in *interpreter) issue(c clause) (func(*Issue) bool, error) {
	var ids []string
	for _, operand := range c.operands {
		r := in.s.site.find(operand.text)
		switch {
		case r != nil && r.now.ArchivedBy == "" && can(in.user, BrowseProjects) && r.shownTo(in.user):
			ids = append(ids, strconv.Itoa(r.id))
		case in.s.cfg.Deployment == Cloud:
		case unicode.IsDigit([]rune(operand.text + "x")[0]):
			in.absent = append(in.absent, "A value with ID '"+operand.text+"' does not exist for the field '"+c.field+"'.")
		default:
			in.absent = append(in.absent, "An issue with key '"+operand.text+"' does not exist for field '"+c.field+"'.")
		}
	}
	return membership(c, ids, func(i *Issue) string { return i.ID })
}

func (in *interpreter) status(c clause) (func(*Issue) bool, error) {
	var ids []string
	for _, operand := range c.operands {
		at := slices.IndexFunc(in.s.setup.statuses, func(s Status) bool {
			return strings.EqualFold(s.Name, operand.text) || s.ID == operand.text
		})
		if at < 0 {
			return nil, refuse(http.StatusBadRequest, "The value '%s' does not exist for the field 'status'.", operand.text)
		}
		ids = append(ids, in.s.setup.statuses[at].ID)
	}
	return membership(c, ids, func(i *Issue) string { return i.Status.ID })
}

func (in *interpreter) issueType(c clause) (func(*Issue) bool, error) {
	var names []string
	for _, operand := range c.operands {
		at := slices.IndexFunc(in.s.setup.types, func(t IssueType) bool {
			return strings.EqualFold(t.Name, operand.text) || t.ID == operand.text
		})
		if at < 0 {
			return nil, refuse(http.StatusBadRequest, "The value '%s' does not exist for the field '%s'.", operand.text, c.field)
		}
		names = append(names, in.s.setup.types[at].Name)
	}
	return membership(c, names, func(i *Issue) string { return i.Type })
}

// creator takes currentUser() alone.
func (in *interpreter) creator(c clause) (func(*Issue) bool, error) {
	if of := c.operands; len(of) != 1 || of[0].kind != tokenFunction || !strings.EqualFold(of[0].text, "currentUser") {
		return nil, refuse(http.StatusBadRequest, "jirasim: other creators than currentUser() are not simulated")
	}
	return membership(c, []string{in.user.Name}, func(i *Issue) string { return i.Creator })
}

func (in *interpreter) description(c clause) (func(*Issue) bool, error) {
	if c.op != "~" {
		return nil, unsupported(c)
	}
	words, err := textQuery(c)
	if err != nil {
		return nil, err
	}
	return func(i *Issue) bool { return words(terms(i.Text("description"))) }, nil
}

func (in *interpreter) date(c clause, field string) (func(*Issue) bool, error) {
	want, known := map[string][]int{">": {1}, ">=": {0, 1}, "<": {-1}, "<=": {-1, 0}}[c.op]
	if !known {
		return nil, refuse(http.StatusBadRequest, "jirasim: operator '%s' on '%s' is not simulated", c.op, c.field)
	}
	bound, ok := in.moment(c.operands[0])
	if !ok {
		return nil, refuse(http.StatusBadRequest, "Date value '%s' for field '%s' is invalid. Valid formats include: "+
			"'yyyy/MM/dd HH:mm', "+
			"'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', or a period format e.g. '-5d', '4w 2d'.",
			c.operands[0].text, c.field)
	}
	return func(i *Issue) bool {
		at := i.Updated
		if strings.HasPrefix(field, "created") {
			at = i.Created
		}
		return slices.Contains(want, at.Compare(bound))
	}, nil
}

var period = regexp.MustCompile(`^[+-]?([0-9]{1,9}[wdhm]?)( [0-9]{1,9}[wdhm]?)*$`)

// moment reads a date operand: an unquoted number as milliseconds since 1970; else a period from
// now, in minutes where no unit is given, or a date literal to the minute in the user's own time
// zone. https://support.atlassian.com/jira-service-management-cloud/docs/jql-fields/#Updated
func (in *interpreter) moment(t token) (time.Time, bool) {
	if millis, err := strconv.ParseInt(t.text, 10, 64); err == nil && t.kind == tokenWord {
		return time.UnixMilli(millis), true
	}
	if period.MatchString(t.text) {
		return in.now.Add(duration(t.text)), true
	}
	zone, err := time.LoadLocation(in.user.TimeZone)
	if err != nil {
		return time.Time{}, false
	}
	for _, layout := range []string{"2006/01/02 15:04", "2006-01-02 15:04", "2006/01/02", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, t.text, zone); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// maxPeriod, a century, keeps sums far from overflow.
const maxPeriod = 100 * 365 * 24 * 60

func duration(text string) time.Duration {
	units := map[string]int64{"w": 7 * 24 * 60, "d": 24 * 60, "h": 60, "m": 1, "": 1}
	var minutes int64
	for part := range strings.FieldsSeq(strings.TrimLeft(text, "+-")) {
		digits := strings.TrimRight(part, "wdhm")
		n, _ := strconv.ParseInt(digits, 10, 64) // at most nine digits: see period
		minutes = min(minutes+n*units[strings.TrimPrefix(part, digits)], maxPeriod)
	}
	if strings.HasPrefix(text, "-") {
		minutes = -minutes
	}
	return time.Duration(minutes) * time.Minute
}

// customFields are the ids of the searchable fields that a clause name means: cf[N], or a name,
// which several may have.
func (in *interpreter) customFields(name string) []string {
	var ids []string
	for _, f := range in.s.fields() {
		clauseName := "cf[" + customFieldNumber(f.id) + "]"
		if f.custom && f.jql && (strings.EqualFold(name, clauseName) || strings.EqualFold(name, f.name)) {
			ids = append(ids, f.id)
		}
	}
	return ids
}

func (in *interpreter) customField(c clause, ids []string) (func(*Issue) bool, error) {
	anyField := func(matches func(i *Issue, id string) bool) func(*Issue) bool {
		return func(i *Issue) bool {
			return slices.ContainsFunc(ids, func(id string) bool { return matches(i, id) })
		}
	}
	filled := anyField(func(i *Issue, id string) bool { return i.Fields[id] != nil })
	f, _ := in.s.field(ids[0])
	isText := f.typ == kindText || f.typ == kindArea
	switch {
	case c.op == "is":
		return func(i *Issue) bool { return !filled(i) }, nil
	case c.op == "is not":
		return filled, nil
	case isText && (c.op == "~" || c.op == "!~"):
		words, err := textQuery(c)
		if err != nil {
			return nil, err
		}
		found := anyField(func(i *Issue, id string) bool { return words(terms(i.Text(id))) })
		if c.op == "~" {
			return found, nil
		}
		return func(i *Issue) bool { return filled(i) && !found(i) }, nil
	case f.typ == kindURL:
		var values []string
		for _, operand := range c.operands {
			values = append(values, operand.text)
		}
		return membership(c, values, func(i *Issue) string { return i.Text(f.id) })
	}
	return nil, unsupported(c)
}

// textQuery matches a field's terms: a phrase if the operand is itself in quotation marks, else all
// its words in any order.
func textQuery(c clause) (func(terms []string) bool, error) {
	text := strings.TrimSpace(c.operands[0].text)
	inner, isPhrase := strings.CutPrefix(text, `"`)
	if isPhrase {
		inner, isPhrase = strings.CutSuffix(inner, `"`)
	}
	wanted := terms(inner)
	switch {
	case text == "" || len(wanted) == 0:
		return nil, refuse(http.StatusBadRequest, "The field '%s' does not support searching for an empty string.", c.field)
	case strings.ContainsAny(inner, `"*?+!^{}[]~&|`):
		return nil, refuse(http.StatusBadRequest, "jirasim: the text search syntax in '%s' is not simulated", text)
	case isPhrase:
		return func(terms []string) bool { return containsPhrase(terms, wanted) }, nil
	}
	return func(terms []string) bool {
		return !slices.ContainsFunc(wanted, func(word string) bool { return !slices.Contains(terms, word) })
	}, nil
}

// terms are the words by which the index knows a text: letters and digits in lower case. A UUID is
// five of them.
func terms(text string) []string {
	return strings.FieldsFunc(
		strings.ToLower(text),
		func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) },
	)
}

func containsPhrase(text, phrase []string) bool {
	for at := 0; at+len(phrase) <= len(text); at++ {
		if slices.Equal(text[at:at+len(phrase)], phrase) {
			return true
		}
	}
	return false
}

// maxSortTerms is Cloud's bound.
const maxSortTerms = 7

// order compares by the sort terms; without a direction dates are sorted latest first, as Jira
// does. Ties, and a query without ORDER BY, go by id, latest first.
func (in *interpreter) order(order []sortTerm) (func(a, b *Issue) int, error) {
	if len(order) > maxSortTerms && in.s.cfg.Deployment == Cloud {
		return nil, refuse(http.StatusBadRequest, "The query must not sort by more than %d fields.", maxSortTerms)
	}
	byNumber := func(a, b *Issue) int { return number(a.ID) - number(b.ID) }
	var comparisons []func(a, b *Issue) int
	for _, term := range order {
		descending := term.direction == "desc"
		var compare func(a, b *Issue) int
		switch term.field {
		case "updated", "updateddate":
			compare = func(a, b *Issue) int { return a.Updated.Compare(b.Updated) }
			descending = term.direction != "asc"
		case "created", "createddate":
			compare = func(a, b *Issue) int { return a.Created.Compare(b.Created) }
			descending = term.direction != "asc"
		case "key", "issuekey", "issue":
			compare = func(a, b *Issue) int {
				return cmp.Or(cmp.Compare(a.Project, b.Project), number(a.Key)-number(b.Key))
			}
		case "id":
			compare = byNumber
		default:
			return nil, refuse(http.StatusBadRequest, "Not able to sort using field '%s'.", term.field)
		}
		if descending {
			ascending := compare
			compare = func(a, b *Issue) int { return ascending(b, a) }
		}
		comparisons = append(comparisons, compare)
	}
	return func(a, b *Issue) int {
		for _, compare := range comparisons {
			if c := compare(a, b); c != 0 {
				return c
			}
		}
		return byNumber(b, a)
	}, nil
}

// number is the number at the end of an id or key.
func number(idOrKey string) int {
	n, _ := strconv.Atoi(idOrKey[strings.LastIndexByte(idOrKey, '-')+1:])
	return n
}
