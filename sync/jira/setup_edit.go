package jira

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"teleport-jira-agent/sync"
)

// editOffers reports whether the edit screen shows the field, by the newest issue of the type: all
// that Jira tells of it to those who do not administer it. An issue that the account may not edit
// shows no field, and tells nothing.
func (c *Client) editOffers(ctx context.Context, fieldID, typeID string) (answerOf, error) {
	r := request{
		op: "find an issue of project " + c.cfg.Project, method: http.MethodPost, endpoint: "search", scope: sync.ScopeSide,
		body: map[string]any{
			"jql":    fmt.Sprintf("project = %s AND issuetype = %s ORDER BY created DESC", quoted(c.cfg.Project), typeID),
			"fields": []string{"status"}, "maxResults": 1,
		},
	}
	if c.deployment == Cloud {
		r.endpoint = "search/jql"
	}
	var newest struct {
		Issues []struct {
			ID string `json:"id"`
		} `json:"issues"`
	}
	_, err := c.do(ctx, r, &newest)
	if notTold(err) || err == nil && len(newest.Issues) == 0 {
		return unknown, nil
	}
	if err != nil {
		return unknown, err
	}
	var meta struct {
		Fields map[string]json.RawMessage `json:"fields"`
	}
	id := newest.Issues[0].ID
	_, err = c.do(ctx, request{
		op: "read the edit screen of issue " + id, method: http.MethodGet, endpoint: "issue/{id}/editmeta", issue: id,
	}, &meta)
	_, shown := meta.Fields[fieldID]
	switch {
	case notTold(err), err == nil && len(meta.Fields) == 0:
		return unknown, nil
	case err != nil:
		return unknown, err
	case shown:
		return yes, nil
	}
	return no, nil
}
