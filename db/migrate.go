package db

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/tern/v2/migrate"
	"go.uber.org/zap"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable holds the number of the last migration, beside the tables themselves in the first
// schema of the search path.
const versionTable = "agent_schema_version"

// querier is a connection, a pool or a transaction.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

// frozenMigrator is after how long PostgreSQL ends the session of a process that stood still amid a
// migration, and so frees the lock for the next.
const frozenMigrator = time.Minute

// Migrate brings the schema up to date. Replicas may do so at once: the first one does it under a
// lock, the others wait. The error is ErrNewerSchema if a later release was here before. A schema
// that is up to date is only read.
func (d *DB) Migrate(ctx context.Context) error {
	return failure("migrate the database", d.migrate(ctx))
}

func (d *DB) migrate(ctx context.Context) error {
	conn, err := dedicated(ctx, d.config.URL(), d.config.Instance, func(settings *pgx.ConnConfig) {
		// As start-up parameters they outlive the RESET ALL after each migration.
		settings.RuntimeParams["idle_session_timeout"] = fmt.Sprint(frozenMigrator.Milliseconds())
		settings.RuntimeParams["idle_in_transaction_session_timeout"] = fmt.Sprint(frozenMigrator.Milliseconds())
	})
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // all that matters is committed

	files, newest, err := embedded()
	if err != nil {
		return err
	}
	if version, err := schemaVersion(ctx, conn); err != nil || version == newest {
		return err
	} else if version > newest {
		return fmt.Errorf("%w (its version is %d, this program's %d)", ErrNewerSchema, version, newest)
	}

	migrator, err := migrate.NewMigrator(ctx, conn, versionTable)
	if err != nil {
		return err
	}
	if err := migrator.LoadMigrations(files); err != nil {
		return err
	}
	migrator.OnStart = func(version int32, name, _, _ string) {
		d.config.Log.Info("migrating the database", zap.Int32("version", version), zap.String("migration", name))
	}
	err = migrator.Migrate(ctx)
	var outside migrate.BadVersionError
	if errors.As(err, &outside) { // a newer release was quicker, between the look above and the lock
		return fmt.Errorf("%w: %w", ErrNewerSchema, err)
	}
	return err
}

// embedded are this program's migrations, and the number of the last.
func embedded() (files fs.FS, newest int32, err error) {
	if files, err = fs.Sub(migrations, "migrations"); err != nil {
		return nil, 0, err
	}
	names, err := migrate.FindMigrations(files)
	return files, int32(len(names)), err //nolint:gosec // no program embeds 2^31 files
}

// schemaVersion is the number of the last migration, zero for an empty database.
func schemaVersion(ctx context.Context, conn querier) (version int32, err error) {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", versionTable).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	err = conn.QueryRow(ctx, "SELECT version FROM "+versionTable).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return version, err
}
