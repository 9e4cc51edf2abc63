package jira

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"teleport-jira-agent/sync"
)

const (
	// maxListed is how many ids a search names. No limit on hand-written lists is documented; 1,000
	// is what Atlassian allows the functions of apps, for the same reason
	// (https://developer.atlassian.com/platform/forge/working-around-jql-1000-limit), and one page
	// of Data Center. Where Jira refuses so many, fewer are asked for.
	maxListed = 1000
	// fewListed is how many ids are read one by one rather than searched for in halves, when Jira
	// refuses a search and does not say for which of them.
	fewListed = 8
)

// Issues reads issues by id. Data Center offers no bulk read but the search, which may lag: what it
// does not show is read one by one.
//
// 10,000 issues cost 110 calls on Cloud, and one more for every 50 archived ones; and 10 on Data
// Center, and one more for each that no search shows.
func (c *Client) Issues(ctx context.Context, ids []string) ([]sync.Issue, error) {
	if c.deployment == DataCenter {
		return c.issues(ctx, ids, maxListed, c.bulkDataCenter)
	}
	found, err := c.issues(ctx, ids, pageSize, c.bulkCloud)
	if err != nil {
		return nil, err
	}
	return found, c.tellArchived(ctx, found)
}

// Latest reads few issues by id, and asks no search. On Cloud it does not tell which of them are
// archived.
func (c *Client) Latest(ctx context.Context, ids []string) ([]sync.Issue, error) {
	if c.deployment == Cloud {
		return c.issues(ctx, ids, pageSize, c.bulkCloud)
	}
	return c.issues(
		ctx,
		ids,
		pageSize,
		func(_ context.Context, ids []string) (found []sync.Issue, rest []string, err error) {
			return nil, ids, nil
		},
	)
}

// bulk reads issues by id or key at once. rest are those to be read one by one.
type bulk func(ctx context.Context, ids []string) (found []sync.Issue, rest []string, err error)

func (c *Client) issues(ctx context.Context, ids []string, size int, bulk bulk) ([]sync.Issue, error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	var all []sync.Issue
	for batch := range slices.Chunk(ids, size) {
		found, rest, err := bulk(ctx, batch)
		if err != nil {
			return nil, err
		}
		for _, id := range rest {
			issue, err := c.readIssue(ctx, id)
			switch {
			case errors.Is(err, sync.ErrNotFound):
			case err != nil:
				return nil, err
			default:
				found = append(found, issue)
			}
		}
		all = append(all, found...)
	}
	return all, nil
}

// bulkCloud reads up to 100 issues. All are left to be read one by one where Jira does not offer
// the call, or not to this token.
func (c *Client) bulkCloud(ctx context.Context, ids []string) (found []sync.Issue, rest []string, err error) {
	l, offered, err := c.bulkFetch(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	if !offered {
		return nil, ids, nil
	}
	for _, hit := range c.readable(l) {
		found = append(found, hit.Issue)
	}
	return found, nil, nil
}

// bulkFetch reads up to 100 issues by id or key, with some issue properties, past the search index.
// offered is false where Jira does not offer the call.
func (c *Client) bulkFetch(
	ctx context.Context,
	idsOrKeys []string,
	properties ...string,
) (l issuePage, offered bool, err error) {
	body := map[string]any{"issueIdsOrKeys": idsOrKeys, "fields": c.searchFields()}
	if len(properties) > 0 {
		body["properties"] = properties
	}
	var answer struct {
		Issues []json.RawMessage `json:"issues"`
	}
	header, err := c.do(ctx, request{
		op: fmt.Sprintf("read %d issues", len(idsOrKeys)), method: http.MethodPost, endpoint: "issue/bulkfetch",
		scope: sync.ScopeSide, body: body,
	}, &answer)
	switch code := codeOf(err); {
	case code == http.StatusNotFound, code == http.StatusMethodNotAllowed, code == http.StatusGone,
		errors.Is(err, sync.ErrForbidden):
		return issuePage{}, false, nil
	}
	return issuePage{issues: answer.Issues, asOf: asOf(header)}, true, err
}

// bulkDataCenter searches for up to maxListed ids. What the search does not show, or Jira refuses
// to search for, is left to be read one by one.
func (c *Client) bulkDataCenter(ctx context.Context, ids []string) (found []sync.Issue, rest []string, err error) {
	shown := make(map[string]bool, len(ids))
	searchable := without(ids, func(id string) bool { return numeric(id) <= 0 })
	err = c.searchListed(ctx, searchable, func(l issuePage) error {
		for _, hit := range c.readable(l) {
			if !shown[hit.ID] {
				found, shown[hit.ID] = append(found, hit.Issue), true
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return found, without(ids, func(id string) bool { return shown[id] }), nil
}

// searchListed searches Data Center for ids, in few calls. Jira refuses the whole search when some
// of them are gone, and says which: then it is asked for the others. When it does not say, it is
// asked for each half, until few are left.
// https://support.atlassian.com/jira/kb/how-to-handle-http-400-bad-request-errors-on-jira-search-rest-api-endpoint/
func (c *Client) searchListed(ctx context.Context, ids []string, page func(issuePage) error) error {
	for len(ids) > 0 {
		err := c.searchDataCenter(
			ctx,
			search{op: fmt.Sprintf("read %d issues", len(ids)), where: listed(ids), size: maxListed},
			page,
		)
		if codeOf(err) != http.StatusBadRequest {
			return err
		}
		refused := refusedIDs(err)
		rest := without(ids, func(id string) bool { return refused[id] })
		if len(rest) == len(ids) {
			break
		}
		ids = rest
	}
	if len(ids) <= fewListed {
		return nil
	}
	for half := range slices.Chunk(ids, (len(ids)+1)/2) {
		if err := c.searchListed(ctx, half, page); err != nil {
			return err
		}
	}
	return nil
}

var digits = regexp.MustCompile(`\d+`)

// refusedIDs are all numbers in Jira's words about a search, which is in the account's language.
// One that is no id of the search means nothing.
func refusedIDs(err error) map[string]bool {
	refused := make(map[string]bool)
	var answer *answerError
	if errors.As(err, &answer) {
		for _, words := range answer.words {
			for _, id := range digits.FindAllString(words, -1) {
				refused[id] = true
			}
		}
	}
	return refused
}

// listed restricts a search to ids.
func listed(ids []string) string { return "id in (" + strings.Join(ids, ", ") + ")" }

// without is a copy of ids that lacks some.
func without(ids []string, lacks func(id string) bool) []string {
	return slices.DeleteFunc(slices.Clone(ids), lacks)
}
