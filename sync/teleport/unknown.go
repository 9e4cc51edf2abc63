package teleport

import (
	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protowire"
)

// Reasons not to approve a request from Jira.
const (
	longTerm   = "it asks for long-term access"
	unreadable = "it has details that this release cannot read"
)

// Fields of AccessRequestSpecV3 that are newer than this client. It keeps their bytes unread (XXX_unrecognized).
// Source: api/proto/teleport/legacy/types/types.proto of gravitational/teleport at 4360df994235a5909aec73f9dd33685c40830df8.
const (
	fieldDryRunEnrichment protowire.Number = 23 // only in the answer to a dry run, which is never stored
	fieldRequestKind      protowire.Number = 24 // AccessRequestKind
	fieldLongTermGrouping protowire.Number = 25 // set on long-term requests
)

// The values of AccessRequestKind. Newer servers set one on every request.
const (
	kindUndefined uint64 = 0
	kindShortTerm uint64 = 1
	kindLongTerm  uint64 = 2
)

// onlyInTeleport is why the request must not be approved from Jira, where people would not see what they grant: a long-term request is
// meant to be answered with membership in an access list, and what this client cannot read it cannot show. Empty when there is no reason.
func onlyInTeleport(r types.AccessRequest) string {
	v3, ok := r.(*types.AccessRequestV3)
	if !ok {
		return unreadable
	}
	reason := readSpec(v3.Spec.XXX_unrecognized)
	if reason == "" && (len(v3.XXX_unrecognized) > 0 || anyUnknown(v3.Spec.RequestedResourceIDs)) {
		return unreadable
	}
	return reason
}

// readSpec reads the newer fields of a request. That it is long-term says more than that some of it cannot be read.
func readSpec(raw []byte) string {
	reason := ""
	for len(raw) > 0 {
		number, wire, value, rest, ok := nextField(raw)
		if !ok {
			return unreadable
		}
		raw = rest
		switch objection(number, wire, value) {
		case longTerm:
			return longTerm
		case unreadable:
			reason = unreadable
		}
	}
	return reason
}

// nextField takes the first field off raw.
func nextField(raw []byte) (number protowire.Number, wire protowire.Type, value, rest []byte, ok bool) {
	number, wire, n := protowire.ConsumeTag(raw)
	if n < 0 {
		return 0, 0, nil, nil, false
	}
	raw = raw[n:]
	if n = protowire.ConsumeFieldValue(number, wire, raw); n < 0 {
		return 0, 0, nil, nil, false
	}
	return number, wire, raw[:n], raw[n:], true
}

// objection is what one newer field says against an approval from Jira.
func objection(number protowire.Number, wire protowire.Type, value []byte) string {
	switch number {
	case fieldDryRunEnrichment:
		return ""
	case fieldLongTermGrouping:
		return longTerm
	case fieldRequestKind:
		if wire != protowire.VarintType {
			return unreadable
		}
		switch kind, _ := protowire.ConsumeVarint(value); kind {
		case kindUndefined, kindShortTerm:
			return ""
		case kindLongTerm:
			return longTerm
		default:
			return unreadable
		}
	default: // 26 are resources with constraints (RequestedResourceAccessIDs), which leave RequestedResourceIDs empty
		return unreadable
	}
}

// anyUnknown reports whether a resource is described by more than this client reads.
func anyUnknown(resources []types.ResourceID) bool {
	for _, r := range resources {
		if len(r.XXX_unrecognized) > 0 {
			return true
		}
	}
	return false
}
