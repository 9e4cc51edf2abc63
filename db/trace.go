package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// StatementInfo describes one statement, for metrics.
type StatementInfo struct {
	Err      error
	Duration time.Duration // from sending to the end of the answer, waits for locks included
}

// statementTracer tells of each statement that a connection runs, those that begin and end transactions included.
type statementTracer func(StatementInfo)

type statementStart struct{}

// TraceQueryStart implements pgx.QueryTracer.
func (statementTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, statementStart{}, time.Now())
}

// TraceQueryEnd implements pgx.QueryTracer.
func (tell statementTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if start, ok := ctx.Value(statementStart{}).(time.Time); ok {
		tell(StatementInfo{Err: data.Err, Duration: time.Since(start)})
	}
}
