package jira

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"teleport-jira-agent/sync"
)

// An archived issue can be read by its id; nobody can change it, and no search shows it. What tells
// of it differs:
//
//   - Data Center says so in the issue's field archiveddate, which is null in others. It is no
//     documented part of the REST API; issues of real instances carry it.
//     https://developer.atlassian.com/server/jira/platform/jira-archiver/
//   - Cloud says nothing in the issue that is documented. But no search shows it, not even one that
//     is consistent for just this issue.
//     https://support.atlassian.com/jira-cloud-administration/docs/archive-a-project/,
//     https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile
//
// Neither was tried on a live site. Where both fail the agent learns of it when Jira refuses a
// write, in Jira's own words.

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

// maxIDPage is the most that Cloud gives on a page when nothing but ids is asked for. A page may be
// shorter. https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issue-search/
const maxIDPage = 5000

// tellArchived finds out on Cloud which of the issues are archived. What the index shows is not, or
// was not a moment ago. What it does not show may be archived or just not in the index as yet, and
// is asked for again in searches that must show it unless it is archived; one takes 50.
func (c *Client) tellArchived(ctx context.Context, issues []sync.Issue) error {
	var ids []string
	for _, i := range issues {
		if numeric(i.ID) > 0 {
			ids = append(ids, i.ID)
		}
	}
	shown := make(map[string]bool, len(ids))
	for some := range slices.Chunk(ids, maxListed) {
		if len(some) > maxReconcile {
			// A Jira that does not take so long a list is asked for all in small ones.
			if err := c.searchShows(ctx, some, nil, shown); err != nil && codeOf(err) != http.StatusBadRequest {
				return err
			}
		}
		hidden := without(some, func(id string) bool { return shown[id] })
		for few := range slices.Chunk(hidden, maxReconcile) {
			reconcile := make([]int64, len(few))
			for n, id := range few {
				reconcile[n] = numeric(id)
			}
			if err := c.searchShows(ctx, few, reconcile, shown); err != nil {
				return err
			}
		}
	}
	for n, i := range issues {
		switch {
		case shown[i.ID]:
			issues[n].Archived = sync.NotArchived
		case numeric(i.ID) > 0:
			issues[n].Archived = sync.Archived
		}
	}
	return nil
}

// searchShows notes which of the issues a search on Cloud shows.
func (c *Client) searchShows(ctx context.Context, ids []string, reconcile []int64, shown map[string]bool) error {
	s := search{
		op:        "search which issues are archived",
		where:     listed(ids),
		reconcile: reconcile,
		idsOnly:   true,
		size:      maxIDPage,
	}
	return c.searchCloud(ctx, s, func(l issuePage) error {
		for _, r := range l.issues {
			var in struct{ ID string }
			if json.Unmarshal(r, &in) == nil {
				shown[in.ID] = true
			}
		}
		return nil
	})
}
