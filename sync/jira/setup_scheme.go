package jira

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// This file is about field schemes, by which newer Cloud sites say in which projects, and for which
// issue types, a field is. A site that has none answers 404.
// https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-field-schemes/

// schemeSight is whether the project's field scheme holds the field, for the issue type.
type schemeSight struct {
	id     int64
	covers answerOf
	types  []int64 // the issue types that it is limited to; nil: none
}

func (c *Client) schemeOf(ctx context.Context, fieldID string, seen sight) (schemeSight, error) {
	r := request{
		op: "read the field scheme of project " + c.cfg.Project, method: http.MethodGet,
		endpoint: "config/fieldschemes/projects", query: url.Values{"projectId": {seen.project.ID}},
	}
	schemes, err := readPages[struct {
		ID int64 `json:"schemeId"`
	}](ctx, c, r)
	if codeOf(err) != 0 {
		return schemeSight{}, nil // Jira calls it experimental: what it refuses stays unknown
	}
	if err != nil || len(schemes) == 0 || schemes[0].ID == 0 {
		return schemeSight{}, err
	}
	s := schemeSight{id: schemes[0].ID, covers: no}
	r.endpoint, r.vars = "config/fieldschemes/{scheme}/fields", map[string]string{"scheme": strconv.FormatInt(s.id, 10)}
	r.query = url.Values{"fieldId": {fieldID}}
	fields, err := readPages[struct {
		ID    string            `json:"fieldId"`
		Types []json.RawMessage `json:"restrictedToWorkTypes"` // numbers, with or without quotation marks
	}](ctx, c, r)
	for _, f := range fields {
		if f.ID != fieldID {
			continue
		}
		for _, t := range f.Types {
			s.types = append(s.types, numeric(strings.Trim(string(t), `"`)))
		}
		if len(f.Types) == 0 || slices.Contains(s.types, numeric(seen.kind.ID)) {
			s.covers = yes
		}
	}
	if codeOf(err) != 0 {
		return schemeSight{}, nil
	}
	return s, err
}

// schemeSteps let the project's field scheme hold the field: for all issue types, or for this one
// beside those that it is limited to.
func (s *Setup) schemeSteps(field fieldJSON) []Step {
	scheme := s.seen.scheme
	if scheme.covers != no {
		return nil
	}
	item := map[string]any{"schemeIds": []int64{scheme.id}}
	if len(scheme.types) > 0 {
		item["restrictedToWorkTypes"] = append(slices.Clone(scheme.types), numeric(s.seen.kind.ID))
	}
	what := fmt.Sprintf("let the field scheme of project %s hold the custom field %q", s.seen.project.Key, field.Name)
	return []Step{{
		Check: checkContext, What: what, ByToken: s.administered(), ByHand: s.clicks().addToScheme(),
		do: func(ctx context.Context) error {
			return s.c.change(ctx, request{
				op: what, method: http.MethodPut, endpoint: "config/fieldschemes/fields",
				body: map[string]any{field.ID: []any{item}},
			})
		},
	}}
}
