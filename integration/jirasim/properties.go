package jirasim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf16"
)

// Bounds of an entity property:
// https://developer.atlassian.com/cloud/jira/platform/jira-entity-properties/
const (
	maxPropertyKey   = 255
	maxPropertyValue = 32768
)

func checkProperties(given []property) (map[string]json.RawMessage, error) {
	properties := map[string]json.RawMessage{}
	for _, p := range given {
		if err := checkProperty(p.Key, p.Value); err != nil {
			return nil, err
		}
		properties[p.Key] = p.Value
	}
	return properties, nil
}

func checkProperty(key string, value []byte) error {
	switch {
	case key == "" || len(key) > maxPropertyKey:
		return refuse(
			http.StatusBadRequest,
			"The length of the property key must be between 1 and %d characters.",
			maxPropertyKey,
		)
	case len(value) == 0 || !json.Valid(value):
		return refuse(http.StatusBadRequest, "The property value must be a valid JSON.")
	case len(utf16.Encode([]rune(string(value)))) > maxPropertyValue:
		return refuse(http.StatusBadRequest, "The property value cannot be longer than %d characters.", maxPropertyValue)
	}
	return nil
}

func (s *Server) getProperties(q *request) (answer, error) {
	r, err := s.visible(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	keys := make([]any, 0, len(r.now.Properties))
	for _, p := range propertyList(r.now.Properties) {
		keys = append(keys, object{"key": p.Key, "self": s.self(q, fmt.Sprintf("issue/%s/properties/%s", r.now.ID, p.Key))})
	}
	return answer{status: http.StatusOK, body: object{"keys": keys}}, nil
}

func (s *Server) getProperty(q *request) (answer, error) {
	r, err := s.visible(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	key := q.vars["property"]
	value, ok := r.now.Properties[key]
	if !ok {
		return answer{}, refuse(http.StatusNotFound, "The property with key '%s' does not exist.", key)
	}
	return answer{status: http.StatusOK, body: property{Key: key, Value: value}}, nil
}

func (s *Server) putProperty(q *request) (answer, error) {
	r, err := s.writable(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	if err := may(q.user, EditIssues, "edit issues in this project"); err != nil {
		return answer{}, err
	}
	key := q.vars["property"]
	if err := checkProperty(key, q.body); err != nil {
		return answer{}, err
	}
	_, existed := r.now.Properties[key]
	s.setProperty(r, key, slices.Clone(q.body))
	if existed {
		return answer{status: http.StatusOK}, nil
	}
	return answer{status: http.StatusCreated}, nil
}

func (s *Server) deleteProperty(q *request) (answer, error) {
	r, err := s.writable(q.user, q.vars["issue"])
	if err != nil {
		return answer{}, err
	}
	if err := may(q.user, EditIssues, "edit issues in this project"); err != nil {
		return answer{}, err
	}
	key := q.vars["property"]
	if _, ok := r.now.Properties[key]; !ok {
		return answer{}, refuse(http.StatusNotFound, "The property with key '%s' does not exist.", key)
	}
	s.setProperty(r, key, nil)
	return answer{status: http.StatusNoContent}, nil
}

// setProperty sets a property, or with nil deletes it. The issue does not count as updated.
func (s *Server) setProperty(r *record, key string, value json.RawMessage) {
	next := r.now.clone()
	next.Properties[key] = value
	if value == nil {
		delete(next.Properties, key)
	}
	s.put(r, next)
}
