package jirasim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// The syntax of JQL:
//
//	query   = [or] ["ORDER BY" sort {"," sort}]
//	or      = and {"OR" and}
//	and     = not {"AND" not}
//	not     = "NOT" not | "(" or ")" | clause
//	clause  = field op operand | field ["NOT"] "IN" "(" operand {"," operand} ")" | field "IS" ["NOT"] ("EMPTY"|"NULL")
//	op      = "=" | "!=" | ">" | ">=" | "<" | "<=" | "~" | "!~"
//	sort    = field ["ASC"|"DESC"]

// node is a part of a query: a clause, or others joined by op "and", "or" or "not".
type node struct {
	op     string
	parts  []node
	clause clause
}

// clause is a restriction. op is in lower case: "=", "in", "not in", "is", "is not", …
type clause struct {
	field    string
	op       string
	operands []token
}

type sortTerm struct {
	field     string
	direction string // "asc", "desc" or empty
}

type token struct {
	kind tokenKind
	text string
	at   int // in characters, from 1
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenQuoted
	tokenSign // operators, parentheses, commas
	tokenFunction
)

func jqlError(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "Error in the JQL Query: "+format, args...)
}

// tokens splits a query. Words hold letters, digits, - and _; all else must be quoted.
func tokens(jql string) ([]token, error) {
	var all []token
	text := []rune(jql)
	for at := 0; at < len(text); {
		start := at
		switch c := text[at]; {
		case unicode.IsSpace(c):
			at++
			continue
		case c == '"' || c == '\'':
			value, end, err := quoted(text, at)
			if err != nil {
				return nil, err
			}
			all, at = append(all, token{tokenQuoted, value, start + 1}), end
		case strings.ContainsRune("(),", c):
			at++
			all = append(all, token{tokenSign, string(c), start + 1})
		case strings.ContainsRune("=!<>~", c):
			at++
			if at < len(text) && (text[at] == '=' || c == '!' && text[at] == '~') {
				at++
			}
			all = append(all, token{tokenSign, string(text[start:at]), start + 1})
		case isWordRune(c):
			for at < len(text) && isWordRune(text[at]) {
				at++
			}
			at = bracketEnd(text, start, at)
			all = append(all, token{tokenWord, string(text[start:at]), start + 1})
		default:
			return nil, jqlError("The character '%c' is a reserved JQL character. You must enclose it in a string or use the "+
				"escape '\\u%04x' instead. (line 1, character %d)", c, c, at+1)
		}
	}
	return append(all, token{tokenEnd, "", len(text) + 1}), nil
}

func isWordRune(c rune) bool {
	return unicode.IsLetter(c) || unicode.IsDigit(c) || c == '-' || c == '_'
}

// bracketEnd extends the word cf by the [N] behind it.
func bracketEnd(text []rune, start, end int) int {
	if !strings.EqualFold(string(text[start:end]), "cf") || end == len(text) || text[end] != '[' {
		return end
	}
	if n := slices.Index(text[end:], ']'); n > 0 {
		return end + n + 1
	}
	return end
}

// quoted reads a string with its escapes: \" \' \\ \n \t \r \<space> \uXXXX.
func quoted(text []rune, at int) (value string, end int, err error) {
	var b strings.Builder
	quote := text[at]
	for i := at + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return b.String(), i + 1, nil
		case c != '\\':
			b.WriteRune(c)
			continue
		}
		i++
		if i == len(text) {
			break
		}
		plain, known := map[rune]rune{'"': '"', '\'': '\'', '\\': '\\', ' ': ' ', 'n': '\n', 't': '\t', 'r': '\r'}[text[i]]
		var code rune
		switch {
		case known:
			b.WriteRune(plain)
		case text[i] == 'u' && i+4 < len(text) && scanHex(string(text[i+1:i+5]), &code):
			b.WriteRune(code)
			i += 4
		default:
			return "", 0, jqlError("'\\%c' is an illegal JQL escape sequence. (line 1, character %d)", text[i], i)
		}
	}
	return "", 0, jqlError("The quoted string has not been completed. (line 1, character %d)", at+1)
}

func scanHex(digits string, code *rune) bool {
	n, err := fmt.Sscanf(digits, "%04x", code)
	return n == 1 && err == nil
}

// parser reads tokens from the left; the first error stays.
type parser struct {
	tokens []token
	err    error
}

func parseJQL(jql string) (where *node, order []sortTerm, err error) {
	all, err := tokens(jql)
	if err != nil {
		return nil, nil, err
	}
	p := &parser{tokens: all}
	if p.peek().kind != tokenEnd && !p.isWord("order") {
		n := p.or()
		where = &n
	}
	if p.word("order") {
		if !p.word("by") {
			p.expected("'by'")
		}
		order = append(order, p.sort())
		for p.sign(",") {
			order = append(order, p.sort())
		}
	}
	if p.peek().kind != tokenEnd {
		p.expected("either 'OR' or 'AND'")
	}
	return where, order, p.err
}

func (p *parser) peek() token { return p.tokens[0] }

// next takes a token; the end is never taken.
func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != tokenEnd {
		p.tokens = p.tokens[1:]
	}
	return t
}

// expected records the first error and skips the rest.
func (p *parser) expected(what string) {
	t := p.peek()
	got := "'" + t.text + "'"
	if t.kind == tokenEnd {
		got = "the end of the query"
	}
	if p.err == nil {
		p.err = jqlError("Expecting %s but got %s. (line 1, character %d)", what, got, t.at)
	}
	p.tokens = p.tokens[len(p.tokens)-1:]
}

func (p *parser) isWord(word string) bool {
	return p.peek().kind == tokenWord && strings.EqualFold(p.peek().text, word)
}

// word takes the keyword if it is next.
func (p *parser) word(word string) bool {
	if !p.isWord(word) {
		return false
	}
	p.next()
	return true
}

func (p *parser) sign(sign string) bool {
	if p.peek().kind != tokenSign || p.peek().text != sign {
		return false
	}
	p.next()
	return true
}

func (p *parser) or() node {
	n := node{op: "or", parts: []node{p.and()}}
	for p.word("or") {
		n.parts = append(n.parts, p.and())
	}
	return n
}

func (p *parser) and() node {
	n := node{op: "and", parts: []node{p.not()}}
	for p.word("and") {
		n.parts = append(n.parts, p.not())
	}
	return n
}

func (p *parser) not() node {
	switch {
	case p.word("not"):
		return node{op: "not", parts: []node{p.not()}}
	case p.sign("("):
		n := p.or()
		if !p.sign(")") {
			p.expected("')'")
		}
		return n
	}
	return node{op: "clause", clause: p.clause()}
}

func (p *parser) clause() clause {
	c := clause{field: p.field()}
	switch {
	case p.word("is"):
		c.op = "is"
		if p.word("not") {
			c.op = "is not"
		}
		if !p.word("empty") && !p.word("null") {
			p.expected("'EMPTY' or 'NULL'")
		}
	case p.word("in"):
		c.op, c.operands = "in", p.operandList()
	case p.word("not"):
		if !p.word("in") {
			p.expected("'IN'")
		}
		c.op, c.operands = "not in", p.operandList()
	case p.peek().kind == tokenSign &&
		slices.Contains([]string{"=", "!=", ">", ">=", "<", "<=", "~", "!~"}, p.peek().text):
		c.op = p.next().text
		c.operands = []token{p.operand()}
	default:
		p.expected("operator")
	}
	return c
}

func (p *parser) field() string {
	if t := p.peek(); t.kind == tokenWord || t.kind == tokenQuoted {
		return p.next().text
	}
	p.expected("a field name")
	return ""
}

// operand is a value, or a function of no arguments, which becomes a token of its own kind.
func (p *parser) operand() token {
	if t := p.peek(); t.kind == tokenWord || t.kind == tokenQuoted {
		p.next()
		if t.kind == tokenWord && p.sign("(") {
			if !p.sign(")") {
				p.expected("')'")
			}
			t.kind = tokenFunction
		}
		return t
	}
	p.expected("either a value, list or function")
	return token{}
}

func (p *parser) operandList() []token {
	if !p.sign("(") {
		p.expected("'('")
	}
	operands := []token{p.operand()}
	for p.sign(",") {
		operands = append(operands, p.operand())
	}
	if !p.sign(")") {
		p.expected("')'")
	}
	return operands
}

func (p *parser) sort() sortTerm {
	s := sortTerm{field: strings.ToLower(p.field())}
	switch {
	case p.word("asc"):
		s.direction = "asc"
	case p.word("desc"):
		s.direction = "desc"
	}
	return s
}
