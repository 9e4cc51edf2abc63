package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

func TestTheHintIsTakenOutOfTheBodyAndNothingElse(t *testing.T) {
	t.Parallel()
	eleven := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
	for body, want := range map[string]hint{
		`{"issue":{"id":"10001","fields":{"updated":"2026-11-23T11:00:00.000+0000"}}}`: {issueID: "10001", claimed: eleven},
		`{"issue":{"id":"10001","fields":{"updated":"2026-11-23T12:00:00.250+0100"}}}`: {issueID: "10001", claimed: eleven.Add(250 * time.Millisecond)},
		`{"issue":{"id":"10001","fields":{"updated":"2026-11-23T11:00:00Z"}}}`:         {issueID: "10001", claimed: eleven},
		`{"issue":{"id":10001}}`:                             {issueID: "10001", claimed: time.Time{}},
		`{"timestamp":1795431602000,"issue":{"id":"10001"}}`: {issueID: "10001"},
		`{"timestamp":1795431602000,"issue":{"id":"10001","fields":{"updated":"yesterday"}}}`: {issueID: "10001"},
		`{"timestamp":1795431602000,"issue":{"id":"10001","fields":{"updated":7}}}`:           {issueID: "10001"},
		`{"timestamp":"soon","issue":{"id":"10001"}}`:                                         {issueID: "10001", claimed: time.Time{}},
		`{"timestamp":1e99,"issue":{"id":"10001"}}`:                                           {issueID: "10001", claimed: time.Time{}},
		`{"timestamp":9223372036854775807,"issue":{"id":"10001"}}`:                            {issueID: "10001", claimed: time.Time{}},
		`{"timestamp":-1,"issue":{"id":"10001"}}`:                                             {issueID: "10001", claimed: time.Time{}},
		`{"issue":{"id":"9223372036854775807"}}`:                                              {issueID: "9223372036854775807", claimed: time.Time{}},
		`{"issue":{"id":"92233720368547758070"}}`:                                             {},
		`{"issue":{"id":"10001 OR 1=1"}}`:                                                     {},
		`{"issue":{"id":"OPS-1"}}`:                                                            {},
		`{"issue":{"id":"-1"}}`:                                                               {},
		`{"issue":{"id":"../10001"}}`:                                                         {},
		`{"issue":{"id":"１０００１"}}`:                                                            {},
		`{"issue":{"id":1e4}}`:                                                                {},
		`{"issue":{"id":["10001"]}}`:                                                          {},
		`{"issue":{"id":{"id":"10001"}}}`:                                                     {},
		`{"issue":{"id":null}}`:                                                               {},
		`{"issue":{"id":""}}`:                                                                 {},
		`{"issue":{"key":"OPS-1"}}`:                                                           {},
		`{"issue":"10001"}`:                                                                   {},
		`{"webhookEvent":"jira:version_released"}`:                                            {},
		`null`:     {},
		` 7 `:      {},
		"\"\xff\"": {},
		`{"issue":{"id":"10001"},"user":{"accountId":7},"changelog":{"items":[{"toString":"Approved"}]},"a":[[]]}`: {issueID: "10001", claimed: time.Time{}},
	} {
		got, ok := hintIn([]byte(body))
		require.True(t, ok, body)
		require.Equal(t, want, got, body)
	}
	for _, body := range []string{"", " ", "{", `{"issue":{"id":"10001"}}}`, "{} {}", "id=10001", "\xef\xbb\xbf{}", "<issue/>"} {
		_, ok := hintIn([]byte(body))
		require.False(t, ok, body)
	}
}

// The issue within such a body is seconds to minutes older than the event.
func TestABodyAboutACommentOrADeletionClaimsNoTime(t *testing.T) {
	t.Parallel()
	const issue = `"issue":{"id":"10001","fields":{"updated":"2026-11-23T11:00:00.000+0000"}}}`
	for _, event := range []string{
		`{"webhookEvent":"comment_created","comment":{"id":"1"},`,
		`{"webhookEvent":"jira:issue_updated","issue_event_type_name":"issue_commented","comment":{"id":"1"},`,
		`{"webhookEvent":"jira:issue_updated","issue_event_type_name":"issue_comment_deleted",`,
		`{"webhookEvent":"jira:issue_deleted","issue_event_type_name":"issue_deleted",`,
		`{"webhookEvent":"worklog_updated",`,
	} {
		h, ok := hintIn([]byte(event + issue))
		require.True(t, ok)
		require.Equal(t, hint{issueID: "10001"}, h, event)
	}
	h, _ := hintIn(
		[]byte(`{"webhookEvent":"jira:issue_updated","issue_event_type_name":"issue_generic","comment":{"id":"1"},` + issue),
	)
	require.False(t, h.claimed.IsZero(), "a move with a comment is a move")
}

func TestTheHintSaysWhoseChangeItIs(t *testing.T) {
	t.Parallel()
	cloud, dataCenter := sync.Person{AccountID: "712020:agent"}, sync.Person{Name: "agent", Key: "JIRAUSER1"}
	for body, want := range map[string][2]bool{
		`{"issue":{"id":"1"},"user":{"accountId":"712020:agent"}}`:             {true, false},
		`{"issue":{"id":"1"},"user":{"accountId":"712020:bob"}}`:               {false, false},
		`{"issue":{"id":"1"},"user":{"name":"agent","key":"JIRAUSER1"}}`:       {false, true},
		`{"issue":{"id":"1"},"user":{"name":"agent","key":"JIRAUSER2"}}`:       {false, false},
		`{"issue":{"id":"1"},"user":{"accountId":"","displayName":"Agent"}}`:   {false, false},
		`{"issue":{"id":"1"},"user":{}}`:                                       {false, false},
		`{"issue":{"id":"1"},"comment":{"author":{"accountId":"712020:bob"}}}`: {false, false},
	} {
		h, ok := hintIn([]byte(body))
		require.True(t, ok)
		require.Equal(t, want, [2]bool{h.by(cloud), h.by(dataCenter)}, body)
	}
	require.False(t, hint{}.by(sync.Person{}), "nobody is not everybody")
}

func TestBodiesGiveWayInTheOrderInWhichTheyBegan(t *testing.T) {
	t.Parallel()
	b := &bodies{most: 100}
	var gaveUp []string
	open := func(name string) *body { return b.open(func() { gaveUp = append(gaveUp, name) }) }
	slow, big, last := open("slow"), open("big"), open("last")
	require.True(t, b.grant(slow, 10))
	require.True(t, b.grant(big, 80))
	require.True(t, b.grant(last, 10))
	require.Empty(t, gaveUp)

	require.True(t, b.grant(last, 20))
	require.Equal(t, []string{"slow"}, gaveUp)
	require.Equal(t, 100, b.held)
	require.False(t, b.grant(slow, 1), "it is out")
	require.False(t, b.grant(big, 90), "it is the oldest now, and the one that wants more")
	require.Equal(t, []string{"slow"}, gaveUp, "nobody has to wake it")
	require.Equal(t, 20, b.held)
	require.False(t, b.grant(last, 101), "more than there is")
	require.Zero(t, b.held)

	next := open("next")
	require.True(t, b.grant(next, 100))
	b.close(next)
	b.close(slow)
	require.Zero(t, b.held)
	require.Empty(t, b.all)
}
