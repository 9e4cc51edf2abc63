package teleportsim

import (
	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protowire"
)

// ResourceAccess is a resource and what its use is narrowed to: an entry of
// RequestedResourceAccessIDs, which the client module does not know.
type ResourceAccess struct {
	ID types.ResourceID
	// Constraints are the bytes of a ResourceConstraints, as SSHLogins and AWSRoles make them; nil
	// for none.
	Constraints []byte
}

// Field numbers in AccessRequestSpecV3, ResourceAccessID and ResourceConstraints.
// https://github.com/gravitational/teleport/blob/4360df994235a5909aec73f9dd33685c40830df8/api/proto/teleport/legacy/types/types.proto
const (
	fieldResourceAccessIDs protowire.Number = 26

	fieldResource    protowire.Number = 1
	fieldConstraints protowire.Number = 2

	fieldVersion    protowire.Number = 1
	fieldAWSConsole protowire.Number = 10
	fieldSSH        protowire.Number = 11
)

// SSHLogins are constraints to these logins, in version v1.
func SSHLogins(logins ...string) []byte { return constraints(fieldSSH, logins) }

// AWSRoles are constraints to these roles of AWS, by their ARNs, in version v1.
func AWSRoles(arns ...string) []byte { return constraints(fieldAWSConsole, arns) }

func constraints(details protowire.Number, values []string) []byte {
	var list []byte
	for _, value := range values {
		list = appendField(list, 1, []byte(value))
	}
	return appendField(appendField(nil, fieldVersion, []byte("v1")), details, list)
}

func (r ResourceAccess) encode() []byte {
	var id []byte
	for i, text := range []string{r.ID.ClusterName, r.ID.Kind, r.ID.Name, r.ID.SubResourceName} {
		if text != "" {
			id = appendField(id, protowire.Number(i+1), []byte(text))
		}
	}
	entry := appendField(nil, fieldResource, id)
	if r.Constraints != nil {
		entry = appendField(entry, fieldConstraints, r.Constraints)
	}
	return appendField(nil, fieldResourceAccessIDs, entry)
}

func appendField(raw []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(raw, number, protowire.BytesType), value)
}
