package sync

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// conditionStore takes conditions, and hangs while it is told to.
type conditionStore struct {
	Store
	hangs bool
	told  []string
}

func (s *conditionStore) Condition(ctx context.Context, loop, problem string) error {
	if s.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	s.told = append(s.told, loop+": "+problem)
	return nil
}

func TestConditionsAreToldWhenTheyChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, told := &conditionStore{}, &conditions{}
		record := func(loop string, err error) { told.record(t.Context(), store, loop, err) }
		for range 3 {
			record(LoopPoll, nil)
			record(LoopSweep, nil)
		}
		for range 3 {
			record(LoopPoll, errors.New("down"))
			record(LoopPoll, errors.New("down, in other words"))
		}
		require.Equal(t, []string{"jira poll: ", "sweep: ", "jira poll: down"}, store.told)
		time.Sleep(retellEvery)
		record(LoopPoll, errors.New("down, in other words"))
		record(LoopPoll, nil)
		require.Equal(t, []string{"jira poll: down, in other words", "jira poll: "}, store.told[3:])

		store.hangs = true
		record(LoopPoll, errors.New("down again"))
		store.hangs = false
		record(LoopPoll, errors.New("down again"))
		require.Equal(t, []string{"jira poll: down again"}, store.told[5:], "what could not be told is told the next time")
	})
}

func TestADatabaseThatHangsKeepsNoLoopFromTellingOfItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{Store: &conditionStore{hangs: true}, Health: NewHealth(), Log: zap.NewNop()}
		e.Health.Set(LoopPoll, nil)
		start, done := time.Now(), make(chan struct{})
		loops := []string{LoopPoll, LoopSweep, LoopList, LoopWatch, LoopWork}
		for _, loop := range loops {
			go func() {
				e.condition(t.Context(), loop, errors.New("no answer"))
				done <- struct{}{}
			}()
		}
		synctest.Wait()
		require.Len(t, e.Health.Problems(), len(loops), "readiness does not wait for the database")
		for range loops {
			<-done
		}
		require.Equal(t, conditionTime, time.Since(start), "they do not wait for each other")
	})
}
