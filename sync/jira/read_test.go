package jira

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

func TestTimesAreReadInAllForms(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for text, at := range map[string]time.Time{
		`"2026-11-22T10:00:00.000+0000"`:    want,
		`"2026-11-22T06:30:00.000-0330"`:    want,
		`"2026-11-22T12:00:00.000+02:00"`:   want,
		`"2026-11-22T11:00:00+01"`:          want,
		`"2026-11-22T10:00:00Z"`:            want,
		`"2026-11-22T10:00:00.123Z"`:        want.Add(123 * time.Millisecond),
		`"2026-11-22T10:00:00.123456+0000"`: want.Add(123456 * time.Microsecond),
		`1795341600000`:                     want,
		`"1795341600000"`:                   want,
		`null`:                              {},
	} {
		var got jiraTime
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.Equal(t, at, got.Time, text)
	}
	for _, text := range []string{`"2026-11-22T10:00:00"`, `"2026-11-22 10:00"`, `""`, `"now"`, `true`} {
		require.Error(t, json.Unmarshal([]byte(text), new(jiraTime)), text)
	}
}

func at(minute int) string { return fmt.Sprintf("2026-11-22T10:%02d:00.000+0000", minute) }

// moved is a history entry about the status, at a minute of the hour.
func moved(id, minute int, author any, fromID, toID string) map[string]any {
	h := map[string]any{"id": fmt.Sprint(id), "created": at(minute), "items": []any{
		map[string]any{"field": "resolution", "fieldId": "resolution", "to": "5", "toString": "Done"},
		map[string]any{
			"field":      "status",
			"fieldtype":  "jira",
			"fieldId":    "status",
			"from":       fromID,
			"fromString": "S" + fromID,
			"to":         toID,
			"toString":   "S" + toID,
		},
	}}
	if author != nil {
		h["author"] = author
	}
	return h
}

func changelog(total any, histories ...any) func(map[string]any) {
	m := map[string]any{"startAt": 0, "histories": histories}
	if total != nil {
		m["total"] = total
	}
	return with("changelog", m)
}

// noComments is an issue's complete and empty list of comments.
var noComments = withField("comment", map[string]any{"total": 0, "comments": []any{}})

func TestMovesAreOldestFirstWithTheirAuthors(t *testing.T) {
	t.Parallel()
	person := map[string]any{
		"accountId":    "acc-1",
		"accountType":  "atlassian",
		"emailAddress": "p@example.com",
		"displayName":  "P",
		"active":       true,
	}
	byName := moved(21, 3, map[string]any{"accountId": "bot", "accountType": "app"}, "3", "4")
	byName["items"] = []any{
		map[string]any{"field": "Status", "fieldtype": "jira", "from": "3", "fromString": "S3", "to": "4", "toString": "S4"},
		map[string]any{"field": "Status", "fieldtype": "custom", "from": nil, "to": nil, "toString": "x"},
	}
	f := newFake(t, routes{"GET /issue/7": always(200, issueBody(7, inStatus("6", "S6"), noComments, changelog(
		6,
		moved(100, 4, map[string]any{"accountId": "portal", "accountType": "customer", "active": false}, "5", "6"),
		moved(99, 4, nil, "4", "5"), // the same time: the lower number was before
		byName,
		moved(20, 2, map[string]any{"accountId": ownID}, "2", "3"),
		map[string]any{
			"id":      "15",
			"created": at(1),
			"items":   []any{map[string]any{"field": "summary", "fieldId": "summary"}},
		},
		moved(9, 1, person, "1", "2"),
	)))})
	c, _ := connected(t, f, Cloud)
	detail, err := c.Read(testContext(t), "7")
	require.NoError(t, err)
	s := func(id string) sync.Status { return sync.Status{ID: id, Name: "S" + id} }
	m := func(id string, minute int, who sync.Person, from, to string) sync.Move {
		return sync.Move{
			ID:     id,
			Author: who,
			At:     time.Date(2026, 11, 22, 10, minute, 0, 0, time.UTC),
			From:   s(from),
			To:     s(to),
		}
	}
	want := []sync.Move{
		m("9", 1, sync.Person{AccountID: "acc-1", Email: "p@example.com", DisplayName: "P", Active: true}, "1", "2"),
		m("20", 2, sync.Person{AccountID: ownID, Agent: true, Active: true}, "2", "3"),
		m("21", 3, sync.Person{AccountID: "bot", App: true, Active: true}, "3", "4"),
		m("99", 4, sync.Person{}, "4", "5"),
		m("100", 4, sync.Person{AccountID: "portal", App: true}, "5", "6"),
	}
	for n := range want {
		want[n].Beside = []string{"resolution"}
	}
	want[2].Beside = []string{"Status"} // a custom field
	require.Empty(t, cmp.Diff(want, detail.Moves))
	require.Len(t, f.calls, 1, "a complete history needs no further call")
	q := f.calls[0].query
	require.Equal(t, []string{"changelog"}, q["expand"])
	require.Equal(t, []string{propertyKey}, q["properties"])
	require.Equal(t, []string{fieldID + ",status,project,issuetype,updated,created,creator,comment"}, q["fields"])
}

func TestHistoryCutShortIsReadWholeOnCloudUnlessItSuffices(t *testing.T) {
	t.Parallel()
	other := func(id, minute int) map[string]any {
		return map[string]any{"id": fmt.Sprint(id), "created": at(minute), "items": []any{map[string]any{"field": "summary"}}}
	}
	who := map[string]any{"accountId": "acc-1"}
	for name, tt := range map[string]struct {
		deployment Deployment
		changelog  func(map[string]any)
		whole      bool
		last       string
	}{
		"complete":                          {Cloud, changelog(1, moved(5, 5, who, "1", "2")), false, "5"},
		"never moved":                       {Cloud, changelog(1, other(5, 5)), false, ""},
		"newest first, and the move is in":  {Cloud, changelog(90, other(9, 9), moved(5, 5, who, "1", "2"), other(4, 4)), false, "5"},
		"newest first, the move is not in":  {Cloud, changelog(90, other(9, 9), other(8, 8)), true, "50"},
		"another move is the newest one in": {Cloud, changelog(90, other(9, 9), moved(5, 5, who, "2", "1")), true, "50"},
		// An old move to the status may hide a newer one by somebody else.
		"oldest first":               {Cloud, changelog(90, moved(5, 5, who, "1", "2"), other(9, 9)), true, "50"},
		"no count":                   {Cloud, changelog(nil, other(9, 9), other(8, 8)), true, "50"},
		"absent":                     {Cloud, func(map[string]any) {}, true, "50"},
		"Data Center offers no more": {DataCenter, changelog(90, other(9, 9), other(8, 8)), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, routes{
				"GET /issue/7": always(200, issueBody(7, inStatus("2", "S2"), noComments, tt.changelog)),
				"GET /issue/7/changelog": func(call seen) (int, any) {
					if call.query["startAt"][0] == "0" {
						return 200, map[string]any{"total": 3, "isLast": false, "values": []any{other(1, 1), moved(2, 2, who, "1", "3")}}
					}
					return 200, map[string]any{"total": 3, "isLast": true, "values": []any{moved(50, 50, who, "3", "2")}}
				},
			})
			c, _ := connected(t, f, tt.deployment)
			detail, err := c.Read(testContext(t), "7")
			require.NoError(t, err)
			pages := f.received("GET", "/issue/7/changelog")
			if tt.whole {
				require.Len(t, pages, 2)
				require.Equal(t, "2", pages[1].query["startAt"][0])
			} else {
				require.Empty(t, pages)
			}
			last := ""
			if n := len(detail.Moves); n > 0 {
				last = detail.Moves[n-1].ID
			}
			require.Equal(t, tt.last, last)
		})
	}
}

func TestHistoryIsWhatCameWhereJiraOffersNoMore(t *testing.T) {
	t.Parallel()
	missing := always(404, map[string]any{"errorMessages": []any{"null for uri"}, "errors": map[string]any{}})
	f := newFake(t, routes{
		"GET /issue/7": always(
			200,
			issueBody(
				7,
				inStatus("2", "S2"),
				noComments,
				changelog(nil, moved(5, 5, map[string]any{"accountId": "acc-1"}, "1", "2")),
			),
		),
		"GET /issue/7/changelog": missing,
	})
	c, _ := connected(t, f, Cloud)
	detail, err := c.Read(testContext(t), "7")
	require.NoError(t, err)
	require.Len(t, detail.Moves, 1)
}

func commentBody(id, minute int, author string, change ...func(map[string]any)) map[string]any {
	m := map[string]any{
		"id":      fmt.Sprint(id),
		"author":  map[string]any{"accountId": author},
		"body":    fmt.Sprint("body ", id),
		"created": at(minute),
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func marked(key any) func(map[string]any) {
	return with("properties", []any{
		map[string]any{"key": "sd.public.comment", "value": map[string]any{"internal": true}},
		map[string]any{"key": commentProperty, "value": map[string]any{"key": key}},
	})
}

func TestCommentsComeWithTheIssueWhereTheyAreAllThere(t *testing.T) {
	t.Parallel()
	person := commentBody(1, 1, "acc-1")
	agent := commentBody(2, 2, ownID)
	listed := always(
		200,
		map[string]any{"total": 2, "comments": []any{commentBody(2, 2, ownID, marked("resolution")), person}},
	)
	for name, tt := range map[string]struct {
		comments any
		calls    int
		ids      []string
	}{
		"all there":        {map[string]any{"total": 1, "comments": []any{person}}, 0, []string{"1"}},
		"none":             {map[string]any{"total": 0, "comments": []any{}}, 0, nil},
		"absent":           {nil, 1, []string{"2", "1"}},
		"cut short":        {map[string]any{"total": 2, "comments": []any{person}}, 1, []string{"2", "1"}},
		"keys are lacking": {map[string]any{"total": 2, "comments": []any{person, agent}}, 1, []string{"2", "1"}},
		"keys are there": {
			map[string]any{"total": 2, "comments": []any{person, commentBody(2, 2, ownID, marked("resolution"))}}, 0, []string{"2", "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, routes{
				"GET /issue/7":         always(200, issueBody(7, changelog(0), withField("comment", tt.comments))),
				"GET /issue/7/comment": listed,
			})
			c, _ := connected(t, f, Cloud)
			detail, err := c.Read(testContext(t), "7")
			require.NoError(t, err)
			require.Len(t, f.received("GET", "/issue/7/comment"), tt.calls)
			var ids []string
			for _, comment := range detail.Comments {
				ids = append(ids, comment.ID)
				require.Equal(t, comment.ID == "2", comment.Key == "resolution")
			}
			require.Equal(t, tt.ids, ids)
		})
	}
}

func TestCommentsAreAllReadNewestFirst(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"GET /issue/7/comment": inTurn(
		always(200, map[string]any{"total": 3, "comments": []any{commentBody(3, 3, "acc-1"), commentBody(10, 2, "acc-1")}}),
		// One was added meanwhile: the second comes again.
		always(
			200,
			map[string]any{
				"total":    4,
				"comments": []any{commentBody(10, 2, "acc-1"), commentBody(9, 2, ownID, marked("review:x"))},
			},
		),
	)})
	c, _ := connected(t, f, Cloud)
	comments, err := c.Comments(testContext(t), "7")
	require.NoError(t, err)
	var ids []string
	for _, comment := range comments {
		ids = append(ids, comment.ID)
	}
	require.Equal(t, []string{"3", "10", "9"}, ids)
	require.Equal(t, "review:x", comments[2].Key)
	require.Equal(t, "body 9", comments[2].Body)
	require.True(t, comments[2].Author.Agent)
	calls := f.received("GET", "/issue/7/comment")
	require.Len(t, calls, 2)
	require.Equal(t, "2", calls[1].query["startAt"][0])
	require.Equal(t, "-created", calls[0].query["orderBy"][0])
	require.Equal(t, "properties", calls[0].query["expand"][0])
}

func TestOnlyTheAgentsOwnMarkCounts(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"GET /issue/7/comment": always(200, map[string]any{"total": 4, "comments": []any{
		commentBody(4, 4, "acc-1", marked("resolution")),
		commentBody(3, 3, ownID, marked(17)),
		commentBody(2, 2, ownID),
		commentBody(1, 1, ownID, with("properties", []any{map[string]any{"key": commentProperty, "value": "resolution"}})),
	}})})
	c, _ := connected(t, f, Cloud)
	comments, err := c.Comments(testContext(t), "7")
	require.NoError(t, err)
	require.Len(t, comments, 4)
	for _, comment := range comments {
		require.Empty(t, comment.Key, comment.ID)
	}
}

func TestPeopleAreToldApartAsTheDeploymentNamesThem(t *testing.T) {
	t.Parallel()
	cloud := sync.Person{AccountID: "a", Agent: true}
	dataCenter := sync.Person{Key: "JIRAUSER1", Name: "agent", Agent: true}
	for name, tt := range map[string]struct {
		self sync.Person
		who  personJSON
		want bool
	}{
		"same account":                 {cloud, personJSON{AccountID: "a"}, true},
		"other account":                {cloud, personJSON{AccountID: "b"}, false},
		"nobody":                       {cloud, personJSON{}, false},
		"unknown account":              {sync.Person{AccountID: "unknown"}, personJSON{AccountID: "unknown"}, false},
		"same key":                     {dataCenter, personJSON{Key: "JIRAUSER1", Name: "renamed"}, true},
		"other key, the name is taken": {dataCenter, personJSON{Key: "JIRAUSER2", Name: "agent"}, false},
		"name alone":                   {dataCenter, personJSON{Name: "agent"}, true},
		"nobody on Data Center":        {dataCenter, personJSON{}, false},
		"same display name":            {sync.Person{Key: "k", DisplayName: "Agent"}, personJSON{DisplayName: "Agent"}, false},
	} {
		c := &Client{self: tt.self}
		require.Equal(t, tt.want, c.person(&tt.who).Agent, name)
	}
	c := &Client{self: cloud}
	require.Equal(t, sync.Person{}, c.person(nil))
}

func TestAuthorsAreTakenForNoMoreThanJiraSaysOfThem(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		deployment Deployment
		author     string
		want       sync.Person
		id         string
	}{
		"a person":                      {Cloud, `{"accountId":"a","accountType":"atlassian","active":true}`, sync.Person{AccountID: "a", Active: true}, "a"},
		"a hidden e-mail":               {Cloud, `{"accountId":"a","emailAddress":null,"active":true}`, sync.Person{AccountID: "a", Active: true}, "a"},
		"an empty e-mail":               {Cloud, `{"accountId":"a","emailAddress":"","active":true}`, sync.Person{AccountID: "a", Active: true}, "a"},
		"a closed account":              {Cloud, `{"accountId":"a","displayName":"Former user","active":false}`, sync.Person{AccountID: "a", DisplayName: "Former user"}, "a"},
		"an anonymised account":         {Cloud, `{"accountId":"unknown","displayName":"Former user","active":false}`, sync.Person{AccountID: "unknown", DisplayName: "Former user"}, ""},
		"an unknown account with names": {Cloud, `{"accountId":"unknown","name":"unknown","key":"unknown","active":true}`, sync.Person{AccountID: "unknown", Active: true}, ""},
		"names of old alone":            {Cloud, `{"name":"bob","key":"bob","displayName":"Bob","active":true}`, sync.Person{DisplayName: "Bob", Active: true}, ""},
		"an app":                        {Cloud, `{"accountId":"a","accountType":"app","active":true}`, sync.Person{AccountID: "a", Active: true, App: true}, "a"},
		"a customer of the portal":      {Cloud, `{"accountId":"qm:1","accountType":"customer","active":true}`, sync.Person{AccountID: "qm:1", Active: true, App: true}, "qm:1"},
		"an account of unknown type":    {Cloud, `{"accountId":"a","accountType":"unknown","active":true}`, sync.Person{AccountID: "a", Active: true, App: true}, "a"},
		"a type of the future":          {Cloud, `{"accountId":"a","accountType":"teammate","active":true}`, sync.Person{AccountID: "a", Active: true, App: true}, "a"},
		"nobody":                        {Cloud, `null`, sync.Person{}, ""},
		"an empty author":               {Cloud, `{}`, sync.Person{Active: true}, ""},

		"a user":                {DataCenter, `{"key":"JIRAUSER2","name":"bob","emailAddress":"b@example.com","active":true}`, sync.Person{Key: "JIRAUSER2", Name: "bob", Email: "b@example.com", Active: true}, "JIRAUSER2"},
		"a user without e-mail": {DataCenter, `{"key":"JIRAUSER2","name":"bob","emailAddress":null,"active":true}`, sync.Person{Key: "JIRAUSER2", Name: "bob", Active: true}, "JIRAUSER2"},
		"an inactive user":      {DataCenter, `{"key":"JIRAUSER2","name":"bob","active":false}`, sync.Person{Key: "JIRAUSER2", Name: "bob"}, "JIRAUSER2"},
		"a deleted user":        {DataCenter, `{"key":"bob","name":"bob","displayName":"bob","active":false}`, sync.Person{Key: "bob", Name: "bob", DisplayName: "bob"}, "bob"},
		"an anonymised user":    {DataCenter, `{"key":"JIRAUSER2","name":"jirauser2","displayName":"user-1a2b3","active":false}`, sync.Person{Key: "JIRAUSER2", Name: "jirauser2", DisplayName: "user-1a2b3"}, "JIRAUSER2"},
		"Anonymous":             {DataCenter, `{"displayName":"Anonymous","active":true}`, sync.Person{DisplayName: "Anonymous", Active: true}, ""},
		"an absent user":        {DataCenter, `null`, sync.Person{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			history := moved(5, 5, json.RawMessage(tt.author), "1", "2")
			if tt.author == "null" {
				history = moved(5, 5, nil, "1", "2") // an author that is not said is left out
			}
			f := newFake(
				t,
				routes{"GET /issue/7": always(200, issueBody(7, inStatus("2", "S2"), noComments, changelog(1, history)))},
			)
			c, _ := connected(t, f, tt.deployment)
			detail, err := c.Read(testContext(t), "7")
			require.NoError(t, err)
			require.Equal(t, tt.want, detail.Moves[0].Author)
			require.Equal(t, tt.id, detail.Moves[0].Author.ID())

			var null struct{ Author *personJSON }
			require.NoError(t, json.Unmarshal([]byte(`{"author":`+tt.author+`}`), &null))
			require.Equal(t, tt.want, c.person(null.Author), "null says as much as an absence")
		})
	}
}

func TestCommentChangedByAnotherIsMarked(t *testing.T) {
	t.Parallel()
	by := func(author any) func(map[string]any) { return with("updateAuthor", author) }
	for name, tt := range map[string]struct {
		change []func(map[string]any)
		want   bool
	}{
		"as written":                     {[]func(map[string]any){by(map[string]any{"accountId": "acc-1"})}, false},
		"changed by the author":          {[]func(map[string]any){by(map[string]any{"accountId": "acc-1"}), with("updated", at(9))}, false},
		"changed by another":             {[]func(map[string]any){by(map[string]any{"accountId": "acc-2"}), with("updated", at(9))}, true},
		"changed by an unknown account":  {[]func(map[string]any){by(map[string]any{"accountId": "unknown"}), with("updated", at(9))}, true},
		"changed by nobody that is said": {[]func(map[string]any){by(nil), with("updated", at(9))}, true},
		"nothing is said":                {nil, false},
		"written at its last change":     {[]func(map[string]any){with("updated", at(1))}, false},
	} {
		f := newFake(
			t,
			routes{
				"GET /issue/7/comment": always(
					200,
					map[string]any{"total": 1, "comments": []any{commentBody(1, 1, "acc-1", tt.change...)}},
				),
			},
		)
		c, _ := connected(t, f, Cloud)
		comments, err := c.Comments(testContext(t), "7")
		require.NoError(t, err)
		require.Equal(t, tt.want, comments[0].Edited, name)
	}
}

func TestReadFillsPropertyAndCreator(t *testing.T) {
	t.Parallel()
	f := newFake(
		t,
		routes{
			"GET /issue/7": always(
				200,
				issueBody(7, noComments, changelog(0), with("properties", map[string]any{propertyKey: "req-7"})),
			),
		},
	)
	c, _ := connected(t, f, Cloud)
	detail, err := c.Read(testContext(t), "7")
	require.NoError(t, err)
	require.Equal(t, "req-7", detail.Issue.Property)
	require.Equal(t, "req-7", detail.Issue.RequestID)
	require.True(t, detail.Issue.ByAgent)
	require.Empty(t, detail.Moves)
}
