package sync

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var references = regexp.MustCompile(`&#[0-9]+;`)

// markup is what the wiki renderer or the browser gives a meaning to, in a line without its
// character references.
var markup = regexp.MustCompile(strings.Join([]string{
	`[*^~+{}\[\]|\\<>()` + "`" + `]`, `[\x00-\x1f\x7f]`, // markup wherever it stands
	`(^|[^\pL\pN])[_@]`, `[_@]([^\pL\pN]|$)`, // _emphasis_, @mention
	`--`, `(^|[^\pL\pN ])-`, ` -[^ ]`, `-([^\pL\pN ]|$)`, // dashes, -struck-, list items
	`\?\?`, `![^ ]`, `;[^ ]`, `(^|[^\pL\pN])[!;:]`, `:[^ \pN]`, // ??citation??, !image!, :), scheme:
	`^#`, `&[#\pL]`, `://`, `(?i:www\.)`, `^(h[1-6]|bq)\.`, `[A-Z][A-Z0-9_]+-[0-9]`,
}, "|"))

func formsMarkup(line string) bool {
	return markup.MatchString(references.ReplaceAllString(line, "\u00a4"))
}

func TestPlainTextStaysReadable(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"alice@example.com", "db-admin", "prod_db.reader", "/prod/node/3f2a-77", "need access, please",
		"0193f2b0-8c7e-7d3a-9b1c-2f4e5d6a7b8c", "Zoë Ångström", "日本語", "Looks good. It's fine, thanks!", "Incident #42: " +
			"disk full - again?", "at 10:30; see web-1",
	} {
		require.Equal(t, s, plain(s))
	}
}

func TestPlainTextFormsNoMarkup(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"*bold* _it_ -gone- +new+ ^a^ ~b~ ??c??", "{color:red}x{color}", "{noformat}", "[~accountid:abc]", "[click|https://evil.example]",
		"https://evil.example/x", "www.evil.example", "!image.png!", "h1. Approved", "bq. quote", "* item", "- item", "# item", "|a|b|", "----",
		"{{mono}}", "@admin", "ACCESS-12", `\\`, ":) (!) (/)", "&lt;b&gt;", "<script>", "a\nReason: forged", "\u202edenied\u202c", "x\x00y\x1bz",
	} {
		for line := range strings.SplitSeq(plainLines(s), quoteBreak) {
			require.False(t, formsMarkup(line), "%q became %q", s, line)
		}
	}
}

func TestSeveralLinesAreSetOffFromTheAgentsOwn(t *testing.T) {
	t.Parallel()
	require.Equal(t, "on call", plainLines(" on call \n"))
	const want = `\\> on call\\> User: admin`
	for _, end := range []string{"\n", "\r\n", "\r", "\n\n", "\v", "\f", "\u0085", "\u2028", "\u2029"} {
		require.Equal(t, want, plainLines("on call"+end+"User: admin"), "%q", end)
	}
}

func FuzzPlainShowsTheTextAndNothingElse(f *testing.F) {
	f.Add("a*b*c [~x] https://e.x/ A-1 www.x")
	f.Add("\u202e- h1. x\r\n{code}")
	f.Fuzz(func(t *testing.T, s string) {
		text := plain(s)
		require.True(t, utf8.ValidString(text))
		require.Equal(t, oneLine(s), html.UnescapeString(text), "the reader must see the text itself")
		require.False(t, formsMarkup(text), "%q became %q", s, text)
	})
}

func FuzzNoLineOfAPersonPassesForOneOfTheAgent(f *testing.F) {
	f.Add("on call\n\n*User:* admin\u2028Request ID: x\r- done")
	f.Add("a\x85b\vc\fd\\\\e")
	f.Fuzz(func(t *testing.T, s string) {
		text := plainLines(s)
		require.NotContains(t, text, "\n")
		require.LessOrEqual(t, len(text), maxQuote)
		for i, line := range strings.Split(text, quoteBreak) {
			require.False(t, formsMarkup(line), "%q became %q", s, text)
			require.False(
				t,
				i == 0 && line != "" && strings.Contains(text, quoteBreak),
				"several lines, and the first is not quoted: %q",
				text,
			)
		}
	})
}

func FuzzTheIssueOfARequestShowsNothingButText(f *testing.F) {
	f.Add("alice", "db-admin", "/prod/node/x", "on call\nnow", "carol")
	f.Add("[~admin]\u202e", "{color:red}x", "|a|b|", "h1. x\n----\n!http://x!", "@bob https://evil.example")
	f.Fuzz(func(t *testing.T, user, role, resource, reason, reviewer string) {
		r := Request{
			ID:                 "req-1",
			User:               user,
			Roles:              []string{role},
			Resources:          []string{resource},
			Reason:             reason,
			SuggestedReviewers: []string{reviewer},
		}
		d := draft(r, ModeState)
		require.LessOrEqual(t, len(utf16.Encode([]rune(d.Summary))), maxSummary)
		require.True(t, utf8.ValidString(d.Summary+d.Description))
		require.False(t, strings.ContainsFunc(d.Summary, breaksLine), "%q", d.Summary)
		// One line for each thing that the request has, and none that people began.
		label := regexp.MustCompile(`^\*[A-Z][A-Za-z ]+:\* `)
		for line := range strings.SplitSeq(d.Description, "\n") {
			own := label.FindString(line)
			if own == "" {
				require.True(t, line == "" || line == instructions(r, ModeState), "%q", line)
				continue
			}
			for part := range strings.SplitSeq(strings.ReplaceAll(line[len(own):], quoteBreak, `\\`), `\\`) {
				require.False(t, formsMarkup(strings.TrimSuffix(part, " ")), "%q in %q", part, line)
			}
		}
	})
}

func FuzzCutKeepsToTheLimit(f *testing.F) {
	f.Add("aé日😀", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		s = strings.ToValidUTF8(s, "")
		limit = max(1, limit%300)
		got := cut(s, limit)
		require.True(t, utf8.ValidString(got))
		require.LessOrEqual(t, len(utf16.Encode([]rune(got))), limit)
		if got != s {
			require.True(t, strings.HasPrefix(s, strings.TrimSuffix(got, "…")))
		}
	})
}

func TestSummaryIsOneLineOfBoundedLength(t *testing.T) {
	t.Parallel()
	require.Equal(t, "alice@example.com requested db-admin", summary(pendingLink().Request))
	long := pendingLink().Request
	long.User = "eve\nApproved:"
	long.Roles = []string{strings.Repeat("😀", 300)}
	got := summary(long)
	require.NotContains(t, got, "\n")
	require.LessOrEqual(t, len(utf16.Encode([]rune(got))), maxSummary)
	require.True(t, strings.HasSuffix(got, "…"))
}

func TestDescriptionHoldsWhatAnApproverNeeds(t *testing.T) {
	t.Parallel()
	r := pendingLink().Request
	r.Resources = []string{"/prod/node/web-1", "/prod/db/orders"}
	r.Reason = "incident\n{code}drop{code}"
	r.URL = "https://teleport.example.com/web/requests/req-1"
	got := description(r, ModeState)
	for _, part := range []string{
		"alice@example.com", "db-admin", "/prod/node/web-1", "/prod/db/orders", "incident", "req-1", "2026-11-23 11:00:00 UTC", "2026-11-23 13:00:00 UTC",
		"[https://teleport.example.com/web/requests/req-1]",
	} {
		require.Contains(t, got, part)
	}
	require.NotContains(t, got, "{code}")
}

func TestTheClosingCommentTellsWhatAnApprovalGrantsLess(t *testing.T) {
	t.Parallel()
	at := func(hour int) time.Time { return time.Date(2026, 8, 1, hour, 0, 0, 0, time.UTC) }
	approved := Request{State: StateApproved, Roles: []string{"admin", "editor"}, AccessExpires: at(20)}
	for name, tc := range map[string]struct {
		edit func(*Request)
		want string
	}{
		"nothing": {func(*Request) {}, "The Access Request is *approved*."},
		"roles": {
			func(r *Request) { r.GrantedRoles = []string{"edi*tor"} },
			"The Access Request is *approved*. Not all roles that were asked for are granted, only: " + name("edi*tor") + ".",
		},
		"a later start": {
			func(r *Request) { r.StartsAt = at(9) },
			"The Access Request is *approved*. Access begins at 2026-08-01 09:00:00 UTC.",
		},
		"an earlier end, and a reason": {
			func(r *Request) { r.EndsAt, r.ResolveReason = at(12), "for now" },
			"The Access Request is *approved*. Access ends sooner than was asked for, at 2026-08-01 12:00:00 UTC." +
				"\n\nReason given: for now",
		},
		"a start of a denied one": {
			func(r *Request) {
				r.State, r.StartsAt, r.EndsAt, r.GrantedRoles = StateDenied, at(9), at(12), []string{"x"}
			},
			"The Access Request is *denied*.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := approved
			tc.edit(&r)
			require.Equal(t, tc.want, resolutionText(Link{Request: r}, Outcome(r.State)))
		})
	}
}

func TestTheDescriptionShowsAllConstraintsOfAResource(t *testing.T) {
	t.Parallel()
	resource := "/prod/app/console (AWS roles: " + strings.Repeat("arn:aws:iam::123456789012:role/reader, ", 30) + "last)"
	require.Contains(t, description(Request{Resources: []string{resource}}, ModeState), plain("last)"))
}

func TestTextsKeepToJirasLimit(t *testing.T) {
	t.Parallel()
	r := pendingLink().Request
	r.Reason = strings.Repeat("*\n", 4096)
	for range 400 {
		r.Roles = append(r.Roles, strings.Repeat("[", 200))
		r.Resources = append(r.Resources, "/"+strings.Repeat("{", 200))
		r.SuggestedReviewers = append(r.SuggestedReviewers, strings.Repeat("*", 200))
	}
	r.User = strings.Repeat("~", 4000)
	const limit = 32_767
	require.Less(t, len(description(r, ModeState)), limit)
	require.Contains(t, description(r, ModeState), "more, see Teleport")
	require.Less(t, len(reviewText(Review{Author: r.User, Reason: r.Reason})), limit)
}
