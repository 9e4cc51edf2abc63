package teleport

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

func TestTheRemedyOfARefusedConnectionNamesItsCause(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err    error
		remedy string
	}{
		"closed while the client still wrote": {errors.New("no way to connect: write tcp 1.2.3.4:1->5.6.7.8:3025: write: broken pipe"), "user CA was rotated"},
		"an authority that is not known":      {errors.New("remote error: tls: unknown certificate authority"), "user CA was rotated"},
		"a lock":                              {remote(codes.PermissionDenied, "access denied"), "tctl get locks"},
		"a lock that is named":                {remote(codes.PermissionDenied, `lock targeting User:"jira-agent" is in force`), "tctl get locks"},
		"no user":                             {remote(codes.NotFound, "access denied\n\tuser \"jira-agent\" not found"), "user.yaml"},
		"no role":                             {remote(codes.NotFound, "access denied\n\trole jira-agent is not found"), "role.yaml"},
		"nobody there":                        {errors.New("connection refused"), "TELEPORT_ADDR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, dialRemedy(Config{Addr: "teleport.example.com:443"}, classify(t.Context(), "connect to x", wholeSide, tc.err)), tc.remedy)
			if tc.remedy != "TELEPORT_ADDR" && tc.remedy != "user CA was rotated" {
				require.Contains(t, refusalRemedy(classify(t.Context(), "access denied", lookUp, tc.err), "the rule"), tc.remedy)
			}
		})
	}
}
