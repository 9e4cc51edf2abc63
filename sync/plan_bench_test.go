package sync

import (
	"testing"
	"time"
)

// BenchmarkPlan is what each look at a row costs before anything is done about it.
func BenchmarkPlan(b *testing.B) {
	for _, bench := range []struct {
		name string
		link Link
	}{
		{"new", edit(pendingLink(), noIssue)},
		{"waiting", pendingLink()},
		{"moved by a person", edit(pendingLink(), inStatus(approvedStatus))},
		{"resolved with two reviews", edit(pendingLink(), state(StateApproved), reviewed("bob@example.com", "carol@example.com"))},
		{"settled with two reviews", edit(settledLink(), reviewed("bob@example.com", "carol@example.com"), func(l *Link) {
			l.Commented = append(l.Commented, "review:bob@example.com", "review:carol@example.com")
		})},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Plan(bench.link, testPolicy, noon)
			}
		})
	}
}

// BenchmarkJudge is what follows from an issue's history, and from who the person is.
func BenchmarkJudge(b *testing.B) {
	detail := movedBy(bob, approvedStatus)
	detail.Comments = []Comment{
		{Author: bob, Body: "Looking into it.\r\nWho else is on call?"},
		{Author: bob, Body: "Reason: covers the night shift"},
	}
	policy := testPolicy
	policy.Approvers = []string{"carol@example.com", "bob@example.com"}
	b.Run("judge", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v, err := policy.Judge(pendingLink(), detail); err != nil || v.Decision == nil {
				b.Fatal(v.Refusal, err)
			}
		}
	})
	verdict, err := policy.Judge(pendingLink(), detail)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("admit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v := policy.Admit(pendingLink(), verdict, Known{}); v.Decision == nil {
				b.Fatal(v.Refusal)
			}
		}
	})
}

// BenchmarkReasonFrom reads a long discussion in which the mover gives no reason: all of it is
// looked at.
func BenchmarkReasonFrom(b *testing.B) {
	const text = "I looked at the runbook, and the database has to be restarted by hand.\nSee also: the incident's " +
		"page, and the channel.\n"
	var comments []Comment
	for range 100 {
		comments = append(comments, Comment{Author: bob, Body: text + text + text + text})
	}
	b.ReportAllocs()
	for b.Loop() {
		if reason := reasonFrom(comments, bob); reason != "" {
			b.Fatal(reason)
		}
	}
}

// BenchmarkMergeRequest is what each request that Teleport lists costs, at each sweep, when nothing
// about it is new.
func BenchmarkMergeRequest(b *testing.B) {
	for _, bench := range []struct {
		name string
		old  Request
	}{{"ordinary", ordinaryRequest()}, {"long", hostileRequest()}} {
		b.Run(bench.name, func(b *testing.B) {
			seen := bench.old
			seen.Reviews = append([]Review(nil), seen.Reviews...)
			b.ReportAllocs()
			for b.Loop() {
				if _, changed := MergeRequest(bench.old, seen); changed {
					b.Fatal("nothing has changed")
				}
			}
		})
	}
}

// BenchmarkMergeIssue is the same for each issue that Jira shows.
func BenchmarkMergeIssue(b *testing.B) {
	old := pendingLink().Issue
	b.ReportAllocs()
	for b.Loop() {
		if _, changed := MergeIssue(old, old); changed {
			b.Fatal("nothing has changed")
		}
	}
}

// ordinaryRequest is a request as most are.
func ordinaryRequest() Request {
	r := edit(pendingLink(), reviewed("bob@example.com")).Request
	r.ID = "01a2124c-7c29-7197-badb-464bafdf8646"
	r.Resources = []string{
		"/example.teleport.sh/node/3f2a7f6e-4f6f-4d0e-9a3a-0a7c0a1f2b3c",
		"/example.teleport.sh/db/orders",
	}
	r.Reason = "on call this week: the orders database is slow (incident #42)"
	r.SuggestedReviewers = []string{"bob@example.com", "carol@example.com"}
	r.AccessExpires = noon.Add(8 * time.Hour)
	r.URL = "https://example.teleport.sh:443/web/requests/" + r.ID
	return r
}
