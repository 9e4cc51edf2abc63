package sync

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecentBelievesAnAnswerForItsAge(t *testing.T) {
	t.Parallel()
	r := NewRecent[string](10, time.Minute)
	_, ok := r.Get("bob", noon)
	require.False(t, ok)
	r.Put("bob", "staff", noon)
	answer, ok := r.Get("bob", noon.Add(time.Minute-time.Nanosecond))
	require.True(t, ok)
	require.Equal(t, "staff", answer)
	_, ok = r.Get("bob", noon.Add(time.Minute))
	require.False(t, ok)
	_, ok = r.Get("eve", noon)
	require.False(t, ok)
}

func TestRecentKeepsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	r := NewRecent[int](10, time.Minute)
	for i := range 31 {
		r.Put(fmt.Sprint(i), i, noon)
		require.LessOrEqual(t, len(r.kept), 10)
	}
	answer, ok := r.Get("30", noon)
	require.True(t, ok)
	require.Equal(t, 30, answer)
}
