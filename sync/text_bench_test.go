package sync

import (
	"strings"
	"testing"
)

// BenchmarkDraft renders the issue of a request.
func BenchmarkDraft(b *testing.B) {
	for _, bench := range []struct {
		name    string
		request Request
	}{{"ordinary", ordinaryRequest()}, {"hostile and long", hostileRequest()}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				draft(bench.request, ModeState)
			}
		})
	}
}

// BenchmarkComments renders what is said on an issue.
func BenchmarkComments(b *testing.B) {
	r := ordinaryRequest()
	r.Reviews[0].Reason = "covers the night shift; see OPS-12"
	l := edit(pendingLink(), state(StateDenied))
	l.Request.ResolveReason = "no longer needed:\nthe incident is over, thanks!"
	refusal := Verdict{
		Refusal: "It was moved by " + called(bob) + ", who made the request. Somebody else has to decide it.",
	}
	for name, render := range map[string]func() string{
		"review":     func() string { return reviewText(r.Reviews[0]) },
		"resolution": func() string { return resolutionText(l, OutcomeDenied) },
		"refusal":    func() string { return refusalText(refusal) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				render()
			}
		})
	}
}

// BenchmarkPlain renders text of people, with its size for the throughput.
func BenchmarkPlain(b *testing.B) {
	for _, bench := range []struct{ name, text string }{
		{"name", "alice@example.com"},
		{"sentence", "on call this week: the orders database is slow (incident #42), see https://wiki.example.com/x or " +
			"OPS-12"},
		{"4 KiB of markup", strings.Repeat("*[x|", 1024)},
		{"4 KiB in other letters", strings.Repeat("アクセス", 341)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.text)))
			b.ReportAllocs()
			for b.Loop() {
				plain(bench.text)
			}
		})
	}
}

// BenchmarkPlainLines renders a reason: one line, and as much as Teleport takes of the worst there
// is.
func BenchmarkPlainLines(b *testing.B) {
	for _, bench := range []struct{ name, text string }{
		{"one line", "on call this week: the orders database is slow (incident #42)"},
		{"4 KiB in 2,048 lines of markup", strings.Repeat("*\n", 2048)},
		{"1 MiB of markup", strings.Repeat("*[x|\n\u202e", 1<<17)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.text)))
			b.ReportAllocs()
			for b.Loop() {
				plainLines(bench.text)
			}
		})
	}
}

// hostileRequest is one that is as long as Teleport takes, and every character of which means
// something to Jira's renderer.
func hostileRequest() Request {
	r := ordinaryRequest()
	r.User = strings.Repeat("~", 4000)
	r.Reason = strings.Repeat("*\n", 2048)
	for range 300 {
		r.Roles = append(r.Roles, strings.Repeat("[", 200))
		r.Resources = append(r.Resources, "/"+strings.Repeat("{", 200))
		r.SuggestedReviewers = append(r.SuggestedReviewers, strings.Repeat("*", 200))
	}
	return r
}
