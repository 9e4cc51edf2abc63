package teleport

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

func TestTheRemedyOfARefusedConnectionNamesItsCause(t *testing.T) {
	t.Parallel()
	const rotated = "user CA was rotated"
	for name, tc := range map[string]struct {
		err    error
		remedy string
	}{
		"closed early":  {errors.New("no way to connect: write: broken pipe"), rotated},
		"an unknown CA": {errors.New("remote error: tls: unknown certificate authority"), rotated},
		"a lock":        {remote(codes.PermissionDenied, "access denied"), "tctl get locks"},
		"a named lock":  {remote(codes.PermissionDenied, `lock targeting User:"jira-agent" is in force`), "tctl get locks"},
		"no user":       {remote(codes.NotFound, "access denied\n\tuser \"jira-agent\" not found"), "user.yaml"},
		"no role":       {remote(codes.NotFound, "access denied\n\trole jira-agent is not found"), "role.yaml"},
		"nobody there":  {errors.New("connection refused"), "TELEPORT_ADDR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := classify(t.Context(), "connect to x", wholeSide, tc.err)
			require.Contains(t, dialRemedy(Config{Addr: "teleport.example.com:443"}, err), tc.remedy)
			if tc.remedy != "TELEPORT_ADDR" && tc.remedy != rotated {
				require.Contains(t, refusalRemedy(classify(t.Context(), "access denied", lookUp, tc.err), "the rule"), tc.remedy)
			}
		})
	}
}
