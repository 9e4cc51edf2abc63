package jira

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"teleport-jira-agent/sync"
)

// An archived issue can be read by its id; nobody can change it, and no search shows it. What tells of it differs:
//
//   - Data Center says so in the issue's field archiveddate, which is null in others. It is no documented part of the REST API; issues of real
//     instances carry it. https://developer.atlassian.com/server/jira/platform/jira-archiver/
//   - Cloud says nothing in the issue that is documented. But no search shows it, not even one that is consistent for just this issue.
//     https://support.atlassian.com/jira-cloud-administration/docs/archive-a-project/,
//     https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile
//
// Neither was tried on a live site. Where both fail the agent learns of it when Jira refuses a write, in Jira's own words.

// archivedField is asked for on Data Center alone, where Jira knows it.
const archivedField = "archiveddate"

// archival reads archivedField.
func archival(in issueJSON) sync.Archival {
	raw, told := in.Fields[archivedField]
	switch {
	case !told:
		return sync.ArchivalUnknown
	case bytes.Equal(raw, []byte("null")):
		return sync.NotArchived
	}
	return sync.Archived
}

// asFound is a search result: it is not archived, or no search would show it.
func asFound(i sync.Issue) sync.Issue {
	if i.Archived == sync.ArchivalUnknown {
		i.Archived = sync.NotArchived
	}
	return i
}

// tellArchived finds out on Cloud which of the issues are archived, by a search that must show all others: one call for every 50.
func (c *Client) tellArchived(ctx context.Context, issues []sync.Issue) error {
	for some := range slices.Chunk(issues, maxReconcile) {
		shown := make(map[string]bool, len(some))
		s := search{op: "search which issues are archived"}
		ids := make([]string, 0, len(some))
		for _, i := range some {
			if n := numeric(i.ID); n > 0 {
				s.reconcile = append(s.reconcile, n)
				ids = append(ids, i.ID)
			}
		}
		s.where = "id in (" + strings.Join(ids, ", ") + ")"
		if len(ids) == 0 {
			continue
		}
		err := c.searchCloud(ctx, s, func(raw []json.RawMessage) error {
			for _, r := range raw {
				var in struct{ ID string }
				if json.Unmarshal(r, &in) == nil {
					shown[in.ID] = true
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for n, i := range some {
			if some[n].Archived = sync.Archived; shown[i.ID] {
				some[n].Archived = sync.NotArchived
			}
		}
	}
	return nil
}
