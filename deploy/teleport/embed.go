// Package teleport holds the resources that the agent needs in Teleport, and configurations of
// tbot, as `setup` prints them.
package teleport

import "embed"

// Files are role-state.yaml and so on.
//
//go:embed *.yaml
var Files embed.FS
