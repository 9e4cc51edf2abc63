package teleport

import (
	"strconv"
	"strings"

	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protowire"
)

// Newer clusters name resources in RequestedResourceAccessIDs, each with what its use is narrowed
// to, and go by that alone when it is there. Source: the file that unknown.go names, and
// rfd/0228-resource-access-requests-with-constraints.md there.
const (
	// Of ResourceAccessID.
	fieldResource    protowire.Number = 1 // ResourceID
	fieldConstraints protowire.Number = 2 // ResourceConstraints
	// Of ResourceConstraints. The details are a oneof, of which newer versions have more.
	fieldVersion    protowire.Number = 1
	fieldAWSConsole protowire.Number = 10 // 1: role_arns
	fieldSSH        protowire.Number = 11 // 1: logins

	constraintsVersion = "v1"

	// fieldValues is the list of values in the details of each kind.
	fieldValues protowire.Number = 1
)

// maxConstraint bounds what is shown of the constraints of one resource, in bytes. Longer ones
// count as unread, since an issue would show them cut off.
const maxConstraint = 1500

// unreadConstraints stands beside a resource whose constraints cannot be shown.
const unreadConstraints = "narrowed in a way that this release cannot read"

// accessText is one entry of RequestedResourceAccessIDs in words: "/prod/node/web (SSH logins:
// root, ubuntu)". readable is false where it says more than that.
func accessText(entry field) (text string, readable bool) {
	var resource types.ResourceID
	var constraints []byte
	constrained, resources := false, 0
	content, readable := entry.bytes()
	whole := eachField(content, func(f field) {
		part, isMessage := f.bytes()
		switch {
		case f.number == fieldResource && isMessage && resources == 0:
			resources++
			readable = readable && resource.Unmarshal(part) == nil && len(resource.XXX_unrecognized) == 0
		case f.number == fieldConstraints && isMessage && !constrained:
			constrained, constraints = true, part
		default:
			readable = false
		}
	})
	readable = readable && whole && resources == 1
	text = resourceText(resource)
	if !constrained {
		return text, readable
	}
	words, shown := constraintsText(constraints)
	if !shown {
		words = unreadConstraints
	}
	return text + " (" + words + ")", readable && shown
}

// constraintsText is what a resource's use is narrowed to, in words: "AWS roles: arn:…".
func constraintsText(raw []byte) (text string, readable bool) {
	var version, label string
	var values []string
	readable = true
	whole := eachField(raw, func(f field) {
		content, isBytes := f.bytes()
		kind := map[protowire.Number]string{fieldAWSConsole: "AWS roles", fieldSSH: "SSH logins"}[f.number]
		switch {
		case f.number == fieldVersion && isBytes && version == "":
			version = string(content)
		case kind != "" && isBytes && label == "":
			var known bool
			label = kind
			values, known = readValues(content)
			readable = readable && known
		default:
			readable = false
		}
	})
	text = label + ": " + strings.Join(values, ", ")
	return text, readable && whole && version == constraintsVersion && len(values) > 0 && len(text) <= maxConstraint
}

// readValues are the values of a list, each so that it cannot be read as two or as the end of the
// list.
func readValues(raw []byte) (values []string, readable bool) {
	readable = true
	whole := eachField(raw, func(f field) {
		content, isBytes := f.bytes()
		if f.number != fieldValues || !isBytes {
			readable = false
			return
		}
		value := clean(string(content))
		if value == "" || strings.ContainsAny(value, `,()" `) {
			value = strconv.Quote(value)
		}
		values = append(values, value)
	})
	return values, readable && whole
}

// resourceText is "/cluster/kind/name[/sub]". An ID that could be read as one with constraints
// beside it is quoted.
func resourceText(id types.ResourceID) string {
	text := clean(types.ResourceIDToString(id))
	if strings.Contains(text, "(") {
		return strconv.Quote(text)
	}
	return text
}
