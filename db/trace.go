package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// StatementInfo describes one statement, or several that were sent at once, for metrics.
type StatementInfo struct {
	Err      error
	Duration time.Duration // from sending to the end of the answer, waits for locks included
}

// statementTracer tells of each statement that a connection runs, those that begin and end
// transactions included, and of each batch.
type statementTracer func(StatementInfo)

type statementStart struct{}

// TraceQueryStart implements pgx.QueryTracer.
func (statementTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, statementStart{}, time.Now())
}

// TraceQueryEnd implements pgx.QueryTracer.
func (tell statementTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	tell.ended(ctx, data.Err)
}

// TraceBatchStart implements pgx.BatchTracer.
func (statementTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return context.WithValue(ctx, statementStart{}, time.Now())
}

// TraceBatchQuery implements pgx.BatchTracer.
func (statementTracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (tell statementTracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	tell.ended(ctx, data.Err)
}

func (tell statementTracer) ended(ctx context.Context, err error) {
	if start, ok := ctx.Value(statementStart{}).(time.Time); ok {
		tell(StatementInfo{Err: err, Duration: time.Since(start)})
	}
}
