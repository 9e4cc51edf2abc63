package jirasim

import (
	"fmt"
	"net/http"
	"strings"
)

// Refusal is Jira's answer to what it does not do. The Go API for people returns it too.
type Refusal struct {
	Status   int
	Messages []string
	Fields   map[string]string // by field id
	header   http.Header
	body     object // in place of Jira's own form, where a gateway before it answers
}

func (r *Refusal) Error() string {
	parts := append([]string{}, r.Messages...)
	for field, message := range r.Fields {
		parts = append(parts, field+": "+message)
	}
	return fmt.Sprintf("jira refuses (%d): %s", r.Status, strings.Join(parts, "; "))
}

func refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Messages: []string{fmt.Sprintf(format, args...)}}
}

func refuseFields(fields map[string]string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Fields: fields}
}

func refuseField(field, format string, args ...any) *Refusal {
	return refuseFields(map[string]string{field: fmt.Sprintf(format, args...)})
}

func (r *Refusal) answer() answer {
	messages, fields := r.Messages, r.Fields
	if messages == nil {
		messages = []string{}
	}
	if fields == nil {
		fields = map[string]string{}
	}
	if r.body != nil {
		return answer{status: r.Status, header: r.header, body: r.body}
	}
	return answer{status: r.Status, header: r.header, body: object{"errorMessages": messages, "errors": fields}}
}
