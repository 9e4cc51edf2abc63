package jira

import (
	"testing"

	"github.com/stretchr/testify/require"

	"teleport-jira-agent/sync"
)

func TestCreateSetsFieldAndProperty(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		issueType string
		want      map[string]any
	}{
		"type by name": {"Access Request", map[string]any{"name": "Access Request"}},
		"type by id":   {"10007", map[string]any{"id": "10007"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, routes{"POST /issue": always(201, map[string]any{"id": "7", "key": "ACC-7", "self": "x"})})
			c, _ := connected(t, f, Cloud, func(cfg *Config) {
				cfg.IssueType = tt.issueType
				cfg.Fields = map[string]any{
					"labels":  []string{"access"},
					"summary": "overridden",
					fieldID:   "overridden",
					"project": "overridden",
				}
			})
			committed := 0
			issue, err := c.Create(
				testContext(t),
				sync.Draft{RequestID: "req-7", Summary: "S", Description: "D <&>"},
				noteCommit(&committed),
			)
			require.NoError(t, err)
			require.Equal(t, 1, committed)
			require.Equal(
				t,
				sync.Issue{ID: "7", Key: "ACC-7", Project: "ACC", RequestID: "req-7", Property: "req-7", ByAgent: true},
				issue,
			)
			require.Equal(t, map[string]any{
				"fields": map[string]any{
					"project": map[string]any{"key": "ACC"}, "issuetype": tt.want, "summary": "S", "description": "D <&>",
					fieldID: "req-7", "labels": []any{"access"},
				},
				"properties": []any{map[string]any{"key": propertyKey, "value": "req-7"}},
			}, f.received("POST", "/issue")[0].body)
			require.Len(t, c.cfg.Fields, 4, "the configuration was changed")
		})
	}
}

func TestCreateExplainsARefusedField(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /issue": always(400, map[string]any{"errors": map[string]any{fieldID: "cannot be set"}})})
	c, _ := connected(t, f, Cloud)
	_, err := c.Create(testContext(t), sync.Draft{RequestID: "r"}, noteCommit(new(int)))
	require.True(t, asSyncError(t, err).Permanent)
	require.ErrorContains(t, err, "cannot be set")
	require.ErrorContains(t, err, "create screen of project ACC")
}

// A 404 of the create call is about the project, not about an issue that is gone.
func TestCreateIsNeverNotFound(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /issue": always(404, jiraError("no project"))})
	c, _ := connected(t, f, Cloud)
	_, err := c.Create(testContext(t), sync.Draft{RequestID: "r"}, noteCommit(new(int)))
	require.NotErrorIs(t, err, sync.ErrNotFound)
	require.True(t, asSyncError(t, err).Permanent)
}

func transition(id, toID, to string, change ...func(map[string]any)) map[string]any {
	m := map[string]any{"id": id, "name": "Do " + id, "to": status(toID, to)}
	for _, c := range change {
		c(m)
	}
	return m
}

func requiring(fields map[string]any) func(map[string]any) { return with("fields", fields) }

var required = map[string]any{"required": true, "hasDefaultValue": false}

func TestMoveChoosesATransitionByItsTarget(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		to      []string
		offered []any
		want    string // "" for none
	}{
		"by status name in any case": {[]string{"APPROVED"}, []any{transition("1", "9", "Denied"), transition("2", "8", "Approved")}, "2"},
		"by status id":               {[]string{"8"}, []any{transition("8", "9", "Denied"), transition("2", "8", "Genehmigt")}, "2"},
		"not by transition name":     {[]string{"Do 1"}, []any{transition("1", "9", "Denied")}, ""},
		"first status that is reachable": {
			[]string{"Approved", "Done", "Closed"},
			[]any{transition("1", "5", "Closed"), transition("2", "6", "Done")},
			"2",
		},
		"without required fields": {
			[]string{"Approved"},
			[]any{
				transition("1", "8", "Approved", requiring(map[string]any{"a": required})),
				transition("2", "8", "Approved", with("hasScreen", true)),
			},
			"2",
		},
		"without a screen": {[]string{"Approved"}, []any{transition("1", "8", "Approved", with("hasScreen", true)), transition("2", "8", "Approved")}, "2"},
		"required with a default is no hindrance": {
			[]string{"Approved"},
			[]any{
				transition("1", "8", "Approved", requiring(map[string]any{"a": map[string]any{
					"required":        true,
					"hasDefaultValue": true,
				}})),
				transition("2", "8", "Approved", requiring(map[string]any{"a": required})),
			},
			"1",
		},
		"the only one, though it asks for a field": {[]string{"Approved"}, []any{transition("1", "8", "Approved", requiring(map[string]any{"a": required}))}, "1"},
		"not one that is unavailable": {
			[]string{"Approved"},
			[]any{transition("1", "8", "Approved", with("isAvailable", false)), transition("2", "8", "Approved", with("isAvailable", true), with("hasScreen", true))},
			"2",
		},
		"none": {[]string{"Approved"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, routes{
				"GET /issue/7":              always(200, issueBody(7)),
				"GET /issue/7/transitions":  always(200, map[string]any{"transitions": tt.offered}),
				"POST /issue/7/transitions": always(204, nil),
				"GET /project/ACC/statuses": ofNoType(status("1", "Pending"), status("5", "Closed"), status("6", "Done")),
			})
			c, _ := connected(t, f, Cloud)
			committed := 0
			issue, err := c.Move(testContext(t), "7", sync.Status{ID: "1"}, sync.Way{To: tt.to}, noteStep(&committed))
			sent := f.received("POST", "/issue/7/transitions")
			require.Equal(t, []string{"transitions.fields"}, f.received("GET", "/issue/7/transitions")[0].query["expand"])
			if tt.want == "" {
				require.ErrorIs(t, err, sync.ErrNoTransition)
				e := asSyncError(t, err)
				require.True(t, e.Permanent)
				require.Equal(t, sync.ScopeRequest, e.Scope)
				require.Empty(t, sent)
				require.Zero(t, committed)
				return
			}
			require.NoError(t, err)
			require.Equal(t, 1, committed)
			require.Len(t, sent, 1)
			require.Equal(t, map[string]any{"transition": map[string]any{"id": tt.want}}, sent[0].body)
			isTarget := false
			for _, name := range tt.to {
				isTarget = isTarget || issue.Status.Is(name)
			}
			require.True(t, isTarget, issue.Status)
			require.Equal(t, "ACC-7", issue.Key)
		})
	}
}

func TestMoveReadsTheIssueFirst(t *testing.T) {
	t.Parallel()
	approved := sync.Status{ID: "8", Name: "Approved"}
	for name, tt := range map[string]struct {
		from    sync.Status
		to      []string
		changed bool
	}{
		"already there":                {sync.Status{ID: "1"}, []string{"Done", "approved"}, false},
		"already there, whatever from": {sync.Status{}, []string{"8"}, false},
		"another status than expected": {sync.Status{ID: "1", Name: "Approved"}, []string{"Denied"}, true},
		"another status, name only":    {sync.Status{Name: "Pending"}, []string{"Denied"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(
				t,
				routes{"GET /issue/7": always(200, issueBody(7, inStatus("8", "Approved")))},
			) // any other call fails the test
			c, _ := connected(t, f, Cloud)
			committed := 0
			issue, err := c.Move(testContext(t), "7", tt.from, sync.Way{To: tt.to}, noteStep(&committed))
			if tt.changed {
				require.ErrorIs(t, err, sync.ErrChanged)
				require.False(t, asSyncError(t, err).Permanent)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, approved, issue.Status)
			require.Zero(t, committed)
		})
	}
}

func TestRefusedTransitionIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code      int
		now       func(map[string]any)
		done      bool
		changed   bool
		permanent bool
	}{
		"400, there by now":    {400, inStatus("8", "Approved"), true, false, false},
		"409, there by now":    {409, inStatus("8", "Approved"), true, false, false},
		"400, moved elsewhere": {400, inStatus("9", "Denied"), false, true, false},
		"409, moved elsewhere": {409, inStatus("9", "Denied"), false, true, false},
		"400, where it was":    {400, inStatus("1", "Pending"), false, false, true},
		"409, where it was":    {409, inStatus("1", "Pending"), false, true, false},
		"403 is not looked at": {403, nil, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			again := func(seen) (int, any) { t.Error("read again"); return 500, nil }
			if tt.now != nil {
				again = always(200, issueBody(7, tt.now))
			}
			f := newFake(t, routes{
				"GET /issue/7":              inTurn(always(200, issueBody(7)), again),
				"GET /issue/7/transitions":  always(200, map[string]any{"transitions": []any{transition("1", "8", "Approved")}}),
				"POST /issue/7/transitions": always(tt.code, jiraError("Transition id '1' is not valid for this issue.")),
			})
			c, _ := connected(t, f, Cloud)
			issue, err := c.Move(testContext(t), "7", sync.Status{}, sync.Way{To: []string{"Approved"}}, noteStep(new(int)))
			if tt.done {
				require.NoError(t, err)
				require.Equal(t, "8", issue.Status.ID)
				return
			}
			e := asSyncError(t, err)
			require.Equal(t, tt.permanent, e.Permanent)
			require.False(t, e.Uncertain)
			if tt.changed {
				require.ErrorIs(t, err, sync.ErrChanged)
			} else {
				require.NotErrorIs(t, err, sync.ErrChanged)
			}
			require.ErrorContains(t, err, "is not valid for this issue")
		})
	}
}

func TestCommentCarriesItsKeyAndIsInternal(t *testing.T) {
	t.Parallel()
	f := newFake(t, routes{"POST /issue/7/comment": always(201, map[string]any{"id": "1"})})
	c, _ := connected(t, f, Cloud)
	committed := 0
	require.NoError(t, c.Comment(testContext(t), "7", "review:bob", "text", noteCommit(&committed)))
	require.Equal(t, 1, committed)
	require.Equal(t, map[string]any{
		"body": "text",
		"properties": []any{
			map[string]any{"key": commentProperty, "value": map[string]any{"key": "review:bob"}},
			map[string]any{"key": "sd.public.comment", "value": map[string]any{"internal": true}},
		},
	}, f.received("POST", "/issue/7/comment")[0].body)
}

func TestSetRequestIDWritesTheFieldUnlessItIsThere(t *testing.T) {
	t.Parallel()
	for held, writes := range map[string]int{"": 1, "req-8": 1, "req-7": 0} {
		f := newFake(t, routes{
			"GET /issue/7": always(200, issueBody(7, withField(fieldID, held))),
			"PUT /issue/7": always(204, nil),
		})
		c, _ := connected(t, f, Cloud)
		committed := 0
		require.NoError(t, c.SetRequestID(testContext(t), "7", "req-7", noteCommit(&committed)))
		require.Equal(t, writes, committed)
		puts := f.received("PUT", "/issue/7")
		require.Len(t, puts, writes)
		if writes == 1 {
			require.Equal(t, map[string]any{"fields": map[string]any{fieldID: "req-7"}}, puts[0].body)
		}
	}
}
