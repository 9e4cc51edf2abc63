package teleport

import (
	"slices"

	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protowire"
)

// Reasons not to approve a request from Jira.
const (
	longTerm   = "it asks for long-term access"
	unreadable = "it has details that this release cannot read"
)

// Fields of AccessRequestSpecV3 that are newer than this client. It keeps their bytes unread
// (XXX_unrecognized). Source: api/proto/teleport/legacy/types/types.proto of gravitational/teleport
// at 4360df994235a5909aec73f9dd33685c40830df8.
const (
	fieldDryRunEnrichment  protowire.Number = 23 // only in the answer to a dry run, which is never stored
	fieldRequestKind       protowire.Number = 24 // AccessRequestKind
	fieldLongTermGrouping  protowire.Number = 25 // set on long-term requests
	fieldResourceAccessIDs protowire.Number = 26 // see constraints.go
)

// The values of AccessRequestKind. Newer servers set one on every request.
const (
	kindUndefined uint64 = 0
	kindShortTerm uint64 = 1
	kindLongTerm  uint64 = 2
)

// details are the resources that the request names, in words, and why it must not be approved from
// Jira, where people would not see what they grant: a long-term request is meant to be answered
// with membership in an access list, and what this client cannot read it cannot show. Empty when
// there is no reason.
func details(r types.AccessRequest) (resources []string, onlyInTeleport string) {
	v3, ok := r.(*types.AccessRequestV3)
	if !ok {
		return nil, unreadable
	}
	for _, id := range v3.Spec.RequestedResourceIDs {
		resources = append(resources, resourceText(id))
	}
	newer := readSpec(v3.Spec.XXX_unrecognized)
	if len(newer.resources) > 0 { // then Teleport goes by them alone
		resources = newer.resources
	}
	if newer.reason == "" && (len(v3.XXX_unrecognized) > 0 || anyUnknown(v3.Spec.RequestedResourceIDs)) {
		newer.reason = unreadable
	}
	return resources, newer.reason
}

// spec is what the newer fields of a request say.
type spec struct {
	resources []string
	reason    string // not to approve it from Jira
}

// object notes a reason. That a request is long-term says more than that some of it cannot be read.
func (s *spec) object(reason string) {
	if s.reason != longTerm && reason != "" {
		s.reason = reason
	}
}

func readSpec(raw []byte) spec {
	var s spec
	whole := eachField(raw, func(f field) {
		switch f.number {
		case fieldDryRunEnrichment:
		case fieldLongTermGrouping:
			s.object(longTerm)
		case fieldRequestKind:
			s.object(f.objectionToKind())
		case fieldResourceAccessIDs:
			text, readable := accessText(f)
			if !readable {
				s.object(unreadable)
			}
			s.resources = append(s.resources, text)
		default:
			s.object(unreadable)
		}
	})
	if !whole {
		s.object(unreadable)
	}
	return s
}

// objectionToKind is what the request's kind says against an approval from Jira.
func (f field) objectionToKind() string {
	if f.wire != protowire.VarintType {
		return unreadable
	}
	switch kind, _ := protowire.ConsumeVarint(f.value); kind {
	case kindUndefined, kindShortTerm:
		return ""
	case kindLongTerm:
		return longTerm
	default:
		return unreadable
	}
}

// anyUnknown reports whether a resource is described by more than this client reads.
func anyUnknown(resources []types.ResourceID) bool {
	return slices.ContainsFunc(resources, func(r types.ResourceID) bool { return len(r.XXX_unrecognized) > 0 })
}

// field is one field of a message that the client module does not know.
type field struct {
	number protowire.Number
	wire   protowire.Type
	value  []byte
}

// bytes are the field's content; ok is false where it has none of its own, as a number.
func (f field) bytes() (content []byte, ok bool) {
	if f.wire != protowire.BytesType {
		return nil, false
	}
	content, n := protowire.ConsumeBytes(f.value)
	return content, n >= 0
}

// eachField calls see for each field of raw. It reports whether all of raw could be read.
func eachField(raw []byte, see func(field)) (whole bool) {
	for len(raw) > 0 {
		number, wire, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return false
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(number, wire, raw); n < 0 {
			return false
		}
		see(field{number: number, wire: wire, value: raw[:n]})
		raw = raw[n:]
	}
	return true
}
