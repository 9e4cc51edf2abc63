package teleport

import (
	"slices"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"teleport-jira-agent/integration/teleportsim"
	"teleport-jira-agent/sync"
)

func varintField(number protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), value)
}

func bytesField(number protowire.Number, value ...byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// resourceAccessID is a field 26 as a newer server writes it: a resource and what it is narrowed
// to.
func resourceAccessID() []byte {
	id := bytesField(1, bytesField(3, []byte("console")...)...)
	return bytesField(26, append(id, bytesField(2, bytesField(1, []byte("v1")...)...)...)...)
}

func TestOnlyTeleportApprovesWhatJiraCannotShow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spec []byte
		want string
	}{
		"nothing newer":                         {nil, ""},
		"undefined kind":                        {varintField(24, 0), ""},
		"short-term":                            {varintField(24, 1), ""},
		"enriched":                              {bytesField(23, 1, 2), ""},
		"short-term and enriched":               {slices.Concat(bytesField(23), varintField(24, 1)), ""},
		"long-term":                             {varintField(24, 2), longTerm},
		"long-term after short-term":            {slices.Concat(varintField(24, 1), varintField(24, 2)), longTerm},
		"grouped":                               {slices.Concat(varintField(24, 1), bytesField(25)), longTerm},
		"a kind of the future":                  {varintField(24, 3), unreadable},
		"a huge kind":                           {varintField(24, 1<<63), unreadable},
		"a kind that is no number":              {bytesField(24, 1), unreadable},
		"constrained resources":                 {slices.Concat(varintField(24, 1), resourceAccessID()), unreadable},
		"constrained and long-term":             {slices.Concat(resourceAccessID(), varintField(24, 2)), longTerm},
		"a field of the future":                 {varintField(27, 1), unreadable},
		"a distant field":                       {bytesField(5000, 1), unreadable},
		"a field of the past, of another type":  {varintField(1, 1), unreadable},
		"cut short in a tag":                    {[]byte{0xc0}, unreadable},
		"cut short in a value":                  {bytesField(23, 1, 2, 3)[:4], unreadable},
		"short-term, then cut short":            {append(varintField(24, 1), 0xff), unreadable},
		"no tag":                                {[]byte{0x00, 0x01}, unreadable},
		"the end of a group that never started": {[]byte{0xc4, 0x01}, unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := &types.AccessRequestV3{Spec: types.AccessRequestSpecV3{XXX_unrecognized: tc.spec}}
			require.Equal(t, tc.want, convert(in, "").OnlyInTeleport)
		})
	}
}

func onlyInTeleport(r types.AccessRequest) string {
	_, reason := details(r)
	return reason
}

func TestOnlyTeleportApprovesWhatHasNewerDetailsElsewhere(t *testing.T) {
	t.Parallel()
	resources := []types.ResourceID{
		{Kind: "node", Name: "a"},
		{Kind: "node", Name: "b", XXX_unrecognized: varintField(5, 1)},
	}
	require.Equal(t, unreadable, onlyInTeleport(&types.AccessRequestV3{XXX_unrecognized: varintField(6, 1)}))
	require.Equal(
		t,
		unreadable,
		onlyInTeleport(&types.AccessRequestV3{Spec: types.AccessRequestSpecV3{RequestedResourceIDs: resources}}),
	)
	require.Empty(
		t,
		onlyInTeleport(&types.AccessRequestV3{Spec: types.AccessRequestSpecV3{RequestedResourceIDs: resources[:1]}}),
	)
}

func FuzzUnknownFieldsAreReadOrRefused(f *testing.F) {
	f.Add(varintField(24, 1))
	f.Add(slices.Concat(bytesField(23, 1), varintField(24, 2), resourceAccessID()))
	f.Add(bytesField(26, append(bytesField(1), bytesField(2, teleportsim.SSHLogins("root")...)...)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		reason := readSpec(raw).reason
		require.Contains(t, []string{"", longTerm, unreadable}, reason)
		if reason == "" {
			require.Equal(t, unreadable, readSpec(slices.Concat(raw, varintField(27, 1))).reason, "what follows is read as well")
		}
	})
}

// The bytes of newer fields come through the list, the look-up by ID, the watch, and the
// simulation's own copies.
func TestNewerFieldsSurviveEveryWayToTheAgent(t *testing.T) {
	t.Parallel()
	server, c := cluster(t, teleportsim.Config{ServerVersion: "18.11.0"})
	w := open(t, c)
	want := map[string]string{
		file(t, server, teleportsim.Request{Approvals: 2}):                                          "",
		file(t, server, teleportsim.Request{Approvals: 2, Kind: teleportsim.LongTerm}):              longTerm,
		file(t, server, teleportsim.Request{Approvals: 2, Unknown: resourceAccessID()}):             unreadable,
		file(t, server, teleportsim.Request{Approvals: 2, Unknown: bytesField(23, []byte("x")...)}): "",
	}
	check := func(r sync.Request) {
		t.Helper()
		require.Contains(t, want, r.ID)
		require.Equal(t, want[r.ID], r.OnlyInTeleport)
		require.Equal(t, 2, r.ApprovalsNeeded)
	}
	for range want {
		event, err := w.Next(soon(t))
		require.NoError(t, err)
		check(*event.Request)
	}
	count, _ := list(t, c, check)
	require.Equal(t, len(want), count)
	for id := range want {
		require.NotEmpty(t, server.Request(id).Spec.XXX_unrecognized)
		require.NoError(t, server.Review(id, "bob", true, ""))
		r, err := c.Request(soon(t), id)
		require.NoError(t, err)
		check(r)
	}
}
