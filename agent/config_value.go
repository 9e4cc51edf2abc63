package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
	"github.com/robfig/cron/v3"
)

// List is a comma-separated list. Space around the entries and empty entries do not count.
type List []string

// Decode implements envconfig.Decoder.
func (l *List) Decode(text string) error {
	*l = nil
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			*l = append(*l, entry)
		}
	}
	if len(*l) == 0 {
		return errors.New("must name at least one")
	}
	return nil
}

// Fields are fields of an issue as Jira's REST interface takes them: JSON values by field id.
// Numbers are json.Number, so that they are sent as they were written.
type Fields map[string]any

// Decode implements envconfig.Decoder.
func (f *Fields) Decode(text string) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var fields map[string]any
	if err := d.Decode(&fields); err != nil || fields == nil {
		return errors.New("must be a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("must be one JSON object with nothing after it")
	}
	*f = fields
	return nil
}

// Schedule is a parsed cron spec.
type Schedule struct {
	cron.Schedule
	spec string
}

// String returns the spec.
func (s Schedule) String() string { return s.spec }

// Interval is the time from one run to the next if that is always the same; ok is false otherwise.
func (s Schedule) Interval() (d time.Duration, ok bool) {
	every, ok := s.Schedule.(cron.ConstantDelaySchedule)
	return every.Delay, ok
}

// Decode implements envconfig.Decoder.
func (s *Schedule) Decode(text string) error {
	// cron would raise anything shorter, and even a negative one, to a second without saying so.
	if every, ok := strings.CutPrefix(text, "@every "); ok {
		if d, err := time.ParseDuration(every); err == nil && d < time.Second {
			return errors.New("must leave at least a second from one run to the next")
		}
	}
	// cron v3.0.1 panics on a time zone with nothing after it:
	// https://github.com/robfig/cron/issues/554
	if (strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=")) && !strings.Contains(text, " ") {
		return errors.New("must be a cron spec: there is nothing after the time zone")
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return fmt.Errorf("must be a cron spec (%w)", err)
	}
	if parsed.Next(time.Now()).IsZero() {
		return errors.New("must be a cron spec that comes due some day")
	}
	*s = Schedule{Schedule: parsed, spec: text}
	return nil
}

// decodeProblem says in an operator's words why text is no value for the setting. Errors of the
// types above are in such words already.
func decodeProblem(s *setting, text string, err error) string {
	is := ", is " + quote(text)
	switch s.field.Interface().(type) {
	case bool:
		return "must be true or false" + is
	case int:
		return "must be a whole number" + is
	case float64:
		return "must be a number" + is
	case time.Duration:
		return "must be a duration with its unit, such as 90s, 15m or 24h" + is
	}
	var parse *envconfig.ParseError
	if errors.As(err, &parse) {
		err = parse.Err
	}
	return err.Error() + is
}
