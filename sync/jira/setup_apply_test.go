package jira

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/sync"
)

func TestSetupLooksForTheFieldRightBeforeItMakesOne(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d))
		server.AddField(textLine) // somebody else, since the plan
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		allHolds(t, s)
		require.Zero(t, server.CallCount("POST field"))
	})
}

func TestSetupTwiceIsSetupOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, d jirasim.Deployment) {
		server, s := planned(t, administeredJira(d, ownScreens))
		_, err := apply(testContext(t), s)
		require.NoError(t, err)
		before := writes(server)
		again, err := PlanSetup(testContext(t), s.c.cfg, testStatuses, zap.NewNop())
		require.NoError(t, err)
		t.Cleanup(again.Close)
		allHolds(t, again)
		_, err = apply(testContext(t), again)
		require.NoError(t, err)
		_, err = apply(testContext(t), s)
		require.NoError(t, err)
		require.Equal(t, before, writes(server))
		require.Equal(t, 1, server.CallCount("POST field"))
	})
}

func TestSetupThatBreaksOffIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	breaks := map[string]jirasim.Effect{
		"refused":     jirasim.Respond(http.StatusForbidden, `{"errorMessages":["no"],"errors":{}}`),
		"no answer":   jirasim.DropBefore(),
		"answer lost": jirasim.LoseAnswer(),
	}
	for name, effect := range breaks {
		for _, route := range []string{"field", "screens/{screen}/tabs/{tab}/fields"} {
			t.Run(name+" at "+route[:5], func(t *testing.T) {
				t.Parallel()
				onBoth(t, func(t *testing.T, d jirasim.Deployment) {
					server, s := planned(t, administeredJira(d, ownScreens))
					server.Inject(jirasim.Fault{Method: http.MethodPost, Endpoint: route, Times: 1, Effect: effect})
					_, err := apply(testContext(t), s)
					if name == "answer lost" {
						require.NoError(t, err, "the look after it shows that it is done")
					} else {
						require.ErrorContains(t, err, "by hand: ")
						require.NotEmpty(t, s.Steps())
						_, err = apply(testContext(t), s)
						require.NoError(t, err)
					}
					allHolds(t, s)
					connects(t, s)
					made := 0
					for _, c := range server.Calls() {
						if c.Route() == "POST field" && c.Fault != string("drop before") && c.Fault != "status" {
							made++
						}
					}
					require.Equal(t, 1, made, "one field")
				})
			})
		}
	}
}

func TestSetupSaysWhereJiraIsLost(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens))
	server.Inject(jirasim.Fault{Method: http.MethodPost, Endpoint: "field", Times: 1, Effect: jirasim.LoseAnswer()})
	server.Inject(
		jirasim.Fault{Method: http.MethodGet, Endpoint: "field", Skip: 1, Times: 1, Effect: jirasim.DropBefore()},
	)
	_, err := apply(testContext(t), s)
	require.ErrorContains(t, err, `create the custom field "teleportAccessRequestId"`)
	_, err = apply(testContext(t), s)
	require.NoError(t, err)
	allHolds(t, s)
	require.Equal(t, 1, server.CallCount("POST field"), "the one whose answer was lost is found")
}

func TestSetupEndsWhereJiraTakesAStepWithoutEffect(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens))
	server.Inject(
		jirasim.Fault{Method: http.MethodPost, Endpoint: "field", Effect: jirasim.Respond(http.StatusCreated, `{}`)},
	)
	_, err := apply(testContext(t), s)
	require.ErrorIs(t, err, errStillLacking)
}

func TestSetupSeesDuplicatesThatTwoMadeAtOnce(t *testing.T) {
	t.Parallel()
	server, s := planned(t, administeredJira(jirasim.Cloud, ownScreens))
	server.AddField(changed(textLine, func(f *jirasim.Field) { f.ID = "customfield_10700" }))
	server.AddField(changed(textLine, func(f *jirasim.Field) { f.ID = "customfield_10701" }))
	_, err := apply(testContext(t), s)
	require.NoError(t, err)
	require.Equal(t, sync.Fails, found(t, s, "jira.field").Condition)
	require.Contains(t, found(t, s, "jira.field").Found, "customfield_10700, customfield_10701")
	require.Empty(t, writes(server))
}
