package sync

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recordedForm is what the database keeps of a request, with all times in UTC as both adapters give
// them.
func recordedForm(t *testing.T, r Request) string {
	t.Helper()
	inUTC(reflect.ValueOf(&r).Elem())
	text, err := json.Marshal(r)
	require.NoError(t, err)
	return string(text)
}

// inUTC puts every time in a value into UTC, also those of a list's items, which it copies first.
func inUTC(v reflect.Value) {
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = at.UTC()
		return
	case *[]Review:
		*at = append([]Review(nil), *at...)
	}
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			inUTC(v.Field(i))
		}
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			inUTC(v.Index(i))
		}
	}
}

// vary calls try after each smallest change of a value, and puts it back: another text, number or
// time; a list empty, shorter, longer, and in each of its items. It fails on a type that it does
// not know how to change, such as that of a field that is new.
func vary(t *testing.T, path string, v reflect.Value, try func(path string)) {
	t.Helper()
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	change := func(what string, to any) {
		v.Set(reflect.ValueOf(to).Convert(v.Type()))
		try(path + what)
		v.Set(was)
	}
	if at, ok := v.Interface().(time.Time); ok {
		change(" a nanosecond later", at.Add(time.Nanosecond))
		change(" in another zone", at.In(time.FixedZone("somewhere", 2*3600)))
		change(" zero", time.Time{})
		return
	}
	switch v.Kind() {
	case reflect.String:
		change(" empty", "")
		change(" other", v.String()+"é")
	case reflect.Int:
		change(" other", v.Int()+1)
	case reflect.Struct:
		for i := range v.NumField() {
			vary(t, path+"."+v.Type().Field(i).Name, v.Field(i), try)
		}
	case reflect.Slice:
		change(" nil", reflect.Zero(v.Type()).Interface())
		change(" empty", reflect.MakeSlice(v.Type(), 0, 0).Interface())
		change(" longer", reflect.Append(v, reflect.Zero(v.Type().Elem())).Interface())
		for i := range v.Len() {
			copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(copied, v)
			v.Set(copied)
			vary(t, path+"[]", v.Index(i), try)
			v.Set(was)
		}
	default:
		t.Fatalf("%s is of a kind that this test cannot change: %s", path, v.Kind())
	}
}

func TestRequestsAreEqualAsTheirRecordsAre(t *testing.T) {
	t.Parallel()
	full := ordinaryRequest()
	full.ApprovalsNeeded, full.OnlyInTeleport, full.ResolveReason, full.PromotedTo = 2, "it asks for long-term "+
		"access", "because", "Database people"
	full.GrantedRoles, full.StartsAt, full.EndsAt = []string{"reader"}, full.Created, full.AccessExpires
	full.Reviews[0].Reason = "looks good"
	empty := Request{Roles: []string{}, Reviews: []Review{}}
	seen := make(map[bool]int)
	for name, base := range map[string]Request{"full": full, "ordinary": ordinaryRequest(), "empty": empty, "zero": {}} {
		changed := base
		vary(t, name, reflect.ValueOf(&changed).Elem(), func(path string) {
			same := recordedForm(t, base) == recordedForm(t, changed)
			seen[same]++
			require.Equal(t, same, equalRequests(base, changed), path)
			require.Equal(t, same, equalRequests(changed, base), path)
		})
		require.Equal(t, base, changed, "each change was taken back")
	}
	require.Greater(t, seen[false], 60, "changes that a record shows")
	require.Greater(t, seen[true], 20, "changes of form alone")
}

func FuzzRequestsAreEqualAsTheirRecordsAre(f *testing.F) {
	f.Add("alice", "db", "why", "", int64(1), int64(2), uint8(0), uint8(3))
	f.Add("alice", "", "", "bob", int64(0), int64(0), uint8(7), uint8(255))
	f.Fuzz(func(t *testing.T, one, two, three, four string, at, until int64, left, right uint8) {
		a, b := clumsyRequest(one, two, three, four, at, until, left), clumsyRequest(one, two, three, four, at, until, right)
		require.Equal(t, recordedForm(t, a) == recordedForm(t, b), equalRequests(a, b))
	})
}

// clumsyRequest is one of 256 requests made of the same few values, many of which say the same in
// another form.
func clumsyRequest(one, two, three, four string, at, until int64, how uint8) Request {
	chosen := func(bit int) bool { return how>>bit&1 == 1 }
	// Adapters replace what is no UTF-8 before a request comes here, since no record holds it.
	one, two, three, four = valid(one), valid(two), valid(three), valid(four)
	r := Request{
		ID:      one,
		User:    two,
		Reason:  three,
		Roles:   []string{four},
		Created: time.Unix(at%1e9, until).UTC(),
		Expires: time.Unix(until%1e9, at).UTC(),
	}
	if chosen(0) {
		r.Resources = []string{}
	}
	if chosen(1) {
		r.Created = r.Created.In(time.FixedZone("somewhere", -3*3600))
	}
	if chosen(2) {
		r.User, r.Reason = r.Reason, r.User
	}
	if chosen(3) {
		r.Reviews = []Review{{Author: one, Verdict: RequestState(two), Reason: three, Created: r.Expires}}
	}
	if chosen(4) {
		r.Reviews = append(r.Reviews, Review{Author: four, Created: r.Created.Local()})
	}
	if chosen(5) {
		r.Roles = append([]string{}, one, two)
	}
	if chosen(6) {
		r.Expires = time.Time{}
	}
	if chosen(7) {
		r.SuggestedReviewers = append(r.SuggestedReviewers, four)
	}
	return r
}

func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
